"""The way of the page of marks over real sockets: who is let in, what is listed and shown, what is kept."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.progress_marks import Mark, standing_marks
from hitl_ops.records.lerobot_layout import IMAGES
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.progress import stored_marks
from tests.support.filmed_sets import CAMERAS, make_filmed_set, number_in, shown
from tests.support.lerobot_sets import make_set
from tests.support.mark_server import MarkServer, mark_server
from ui_collect.marks.episodes import Episodes, read_curves
from ui_collect.marks.film_worker import episode_pictures

pytestmark = [pytest.mark.integration]

LENGTHS = (40, 25, 60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarkServer]:
    place = tmp_path_factory.mktemp("marks")
    # Key frames far apart and all episodes in one file, as other people's data sets have it.
    make_filmed_set(place / "filmed", LENGTHS, gop=50)
    with mark_server(place / "home", place / "filmed", "--invite", "20", "--stages", "3") as running:
        yield running


def keys(server: MarkServer) -> list[str]:
    return [one["key"] for one in server.join("Reader").episodes()]


def test_every_frame_of_an_episode_is_shown_and_no_other(server: MarkServer) -> None:
    kim = server.join("Kim")
    listed = kim.episodes()
    assert [(one["index"], one["frames"]) for one in listed] == list(enumerate(LENGTHS))
    assert listed[0]["cameras"] == [name.removeprefix(IMAGES) for name in CAMERAS]
    assert listed[0]["marks"] == [] and not listed[0]["done"] and listed[0]["by"] is None
    for episode, camera in ((0, 0), (1, 1), (2, 0)):
        film = kim.ask("GET", f"episodes/{listed[episode]['key']}/cameras/{camera}/video")
        assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
        with av.open(io.BytesIO(film.content)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            assert stream.codec.canonical_name == "h264" and float(stream.average_rate or 0) == 50.0
        seen = [number_in(frame.to_ndarray(format="rgb24")) for frame in frames]
        assert seen == [shown(episode, frame, camera) for frame in range(LENGTHS[episode])]
        assert [round((frame.time or 0) * 50) for frame in frames] == list(range(LENGTHS[episode]))
    part = kim.ask("GET", f"episodes/{listed[0]['key']}/cameras/0/video", headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and len(part.content) == 10
    curves = kim.ask("GET", f"episodes/{listed[1]['key']}/curves").json()
    assert curves["seconds"] == 0.5 and [len(one["values"]) for one in curves["joints"]] == [25] * 3


def test_what_is_marked_is_kept_once_and_becomes_progress(server: MarkServer) -> None:
    kim, lee = server.join("Kim"), server.join("Lee")
    key = keys(server)[0]
    first = kim.say(key, (4, 1), (9, 2), key="same-key-1")
    assert first.status_code == 200 and first.json()["mine"] and first.json()["done"]
    assert kim.say(key, (4, 1), (9, 2), key="same-key-1").json() == first.json(), "a retry"
    assert kim.say(key, (4, 1), key="same-key-1").status_code == 409, "one key says one thing"
    assert [len(server.labels.labels("progress", superseded=True))] == [1]

    unseen = lee.say(key, (5, 1))
    assert unseen.status_code == 409 and "Kim has marked this episode meanwhile" in unseen.json()["message"]
    differing = lee.say(key, (5, 1), (12, -1), (20, 1), seen=first.json()["label"])
    assert differing.status_code == 200 and differing.json()["by"] == "Lee"
    listed = {one["key"]: one for one in kim.episodes()}[key]
    assert listed["by"] == "Lee" and not listed["mine"] and len(listed["marks"]) == 3
    folder = open_lerobot(server.home.parent / "filmed")
    said = [Mark(frame=5, stage=1), Mark(frame=12, stage=1, lost=True), Mark(frame=20, stage=1)]
    assert stored_marks(server.labels, folder, 3) == {0: said}
    assert kim.say(keys(server)[1], (4, 1), done=False).status_code == 200
    assert 1 not in stored_marks(server.labels, folder, 3), "it was only begun"
    [label] = [one for one in server.labels.labels("progress") if one.annotator == kim.id]
    assert (label.program, label.seconds, label.value["length"], label.value["stages"]) == ("advantage", 2.5, 25, 3)


def test_marks_that_cannot_be_are_refused_and_nothing_is_kept(server: MarkServer) -> None:
    kim, key = server.join("Kim"), keys(server)[2]
    before = len(server.labels.labels("progress", superseded=True))
    for marks, said in (
        (((60, 1),), "Episode 2, frame 60: the mark lies beyond the episode"),
        (((5, 2),), "Episode 2, frame 5: stage 2 is reached when no stage is"),
        (((5, 1), (6, 2), (7, 3), (8, 4)), "there is no stage 4"),
        (((5, 1), (5, 2)), "not behind the one before"),
    ):
        refused = kim.say(key, *marks)
        assert refused.status_code == 422 and said in refused.json()["message"]
    assert kim.say(key, *((frame, 1) for frame in range(300))).status_code == 400, "more than there is room for"
    assert len(server.labels.labels("progress", superseded=True)) == before
    assert "2" not in standing_marks(server.labels)


def test_strangers_and_odd_names_get_nothing(server: MarkServer) -> None:
    kim, key = server.join("Kim"), keys(server)[0]
    bare = httpx.get(f"{server.url}/api/marks/episodes")
    assert bare.status_code == 401 and key not in bare.text
    assert httpx.get(f"{server.url}/api/marks/me").json() is None
    joined = {"token": server.labels.create_invitation("station", 0, purpose="annotate")[1], "name": "Eve"}
    assert httpx.post(f"{server.url}/api/marks/join", json=joined).status_code == 403
    for path in ("..%2F..%2Fetc%2Fpasswd", "%00", "nobody", f"{key}/cameras/0/video/../../../x"):
        assert kim.ask("GET", f"episodes/{path}/cameras/0/video").status_code in (400, 404)
    for camera in ("2", "-1", "1e9", "..%2F0", "cam_high"):
        assert kim.ask("GET", f"episodes/{key}/cameras/{camera}/video").status_code in (400, 404)
    assert kim.say("nobody", (1, 1)).status_code == 404
    foreign = kim.ask("POST", "labels", json={}, headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    assert httpx.get(f"{server.url}/marks").headers["content-security-policy"].startswith("default-src 'self'")


def test_a_kill_between_saying_and_hearing_loses_and_doubles_nothing(server: MarkServer) -> None:
    kim = server.join("Kim")
    key = keys(server)[2]
    said = kim.say(key, (3, 1), key="before-kill")
    server.kill()
    server.start()
    again = kim.say(key, (3, 1), key="before-kill")
    assert again.status_code == 200 and again.json() == said.json()
    kept = [one for one in server.labels.labels("progress", superseded=True) if one.client_key == "before-kill"]
    assert [one.id for one in kept] == [said.json()["kept"]]


def test_a_data_set_made_anew_is_seen_and_one_taken_away_is_told(tmp_path: Path) -> None:
    make_set(tmp_path / "set", (20, 20), {}, version="v3.0")
    episodes = Episodes(tmp_path / "set")
    before = episodes.all()
    assert [one.index for one in before.values()] == [0, 1] and episodes.all() is before
    assert all(one.cameras == () for one in before.values())
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(UserError, match="does not exist"):
        episodes.all()
    make_set(tmp_path / "set", (20, 20, 5), {}, version="v3.0")
    after = episodes.all()
    assert list(after)[:2] == list(before), "what is the same is known again"
    assert len(after) == 3 and len(read_curves(after[list(after)[2]]).joints[0].values) == 5


def test_a_film_that_ends_early_or_is_none_is_named(tmp_path: Path) -> None:
    folder = make_filmed_set(tmp_path / "filmed", (12, 8))
    path, start, _ = next(iter(folder.entries())).videos[CAMERAS[0]]
    numbers = [number_in(one) for one in episode_pictures(path, 12 / 50, 8, 50)]
    assert numbers == [shown(1, frame) for frame in range(8)]
    with pytest.raises(UserError, match="ends at frame 20 of the episode's 21"):
        list(episode_pictures(path, start, 21, 50))
    (tmp_path / "none.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match="is no video"):
        list(episode_pictures(tmp_path / "none.mp4", 0.0, 3, 50))
