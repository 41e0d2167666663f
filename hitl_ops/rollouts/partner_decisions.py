"""The partner's side of a play: its policy is asked, replies in its own time, and a person may decide in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from hitl_ops.contracts.action import Action
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.planner import Observation
from hitl_ops.records.session_events import DecisionEvent, OverrideEvent
from hitl_ops.rollouts.person_decisions import Choice, readable_action
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.world import Finished, HouseholdWorld

OVERRIDDEN = "Overridden."
"""Answer to an action of the partner that a person replaced by another one."""
OVERRIDE = "override"
"""Key in a decision's ``stats``: a person chose in place of the partner's policy."""
ASKED_STEP = "asked_step"
"""Key in a decision's ``stats``: the step its prompt is of; the reply came later."""


class PartnerStatus(NamedTuple):
    """What the partner is at.

    Attributes:
        status: it waits for its policy, carries something out, or has said that it is done.
        action: what it does, or did last, as ``Tool[args]``; empty before its first action.
        response: the answer to what it did last; empty while it acts.
    """

    status: Literal["thinking", "acting", "done"]
    action: str
    response: str


@dataclass(slots=True)
class Correction:
    """A person decided for the partner: what a ``correction`` label says.

    Attributes:
        decision_index: index, among the session's decisions, of what the partner did instead.
        replaces: index of the decision it broke off; None where the policy had not replied yet, or was done.
        original: what the policy chose; empty until its reply comes, if it ever does.
        corrected: what the person chose.
        by: who.
        tick: when.
        asked_tick: the step of the observation both chose from.
        prompt: what the policy read.
        admissible: what could be named.
    """

    decision_index: int
    replaces: int | None
    original: str
    corrected: str
    by: str
    tick: int
    asked_tick: int
    prompt: str
    admissible: list[str]


@dataclass(slots=True)
class _Question:
    """The partner's turn to choose."""

    observation: Observation
    choice: Choice
    handed_out: bool = False


class PartnerDecisions:
    """Asks the partner's policy whenever the partner is idle, and carries out what it, or a person, chose.

    Args:
        world: where the partner acts.
        view: the partner's side of it.
        decisions: the episode's decisions, which this appends to.
        limit: replies of the policy that are carried out; the partner stands still afterwards.
    """

    def __init__(self, world: HouseholdWorld, view: AgentView, decisions: list[Decision], limit: int) -> None:
        self.corrections: list[Correction] = []
        self.policy_id = ""
        self._world = world
        self._view = view
        self._agent = view.agent
        self._decisions = decisions
        self._limit = limit
        self._count = 0
        self._open: Decision | None = None
        self._last = ("", "")
        self._question: _Question | None = None

    @property
    def status(self) -> PartnerStatus:
        """What the partner is at."""
        if self._open is not None:
            return PartnerStatus("acting", self._open.action, "")
        return PartnerStatus("done" if self._world.done[self._agent] else "thinking", *self._last)

    # --- asking ---------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Pose the next question if the partner is idle: the moment depends on the world alone, not on who looks."""
        world = self._world
        if self._question is not None or world.busy(self._agent) or world.done[self._agent] or world.over:
            return
        if self._count >= self._limit:
            world.done[self._agent] = True
            return
        observation = self._view.observe()
        self._question = _Question(observation, Choice.of(world, observation))

    def take_question(self) -> Observation | None:
        """The open question, the first time it is asked for; None while there is no new one."""
        if self._question is None or self._question.handed_out:
            return None
        self._question.handed_out = True
        return self._question.observation

    @property
    def asked_tick(self) -> int | None:
        """The step of the open question; None while there is none."""
        return None if self._question is None else self._question.choice.step

    def ask_again(self) -> None:
        """Hand out the open question again."""
        if self._question is not None:
            self._question.handed_out = False

    # --- choosing -------------------------------------------------------------------------------------------

    def decide(self, event: DecisionEvent) -> None:
        """Take in a reply of the policy; one that nobody waits for any more changes nothing in the world."""
        question = self._question
        if question is None or question.choice.step != event.asked_tick:
            # A person was faster: what the policy would have done is kept beside the correction.
            for correction in self.corrections:
                if correction.asked_tick == event.asked_tick and correction.replaces is None:
                    correction.original = correction.original or event.action
            return
        self._question = None
        self._count += 1
        self.policy_id = event.policy_id
        self._begin(
            question.choice,
            event.action,
            reply=event.reply or event.action,
            policy_id=event.policy_id,
            latency_ms=event.latency_ms,
            stats={**event.stats, ASKED_STEP: float(event.asked_tick)},
        )

    def override(self, event: OverrideEvent, by: str) -> None:
        """Do what a person chose: in place of the reply that is awaited, or of what the partner is about."""
        replaced: Decision | None = None
        if self._question is not None:
            choice, self._question = self._question.choice, None
        elif self._open is not None:
            replaced = self._open
            asked = int(replaced.stats.get(ASKED_STEP, replaced.sim_step))
            # Its log has not grown since, so the prompt of that moment still is the prompt.
            choice = Choice(asked, replaced.prompt, replaced.admissible, replaced.world_graph)
            self.close(OVERRIDDEN)
            self._world.cancel(self._agent)
        else:
            # It had said that it was done.
            choice = Choice.of(self._world, self._view.observe())
        self._world.done[self._agent] = False
        decision = self._begin(
            choice,
            event.action,
            reply=event.action,
            policy_id=f"human:{by}",
            latency_ms=0.0,
            stats={OVERRIDE: 1.0, ASKED_STEP: float(choice.step)},
        )
        self.corrections.append(
            Correction(
                decision_index=decision.index,
                replaces=None if replaced is None else replaced.index,
                original="" if replaced is None else replaced.action,
                corrected=decision.action,
                by=by,
                tick=self._world.step,
                asked_tick=choice.step,
                prompt=choice.prompt,
                admissible=choice.admissible,
            )
        )

    def _begin(
        self, choice: Choice, text: str, *, reply: str, policy_id: str, latency_ms: float, stats: dict[str, float]
    ) -> Decision:
        action = readable_action(text)
        decision = Decision(
            index=len(self._decisions),
            agent=self._agent,
            role=self._view.role,
            policy_id=policy_id,
            sim_step=self._world.step,
            prompt=choice.prompt,
            admissible=choice.admissible,
            reply=reply,
            action=str(action or Action("Wait")),
            latency_ms=latency_ms,
            world_graph=choice.world_graph,
            stats=stats,
        )
        self._decisions.append(decision)
        self._open = decision
        self._world.start(self._agent, action or "")
        return decision

    # --- ending ---------------------------------------------------------------------------------------------

    def finished(self, ended: Finished) -> None:
        """An action of the partner has ended; both views have been told."""
        self._last = (str(ended.action), ended.response)
        self.close(ended.response)

    def close(self, response: str) -> None:
        """Close the decision under way, if there is one, with the answer to it."""
        closed, self._open = self._open, None
        if closed is not None:
            closed.response = response
            closed.end_step = self._world.step
            closed.percent_complete = self._world.percent_complete
