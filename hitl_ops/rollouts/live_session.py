"""One play of one episode by a person and a policy, in steps of a thirtieth of a second.

A session is a pure function of its episode and its ordered events: whoever applies the same events at the same
ticks gets the same world, the same decisions with the same prompts, and the same score. Clocks, networks and policies
stay outside and enter as events. The usual round of whoever runs a session::

    session.apply(event)            # as many as there are, each at session.tick, each logged
    session.step()                  # thirty times a second
    observation = session.wants_decision()   # for the policy; its reply comes back as a DecisionEvent, any time
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hitl_ops.contracts.action import Action
from hitl_ops.contracts.decision import Decision, EndedBy, EpisodeHeader, EpisodeResult, Role
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import Observation
from hitl_ops.records.session_events import (
    ActEvent,
    ControlEvent,
    DecisionEvent,
    FinishEvent,
    FinishReason,
    MarkEvent,
    OverrideEvent,
    PauseEvent,
    ResumeEvent,
    SessionEvent,
)
from hitl_ops.rollouts.person_decisions import INTERRUPTED, Choice, PersonDecisions, readable_action
from hitl_ops.worlds.household.prompts import AgentView, PromptStyle
from hitl_ops.worlds.household.reach import things_in_reach
from hitl_ops.worlds.household.world import Control, Finished, HouseholdWorld

OVERRIDDEN = "Overridden."
"""Answer to an action of the partner that a person replaced by another one."""
OVERRIDE = "override"
"""Key in a decision's ``stats``: a person chose in place of the partner's policy."""
ASKED_STEP = "asked_step"
"""Key in a decision's ``stats``: the step its prompt is of, where the reply came later."""

_ENDED_BY: dict[FinishReason, EndedBy] = {
    "person": "person",
    "time": "time",
    "idle": "idle",
    "skip": "skip",
    "aborted": "aborted",
    "server": "error",
}
_STILL = Control()


class Answer(NamedTuple):
    """What became of an act of the person.

    Attributes:
        seq: the client's number of the act.
        action: what was done, as ``Tool[args]``.
        response: the world's answer; ``Interrupted.`` where the person broke it off.
        tick: when.
    """

    seq: int
    action: str
    response: str
    tick: int


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
        replaces: index of the decision it broke off; None where the policy had not replied yet.
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


