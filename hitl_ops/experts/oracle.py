"""The heuristic expert: it reads the task's propositions and drives both agents to them.

It knows the goal exactly (as PARTNR's heuristic planner does). With ``observability="full"`` it also knows where
everything is; with ``"partial"`` it looks for what its agent has not seen, room by room, so that a student who
reads the agent's prompt can see why each choice was made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from hitl_ops.contracts.episode import Episode, Proposition
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.worlds.household.catalog import kind_of
from hitl_ops.worlds.household.skills import choose_slot
from hitl_ops.worlds.household.tools import SUCCESS
from hitl_ops.worlds.household.world import HouseholdWorld

Observability = Literal["full", "partial"]

_STATE_TOOLS = {
    "is_clean": ("Clean", "is_clean", True),
    "is_filled": ("Fill", "is_filled", True),
    "is_powered_on": ("PowerOn", "is_powered_on", True),
    "is_powered_off": ("PowerOff", "is_powered_on", False),
}


@dataclass
class _Job:
    """What must become true of one object: states first, then its place."""

    subjects: list[str]
    propositions: list[int] = field(default_factory=list)
    states: list[tuple[str, str, bool]] = field(default_factory=list)
    receptacles: list[str] = field(default_factory=list)
    relation: str = "on"
    on_floor: bool = False
    rooms: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    agent: int = 0

    @property
    def moves(self) -> bool:
        return bool(self.receptacles or self.rooms or self.on_floor)


class Oracle:
    """Plans for both agents; implements ``contracts.planner.Planner``.

    Args:
        observability: whether it knows where unseen objects are.
    """

    def __init__(self, observability: Observability = "full") -> None:
        self.observability = observability
        self._world: HouseholdWorld | None = None
        self._jobs: list[_Job] = []
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
        self._jobs = _jobs(episode)
        _share_out(self._jobs)

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
        self._remember(agent, observation)
        satisfied = [predicate(world.state.facts)[0] for predicate in world.evaluation.predicates]
        for job in self._jobs:
            if job.agent != agent or all(satisfied[index] for index in job.propositions):
                continue
            ready = all(satisfied[index] for index in job.before)
            return self._work(agent, job, ready)
        return "Done[]"

    def _remember(self, agent: int, observation: Observation) -> None:
        """Where the agent last walked to and where it has looked, from its own history."""
        self._at.pop(agent, None)
        self._explored[agent] = set()
        for entry in observation.history:
            if entry.agent != agent or entry.response != SUCCESS:
                continue
            tool, _, rest = entry.action.partition("[")
            target = rest.rstrip("]")
            if tool == "Navigate":
                self._at[agent] = self._place_of(target)
            elif tool == "Explore":
                self._explored[agent].add(target)
                self._at.pop(agent, None)

    def _place_of(self, target: str) -> str:
        world = self._world
        assert world is not None
        if target in world.state.rooms:
            return f"floor_{target}"
        thing = world.state.facts.objects.get(target)
        return target if thing is None or thing.relation == "held" else thing.parent

    def _near(self, agent: int, place: str) -> bool:
        """Whether the agent has walked to a place and, by geometry, reaches it."""
        world = self._world
        assert world is not None
        if self._at.get(agent) != place:
            return False
        if place.startswith("floor_"):
            body = world.facts.agents[agent]
            return world.scene.room_at(body.x, body.z) == place.removeprefix("floor_")
        return world.state.within_reach(agent, place)

    def _work(self, agent: int, job: _Job, ready: bool) -> str:
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
            return (
                f"{tool}[{job.subjects[0]}]" if self._near(agent, job.subjects[0]) else f"Navigate[{job.subjects[0]}]"
            )
        seen = self._known_subject(agent, job)
        if seen is None:
            return self._search(agent, job)
        name = seen
        parent = state.facts.objects[name].parent
        if not self._near(agent, parent):
            return f"Navigate[{name}]"
        if state.facts.objects[name].relation == "within" and not state.facts.furniture_open[parent]:
            return f"Open[{parent}]"
        for tool, state_name, value in job.states:
            if tool != "Fill" and state.facts.state(name, state_name) != value:
                return f"{tool}[{name}]"
        return f"Pick[{name}]"

    def _known_subject(self, agent: int, job: _Job) -> str | None:
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

    def _search(self, agent: int, job: _Job) -> str:
        """Where to look next for an object not seen yet."""
        world = self._world
        assert world is not None
        state = world.state
        if self.observability == "full":
            free = [name for name in job.subjects if state.facts.objects[name].relation != "held"]
            if not free:
                return "Wait[]"
            parent = state.facts.objects[free[0]].parent
            if parent in state.facts.furniture_open and self._near(agent, parent):
                return f"Open[{parent}]"
            return f"Navigate[{parent.removeprefix('floor_')}]"
        said = self._said.get(kind_of(job.subjects[0]), {})
        rooms = [room for room in state.rooms.values() if room.kind == said.get("room")]
        if said.get("container"):
            for room in rooms:
                for name, piece in state.furniture.items():
                    if (
                        piece.room == room.name
                        and piece.kind == said["container"]
                        and not state.facts.furniture_open[name]
                    ):
                        return f"Open[{name}]" if self._near(agent, name) else f"Navigate[{name}]"
        names = [room.name for room in rooms] + [
            name for name in state.rooms if name not in {room.name for room in rooms}
        ]
        for name in names:
            if name not in self._explored[agent]:
                return f"Explore[{name}]"
        for name, is_open in state.facts.furniture_open.items():
            if not is_open:
                return f"Open[{name}]" if self._near(agent, name) else f"Navigate[{name}]"
        return "Wait[]"

    def _fill(self, agent: int, held: str) -> str:
        world = self._world
        assert world is not None
        faucet = next(name for name, piece in world.state.furniture.items() if piece.has_faucet)
        return f"Fill[{held}]" if self._near(agent, faucet) else f"Navigate[{faucet}]"

    def _deliver(self, agent: int, job: _Job, held: str, ready: bool) -> str:
        world = self._world
        assert world is not None
        state = world.state
        beside = next((name for name in job.beside if state.facts.objects[name].relation != "held"), None)
        target, relation = self._destination(job, beside)
        if target is None:
            return "Wait[]"
        if not self._near(agent, target):
            return f"Navigate[{target.removeprefix('floor_')}]"
        if relation == "within" and not state.facts.furniture_open.get(target, True):
            return f"Open[{target}]"
        if not ready:
            return "Wait[]"
        if beside is not None:
            return f"Place[{held}, {relation}, {target}, next_to, {beside}]"
        return f"Place[{held}, {relation}, {target}, None, None]"

    def _destination(self, job: _Job, beside: str | None) -> tuple[str | None, str]:
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
        if at in state.furniture and self._near(agent, at) and choose_slot(state, at, "on", None) is not None:
            return f"Place[{held}, on, {at}, None, None]"
        body = world.facts.agents[agent]
        room = world.scene.room_at(body.x, body.z)
        for name in sorted(state.furniture, key=lambda name: state.furniture[name].room != room):
            if choose_slot(state, name, "on", None) is not None:
                return f"Navigate[{name}]"
        return "Wait[]"


def _jobs(episode: Episode) -> list[_Job]:
    """Group an episode's propositions by the objects they speak of, in order."""
    jobs: dict[tuple[str, ...], _Job] = {}
    before: dict[int, list[int]] = {}
    for constraint in episode.evaluation_constraints:
        if constraint.type == "TemporalConstraint":
            for first, second in constraint.args["dag_edges"]:
                before.setdefault(second, []).append(first)
    for index, proposition in enumerate(episode.evaluation_propositions):
        args = proposition.args
        subjects = args.get("object_handles") or args.get("entity_handles_a") or []
        job = jobs.setdefault(tuple(subjects), _Job(list(subjects)))
        job.propositions.append(index)
        job.before += before.get(index, [])
        _read(job, proposition)
    return list(jobs.values())


def _read(job: _Job, proposition: Proposition) -> None:
    args = proposition.args
    match proposition.function_name:
        case "is_on_top":
            job.receptacles = list(args["receptacle_handles"])
        case "is_inside":
            job.receptacles, job.relation = list(args["receptacle_handles"]), "within"
        case "is_in_room":
            job.rooms = list(args["room_ids"])
        case "is_on_floor":
            job.on_floor = True
        case "is_next_to":
            job.beside = list(args["entity_handles_b"])
        case name if name in _STATE_TOOLS:
            job.states.append(_STATE_TOOLS[name])


def _share_out(jobs: list[_Job]) -> None:
    """Split the work.

    Whatever changes a state is agent 1's. Of the other jobs agent 0 takes the first half and agent 1 the rest, so
    that each can start at once; a lone one is agent 0's. What shall stand together is carried by one agent.
    """
    moves: list[list[_Job]] = []
    for job in jobs:
        if job.states:
            job.agent = 1
        elif moves and any(set(other.subjects) & set(job.beside) for other in moves[-1]):
            moves[-1].append(job)
        else:
            moves.append([job])
    first_half = (len(moves) + 1) // 2
    for position, together in enumerate(moves):
        for job in together:
            job.agent = 0 if position < first_half else 1
