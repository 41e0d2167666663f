"""Tasks in words: many ways to say one goal, chosen by the episode's random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from hitl_ops.worlds.household.catalog import FURNITURE, spoken

GoalKind = Literal["move", "clean", "fill", "power_on", "power_off"]


@dataclass(frozen=True)
class Goal:
    """One clause of a task.

    Attributes:
        kind: what is to be done.
        subject: the object's kind; a furniture kind for switching on what stands in a room.
        source_room: room kind named in the instruction as where the object is; "" where it is not said.
        source_container: furniture kind the object lies in, "" where it lies open.
        target: furniture kind to put it on or in, "floor" for the floor, "" where any place in the room will do.
        target_room: room kind of the target.
        relation: on or within the target.
        next_to: object kind it must end up next to, "" for none.
    """

    kind: GoalKind
    subject: str
    source_room: str = ""
    source_container: str = ""
    target: str = ""
    target_room: str = ""
    relation: Literal["on", "within"] = "on"
    next_to: str = ""


def _pick(rng: Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _subject(goal: Goal, rng: Generator) -> str:
    """The object with where it is: "the mug that is in the fridge in the kitchen"."""
    thing = f"the {spoken(goal.subject)}"
    if goal.source_container:
        place = _furniture(goal.source_container, goal.source_room, rng)
        return f"{thing} {_pick(rng, ('from inside', 'that is in', 'kept in'))} {place}"
    if goal.subject in FURNITURE:
        return _furniture(goal.subject, goal.source_room, rng)
    if goal.source_room:
        return f"{thing} {_pick(rng, ('from', 'that is in'))} the {spoken(goal.source_room)}"
    return thing


def _furniture(kind: str, room: str, rng: Generator) -> str:
    """A piece of furniture: "the kitchen cabinet" or "the cabinet in the kitchen"."""
    return _pick(rng, (f"the {spoken(room)} {spoken(kind)}", f"the {spoken(kind)} in the {spoken(room)}"))


def _target(goal: Goal, rng: Generator) -> str:
    """Where it shall go: "on the desk in the office"."""
    room = f"the {spoken(goal.target_room)}"
    if goal.target == "floor":
        return _pick(rng, (f"onto the floor of {room}", f"onto the floor in {room}"))
    if not goal.target:
        return _pick(rng, (f"to {room}", f"into {room}"))
    furniture = _furniture(goal.target, goal.target_room, rng)
    if goal.relation == "within":
        return _pick(rng, (f"into {furniture}", f"inside {furniture}"))
    return _pick(rng, (f"to {furniture}", f"onto {furniture}"))


def clause(goal: Goal, rng: Generator) -> str:
    """One goal as an imperative clause without a full stop, in lower case."""
    thing = _subject(goal, rng)
    if goal.kind == "move":
        verb = _pick(rng, ("move", "bring", "take", "carry"))
        text = f"{verb} {thing} {_target(goal, rng)}"
        if goal.next_to:
            text += f" {_pick(rng, ('next to', 'right beside', 'close to'))} the {spoken(goal.next_to)}"
        return text
    if goal.kind == "clean":
        verb = _pick(rng, ("clean", "wash", "wipe"))
    elif goal.kind == "fill":
        verb = "fill"
    else:
        verb = _pick(rng, ("turn on", "switch on") if goal.kind == "power_on" else ("turn off", "switch off"))
    text = f"{verb} {thing}"
    if goal.kind == "fill":
        text += " with water"
    if goal.target_room:
        text += f" and {_pick(rng, ('take', 'bring', 'move'))} it {_target(goal, rng)}"
    return text


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def side_by_side(first: Goal, second: Goal, rng: Generator) -> str:
    """Two goals with one target whose objects shall stand next to each other, as one clause."""
    verb = _pick(rng, ("move", "bring", "take"))
    close = _pick(rng, ("next to each other", "side by side", "close together"))
    return f"{verb} {_subject(first, rng)} and {_subject(second, rng)} {_target(first, rng)}, {close}"


def say(clauses: list[str], *, ordered: bool, rng: Generator) -> str:
    """Clauses as an instruction; ``ordered`` says that each must be finished before the next."""
    if not ordered:
        opening = _pick(rng, ("", "", "Please ", "Help me tidy up: ", "I need a hand: ", "Could you "))
        first = clauses[0] if opening else _capital(clauses[0])
        text = opening + first
        for following in clauses[1:]:
            text += _pick(
                rng, (f". {_capital(following)}", f", and {following}", f"; {following}", f". Also {following}")
            )
        return text + ("?" if opening == "Could you " and len(clauses) == 1 else ".")
    text = _pick(rng, ("First ", "First of all, ", "Start with this: ")) + clauses[0]
    for number, following in enumerate(clauses[1:], start=1):
        last = number == len(clauses) - 1
        joiner = _pick(
            rng,
            (". After that, ", ", then ", ". Once that is done, ")
            if not last or number == 1
            else (". Finally, ", ". Last, "),
        )
        text += joiner + following
    return text + "."
