"""The verdict page's way over real sockets: who is let in, what is listed and shown, what is kept."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest

from hitl_ops.contracts.station_epoch import make_manifest
from hitl_ops.labels.rows import Label
from hitl_ops.labels.station_verdicts import station_verdicts
from hitl_ops.records.station_hdf5 import read_station_facts
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from robot_client.station_config import UploadSection
from robot_client.sync.http_upload import HttpUpload
from tests.support.station_recordings import record, robot
from tests.support.station_server import StationServer, epoch_folder, station_server

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationServer]:
    home = tmp_path_factory.mktemp("verdicts") / "home"
    filmed = robot("cam_high", "cam_wrist")
    record(epoch_folder(home, 1).episode(0), 60, spec=filmed, label="good", seed=1, episode_id="first")
    record(epoch_folder(home, 1).episode(1), 60, spec=filmed, label="bad", seed=2, episode_id="second")
    record(epoch_folder(home, 2).episode(0), 30, spec=filmed, label=None, seed=3, episode_id="third")
    record(
        epoch_folder(home, 1).episode(2), 30, spec=robot(environment=2), label=None, seed=4, episode_id="../no camera"
    )
    record(epoch_folder(home, 2).episode(1), 30, spec=filmed, label=None, aborted=True, seed=5, episode_id="stopped")
    (epoch_folder(home, 2).raw / "episode_5.hdf5").write_bytes(b"no recording")
    with station_server(home, "--invite", "20") as running:
        yield running


def said_of(server: StationServer, target: str) -> list[Label]:
    return [label for label in server.labels.labels("verdict", superseded=True) if label.target == target]


def test_those_without_a_verdict_come_first_then_epochs(server: StationServer) -> None:
    listed = server.join("Kim").episodes()
    assert [(one["epoch"], one["number"]) for one in listed] == [(1, 2), (2, 0), (2, 1), (1, 0), (1, 1)]
    bare, _, stopped, first, _ = listed
    assert (bare["cameras"], first["cameras"]) == ([], ["cam_high", "cam_wrist"])
    assert (first["station"], first["verdict"], first["said"], first["label"]) == ("good", "good", None, 0)
    assert stopped["aborted"] == "stopped" and first["aborted"] is None
    assert first["task"] == "Lift the lid off the bowl" and first["seconds"] == pytest.approx(1.2)


def test_a_video_shows_all_cameras_and_may_be_entered_anywhere(server: StationServer) -> None:
    kim = server.join("Kim")
    whole = kim.ask("GET", "episodes/first/video")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    with av.open(io.BytesIO(whole.content)) as film:
        stream = film.streams.video[0]
        assert (stream.codec.canonical_name, stream.width, stream.height) == ("h264", 128, 48)
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert (len(frames), float(stream.average_rate)) == (30, 25.0), "as long as the episode, at half the frames"
    # The bright square of the first moment and the last, in both cameras alike.
    for frame, moment in ((frames[0], 1.0), (frames[-1], 1 + 58 / 25)):
        left = int(56 * (0.5 + 0.5 * math.sin(moment)))
        for camera in (0, 64):
            assert frame[26:30, camera + left + 2 : camera + left + 6].mean() > 200
    part = kim.ask("GET", "episodes/first/video", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    poster = kim.ask("GET", "episodes/second/poster")
    assert poster.content[:2] == b"\xff\xd8" and len(poster.content) < 20_000


def test_without_a_camera_there_are_curves(server: StationServer) -> None:
    kim = server.join("Kim")
    (bare,) = [one for one in kim.episodes() if not one["cameras"]]
    assert bare["key"].startswith("sha256-"), "an odd id never becomes part of an address"
    curves = kim.ask("GET", f"episodes/{bare['key']}/curves").json()
    assert len(curves["joints"]) == 14 and [one["name"] for one in curves["environment"]] == ["lid_0", "lid_1"]
    assert len(curves["joints"][0]["values"]) == len(curves["joints"][0]["told"]) == 30
    assert kim.ask("GET", f"episodes/{bare['key']}/video").status_code == 409


def test_what_is_said_is_kept_once_and_trains(server: StationServer, tmp_path: Path) -> None:
    kim, lee = server.join("Kim"), server.join("Lee")
    first = kim.say("third", "good", key="same-key-1")
    assert first.status_code == 200 and first.json()["verdict"] == "good"
    assert kim.say("third", "good", key="same-key-1", seconds=99).json() == first.json(), "a retry"
    assert kim.say("third", "bad", key="same-key-1").status_code == 409, "one key says one thing"
    [label] = said_of(server, "station/third")
    assert (label.iteration, label.annotator, label.seconds, label.value["said"]) == (2, kim.id, 2.5, "good")

    unseen = lee.say("third", "bad")
    assert unseen.status_code == 409 and "Kim said good meanwhile" in unseen.json()["message"]
    differing = lee.say("third", "bad", seen=label.id)
    assert differing.json()["verdict"] == "bad" and differing.json()["by"] == "Lee"
    assert kim.say("third", "good", key="same-key-1").json()["verdict"] == "bad", "a late retry changes nothing"
    assert [one.supersedes for one in said_of(server, "station/third")] == [None, label.id]

    assert kim.say("second", "exclude").json()["excluded"]
    back = kim.say("second", "withdrawn").json()
    assert (back["excluded"], back["verdict"]) == (False, "bad"), "what the station said counts again"
    assert kim.say("first", "exclude").status_code == 200
    verdicts, excluded = station_verdicts(server.labels)
    assert (verdicts, excluded) == ({"third": "bad"}, {"first"})
    summary = build_station_dataset(
        server.home / "station" / "incoming" / "lift_lid" / "epoch_2" / "raw" / "episode_0.hdf5",
        tmp_path / "data",
        StationDatasetConfig(),
        verdicts=verdicts,
    )
    assert (summary.episodes, summary.bad) == (1, 1)
    assert read_station_facts(epoch_folder(server.home, 2).episode(0)).verdict is None, "the recording stays as it is"


def test_who_is_at_an_episode_is_named_to_the_others(server: StationServer) -> None:
    kim, lee = server.join("Kim"), server.join("Lee")
    assert kim.ask("POST", "episodes/first/here", json={"seconds": 0}).json()["looked_at_by"] is None
    assert lee.ask("POST", "episodes/first/here", json={"seconds": 3}).json()["looked_at_by"] == "Kim"
    assert {one["key"]: one["looked_at_by"] for one in lee.episodes()}["first"] == "Kim"
    assert server.labels.annotator(lee.id).seconds_active == 3
    kim.ask("POST", "episodes/second/here", json={"seconds": 1})
    assert {one["key"]: one["looked_at_by"] for one in lee.episodes()}["first"] is None


def test_strangers_and_odd_names_get_nothing(server: StationServer) -> None:
    kim = server.join("Kim")
    bare = httpx.get(f"{server.url}/api/verdicts/episodes")
    assert bare.status_code == 401 and "first" not in bare.text
    assert httpx.get(f"{server.url}/api/verdicts/me").json() is None
    joined = {"token": server.labels.create_invitation("planner", 0, purpose="annotate")[1], "name": "Eve"}
    assert httpx.post(f"{server.url}/api/verdicts/join", json=joined).status_code == 403
    for name in ("..%2F..%2Fetc%2Fpasswd", "%00", "nobody", "sha256-" + "0" * 64):
        assert kim.ask("GET", f"episodes/{name}/video").status_code in (400, 404)
    assert kim.say("nobody", "good").status_code == 404
    assert kim.say("first", "splendid").status_code == 400
    foreign = kim.ask("POST", "labels", json={}, headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    assert httpx.put(f"{server.url}/upload/lift_lid/1/episode_0.hdf5").status_code in (401, 422)


def test_what_a_station_uploads_is_there_to_be_judged(
    server: StationServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kim = server.join("Kim")
    here = epoch_folder(tmp_path, 3)
    record(here.episode(0), 20, seed=9, label=None, episode_id="uploaded")
    monkeypatch.setenv("FLYWHEEL_UPLOAD_TOKEN", server.token)
    way = HttpUpload(UploadSection(enabled=True, url=server.url))
    way.send(here, make_manifest(here), lambda _: None, lambda: False)
    assert "uploaded" in [one["key"] for one in kim.episodes()]
