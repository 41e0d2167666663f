"""The AI2-THOR adapter up to the Unity build, which a machine has or has not.

A recording stands in for the build: it answers as AI2-THOR's controller does, and the tests look at what it was told.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.alfworld import make_alfworld
from hitl_ops.worlds.alfworld.engine import GAME_FILE, TASK_FILE
from hitl_ops.worlds.alfworld.rooms import pddl_name
from hitl_ops.worlds.alfworld.thor_adapter import ThorPictures, parse_place, thor_id
from hitl_ops.worlds.text_commands import parse_command

MUG, DESK = "Mug|+00.12|+00.90|-01.33", "Desk|-01.00|+00.00|+02.50"
IDS = {"mug 1": pddl_name(MUG).lower(), "desk 1": pddl_name(DESK).lower(), "pen 1": "pen_bar_1"}
PLACE = pddl_name("loc|-4|6|1|30")


class Recording:
    """What the build was told."""

    def __init__(self, **options: Any) -> None:
        self.options, self.told, self.refuse, self.stopped = options, [], "", False
        self._success = True

    @property
    def last_event(self) -> Any:
        frame = np.full((300, 300, 3), 90, np.uint8)
        metadata = {
            "lastActionSuccess": self._success,
            "errorMessage": "blocked",
            "agent": {"position": {"x": 0.0, "y": 0.9, "z": 0.0}},
            "objects": [{"objectId": MUG}, {"objectId": DESK}],
        }
        return SimpleNamespace(frame=frame, metadata=metadata)

    def reset(self, scene: str) -> None:
        self.told.append({"scene": scene})

    def step(self, **action: Any) -> None:
        self.told.append(action)
        self._success = action["action"] != self.refuse

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "thor").write_text("")
    return tmp_path / "thor"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    task = {"task_type": "pick_and_place_simple", "pddl_params": {}}
    scene = {"floor_plan": "FloorPlan308", "object_poses": [{"objectName": "Mug"}], "object_toggles": []}
    scene["init_action"] = {"action": "TeleportFull", "x": 1}  # type: ignore[assignment]
    (tmp_path / TASK_FILE).write_text(json.dumps({**task, "scene": scene}))
    return tmp_path


def test_without_the_build_or_the_package_it_is_one_line(
    tmp_path: Path, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ai2thor", None)
    with pytest.raises(UserError, match="there is no AI2-THOR build"):
        make_alfworld({"root": str(tmp_path), "pictures": "thor", "thor_executable": str(tmp_path / "none")})
    with pytest.raises(UserError, match="pip install ai2thor"):
        make_alfworld({"root": str(tmp_path), "pictures": "thor", "thor_executable": str(build)})


def test_a_build_that_does_not_start_is_one_line(build: Path, folder: Path) -> None:
    def fails(**options: Any) -> None:
        raise RuntimeError("no\ndisplay")

    with pytest.raises(UserError, match="does not start: no display"):
        ThorPictures(build, fails).begin(folder, IDS)


def test_the_scene_is_set_up_and_follows_the_game(build: Path, folder: Path) -> None:
    made: list[Recording] = []

    def make(**options: Any) -> Recording:
        made.append(Recording(**options))
        return made[-1]

    thor = ThorPictures(build, make)
    with pytest.raises(RuntimeError):
        thor.picture(64)
    thor.begin(folder, IDS)
    (controller,) = made
    assert controller.options["local_executable_path"] == str(build)
    assert [one.get("scene") or one["action"] for one in controller.told] == [
        "FloorPlan308",
        "SetObjectPoses",
        "TeleportFull",
    ]
    controller.told.clear()
    for command in ("go to desk 1", "take mug 1 from desk 1", "clean mug 1 with desk 1", "put mug 1 in/on desk 1"):
        parsed = parse_command(command)
        assert parsed is not None
        thor.follow(parsed, PLACE)
    went, took, put = controller.told
    assert (went["x"], went["y"], went["z"], went["rotation"]["y"], went["horizon"]) == (-1.0, 0.9, 1.5, 90, 30)
    assert (took["action"], took["objectId"]) == ("PickupObject", MUG)
    assert (put["action"], put["objectId"]) == ("PutObject", DESK)
    picture = thor.picture(64)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8 and (picture == 90).all()
    opened, taken = parse_command("open desk 1"), parse_command("take pen 1 from desk 1")
    assert opened is not None and taken is not None
    controller.refuse = "OpenObject"
    with pytest.raises(UserError, match="refused 'OpenObject': blocked"):
        thor.follow(opened, PLACE)
    with pytest.raises(UserError, match="has no 'pen 1'"):
        thor.follow(taken, PLACE)
    thor.begin(folder, IDS)
    assert len(made) == 1  # one build for all games
    thor.close()
    thor.close()
    assert controller.stopped


def test_generated_games_have_no_scene(build: Path, folder: Path) -> None:
    (folder / TASK_FILE).write_text(json.dumps({"task_type": "pick_and_place_simple", "pddl_params": {}}))
    with pytest.raises(UserError, match="no AI2-THOR scene"):
        ThorPictures(build, Recording).begin(folder, IDS)


def test_ids_and_places_are_read_back() -> None:
    assert thor_id(pddl_name(MUG)) == MUG.lower()
    assert parse_place(PLACE) == (-4, 6, 1, 30)
    with pytest.raises(UserError, match="no place"):
        parse_place("loc_bar_here")


def test_the_world_tells_it_what_came_of_commands(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")
    from hitl_ops.worlds.alfworld import thor_adapter
    from tests.hitl_ops.worlds.alfworld.generated import config, folder_of, games

    game = games(1)[0]
    root = tmp_path / "root"
    shutil.copytree(folder_of(game), root / game.setup["folder"])
    file = root / game.setup["folder"] / TASK_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "scene": {"floor_plan": "FloorPlan1"}}))
    recording = Recording()
    monkeypatch.setattr(thor_adapter, "_installed_controller", lambda: lambda **options: recording)
    settings = {"pictures": "thor", "thor_executable": str(build), "translations": str(config().translations_folder)}
    world = make_alfworld({"root": str(root), **settings})
    assert "AI2-THOR" in world.picture_note and "not" not in world.picture_note
    first = next(one for one in world.begin(game).admissible if one.startswith("go to"))
    for command in ("look", "go to the moon 1", first):
        world.step(command)
    assert [one.get("scene") or one["action"] for one in recording.told] == ["FloorPlan1", "TeleportFull"]
    assert world.picture(32).shape == (32, 32, 3)
    assert (file.parent / GAME_FILE).is_file()
    world.close()
    assert recording.stopped
