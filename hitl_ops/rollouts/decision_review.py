"""A play looked through decision by decision: what its policy chose, and what would have served the task."""

from __future__ import annotations

from dataclasses import dataclass

from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.action_judge import DONE, ActionJudge, Judgement
from hitl_ops.experts.task_jobs import beyond_jobs
from hitl_ops.records.session_log import SessionLog
from hitl_ops.rollouts.partner_decisions import ASKED_STEP, OVERRIDDEN, OVERRIDE
from hitl_ops.rollouts.person_decisions import INTERRUPTED
from hitl_ops.rollouts.session_replay import ReplayedPlay, moments
from hitl_ops.worlds.household.tools import NO_ACTION, PERCEPTION_TOOLS, SUCCESS, failure

_WHY = {
    "Navigate": "nothing that is needed now is there, or the agent has been there for nothing",
    "Explore": "nothing that is still looked for can be there",
    "Pick": "it need not be moved now",
    "Place": "it does not belong there",
    "Open": "it need not be opened",
    "Close": "it need not be closed",
    "Wait": "there is nothing to wait for",
    "Done": "something is still to be done",
}


@dataclass(frozen=True, slots=True)
class ReviewedDecision:
    """A decision of the policy, and what was right when it was asked.

    Attributes:
        decision: what it chose, and what came of it.
        judgement: what served the task at the moment of its prompt.
    """

    decision: Decision
    judgement: Judgement

    @property
    def refused(self) -> bool:
        """Whether the home refused it; what was broken off was not refused."""
        answered = self.decision.response not in ("", SUCCESS, INTERRUPTED, OVERRIDDEN)
        return answered and self.decision.action.partition("[")[0] not in PERCEPTION_TOOLS

    @property
    def is_wrong(self) -> bool:
        """Whether another action would have been right.

        What served when the policy was asked stays right where the world has moved on before the reply came: the
        person took the very thing, say. A reply that named no action at all is no choice.
        """
        if self.decision.response == NO_ACTION:
            return self.decision.action != self.judgement.right
        return not self.judgement.accepts(self.decision.action)

    @property
    def reason(self) -> str:
        """Why it is wrong, in a few words."""
        if self.refused:
            return f"refused: {self.decision.response.removeprefix(failure(''))}"
        if self.judgement.right == DONE:
            return "everything of its share is done"
        return _WHY.get(self.decision.action.partition("[")[0], "the task does not ask for it")


def review_play(log: SessionLog) -> list[ReviewedDecision]:
    """Play a log again and judge every decision of the policy at the moment it was asked.

    Decisions that a person made in the policy's place are not judged.

    Raises:
        UserError: the replay does not end as the log says, or the task asks for something the oracle cannot judge.
    """
    unknown = beyond_jobs(log.header.episode)
    if unknown:
        raise UserError(
            f"the oracle cannot judge episode '{log.header.episode.episode_id}': {unknown}", "review it by hand"
        )
    judge: ActionJudge | None = None
    judgements: dict[int, Judgement] = {}
    for session in moments(log, every=1):
        judge = judge or ActionJudge(session.episode, session.world)
        asked = session.asked_tick
        observation = session.wants_decision()
        if observation is not None and asked is not None:
            judgements[asked] = judge.judge(observation)
    difference = ReplayedPlay(log, session, session.digest()).difference
    if difference is not None:
        raise UserError(
            f"play {log.header.play_id} replays differently: {difference}",
            "review it with the version that recorded it",
        )
    return [
        ReviewedDecision(decision, judgements[int(decision.stats[ASKED_STEP])])
        for decision in session.decisions
        if decision.role == "ai" and not decision.stats.get(OVERRIDE)
    ]
