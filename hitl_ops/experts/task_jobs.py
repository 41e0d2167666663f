"""A task as jobs: what must become true of one object, and which agent the oracle gives it to."""

from __future__ import annotations

from dataclasses import dataclass, field

from hitl_ops.contracts.episode import Episode, Proposition

_STATE_TOOLS = {
    "is_clean": ("Clean", "is_clean", True),
    "is_filled": ("Fill", "is_filled", True),
    "is_powered_on": ("PowerOn", "is_powered_on", True),
    "is_powered_off": ("PowerOff", "is_powered_on", False),
}


@dataclass
class Job:
    """What must become true of one object: states first, then its place.

    Attributes:
        subjects: the objects, or the furniture, of which one will do.
        propositions: indices of the episode's propositions that it makes true.
        states: tool, state and value of each state it wants.
        receptacles: furniture that serves as its place.
        relation: on or within that furniture.
        on_floor: its place is a floor.
        rooms: rooms it may be brought to.
        beside: objects it must end up next to.
        before: propositions that must have become true strictly earlier.
        agent: whom the oracle gives it to.
    """

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
        """Whether it has a place to be brought to."""
        return bool(self.receptacles or self.rooms or self.on_floor)


_PLACES = ("is_on_top", "is_inside", "is_in_room", "is_on_floor", "is_next_to")
_CONSTRAINTS = ("TemporalConstraint", "TerminalSatisfactionConstraint")


def beyond_jobs(episode: Episode) -> str:
    """What of a task jobs cannot say, in a few words; empty where they say all of it, as of every generated task."""
    if not episode.evaluation_propositions:
        return "it asks for nothing"
    for proposition in episode.evaluation_propositions:
        if proposition.function_name not in (*_PLACES, *_STATE_TOOLS):
            return f"it asks for {proposition.function_name}"
        if proposition.args.get("number", 1) != 1:
            return "it asks for several of a kind"
    if episode.evaluation_proposition_dependencies:
        return "its propositions depend on each other"
    odd = [constraint.type for constraint in episode.evaluation_constraints if constraint.type not in _CONSTRAINTS]
    return f"it has a {odd[0]}" if odd else ""


def jobs_of(episode: Episode) -> list[Job]:
    """An episode's jobs, shared out between the agents: its propositions grouped by what they speak of, in order."""
    jobs: dict[tuple[str, ...], Job] = {}
    before: dict[int, list[int]] = {}
    for constraint in episode.evaluation_constraints:
        if constraint.type == "TemporalConstraint":
            for first, second in constraint.args["dag_edges"]:
                before.setdefault(second, []).append(first)
    for index, proposition in enumerate(episode.evaluation_propositions):
        args = proposition.args
        subjects = args.get("object_handles") or args.get("entity_handles_a") or []
        job = jobs.setdefault(tuple(subjects), Job(list(subjects)))
        job.propositions.append(index)
        job.before += before.get(index, [])
        _read(job, proposition)
    shared = list(jobs.values())
    _share_out(shared)
    return shared


def _read(job: Job, proposition: Proposition) -> None:
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


def _share_out(jobs: list[Job]) -> None:
    """Split the work.

    Whatever changes a state is agent 1's. Of the other jobs agent 0 takes the first half and agent 1 the rest, so
    that each can start at once; a lone one is agent 0's. What shall stand together is carried by one agent.
    """
    moves: list[list[Job]] = []
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
