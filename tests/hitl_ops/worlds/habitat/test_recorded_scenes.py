"""What was played is played again in the same scene: as its record has it, with this machine's settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.contracts.store import Store
from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.session_log import log_path, read_session_log
from hitl_ops.records.traces import read_trace, trace_path
from hitl_ops.rollouts.play import play_episode
from hitl_ops.rollouts.run import RolloutConfig, _record_crash
from hitl_ops.rollouts.session_replay import ReplayedPlay, replay
from hitl_ops.worlds.habitat.config import MACHINE_VARIABLES, PYTHON_VARIABLE, HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.kinematic_backend import KINEMATIC_BACKEND
from hitl_ops.worlds.habitat.open_scene import close_scene, open_recorded_scene, open_scene, recorded_scene
from hitl_ops.worlds.habitat.partnr_episodes import episode_in_home
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from tests.support.habitat_environment import BEHIND_THE_SOCKET
from tests.support.habitat_stand_in import double_scenes
from tests.support.own_scenes import own_scene, partnr
from tests.support.plays import HOME, small_episode
from ui_collect.simulation.messages import OpenPlay
from ui_collect.simulation.opening import open_play

DATASET = MACHINE_VARIABLES["scene_dataset"]


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (PYTHON_VARIABLE, *MACHINE_VARIABLES.values()):
        monkeypatch.delenv(variable, raising=False)


def own_scenes(folder: Path) -> SceneConfig:
    """The own scene on the double, played here by all the settings there are."""
    config = own_scene(folder / "own", regions=True)
    habitat = double_scenes(folder).habitat.replace(scene_dataset=str(config))
    return SceneConfig(kind="habitat", habitat=habitat)


def test_a_trace_tells_backend_and_data_set_and_is_opened_by_the_machines_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = own_scenes(tmp_path)
    scene = open_scene(scenes, "flat")
    oracle = Oracle("partial")
    header = play_episode(
        episode_in_home(partnr(), scene.description), {0: oracle, 1: oracle}, scene=scene, decision_limit=1
    ).header
    description = scene.description
    close_scene(scene)
    dataset = scenes.habitat.scene_dataset
    assert header.played_scene == PlayedScene("habitat", "flat", "habitat", dataset)
    assert scenes.habitat.python not in header.model_dump_json(), "the interpreter is the machine's"
    with pytest.raises(UserError, match=PYTHON_VARIABLE):
        open_recorded_scene(header.played_scene)
    monkeypatch.setenv(PYTHON_VARIABLE, scenes.habitat.python)
    with recorded_scene(header.played_scene) as again:
        assert again.description == description and again.played_scene == header.played_scene
    # A configuration that prefers another data set, or our own geometry, changes nothing.
    for other in (SceneConfig(), SceneConfig(kind="habitat", habitat=HabitatConfig(scene_dataset="/x/other.json"))):
        with recorded_scene(header.played_scene, other) as again:
            assert again.description == description


def test_a_data_set_that_lies_elsewhere_here_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = own_scenes(tmp_path)
    dataset = Path(scenes.habitat.scene_dataset)
    played = PlayedScene("habitat", "flat", "habitat", str(dataset))
    shutil.move(dataset.parent, tmp_path / "moved")
    monkeypatch.setenv(PYTHON_VARIABLE, scenes.habitat.python)
    with pytest.raises(UserError) as caught:
        open_recorded_scene(played)
    told = str(caught.value)
    assert str(dataset) in told and DATASET in told and "flat" in told and "\n" not in told
    monkeypatch.setenv(DATASET, str(tmp_path / "moved" / "another.scene_dataset_config.json"))
    with pytest.raises(UserError, match="is missing"):
        open_recorded_scene(played)
    here = str(tmp_path / "moved" / dataset.name)
    monkeypatch.setenv(DATASET, here)
    with recorded_scene(played) as scene:
        assert scene.description.scene_id == "flat"
    monkeypatch.delenv(DATASET)
    with recorded_scene(played, SceneConfig(habitat=HabitatConfig(scene_dataset=here))) as scene:
        assert scene.description.scene_id == "flat"


def test_a_play_in_ones_own_scene_is_replayed_from_its_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = own_scenes(tmp_path)
    store = Store.at(tmp_path / "store")
    asked = OpenPlay.model_validate(
        {
            "play_id": "b" * 16,
            "session_id": "a" * 16,
            "program": "planner",
            "iteration": "000",
            "attempt": 1,
            "episode": partnr().model_dump(mode="json"),
            "participant": "ann",
            "human": 0,
            "partner": "none",
        }
    )
    opened = open_play(asked, store, "", scenes)
    assert opened.log is not None
    session = opened.session
    assert set(session.episode.name_to_receptacle) == {"cup_1", "cup_2"}, "PARTNR's, as our worlds play it"
    for _ in range(30):
        session.step()
    finish = session.finish_event("person", wall=1.0)
    opened.log.append(finish)
    opened.log.close()
    close_scene(session.world.scene)
    file = log_path(store.iteration("planner", "000").sessions / asked.session_id, asked.play_id)
    log = read_session_log(file)
    assert log.header.played_scene == PlayedScene("habitat", "flat", "habitat", scenes.habitat.scene_dataset)
    monkeypatch.setenv(PYTHON_VARIABLE, scenes.habitat.python)
    played = replay(file)
    assert played.difference is None and isinstance(played, ReplayedPlay)
    assert played.session.header().played_scene == log.header.played_scene, "its trace tells the same"


def test_only_backends_that_somebody_here_names_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = PlayedScene("habitat", HOME, "antigravity:Backend")
    with pytest.raises(UserError, match=r"'antigravity:Backend', which nobody names here") as caught:
        open_recorded_scene(foreign, BEHIND_THE_SOCKET)
    assert MACHINE_VARIABLES["backend"] in caught.value.remedy
    ours = PlayedScene("habitat", HOME, KINEMATIC_BACKEND)
    # habitat-sim's interpreter is not the one for a backend of this environment.
    with recorded_scene(ours, SceneConfig(kind="habitat", habitat=HabitatConfig(python="/nowhere/python"))) as scene:
        assert isinstance(scene, RemoteScene) and scene.hello.backend == "kinematic"
    monkeypatch.setenv(MACHINE_VARIABLES["backend"], "antigravity:Backend")
    with pytest.raises(UserError, match="worker"):
        open_recorded_scene(foreign)


def test_a_record_that_tells_no_backend_is_opened_as_the_machine_says() -> None:
    older = PlayedScene("habitat", HOME)
    with recorded_scene(older, BEHIND_THE_SOCKET) as scene:
        assert isinstance(scene, RemoteScene) and scene.hello.backend == "kinematic"
    with pytest.raises(UserError, match=DATASET):
        open_recorded_scene(PlayedScene("habitat", "flat"))


def test_what_a_server_is_told_is_told_to_all_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    HabitatConfig().tell_machine()
    assert HabitatConfig.of_machine() == HabitatConfig()
    monkeypatch.setenv(MACHINE_VARIABLES["gpu"], "1")
    for variable in (PYTHON_VARIABLE, DATASET, MACHINE_VARIABLES["backend"]):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    told = HabitatConfig(python="/opt/python", gpu=0, scene_dataset="own.scene_dataset_config.json")
    told.tell_machine()
    here = HabitatConfig.of_machine()
    assert (here.gpu, here.scene_dataset) == (1, told.scene_dataset), "what was said before stays"
    assert here.interpreter == "/opt/python"
    monkeypatch.setenv(MACHINE_VARIABLES["gpu"], "first")
    with pytest.raises(UserError, match="'gpu'"):
        HabitatConfig.of_machine()


def test_an_episode_that_crashes_tells_its_scene_too(tmp_path: Path) -> None:
    habitat = HabitatConfig(scene_dataset="own.scene_dataset_config.json")
    config = RolloutConfig(scene=SceneConfig(kind="habitat", habitat=habitat))
    _record_crash(partnr(), config, tmp_path)
    told = read_trace(trace_path(tmp_path / "traces", "7")).header.played_scene
    assert told == PlayedScene("habitat", "flat", "habitat", "own.scene_dataset_config.json")
    _record_crash(small_episode(), config, tmp_path)
    told = read_trace(trace_path(tmp_path / "traces", small_episode().episode_id)).header.played_scene
    assert told == PlayedScene("habitat", HOME, "habitat"), "our homes are of no data set"
