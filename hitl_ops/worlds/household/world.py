"""The household: two agents, their skills over time, and the task's score.

One engine, two speeds. ``act`` carries a skill to its end, jumping from event to event; ``tick`` advances one
thirtieth of a second. ``advance(n)`` and n times ``tick()`` end in the same state, whatever n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hitl_ops.contracts.action import Action, parse_action
from hitl_ops.contracts.episode import Episode
from hitl_ops.worlds.household import skills
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.home_state import HomeState
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.scene import Route, Scene
from hitl_ops.worlds.household.task_evaluation import TaskEvaluation
from hitl_ops.worlds.household.tools import (
    DEFAULT_ABILITIES,
    NO_ACTION,
    PERCEPTION_TOOLS,
    STEPS_PER_SECOND,
    SUCCESS,
    TOOLS,
    UNSEEN_BY_PARTNER,
    WALKING_SPEED,
    failure,
)

EPISODE_STEP_LIMIT = 20_000
"""PARTNR's cap on simulation steps."""
STEP_LENGTH = WALKING_SPEED / STEPS_PER_SECOND
TURN_PER_STEP = 2.4 / STEPS_PER_SECOND
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Control:
    """A person's hold on an agent for one tick; each value within −1 … 1.

    Attributes:
        forward: along the facing direction.
        strafe: to the right.
        turn: to the left.
    """

    forward: float = 0.0
    strafe: float = 0.0
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A skill that has ended."""

    agent: int
    action: Action
    response: str
    start_step: int
    end_step: int


@dataclass(slots=True)
class _Running:
    """A skill under way: the walking that is left, then the work at its end."""

    action: Action
    start: int
    stages: list[Action] = field(default_factory=list)
    route: Route | None = None
    reached: int = 0
    route_start: int = 0
    next_event: int = 0
    answer: str | None = None


class HouseholdWorld:
    """One episode being played.

    Args:
        episode: the task.
        scene: the geometry to play in; by default the generated home the episode names.
        abilities: tools of agent 0 and agent 1.

    Raises:
        UserError: the episode's scene or one of its assets is missing.
    """

    name = "household"

    def __init__(
        self,
        episode: Episode,
        *,
        scene: Scene | None = None,
        abilities: tuple[tuple[str, ...], ...] = DEFAULT_ABILITIES,
    ) -> None:
        self.episode = episode
        self.scene: Scene = scene if scene is not None else load_scene(episode.scene_id)
        self.abilities = abilities
        self.state = HomeState(episode, self.scene)
        self.step = 0
        self._running: list[_Running | None] = [None for _ in self.state.facts.agents]
        self.done = [False for _ in self.state.facts.agents]
        self.last_action = ["" for _ in self.state.facts.agents]
        self.evaluation = TaskEvaluation(episode, self.state.facts)
        for agent, body in enumerate(self.state.facts.agents):
            self.state.enter(agent, body.x, body.z)
        self._score()

    # --- reading ------------------------------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        """The truth now, agents' positions along their way included."""
        for agent, running in enumerate(self._running):
            if running is not None and running.route is not None:
                self._move_along(agent, running)
        return self.state.facts

    @property
    def percent_complete(self) -> float:
        """Share of the task's propositions satisfied under all constraints."""
        return self.evaluation.percent_complete

    @property
    def success(self) -> bool:
        """Whether the task is complete."""
        return self.evaluation.success

    @property
    def over(self) -> bool:
        """Whether the episode has ended: all agents are done or the step limit is reached."""
        return all(self.done) or self.step >= EPISODE_STEP_LIMIT

    def busy(self, agent: int) -> bool:
        """Whether an agent is carrying out a skill."""
        return self._running[agent] is not None

    def walking(self, agent: int) -> bool:
        """Whether an agent is on its way along a route."""
        running = self._running[agent]
        return running is not None and running.route is not None

    # --- acting -------------------------------------------------------------------------------------------

    def act(self, agent: int, action: Action | str) -> Finished:
        """Carry out one action to its end; other agents' skills go on meanwhile."""
        self.start(agent, action)
        while True:
            for finished in self.advance(_NEVER):
                if finished.agent == agent:
                    return finished

    def start(self, agent: int, action: Action | str) -> None:
        """Begin an action. A call that cannot be carried out is answered one step later."""
        if isinstance(action, str):
            try:
                action = parse_action(action)
            except ValueError:
                self._begin(agent, Action("Wait"), answer=NO_ACTION)
                return
        state = self.state
        problem = skills.malformed(state, agent, self.abilities[agent], action)
        if problem is not None:
            self._begin(agent, action, answer=problem)
            return
        self._stop_walking(agent)
        if action.tool in ("Navigate", "Explore"):
            self._begin_walk(agent, action, action.args[0], then=[action] if action.tool == "Explore" else [])
        elif action.tool == "Rearrange":
            fetch = Action("Pick", action.args[:1])
            self._begin_walk(
                agent,
                action,
                action.args[0],
                then=[fetch, Action("Navigate", (action.args[2],)), Action("Place", action.args)],
            )
        elif action.tool in PERCEPTION_TOOLS:
            others = [text for other, text in enumerate(self.last_action) if other != agent]
            self._begin(agent, action, answer=skills.find(state, agent, action, others[0] if others else ""))
        else:
            problem = skills.refusal(state, agent, action)
            if problem is not None:
                self._begin(agent, action, answer=problem)
            else:
                running = _Running(action, self.step, stages=[action])
                running.next_event = self.step + max(1, TOOLS[action.tool].duration)
                self._running[agent] = running

    def cancel(self, agent: int) -> None:
        """Drop an agent's running skill where it stands; nothing is answered."""
        self._stop_walking(agent)
        self._running[agent] = None

    def _begin(self, agent: int, action: Action, *, answer: str) -> None:
        self._stop_walking(agent)
        self._running[agent] = _Running(action, self.step, next_event=self.step + 1, answer=answer)

    def _begin_walk(self, agent: int, action: Action, target: str, then: list[Action]) -> None:
        running = _Running(action, self.step, stages=then)
        self._running[agent] = running
        self._set_route(agent, running, target)

    def _set_route(self, agent: int, running: _Running, target: str) -> None:
        body = self.state.facts.agents[agent]
        thing = self.state.facts.objects.get(target)
        place: str | tuple[float, float] = target
        if thing is not None:
            if thing.relation == "held":
                holder = self.facts.agents[int(thing.parent.removeprefix("agent_"))]
                place = (holder.x, holder.z)
            else:
                place = thing.parent
        route = self.scene.route((body.x, body.z), place)
        if route is None:
            running.answer = failure(f"Could not find a suitable nav target for {target}. Possibly inaccessible.")
            running.next_event = self.step + 1
            return
        running.route, running.reached, running.route_start = route, 0, self.step
        running.next_event = self._arrival(running, 1) if len(route.points) > 1 else self.step + 1

    @staticmethod
    def _arrival(running: _Running, index: int) -> int:
        assert running.route is not None
        return running.route_start + math.ceil(running.route.lengths[index] / STEP_LENGTH - 1e-9)

    # --- time ---------------------------------------------------------------------------------------------

    def tick(self, controls: dict[int, Control] | None = None) -> list[Finished]:
        """Advance one step, moving agents that people steer; returns the skills that ended in it."""
        if controls:
            for agent, control in controls.items():
                self._steer(agent, control)
        return self.advance(1)

    def advance(self, steps: int) -> list[Finished]:
        """Advance up to ``steps`` steps, stopping early at the step in which a skill ends.

        Returns:
            The skills that ended in the last step advanced; empty if none did.
        """
        limit = min(self.step + steps, EPISODE_STEP_LIMIT)
        finished: list[Finished] = []
        while not finished:
            upcoming = min((running.next_event for running in self._running if running is not None), default=_NEVER)
            if upcoming > limit:
                self.step = max(self.step, limit)
                if self.step >= EPISODE_STEP_LIMIT:
                    finished = self._run_out_of_steps()
                break
            self.step = upcoming
            for agent, running in enumerate(self._running):
                if running is not None and running.next_event == upcoming:
                    ended = self._event(agent, running)
                    if ended is not None:
                        finished.append(ended)
            if self.state.changed:
                self._score()
        if finished:
            self._wake(finished)
        return finished

    def _run_out_of_steps(self) -> list[Finished]:
        """The episode's cap is reached: whatever runs is given up."""
        given_up = failure("Skill took too long to finish.")
        return [
            self._finish(agent, running, given_up) for agent, running in enumerate(self._running) if running is not None
        ]

    def _event(self, agent: int, running: _Running) -> Finished | None:
        if running.answer is not None:
            return self._finish(agent, running, running.answer)
        if running.route is not None:
            self._walk_on(agent, running)
            if running.route is not None:
                return None
            if running.answer is not None:
                return self._finish(agent, running, running.answer)
            if not running.stages:
                return self._finish(agent, running, SUCCESS)
            return self._next_stage(agent, running)
        stage = running.stages.pop(0)
        if stage.tool in ("Explore", "Wait", "Done"):
            return self._finish(agent, running, SUCCESS)
        problem = skills.refusal(self.state, agent, stage)
        if problem is not None:
            return self._finish(agent, running, problem)
        skills.perform(self.state, agent, stage)
        if not running.stages:
            return self._finish(agent, running, SUCCESS)
        return self._next_stage(agent, running)

    def _next_stage(self, agent: int, running: _Running) -> Finished | None:
        stage = running.stages[0]
        if stage.tool == "Navigate":
            running.stages.pop(0)
            self._set_route(agent, running, stage.args[0])
            return None
        running.next_event = self.step + TOOLS[stage.tool].duration
        return None

    def _walk_on(self, agent: int, running: _Running) -> None:
        """Reach the next place of the route: look round, open doors, and face ahead."""
        route = running.route
        assert route is not None
        running.reached = min(running.reached + 1, len(route.points) - 1)
        index = running.reached
        body = self.state.facts.agents[agent]
        body.x, body.z = route.points[index]
        if index > 0:
            body.yaw = heading(route.points[index - 1], route.points[index])
        self.state.enter(agent, body.x, body.z)
        if index == len(route.points) - 1:
            running.route = None
            return
        running.next_event = self._arrival(running, index + 1)
        limit = running.start + TOOLS[running.action.tool].limit
        if running.next_event > limit:
            running.route = None
            running.answer = failure("Skill took too long to finish.")

    def _finish(self, agent: int, running: _Running, response: str) -> Finished:
        self._running[agent] = None
        if running.action.tool == "Done" and response == SUCCESS:
            self.done[agent] = True
        if running.action.tool not in PERCEPTION_TOOLS:
            self.last_action[agent] = f"{running.action} {response}"
        return Finished(agent, running.action, response, running.start, self.step)

    def _wake(self, finished: list[Finished]) -> None:
        """Agents that wait stop waiting one step after somebody else did something worth knowing."""
        for ended in finished:
            if ended.action.tool in UNSEEN_BY_PARTNER:
                continue
            for agent, running in enumerate(self._running):
                if running is not None and agent != ended.agent and running.action.tool == "Wait":
                    running.next_event = min(running.next_event, self.step + 1)

    # --- moving -------------------------------------------------------------------------------------------

    def _move_along(self, agent: int, running: _Running) -> None:
        """Put a walking agent where it is between two places of its route."""
        route = running.route
        assert route is not None
        walked = (self.step - running.route_start) * STEP_LENGTH
        index = min(running.reached + 1, len(route.points) - 1)
        if index == 0:
            return
        here, there = route.points[index - 1], route.points[index]
        span = route.lengths[index] - route.lengths[index - 1]
        share = min(max((walked - route.lengths[index - 1]) / span, 0.0), 1.0) if span else 1.0
        body = self.state.facts.agents[agent]
        body.x = here[0] + (there[0] - here[0]) * share
        body.z = here[1] + (there[1] - here[1]) * share
        if share > 0:
            body.yaw = heading(here, there)

    def _stop_walking(self, agent: int) -> None:
        running = self._running[agent]
        if running is not None and running.route is not None:
            self._move_along(agent, running)

    def _steer(self, agent: int, control: Control) -> None:
        running = self._running[agent]
        if running is not None and (running.route is not None or control == Control()):
            if control == Control():
                return
            # Whoever takes the controls has stopped navigating.
            self.cancel(agent)
        body = self.state.facts.agents[agent]
        body.yaw = math.remainder(body.yaw + _clamp(control.turn) * TURN_PER_STEP, math.tau)
        forward, strafe = _clamp(control.forward), _clamp(control.strafe)
        if not forward and not strafe:
            return
        scale = STEP_LENGTH / max(1.0, math.hypot(forward, strafe))
        cosine, sine = math.cos(body.yaw), math.sin(body.yaw)
        dx = (cosine * forward + sine * strafe) * scale
        dz = (-sine * forward + cosine * strafe) * scale
        body.x, body.z = self.scene.slide(body.x, body.z, dx, dz)
        self.state.enter(agent, body.x, body.z)

    def _score(self) -> None:
        self.state.changed = False
        self.evaluation.update(self.state.facts, self.step)


def heading(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Yaw of the direction between two places: 0 along +x, positive towards −z."""
    return math.atan2(-(there[1] - here[1]), there[0] - here[0])


def _clamp(value: float) -> float:
    return min(1.0, max(-1.0, value))
