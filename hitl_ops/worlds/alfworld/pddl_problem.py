"""Writes a generated room and its task as the PDDL problem that ALFWorld's domain takes."""

from __future__ import annotations

from collections.abc import Iterator

from hitl_ops.worlds.alfworld import package
from hitl_ops.worlds.alfworld.rooms import RoomTask

AGENT = "agent1"
"""Another name would be demangled into another text than the official games'."""


def write_problem(task: RoomTask, name: str) -> str:
    """The problem, ``initial_state.pddl`` of a game.

    Args:
        task: the furnished room.
        name: the problem's name, letters, digits and ``_``.
    """
    goal, _ = package.goal_of(task.family)
    goal = goal.format(obj=task.target, recep=task.parent, toggle=task.toggle)
    # The goal's last bracket closes the problem.
    return "\n".join(
        [
            f"(define (problem plan_{name})",
            "  (:domain alfred)",
            "  (:objects",
            *(f"    {line}" for line in _objects(task)),
            "  )",
            "  (:init",
            "    (= (total-cost) 0)",
            *(f"    ({line})" for line in _facts(task)),
            "  )",
            goal,
            "",
        ]
    )


def _objects(task: RoomTask) -> Iterator[str]:
    contents = package.contents_table()
    yield f"{AGENT} - agent"
    yield from (f"{thing.id} - object" for thing in task.things)
    yield from (f"{place.id} - receptacle" for place in task.receptacles)
    yield from (f"{place.location} - location" for place in task.receptacles)
    yield f"{task.start} - location"
    yield from (f"{kind}Type - rtype" for kind in sorted(contents))
    held = {kind for kinds in contents.values() for kind in kinds} | {thing.kind for thing in task.things}
    yield from (f"{kind}Type - otype" for kind in sorted(held))


def _facts(task: RoomTask) -> Iterator[str]:
    contents, openable, movable = (
        package.contents_table(),
        package.openable_receptacles(),
        package.movable_receptacles(),
    )
    yield f"atLocation {AGENT} {task.start}"
    for place in task.receptacles:
        yield f"receptacleType {place.id} {place.kind}Type"
        yield f"receptacleAtLocation {place.id} {place.location}"
        if place.kind in openable:
            yield f"openable {place.id}"
    for thing in task.things:
        yield f"objectType {thing.id} {thing.kind}Type"
        yield f"inReceptacle {thing.id} {thing.receptacle.id}"
        yield f"wasInReceptacle {thing.id} {thing.receptacle.id}"
        yield f"objectAtLocation {thing.id} {thing.receptacle.location}"
        if thing.kind in movable:
            yield f"isReceptacleObject {thing.id}"
        for affordance, kinds in package.affordances().items():
            if thing.kind in kinds:
                yield f"{affordance.lower()} {thing.id}"
        if thing.kind not in package.affordances()["Toggleable"]:
            yield f"pickupable {thing.id}"
    for kind, things in sorted(contents.items()):
        yield from (f"canContain {kind}Type {thing}Type" for thing in sorted(things))
