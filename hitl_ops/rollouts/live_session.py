"""One play of one episode by a person and a policy, in steps of a thirtieth of a second.

A session is a pure function of its episode and its ordered events: whoever applies the same events at the same
ticks gets the same world, the same decisions with the same prompts, and the same score. Clocks, networks and policies
stay outside and enter as events. The usual round of whoever runs a session::

    session.apply(event)            # as many as there are, each at session.tick, each logged
    session.step()                  # thirty times a second
    observation = session.wants_decision()   # for the policy; its reply comes back as a DecisionEvent, any time
"""

from __future__ import annotations

from typing import Literal, NamedTuple

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
from hitl_ops.rollouts.partner_decisions import Correction, PartnerDecisions, PartnerStatus
from hitl_ops.rollouts.person_decisions import INTERRUPTED, PersonDecisions, readable_action
from hitl_ops.worlds.household.prompts import AgentView, PromptStyle
from hitl_ops.worlds.household.reach import things_in_reach
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.world import Control, Finished, HouseholdWorld

ACTS_AT_MOST = 400
"""Acts of the person in one play: far more than anybody needs, and a bound on what prompts grow to."""
OVERRIDES_AT_MOST = 100
"""Times a person may decide for the partner in one play."""
TOO_MANY = "Too many actions in this play."
"""Answer to an act beyond the bound; it is not carried out."""
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


class LiveSession:
    """A play under way.

    Args:
        episode: the task.
        human: the number of the agent the person drives; the other one is the partner.
        style: the prompts' dialect.
        decision_limit: decisions the partner's policy may make (PARTNR: 50); it stands still afterwards.
        participant: who plays; the person's decisions carry the policy id ``human:<participant>``.
        partner_policy: id of the policy that begins as partner; every decision names the one that made it.
        scene: what the home is played in; by default the kinematic one. Whoever opened it closes it.

    Raises:
        UserError: the episode's home or one of its assets is missing.
        SceneLost: the scene's process ended; ``step``, ``apply`` and looks raise it too, and the play is to be
            restored from its log then.
        ValueError: there is no such agent.

    Attributes:
        world: the household; to be looked at, never acted on.
        decisions: all decisions of both agents, in the order they were made known. The person's acts are decisions
            too, with the prompt a policy would have read; see ``person_decisions`` for those made by walking.
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
        scene: Scene | None = None,
    ) -> None:
        if human not in (0, 1):
            raise ValueError(f"no agent {human}")
        self.episode = episode
        self.human = human
        self.partner = 1 - human
        self.roles: dict[int, Role] = {human: "human", self.partner: "ai"}
        self.person_id = f"human:{participant}"
        self.world = HouseholdWorld(episode, scene=scene)
        self.decisions: list[Decision] = []
        self.paused = False
        self.finish: FinishEvent | None = None
        self.next_n = 0
        self.last_seq = -1
        self.seconds_active = 0.0
        self._last_wall: float | None = None
        self._views = {agent: AgentView(self.world, agent, style, self.roles[agent]) for agent in sorted(self.roles)}
        self._person = PersonDecisions(self.world, self._views[human], self.decisions, self.person_id)
        self._partner = PartnerDecisions(self.world, self._views[self.partner], self.decisions, decision_limit)
        self._partner.policy_id = partner_policy
        self._walks = False
        self._controls: dict[int, Control] | None = None
        self._act_seq = -1
        self._acts = 0
        self._answers: list[Answer] = []
        self._reach: tuple[tuple[object, ...], list[str]] | None = None
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
        match event:
            case ControlEvent():
                if self._is_news(event.seq):
                    self._hold_keys(Control(event.forward, event.strafe, event.turn))
            case ActEvent():
                if self._is_news(event.seq):
                    self._act(event)
            case DecisionEvent():
                self._partner.decide(event)
            case OverrideEvent():
                if self._is_news(event.seq) and len(self.corrections) < OVERRIDES_AT_MOST:
                    self._partner.override(event, event.by or self.person_id.removeprefix("human:"))
            case PauseEvent():
                self.paused = True
                self._hold_keys(_STILL)
            case ResumeEvent():
                self.paused = False
            case FinishEvent():
                self._finish(event)
            case MarkEvent():
                pass
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
        # Looking at the facts puts walking agents where they are; done always, it can make no difference.
        _ = self.world.facts
        if self.finish is None:
            self._partner.settle()

    def _take_in(self, finished: list[Finished]) -> None:
        for ended in finished:
            for view in self._views.values():
                view.finished(ended)
        for ended in finished:
            if ended.agent == self.human:
                self._person.finished(ended)
                self._answers.append(Answer(self._act_seq, str(ended.action), ended.response, self.tick))
            else:
                self._partner.finished(ended)

    # --- the person -----------------------------------------------------------------------------------------

    def _is_news(self, seq: int) -> bool:
        if seq <= self.last_seq:
            return False
        self.last_seq = seq
        return True

    def _hold_keys(self, control: Control) -> None:
        self._walks = bool(control.forward or control.strafe)
        self._controls = None if control == _STILL else {self.human: control}

    def _act(self, event: ActEvent) -> None:
        self._acts += 1
        if self._acts > ACTS_AT_MOST:
            self._answers.append(Answer(event.seq, event.action, TOO_MANY, self.tick))
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

    def _finish(self, event: FinishEvent) -> None:
        if self.world.busy(self.human):
            self._break_off()
        if event.reason == "person" and not self.world.done[self.human]:
            self._person.says_done()
        self._partner.close(INTERRUPTED)
        self.finish = event

    # --- the partner ----------------------------------------------------------------------------------------

    def wants_decision(self) -> Observation | None:
        """What the partner's policy is to choose from; handed out once, None while nothing new is to be chosen.

        ``asked_tick`` goes with it into the ``DecisionEvent`` of the reply.
        """
        return None if self.finish is not None else self._partner.take_question()

    @property
    def asked_tick(self) -> int | None:
        """The step of the observation the partner's policy is to choose from; None while it has nothing to choose."""
        return self._partner.asked_tick

    def ask_again(self) -> None:
        """Have ``wants_decision`` hand out the open question again, the reply being lost."""
        self._partner.ask_again()

    @property
    def corrections(self) -> list[Correction]:
        """What people decided for the partner, in order."""
        return self._partner.corrections

    @property
    def partner_policy(self) -> str:
        """The policy that replied last; before the first reply the one that began."""
        return self._partner.policy_id

    # --- looking --------------------------------------------------------------------------------------------

    @property
    def percent_complete(self) -> float:
        """Share of the task done, 0 to 1."""
        return self.world.percent_complete

    @property
    def success(self) -> bool:
        """Whether the task is complete."""
        return self.world.success

    @property
    def current_action(self) -> str:
        """The person's act under way, as ``Tool[args]``; empty where there is none."""
        return self._person.current_action

    def partner_status(self) -> PartnerStatus:
        """What the partner is at."""
        return self._partner.status

    def reachable(self) -> list[str]:
        """Objects, then furniture, that the person can do something with from where it stands, with what it holds.

        Costs next to nothing while the person stands still and nothing changes: it is the same list then, not to be
        written to.
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
            **self.world.scene.played_scene.in_header(),
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
