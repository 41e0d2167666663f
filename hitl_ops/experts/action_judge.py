"""What serves a task at one moment: every action that does, and the one the oracle would take.

An expert that watches a policy must tell what is wrong from what is merely different. Whatever brings any job of the
task nearer is right, whichever way round the jobs are done and whoever's they are by the oracle's share; wrong is
what brings none nearer, what the home refuses, and what undoes or forestalls something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hitl_ops.contracts.action import Action, parse_action
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import Observation
from hitl_ops.experts.oracle import Oracle
from hitl_ops.experts.task_jobs import Job
from hitl_ops.experts.work_left import WorkLeft
from hitl_ops.worlds.household.skills import choose_slot, refusal
from hitl_ops.worlds.household.tools import PERCEPTION_TOOLS, STATE_OF_TOOL, SUCCESS
from hitl_ops.worlds.household.world import HouseholdWorld

DONE, WAIT = "Done[]", "Wait[]"
_WALKS = ("Navigate", "Explore")
# Of several actions that serve, one that does something comes before a walk, and a walk before looking round.
_FIRST = ("Place", "Clean", "Fill", "Pour", "PowerOn", "PowerOff", "Pick", "Open", "Navigate", "Explore", "Wait")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is right at one moment.

    Attributes:
        right: what the oracle would do; one of the observation's admissible actions.
        acceptable: those of the admissible actions that serve the task, ``right`` among them.
        serves_unlisted: actions that may be called without being listed, and serve it: ``Rearrange``.
    """

    right: str
    acceptable: frozenset[str]
    serves_unlisted: frozenset[str] = frozenset()

    def accepts(self, action: str) -> bool:
        """Whether an action is no error. Asking about the home never is: it costs nothing and changes nothing."""
        return (
            action in self.acceptable or action in self.serves_unlisted or action.partition("[")[0] in PERCEPTION_TOOLS
        )


class ActionJudge:
    """Judges actions in one episode, by looking into its world.

    Args:
        episode: the task.
        world: the world it is played in; looked at, never changed.
    """

    def __init__(self, episode: Episode, world: HouseholdWorld) -> None:
        self._world = world
        self._oracle = Oracle("partial")
        self._oracle.start(episode, world)

    def judge(self, observation: Observation) -> Judgement:
        """What the observing agent may do right now; to be asked at the very moment of the observation."""
        self._oracle.remember(observation)
        return _Moment(self._world, self._oracle, observation).judgement()


