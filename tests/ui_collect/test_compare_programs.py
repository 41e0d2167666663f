"""The compare page's films of what stations recorded and how people played, made by the real worker."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.labels.preferences import standing_preferences
from hitl_ops.samples.planner_clips import PlannerClipConfig, make_planner_clips
from hitl_ops.samples.station_clips import StationClipConfig, make_station_clips
from tests.support.collected_plays import Collected
from tests.support.compare_server import Comparer, compare_server
from tests.support.plays import Player, small_episode
from tests.support.station_recordings import TASK, record, robot

pytestmark = [pytest.mark.integration]


def film(kim: Comparer, stamp: str) -> tuple[int, int, int]:
    """Frames, height and width of a film, all of it decoded; its sheet is there as well."""
    answer = kim.film(stamp)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4"), answer.text
    with av.open(io.BytesIO(answer.content)) as container:
        assert container.streams.video[0].codec.canonical_name == "h264"
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)]
    assert kim.film(stamp, "sheet").headers["content-type"] == "image/jpeg"
    return len(shapes), shapes[0][0], shapes[0][1]


def test_clips_of_stations_are_shown_and_answered(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    for number in range(2):
        path = EpochFolder(store.station_incoming, "lid", 0).episode(number)
        record(path, 60, spec=robot("cam_high", size=(30, 46)), seed=number)
    make_station_clips(store, StationClipConfig(seconds=1, per_episode=1), store.iteration("station", 0).clips)
    with compare_server(tmp_path, "--program", "station", "--invite", "1", painted=False) as server:
        kim = server.join("Kim")
        question = kim.next()
        assert question["task"] == TASK
        for side in ("left", "right"):
            assert film(kim, question[f"{side}_film"]) == (25, 30, 46)
        assert kim.say(question, "left").status_code == 200
        [word] = standing_preferences(server.labels, "station", 0)
        assert (word.said.choice, word.said.left_hash) == ("left", question["left_hash"])


def test_plays_of_people_are_shown_and_answered(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path))

    def goes_to(place: str) -> Callable[[Player], None]:
        return lambda player: player.act(f"Navigate[{place}]") or player.run(60)

    for person, place in (("ann", "kitchen_sink_1"), ("bob", "bedroom_1")):
        collected.play(small_episode(), person, through=goes_to(place), idle_ticks=1)
    make_planner_clips(collected.store, PlannerClipConfig(), collected.store.iteration("planner", 0).clips)
    with compare_server(tmp_path, "--program", "planner", "--invite", "1", painted=False) as server:
        kim = server.join("Kim")
        question = kim.next()
        assert question["task"] == small_episode().instruction
        for side in ("left", "right"):
            frames, height, width = film(kim, question[f"{side}_film"])
            assert frames >= 2 and (height, width) == (360, 720)
        assert kim.say(question, "tie").status_code == 200
        assert [word.said.choice for word in standing_preferences(server.labels, "planner", 0)] == ["tie"]
