"""Generates ALFWorld games of all six families, in the official games' files, which the stock loader takes as well.

A game is published only after its walkthrough has won it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from hitl_ops.contracts.publish import publishing
from hitl_ops.worlds.alfworld import package
from hitl_ops.worlds.alfworld.engine import GAME_FILE, PROBLEM_FILE, TASK_FILE, AlfredEngine, GameFile
from hitl_ops.worlds.alfworld.pddl_problem import write_problem
from hitl_ops.worlds.alfworld.rooms import RoomTask, draw_room_task

GENERATED = "trial_generated_"
"""How the folders of generated games begin; official ones carry a date."""
_VERSION = 1


def publish_game(split_folder: Path, family: str, number: int, engine: AlfredEngine) -> Path:
    """Generate one game into its folder, or find it there; the same number always gives the same game.

    Args:
        split_folder: where the games of a split lie.
        family: the task family.
        number: what the room and the task are drawn from.
        engine: plays the walkthrough.

    Returns:
        The folder, ``<family>-<thing>-None-<receptacle>-<number>/trial_generated_<number>``.

    Raises:
        UserError: the extra is not installed, or the folder cannot be written.
    """
    rng = random.Random(f"{_VERSION}/{family}/{number}")
    task = draw_room_task(family, rng)
    folder = (
        split_folder / f"{family}-{task.target}-None-{task.parent or task.toggle}-{number}" / f"{GENERATED}{number}"
    )
    if _is_there(folder):
        return folder
    sentence = _sentence(task, rng)
    game = GameFile(
        pddl_domain=package.read_domain(),
        grammar=package.read_grammar().replace("UNKNOWN GOAL", sentence),
        pddl_problem=write_problem(task, str(number)),
    )
    walkthrough = _play_through(task, game, engine)
    finished = game.model_copy(update={"solvable": True, "walkthrough": walkthrough})
    with publishing(folder) as temporary:
        temporary.mkdir()
        (temporary / PROBLEM_FILE).write_text(game.pddl_problem, encoding="utf-8")
        (temporary / TASK_FILE).write_text(json.dumps(_task_file(task, sentence, folder), indent=2), encoding="utf-8")
        (temporary / GAME_FILE).write_text(finished.model_dump_json(), encoding="utf-8")
    return folder


def _is_there(folder: Path) -> bool:
    try:
        task = json.loads((folder / TASK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(task.get("generator_version") == _VERSION)


def _sentence(task: RoomTask, rng: random.Random) -> str:
    _, wordings = package.goal_of(task.family)
    return rng.choice(wordings).format(
        obj=task.target.lower(), recep=task.parent.lower(), toggle=task.toggle.lower(), mrecep=""
    )


def _task_file(task: RoomTask, sentence: str, folder: Path) -> dict[str, Any]:
    """What ALFWorld's loader and its experts read of ALFRED's ``traj_data.json``; there is no scene and no plan."""
    return {
        "generator_version": _VERSION,
        "task_id": folder.name,
        "task_type": task.family,
        "pddl_params": {
            "object_target": task.target,
            "object_sliced": False,
            "parent_target": task.parent,
            "toggle_target": task.toggle,
            "mrecep_target": "",
        },
        "turk_annotations": {"anns": [{"task_desc": sentence, "high_descs": []}]},
    }


def _play_through(task: RoomTask, game: GameFile, engine: AlfredEngine) -> tuple[str, ...]:
    """The task's own steps as commands, played to the end."""
    turn = engine.begin(game)
    names = engine.names()
    commands = []
    for verb, first, second in task.steps():
        thing, place = names[first.lower()], names.get(second.lower(), "")
        between = {"take": "from", "move": "to", "clean": "with", "heat": "with", "cool": "with"}.get(verb)
        head = f"go to {thing}" if verb == "go" else f"{verb} {thing}"
        commands.append(f"{head} {between} {place}" if between else head)
        if turn.won or commands[-1] not in turn.commands:
            raise RuntimeError(f"generated game '{game.pddl_problem.split(maxsplit=2)[1]}' stops at '{commands[-1]}'")
        turn = engine.step(commands[-1])
    if not turn.won:
        raise RuntimeError("a generated game's walkthrough does not win it")
    return tuple(commands)
