"""Finished games that a language model is shown before the one it labels: our own, played by the searcher.

They come from homes of the training split and from seeds that no list of games to play is made of. Each is won, and
short enough to be read again with every question.
"""

from __future__ import annotations

import functools

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, TextFamily, TextGame, TextWorld
from hitl_ops.experts.text_searcher import SearcherExpert
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.household_text.world import HouseholdTextWorld
from hitl_ops.worlds.text_commands import TextCommand, parse_command
from hitl_ops.worlds.text_tasks import TextTask, parse_task

EXAMPLE_SEED = 909_091
"""Far from the seeds programs choose, so that no game that is played is shown solved."""
_LONGEST = 16
_TYPICAL = 9
"""Commands of a game that has some searching in it."""
_CANDIDATES = 12

Play = tuple[str, tuple[tuple[str, str], ...]]
"""An opening, then commands and answers."""


@functools.lru_cache
def few_shot_games(family: str, count: int, thoughts: bool = False) -> str:
    """Finished games of one family as text, in the form of the prompt that follows them; always the same.

    Args:
        family: one of ``contracts.text_game.FAMILIES``.
        count: how many; 0 = none, an empty text.
        thoughts: give the commands at which something new begins a line of thought.

    Raises:
        UserError: there is no such family.
    """
    if family not in FAMILIES:
        raise UserError(f"there are no example games of family '{family}'", f"there are {', '.join(FAMILIES)}")
    if count == 0:
        return ""
    plays = sorted(_plays(family), key=lambda play: abs(len(play[1]) - _TYPICAL))[:count]
    games = [_rendered(play, thoughts) for play in plays]
    heading = f"{'A game' if count == 1 else 'Games'} of the same kind, played to the end:"
    return "\n\n".join([heading, *games, "The game to go on with:"])


@functools.lru_cache
def _plays(family: TextFamily) -> tuple[Play, ...]:
    """Games of a family that the searcher wins quickly."""
    config = HouseholdTextConfig(families=(family,), rooms=1, objects_per_room=4, max_steps=_LONGEST)
    world = HouseholdTextWorld(config.max_steps)
    try:
        found = (_played(game, world) for game in generate_games("train", _CANDIDATES, EXAMPLE_SEED, config))
        return tuple(play for play in found if play is not None)
    finally:
        world.close()


def _played(game: TextGame, world: TextWorld) -> Play | None:
    """The searcher's play of a game; None where it did not win."""
    expert = SearcherExpert(EXAMPLE_SEED)
    turn = world.begin(game)
    opening = turn.text
    expert.start(game, world, turn)
    turns: list[tuple[str, str]] = []
    while not turn.over and (command := expert.label(None, turn)) is not None:
        turn = world.step(command)
        expert.executed(command, turn)
        turns.append((command, turn.text))
    return (opening, tuple(turns)) if turn.won else None


def _rendered(play: Play, thoughts: bool) -> str:
    opening, turns = play
    said = _thoughts(parse_task(opening), [command for command, _ in turns]) if thoughts else {}
    lines = [opening]
    for number, (command, answer) in enumerate(turns):
        lines += [f"> think: {said[number]}"] if number in said else []
        lines += [f"> {command}", answer]
    return "\n".join(lines)


def _thoughts(task: TextTask, commands: list[str]) -> dict[int, str]:
    """What led to each command, told from what was done afterwards."""
    parsed = [parse_command(command) for command in commands]
    return {number: _thought(task, parsed, number) for number in range(len(parsed))}


def _thought(task: TextTask, commands: list[TextCommand | None], number: int) -> str:
    command = commands[number]
    assert command is not None
    changes = ("take", "put", "clean", "heat", "cool", "use")
    goal = next((c for c in commands[number:] if c is not None and c.verb in changes), command)
    first = f"{_plan(task)} " if number == 0 else ""
    held = _held(commands[:number])
    if command.verb == "take":
        return f"{first}There is {command.thing}, which I need."
    if goal is command and command.verb in changes:
        return f"{first}I am where I can {command.verb} {command.thing}."
    if goal.verb == "take" and not held:
        return f"{first}The {command.thing} is a place to look."
    if goal.verb == "use":
        return f"{first}I need light, so I have to get to {goal.thing}."
    place = goal.place or goal.thing
    return f"{first}I want to {goal.verb} {goal.thing}, so I have to get to {place}."


def _held(commands: list[TextCommand | None]) -> bool:
    """Whether something is in the hand after these commands."""
    moved = [command.verb for command in commands if command is not None and command.verb in ("take", "put")]
    return bool(moved) and moved[-1] == "take"


def _plan(task: TextTask) -> str:
    """The way to do a task, in a sentence."""
    if task.under_light:
        return f"I have to find {task.thing}, take it, and turn on the {task.place}."
    if task.count > 1:
        return f"I have to find two {task.thing} and bring one after the other to the {task.place}."
    treat = f"{task.treatment} it, and " if task.treatment else "and "
    return f"I have to find {task.thing}, take it, {treat}put it in/on the {task.place}."
