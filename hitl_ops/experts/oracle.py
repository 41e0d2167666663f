"""The heuristic expert: it reads the task's propositions and drives both agents to them.

It knows the goal exactly (as PARTNR's heuristic planner does). With ``observability="full"`` it also knows where
everything is; with ``"partial"`` it looks for what its agent has not seen, room by room, so that a student who
reads the agent's prompt can see why each choice was made.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.experts.task_jobs import Job, jobs_of
from hitl_ops.worlds.household.catalog import kind_of
from hitl_ops.worlds.household.skills import choose_slot
from hitl_ops.worlds.household.tools import SUCCESS
from hitl_ops.worlds.household.world import HouseholdWorld

Observability = Literal["full", "partial"]


class Oracle:
    """Plans for both agents; implements ``contracts.planner.Planner``.

    Args:
        observability: whether it knows where unseen objects are.

    Attributes:
        jobs: what the task asks for; each is one agent's.
    """

    def __init__(self, observability: Observability = "full") -> None:
        self.observability = observability
        self._world: HouseholdWorld | None = None
        self.jobs: list[Job] = []
        self._said: dict[str, dict[str, str]] = {}
        self._at: dict[int, str] = {}
        self._explored: dict[int, set[str]] = {}

    @property
    def policy_id(self) -> str:
        """``oracle-full`` or ``oracle-partial``."""
        return f"oracle-{self.observability}"

    def start(self, episode: Episode, world: Any) -> None:
        """Read the task: one job per object, split between the agents."""
        self._world = world
        self._said = {row["subject"]: row for row in episode.info.get("flywheel", {}).get("said", [])}
        self._at = {}
        self._explored = {0: set(), 1: set()}
        self.jobs = jobs_of(episode)

    def decide(self, observation: Observation) -> Reply:
        """The next action of one agent."""
        started = time.perf_counter()
        action = self._next(observation.agent, observation)
        if action not in observation.admissible:
            raise AssertionError(f"oracle chose an inadmissible action: {action}")
        return Reply(text=action, action=action, latency_ms=(time.perf_counter() - started) * 1000)

    # --- choosing -----------------------------------------------------------------------------------------

    def _next(self, agent: int, observation: Observation) -> str:
        world = self._world
        assert world is not None
        self.remember(observation)
        satisfied = [predicate(world.state.facts)[0] for predicate in world.evaluation.predicates]
        for job in self.jobs:
            if job.agent != agent or all(satisfied[index] for index in job.propositions):
                continue
            ready = all(satisfied[index] for index in job.before)
            return self.work(agent, job, ready)
        return "Done[]"

    def remember(self, observation: Observation) -> None:
        """Take in where the agent last walked to and where it has looked, from its own history."""
        agent = observation.agent
        self._at.pop(agent, None)
        self._explored[agent] = set()
        for entry in observation.history:
            if entry.agent != agent or entry.response != SUCCESS:
                continue
            tool, _, rest = entry.action.partition("[")
            target = rest.rstrip("]")
            if tool == "Navigate":
                self._at[agent] = self.place_of(target)
            elif tool == "Explore":
                self._explored[agent].add(target)
                self._at.pop(agent, None)

    def explored(self, agent: int) -> set[str]:
        """The rooms an agent has looked round in, as far as ``remember`` was told."""
        return self._explored[agent]

    def place_of(self, target: str) -> str:
        """Where walking to a target ends: a piece of furniture, or ``floor_<room>``."""
        world = self._world
        assert world is not None
        if target in world.state.rooms:
            return f"floor_{target}"
        thing = world.state.facts.objects.get(target)
        return target if thing is None or thing.relation == "held" else thing.parent

    def near(self, agent: int, place: str) -> bool:
        """Whether the agent has walked to a place and, by geometry, reaches it."""
        world = self._world
        assert world is not None
        if self._at.get(agent) != place:
            return False
        if place.startswith("floor_"):
            body = world.facts.agents[agent]
            return world.scene.room_at(body.x, body.z) == place.removeprefix("floor_")
        return world.state.within_reach(agent, place)

    def at_hand(self, agent: int, name: str) -> bool:
        """Whether the agent has walked to where an object lies and reaches the object itself.

        What it put down in passing may lie at the far end of a piece of furniture that it reaches the near end of.
        """
        world = self._world
        assert world is not None
        return self.near(agent, world.state.facts.objects[name].parent) and world.state.within_reach(agent, name)

    def work(self, agent: int, job: Job, ready: bool) -> str:
        """An agent's next action for a job that is not done.

        Args:
            agent: who works; ``remember`` has been told what it did so far.
            job: what at.
            ready: whether everything that must come before has been done.
        """
        world = self._world
        assert world is not None
        state = world.state
        held = state.facts.agents[agent].held
        if held in job.subjects:
            for tool, state_name, value in job.states:
                if state.facts.state(held, state_name) != value:
                    return self._fill(agent, held) if tool == "Fill" else f"{tool}[{held}]"
            return self._deliver(agent, job, held, ready)
        if held is not None:
            return self._put_aside(agent, held)
        if job.subjects[0] in state.furniture:
            tool = job.states[0][0]
            return f"{tool}[{job.subjects[0]}]" if self.near(agent, job.subjects[0]) else f"Navigate[{job.subjects[0]}]"
        seen = self._known_subject(agent, job)
        if seen is None:
            return self._search(agent, job)
        name = seen
        parent = state.facts.objects[name].parent
        if not self.at_hand(agent, name):
            return f"Navigate[{name}]"
        if state.facts.objects[name].relation == "within" and not state.facts.furniture_open[parent]:
            return f"Open[{parent}]"
        for tool, state_name, value in job.states:
            if tool != "Fill" and state.facts.state(name, state_name) != value:
                return f"{tool}[{name}]"
        return f"Pick[{name}]"

    def _known_subject(self, agent: int, job: Job) -> str | None:
        """The first of the job's objects this agent has seen and may take."""
        world = self._world
        assert world is not None
        for name, belief in world.state.knowledge[agent].objects.items():
            if (
                name in job.subjects
                and belief.relation != "held"
                and world.state.facts.objects[name].relation != "held"
            ):
                return name
        return None

    def _search(self, agent: int, job: Job) -> str:
        """Where to look next for an object not seen yet."""
        world = self._world
        assert world is not None
        state = world.state
        if self.observability == "full":
            free = [name for name in job.subjects if state.facts.objects[name].relation != "held"]
            if not free:
                return "Wait[]"
            parent = state.facts.objects[free[0]].parent
            if parent in state.facts.furniture_open and self.near(agent, parent):
                return f"Open[{parent}]"
            return f"Navigate[{parent.removeprefix('floor_')}]"
        rooms, containers = self.told(job)
        for name in containers:
            return f"Open[{name}]" if self.near(agent, name) else f"Navigate[{name}]"
        for name in [*rooms, *(name for name in state.rooms if name not in rooms)]:
            if name not in self._explored[agent]:
                return f"Explore[{name}]"
        for name, is_open in state.facts.furniture_open.items():
            if not is_open:
                return f"Open[{name}]" if self.near(agent, name) else f"Navigate[{name}]"
        return "Wait[]"

    def told(self, job: Job) -> tuple[list[str], list[str]]:
        """Where the instruction says that a job's object is.

        Returns:
            The rooms it may mean, and the furniture in them, still closed, that it may mean.
        """
        world = self._world
        assert world is not None
        state = world.state
        said = self._said.get(kind_of(job.subjects[0]), {})
        rooms = [room.name for room in state.rooms.values() if room.kind == said.get("room")]
        containers = [
            name
            for room in rooms
            for name, piece in state.furniture.items()
            if piece.room == room and piece.kind == said.get("container") and not state.facts.furniture_open[name]
        ]
        return rooms, containers

    def _fill(self, agent: int, held: str) -> str:
        world = self._world
        assert world is not None
        faucet = next(name for name, piece in world.state.furniture.items() if piece.has_faucet)
        return f"Fill[{held}]" if self.near(agent, faucet) else f"Navigate[{faucet}]"

    def _deliver(self, agent: int, job: Job, held: str, ready: bool) -> str:
        world = self._world
        assert world is not None
        state = world.state
        beside = next((name for name in job.beside if state.facts.objects[name].relation != "held"), None)
        target, relation = self._destination(job, beside)
        if target is None:
            return "Wait[]"
        if not self.near(agent, target):
            return f"Navigate[{target.removeprefix('floor_')}]"
        if relation == "within" and not state.facts.furniture_open.get(target, True):
            return f"Open[{target}]"
        if not ready:
            return "Wait[]"
        if beside is not None:
            return f"Place[{held}, {relation}, {target}, next_to, {beside}]"
        return f"Place[{held}, {relation}, {target}, None, None]"

    def _destination(self, job: Job, beside: str | None) -> tuple[str | None, str]:
        """The first place that serves and has room."""
        world = self._world
        assert world is not None
        state = world.state
        if job.on_floor:
            return f"floor_{job.rooms[0]}", "on"
        candidates = job.receptacles or [
            name
            for room in job.rooms
            for name, piece in state.furniture.items()
            if piece.room == room and piece.on_slots
        ]
        if beside is not None:
            parent = state.facts.objects[beside].parent
            candidates = [parent] if parent in candidates else candidates
        for name in candidates:
            if choose_slot(state, name, job.relation, beside) is not None:
                return name, job.relation
        return None, job.relation

    def _put_aside(self, agent: int, held: str) -> str:
        """Free the hand: on the furniture the agent stands at, else on the first in its room with space."""
        world = self._world
        assert world is not None
        state = world.state
        at = self._at.get(agent, "")
        if at in state.furniture and self.near(agent, at) and choose_slot(state, at, "on", None) is not None:
            return f"Place[{held}, on, {at}, None, None]"
        body = world.facts.agents[agent]
        room = world.scene.room_at(body.x, body.z)
        for name in sorted(state.furniture, key=lambda name: state.furniture[name].room != room):
            if choose_slot(state, name, "on", None) is not None:
                return f"Navigate[{name}]"
        return "Wait[]"