class LiveSession:
    """A play under way.

    Args:
        episode: the task.
        human: the number of the agent the person drives; the other one is the partner.
        style: the prompts' dialect.
        decision_limit: decisions the partner's policy may make (PARTNR: 50); it stands still afterwards.
        participant: who plays; the person's decisions carry the policy id ``human:<participant>``.
        partner_policy: id of the policy that begins as partner; every decision names the one that made it.

    Raises:
        UserError: the episode's home or one of its assets is missing.
        ValueError: there is no such agent.

    Attributes:
        world: the household; to be looked at, never acted on.
        decisions: all decisions of both agents, in the order they were made known. The person's acts are decisions
            too, with the prompt a policy would have read; see ``person_decisions`` for those made by walking.
        corrections: what people decided for the partner.
        paused: whether the world stands still.
        finish: how the play ended; None while it goes on.
        next_n: number of the event to come.
        last_seq: highest client number applied; -1 before the first.
        seconds_active: wall seconds between the events so far, pauses left out.
    """

    def __init__(
        self,
        episode: Episode,
        *,
        human: int = 0,
        style: PromptStyle = "incremental",
        decision_limit: int = 50,
        participant: str = "",
        partner_policy: str = "",
    ) -> None:
        if human not in (0, 1):
            raise ValueError(f"no agent {human}")
        self.episode = episode
        self.human = human
        self.partner = 1 - human
        self.roles: dict[int, Role] = {human: "human", self.partner: "ai"}
        self.person_id = f"human:{participant}"
        self.partner_policy = partner_policy
        self.world = HouseholdWorld(episode)
        self.decisions: list[Decision] = []
        self.corrections: list[Correction] = []
        self.paused = False
        self.finish: FinishEvent | None = None
        self.next_n = 0
        self.last_seq = -1
        self.seconds_active = 0.0
        self._last_wall: float | None = None
        self._limit = decision_limit
        self._views = {agent: AgentView(self.world, agent, style, self.roles[agent]) for agent in sorted(self.roles)}
        self._person = PersonDecisions(self.world, self._views[human], self.decisions, self.person_id)
        self._hold = _STILL
        self._walks = False
        self._controls: dict[int, Control] | None = None
        self._act_seq = -1
        self._answers: list[Answer] = []
        self._partner_open: Decision | None = None
        self._partner_decided = 0
        self._partner_last = ("", "")
        self._question: _Question | None = None
        self._reach: tuple[tuple[object, ...], list[str]] | None = None
        self._apply: dict[str, Callable[[SessionEvent], None]] = {
            "control": self._control,
            "act": self._act,
            "decision": self._decision,
            "override": self._override,
            "mark": self._mark,
            "pause": self._pause,
            "resume": self._resume,
            "finish": self._finish,
        }  # type: ignore[dict-item]  # each handler takes its own kind of event
        self._settle()

    # --- time and events ------------------------------------------------------------------------------------

    @property
    def tick(self) -> int:
        """The world's step."""
        return self.world.step

    @property
    def over(self) -> bool:
        """Whether the play has been finished by an event."""
        return self.finish is not None

    @property
    def stands(self) -> Literal["paused", "done", "step_limit", "finished"] | None:
        """Why ``step`` does nothing: a pause, both agents done, the step limit, or the finish; None while it does."""
        if self.finish is not None:
            return "finished"
        if self.world.over:
            return "done" if all(self.world.done) else "step_limit"
        return "paused" if self.paused else None

    def apply(self, event: SessionEvent) -> None:
        """Take in what happened now, before the next step.

        A repeated or older ``seq``, a decision nobody waits for any more, a pause within a pause: such events are
        taken in and change nothing, so that a log can hold whatever arrived.

        Raises:
            ValueError: the event is not the next one, is of another tick, or the play is finished.
        """
        if self.finish is not None:
            raise ValueError("the play is finished")
        if event.n != self.next_n:
            raise ValueError(f"event {event.n} comes where event {self.next_n} is due")
        if event.tick != self.world.step:
            raise ValueError(f"an event of tick {event.tick} comes at tick {self.world.step}")
        if self._last_wall is not None and not self.paused:
            self.seconds_active += max(0.0, event.wall - self._last_wall)
        self._last_wall = event.wall
        self.next_n += 1
        self._apply[event.kind](event)
        self._settle()

    def step(self) -> list[Finished]:
        """Advance the world by one tick, the person's keys held as they are; returns the skills that ended in it.

        Does nothing where ``stands`` says why.
        """
        if self.paused or self.finish is not None or self.world.over:
            return []
        if self._controls is not None:
            if self.world.walking(self.human):
                self._break_off()
            if self._walks:
                self._person.moving()
        finished = self.world.tick(self._controls)
        if finished:
            self._take_in(finished)
        self._settle()
        return finished

    def _settle(self) -> None:
        """Bring everything to rest between two events, whoever looks or does not look meanwhile."""
        world = self.world
        # Looking at the facts puts walking agents where they are; done always, it can make no difference.
        _ = world.facts
        if self._question is None and not world.busy(self.partner) and not world.done[self.partner]:
            if self.finish is not None or world.over:
                return
            if self._partner_decided >= self._limit:
                world.done[self.partner] = True
                return
            observation = self._views[self.partner].observe()
            self._question = _Question(observation, Choice.of(world, observation))

    def _take_in(self, finished: list[Finished]) -> None:
        for ended in finished:
            for view in self._views.values():
                view.finished(ended)
        for ended in finished:
            if ended.agent == self.human:
                self._person.finished(ended)
                self._answers.append(Answer(self._act_seq, str(ended.action), ended.response, self.tick))
            else:
                self._partner_last = (str(ended.action), ended.response)
                self._close_partner(ended.response)

    def _close_partner(self, response: str) -> Decision | None:
        closed, self._partner_open = self._partner_open, None
        if closed is not None:
            closed.response = response
            closed.end_step = self.tick
            closed.percent_complete = self.world.percent_complete
        return closed

    # --- the person -----------------------------------------------------------------------------------------

    def _is_news(self, seq: int) -> bool:
        if seq <= self.last_seq:
            return False
        self.last_seq = seq
        return True

    def _control(self, event: ControlEvent) -> None:
        if self._is_news(event.seq):
            self._hold_keys(Control(event.forward, event.strafe, event.turn))

    def _hold_keys(self, control: Control) -> None:
        self._hold = control
        self._walks = bool(control.forward or control.strafe)
        self._controls = None if control == _STILL else {self.human: control}

    def _act(self, event: ActEvent) -> None:
        if not self._is_news(event.seq):
            return
        if self.world.busy(self.human):
            self._break_off()
        self._act_seq = event.seq
        self._person.begin(event.action)
        self.world.start(self.human, readable_action(event.action) or "")

    def _break_off(self) -> None:
        """The person lets go of what is under way, by the keys or by another act."""
        broken = self._person.interrupt()
        self.world.cancel(self.human)
        if broken is not None:
            self._answers.append(Answer(self._act_seq, broken.action, INTERRUPTED, self.tick))

    def take_answers(self) -> list[Answer]:
        """What became of the person's acts since the last call, in order."""
        answers, self._answers = self._answers, []
        return answers

    # --- the partner ----------------------------------------------------------------------------------------

    def wants_decision(self) -> Observation | None:
        """What the partner's policy is to choose from; handed out once, None while nothing new is to be chosen.

        ``asked_tick`` goes with it into the ``DecisionEvent`` of the reply.
        """
        if self._question is None or self._question.handed_out or self.finish is not None:
            return None
        self._question.handed_out = True
        return self._question.observation

    @property
    def asked_tick(self) -> int | None:
        """The step of the observation the partner's policy is to choose from; None while it has nothing to choose."""
        return None if self._question is None else self._question.choice.step

    def ask_again(self) -> None:
        """Have ``wants_decision`` hand out the open question again, the reply being lost."""
        if self._question is not None:
            self._question.handed_out = False

    def _decision(self, event: DecisionEvent) -> None:
        question = self._question
        if question is None or question.choice.step != event.asked_tick:
            self._came_too_late(event)
            return
        self._question = None
        self._partner_decided += 1
        self.partner_policy = event.policy_id
        self._begin_partner(
            question.choice,
            event.action,
            reply=event.reply or event.action,
            policy_id=event.policy_id,
            latency_ms=event.latency_ms,
            stats={**event.stats, ASKED_STEP: float(event.asked_tick)},
        )

    def _came_too_late(self, event: DecisionEvent) -> None:
        """A person was faster: what the policy would have done is kept beside the correction."""
        for correction in self.corrections:
            if correction.asked_tick == event.asked_tick and correction.replaces is None and not correction.original:
                correction.original = event.action

    def _override(self, event: OverrideEvent) -> None:
        if not self._is_news(event.seq):
            return
        world, partner = self.world, self.partner
        replaced: Decision | None = None
        if self._question is not None:
            choice, self._question = self._question.choice, None
        elif self._partner_open is not None:
            replaced = self._partner_open
            asked = int(replaced.stats.get(ASKED_STEP, replaced.sim_step))
            choice = Choice(asked, replaced.prompt, replaced.admissible, replaced.world_graph)
            self._close_partner(OVERRIDDEN)
            world.cancel(partner)
        else:
            # It had said that it was done.
            choice = Choice.of(world, self._views[partner].observe())
        world.done[partner] = False
        by = event.by or self.person_id.removeprefix("human:")
        decision = self._begin_partner(
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
                tick=self.tick,
                asked_tick=choice.step,
                prompt=choice.prompt,
                admissible=choice.admissible,
            )
        )

    def _begin_partner(
        self, choice: Choice, text: str, *, reply: str, policy_id: str, latency_ms: float, stats: dict[str, float]
    ) -> Decision:
        action = readable_action(text)
        decision = Decision(
            index=len(self.decisions),
            agent=self.partner,
            role=self.roles[self.partner],
            policy_id=policy_id,
            sim_step=self.tick,
            prompt=choice.prompt,
            admissible=choice.admissible,
            reply=reply,
            action=str(action or Action("Wait")),
            latency_ms=latency_ms,
            world_graph=choice.world_graph,
            stats=stats,
        )
        self.decisions.append(decision)
        self._partner_open = decision
        self.world.start(self.partner, action or "")
        return decision

    # --- the rest of what happens -----------------------------------------------------------------------------

    def _mark(self, event: MarkEvent) -> None:
        """Says only that the world has come this far."""

    def _pause(self, event: PauseEvent) -> None:
        self.paused = True
        self._hold_keys(_STILL)

    def _resume(self, event: ResumeEvent) -> None:
        self.paused = False

    def _finish(self, event: FinishEvent) -> None:
        if self.world.busy(self.human):
            self._break_off()
        if event.reason == "person":
            self._person.says_done()
        self._close_partner(INTERRUPTED)
        self._question = None
        self.finish = event

    # --- looking --------------------------------------------------------------------------------------------

    @property
    def percent_complete(self) -> float:
        """Share of the task done, 0 to 1."""
        return self.world.percent_complete

    @property
    def success(self) -> bool:
        """Whether the task is complete."""
        return self.world.success

    def partner_status(self) -> PartnerStatus:
        """What the partner is at."""
        if self._partner_open is not None:
            return PartnerStatus("acting", self._partner_open.action, "")
        return PartnerStatus("done" if self.world.done[self.partner] else "thinking", *self._partner_last)

    def reachable(self) -> list[str]:
        """Objects, then furniture, that the person can do something with from where it stands, with what it holds.

        Costs next to nothing while the person stands still and nothing changes.
        """
        state = self.world.state
        body = state.facts.agents[self.human]
        # The doors agents open as they walk change what is in sight, and are not counted by the revision.
        key = (body.x, body.z, state.doors_mask, state.revision)
        if self._reach is None or self._reach[0] != key:
            self._reach = (key, things_in_reach(state, self.human, self.world.abilities[self.human]))
        return self._reach[1]

    def missing(self) -> list[str]:
        """What is still missing or violated, a line each; empty exactly when the task is a success."""
        return self.world.evaluation.missing()

    def digest(self) -> str:
        """Hash of the world's state, as ``FinishEvent.state_hash`` and traces carry it."""
        return self.world.facts.digest()

    # --- the end ----------------------------------------------------------------------------------------------

    def finish_event(self, reason: FinishReason, *, wall: float) -> FinishEvent:
        """The event that ends the play now; to be applied and logged like every other."""
        return FinishEvent(
            n=self.next_n,
            tick=self.tick,
            wall=wall,
            reason=reason,
            success=self.success,
            percent_complete=self.percent_complete,
            state_hash=self.digest(),
        )

    def header(self) -> EpisodeHeader:
        """First line of the play's trace."""
        return EpisodeHeader(
            episode_id=self.episode.episode_id,
            scene_id=self.episode.scene_id,
            task_type=self.episode.task_type,
            split=self.episode.split,
            instruction=self.episode.instruction,
            seed=self.episode.seed,
            roles=self.roles,
            policies={self.human: self.person_id, self.partner: self.partner_policy},
            world=self.world.name,
        )

    def result(self, ended_by: EndedBy | None = None) -> EpisodeResult:
        """How the play has gone so far; by default ended by what finished it, or by the world."""
        if ended_by is None:
            ended_by = _ENDED_BY[self.finish.reason] if self.finish is not None else "done"
            if self.finish is None and not all(self.world.done):
                ended_by = "step_limit"
        return EpisodeResult(
            percent_complete=self.percent_complete,
            success=self.success,
            sim_steps=self.tick,
            replans={agent: sum(d.agent == agent for d in self.decisions) for agent in sorted(self.roles)},
            runtime_s=self.seconds_active,
            ended_by=ended_by,
            explanation="; ".join(self.missing()),
            state_hash=self.digest(),
        )