class _Moment:
    """One agent's choice at one moment."""

    def __init__(self, world: HouseholdWorld, oracle: Oracle, observation: Observation) -> None:
        self.state = world.state
        self.oracle = oracle
        self.observation = observation
        self.agent = observation.agent
        self.left = WorkLeft(world, oracle.jobs, self.agent)
        body = self.state.facts.agents[self.agent]
        self.room = world.scene.room_at(body.x, body.z)
        self.visited = self._visited_for_nothing()

    def judgement(self) -> Judgement:
        serving = self._serving()
        right = self._right(serving)
        # Whoever leaves or comes back without having done anything gets nowhere; the oracle's own way is the exception.
        leads_on = [action for action in serving if not self._is_return(action)]
        if any(self._is_what_it_came_for(action) for action in serving):
            leads_on = [action for action in leads_on if not action.startswith(_WALKS)]
        acceptable = {*leads_on, right} | self._on_the_oracles_way()
        return Judgement(right, frozenset(acceptable), frozenset(self._rearrangements()))

    def _on_the_oracles_way(self) -> set[str]:
        """Where the oracle would walk or look next, though there may be a shorter way to the same end."""
        for job in self.left.mine[:1]:
            action = parse_action(self.oracle.work(self.agent, job, self.left.ready(job)))
            if action.tool in _WALKS or (action.tool == "Open" and refusal(self.state, self.agent, action) is None):
                return {str(action)} & {*self.observation.admissible}
        return set()

    def _serving(self) -> list[str]:
        """The admissible actions that bring some job nearer, in their order."""
        towards = {action for job in self.left.jobs for action in self._towards(job)}
        frees = self.left.held is not None and self.left.may_be_put_aside()
        carries_off = frees and not self._may_be_put_down_here()
        serving = []
        for action in self.observation.admissible:
            tool, _, rest = action.partition("[")
            if tool == "Place" or tool in STATE_OF_TOOL or tool == "Pour":
                serves = self.left.changes_well(parse_action(action), frees)
            elif tool == "Navigate" and carries_off:
                serves = action in towards or self._has_space(rest.rstrip("]"))
            elif tool == "Done":
                serves = self.left.may_be_done()
            elif tool == "Wait":
                serves = False
            else:
                serves = action in towards
            if serves:
                serving.append(action)
        if self._may_wait(serving):
            serving.append(WAIT)
        return serving

    def _right(self, serving: list[str]) -> str:
        """What the oracle would do, had it to go on from here."""
        jobs = sorted(
            self.left.mine, key=lambda job: self.left.held not in job.subjects or self.left.waits_for_itself(job)
        )
        waiting = False
        for job in jobs:
            if self.left.is_the_others(job):
                waiting = True
                continue
            action = self.oracle.work(self.agent, job, self.left.ready(job))
            if action == WAIT:
                if self.left.held in job.subjects and WAIT in serving:
                    return WAIT
                waiting = True
            elif action in serving:
                return action
        if not self.left.mine:
            return DONE
        if waiting and WAIT in serving:
            return WAIT
        order = {tool: place for place, tool in enumerate(_FIRST)}
        others = [action for action in serving if action not in (DONE, WAIT)]
        return min(others, key=lambda action: order[action.partition("[")[0]], default=WAIT)

    def _may_wait(self, serving: list[str]) -> bool:
        """Whether there is something to wait for, and nothing of its own share to do meanwhile."""
        if not self.left.jobs:
            return False
        if self.left.held is not None:
            carried = [job for job in self.left.jobs if self.left.held in job.subjects]
            if any(self.left.waits_for_itself(job) for job in carried):
                return False
            if any(self.left.is_blocked(job) or not self.left.places(job) for job in carried):
                return True
        own = [job for job in self.left.mine if not self.left.is_the_others(job)]
        return not own or not any(action != DONE for action in serving)

    # --- walking, opening, taking -----------------------------------------------------------------------------------

    def _towards(self, job: Job) -> Iterator[str]:
        """Walks, looks, openings and takings that serve a job."""
        if self.left.held in job.subjects:
            yield from self._carrying(job)
            return
        if not self.left.can_help(job):
            return
        if job.relation == "within":
            for name in job.receptacles:
                yield from self._opening(name)
        known = [name for name in job.subjects if self.left.is_known(name)]
        for name in known:
            yield from self._fetching(job, name)
        if not known and not self.left.is_the_others(job):
            yield from self._searching(job)

    def _walk_to(self, place: str) -> Iterator[str]:
        """Ways to say that one goes to a place where one is not yet."""
        if self.oracle.near(self.agent, place):
            return
        room = place.removeprefix("floor_")
        if room not in self.state.rooms:
            yield f"Navigate[{place}]"
            room = self.state.furniture[place].room
        if room != self.room or place.startswith("floor_"):
            yield f"Navigate[{room}]"

    def _opening(self, name: str) -> Iterator[str]:
        if self.state.facts.furniture_open.get(name) is False:
            action = Action("Open", (name,))
            if refusal(self.state, self.agent, action) is None:
                yield str(action)

    def _fetching(self, job: Job, name: str) -> Iterator[str]:
        """Getting at something known."""
        if name in self.state.furniture:
            yield from self._walk_to(name)
            return
        thing = self.state.facts.objects[name]
        if not self.oracle.at_hand(self.agent, name):
            yield f"Navigate[{name}]"
            yield from self._walk_to(thing.parent)
        if thing.relation == "within":
            yield from self._opening(thing.parent)
        if self.left.held is None:
            pick = Action("Pick", (name,))
            if refusal(self.state, self.agent, pick) is None and self.left.may_be_moved(job):
                yield str(pick)

    def _carrying(self, job: Job) -> Iterator[str]:
        """Going on with something in the hand."""
        if self.left.waits_for_itself(job):
            return
        if "Fill" in self.left.missing_states(job):
            if "Fill" in self.left.tools:
                for name, piece in self.state.furniture.items():
                    if piece.has_faucet:
                        yield from self._walk_to(name)
            return
        for place in self.left.places(job):
            yield from self._walk_to(place)
            if job.relation == "within" or not job.receptacles:
                yield from self._opening(place)

    def _searching(self, job: Job) -> Iterator[str]:
        """Looking for something not seen yet: where it was said to be, where it is, and failing that anywhere."""
        explored = self.oracle.explored(self.agent)
        rooms, containers = self.oracle.told(job)
        rooms = [room for room in rooms if room not in explored]
        if not rooms and not containers:
            rooms = [room for room in self.state.rooms if room not in explored]
            containers = [name for name, is_open in self.state.facts.furniture_open.items() if not is_open]
        for name in job.subjects:
            thing = self.state.facts.objects[name]
            if thing.relation == "held":
                continue
            yield from self._walk_to(thing.parent)
            yield from self._opening(thing.parent)
            room = self.state.facts.room_of(name)
            if room is not None and room not in explored:
                rooms.append(room)
        for room in rooms:
            yield f"Explore[{room}]"
            yield from self._walk_to(f"floor_{room}")
            for name, piece in self.state.furniture.items():
                if piece.room == room:
                    yield from self._walk_to(name)
        for name in containers:
            yield from self._walk_to(name)
            yield from self._opening(name)

    def _has_space(self, name: str) -> bool:
        """Whether something could be put down on a piece of furniture."""
        return name in self.state.furniture and choose_slot(self.state, name, "on", None) is not None

    def _may_be_put_down_here(self) -> bool:
        """Whether some furniture in reach takes what is held."""
        assert self.left.held is not None
        return any(
            refusal(self.state, self.agent, Action("Place", (self.left.held, "on", other, "None", "None"))) is None
            for other in self.state.furniture
        )

    def _rearrangements(self) -> Iterator[str]:
        """Fetching and placing in one call, where the object is known and its place is right."""
        if self.left.held is not None or "Rearrange" not in self.left.tools:
            return
        for job in self.left.jobs:
            if not job.moves or not self.left.ready(job) or self.left.missing_states(job):
                continue
            for name in filter(self.left.is_known, job.subjects):
                thing = self.state.facts.objects[name]
                if thing.relation == "within" and not self.state.facts.furniture_open[thing.parent]:
                    continue
                for place in self.left.places(job):
                    for constraint, other in (("None", "None"), *(("next_to", other) for other in job.beside)):
                        action = Action("Rearrange", (name, job.relation, place, constraint, other))
                        outcome = self.left.outcome(action)
                        if not outcome.lost and self.left.arrives(name, outcome):
                            yield str(action)

    # --- getting nowhere --------------------------------------------------------------------------------------------

    def _visited_for_nothing(self) -> set[str]:
        """Where the agent has walked to since it last did something."""
        visited: set[str] = set()
        for entry in reversed(self.observation.history):
            if entry.agent != self.agent or entry.response != SUCCESS:
                continue
            action = parse_action(entry.action)
            if action.tool not in _WALKS and action.tool not in (*PERCEPTION_TOOLS, "Wait"):
                break
            if action.tool == "Navigate":
                visited.add(self.oracle.place_of(action.args[0]))
        return visited

    def _is_return(self, action: str) -> bool:
        return action.startswith("Navigate[") and self.oracle.place_of(parse_action(action).args[0]) in self.visited

    def _is_what_it_came_for(self, action: str) -> bool:
        """Whether an action does, at the place the agent has just walked to, a part of its own share."""
        tool, args = parse_action(action)
        if tool == "Place":
            name, place = args[0], args[2]
        elif tool == "Pick" or tool in STATE_OF_TOOL:
            name = args[0]
            place = name if name in self.state.furniture else self.state.facts.objects[name].parent
        else:
            return False
        return self.oracle.near(self.agent, place) and any(name in job.subjects for job in self.left.mine)
