"""People play PARTNR's episodes in the scenes they are of; what is missing is told before anybody is let in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import read_session_log
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.household.tools import SUCCESS
from tests.support.habitat_stand_in import double_scenes
from tests.support.own_scenes import own_scene, partnr
from tests.ui_collect.simulation.test_pool import Server, play, until
from ui_collect.server import StartOptions, serve
from ui_collect.settings import CollectSettings
from ui_collect.simulation.messages import Finish


def own_scenes(folder: Path) -> SceneConfig:
    config = own_scene(folder / "own", regions=True)
    habitat = double_scenes(folder).habitat.replace(scene_dataset=str(config))
    return SceneConfig(kind="habitat", habitat=habitat)


@pytest.mark.integration
def test_a_person_plays_an_episode_of_partnrs(tmp_path: Path) -> None:
    scenes = own_scenes(tmp_path)
    server = Server(tmp_path / "root", scene=scenes.model_dump())

    async def scene() -> None:
        page = server.page()
        page.asked = page.asked.model_copy(update={"episode": partnr().model_dump(mode="json")})
        await page.open()
        opened = page.heard("opened")[0]
        assert opened["instruction"] == partnr().instruction and opened["scene"]["scene_id"] == "flat"
        assert sorted(opened["objects"]) == ["cup_1", "cup_2"]
        for action in ("Navigate[table_0000]", "Pick[cup_2]", "Navigate[chest_0000]"):
            assert await page.do(action) == SUCCESS
        assert await page.do("Place[cup_2, on, chest_0000, None, None]") == SUCCESS
        page.seq += 1
        server.pool.send(Finish(play_id=page.play_id, seq=page.seq))
        await until(lambda: bool(page.heard("closed")), "for the record")
        assert page.heard("closed")[0]["error"] == "", "replayed in the same scene by the process that writes records"
        log = read_session_log(page.folder(tmp_path / "root") / f"{page.play_id}.log.jsonl.gz")
        assert log.finish is not None and log.finish.success
        assert log.header.scene_dataset == scenes.habitat.scene_dataset

    play(server, scene)


def test_the_server_names_what_is_missing_by_its_path(tmp_path: Path) -> None:
    scenes = own_scenes(tmp_path)
    file = tmp_path / "mine.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"episodes": [partnr().model_dump(mode="json")]}).encode()))
    store, options = Store.at(tmp_path / "root"), StartOptions(without_page=True)
    with pytest.raises(UserError, match=r"scene asset 'flat' is missing.*scene\.habitat\.scene_dataset"):
        serve(CollectSettings(episodes=str(file)), store, options)
    (tmp_path / "own" / "objects" / "table.glb").unlink()
    with pytest.raises(UserError, match=r"own/objects/table\.glb' is missing"):
        serve(CollectSettings(episodes=str(file), scene=scenes), store, options)
    with pytest.raises(UserError, match=r"nowhere\.json\.gz' does not exist"):
        serve(CollectSettings(episodes=str(tmp_path / "nowhere.json.gz"), scene=scenes), store, options)
