"""The way of the compare page over real sockets: who is asked what, what is shown and kept, and what goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.preferences import standing_preferences
from hitl_ops.records.clips import CLIPS_FILE, STEPS_FILE, open_clip_set, write_clip_set
from hitl_ops.records.unshown_clips import note_file, pairs_not_shown
from tests.support.clip_sets import make_clip_set, make_clips
from tests.support.compare_server import CompareServer, clips_of, compare_server
from tests.support.filmed_sets import number_in
from tests.support.painted_clips import shown
from ui_collect.compare.served_clips import ClipShelf
from ui_collect.compare.server import serve_compare
from ui_collect.compare.settings import CompareSettings

pytestmark = [pytest.mark.integration]

STEPS = (12, 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompareServer]:
    home = tmp_path_factory.mktemp("compare") / "home"
    make_clip_set(clips_of(home, 3), 10, 400, steps=STEPS)
    chosen = {"queue.overlap": 0.0, "queue.repeats": 1.0, "queue.repeat_after": 3, "films_ahead": 2}
    with compare_server(home, "--invite", "40", settings=chosen) as running:
        yield running


def eventually(right: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not right():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def numbers(film: bytes) -> list[int]:
    with av.open(io.BytesIO(film)) as container:
        stream = container.streams.video[0]
        assert stream.codec.canonical_name == "h264" and float(stream.average_rate or 0) == 20.0
        return [number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]


def test_both_films_are_those_of_the_clips_that_are_named(server: CompareServer) -> None:
    kim = server.join("Kim")
    asked = kim.look(2)
    assert asked["standing"] == "asking" and asked["progress"]["iteration"] == 3 and asked["gone"] == []
    clip_set = open_clip_set(clips_of(server.home, 3))
    for question in asked["questions"]:
        pair = clip_set.pairs_by_id[question["pair"]]
        both = {clip_set.clips[name].content_hash: clip_set.clips[name] for name in (pair.left, pair.right)}
        assert {question["left_hash"], question["right_hash"]} == both.keys()
        for side in ("left", "right"):
            clip = both[question[f"{side}_hash"]]
            film = kim.film(question[f"{side}_film"])
            assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
            assert "immutable" in film.headers["cache-control"]
            assert numbers(film.content) == [shown(clip.clip_id, frame) for frame in range(clip.steps)]
            sheet = kim.film(question[f"{side}_film"], "sheet")
            assert (sheet.status_code, sheet.headers["content-type"]) == (200, "image/jpeg")
    part = kim.ask("GET", f"films/{asked['questions'][0]['left_film']}/video", headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and len(part.content) == 10
    assert set(asked["questions"][0]) & {"chosen_by", "disagreement", "true_rewards"} == set(), "nothing to lean on"
    assert not any(name in json.dumps(asked) for name in clip_set.clips), "a name tells which attempt it was"
    kim.say(kim.held[0], "tie")
    kim.say(kim.held[0], "tie")


def test_a_choice_is_kept_once_as_it_was_seen_and_may_be_taken_back(server: CompareServer) -> None:
    kim = server.join("Kim")
    question = kim.next()
    first = kim.say(question, "left", key="same-key-1")
    assert first.status_code == 200 and first.json()["progress"]["mine"] == 1
    assert kim.say(question, "left", key="same-key-1").json()["kept"] == first.json()["kept"], "a retry"
    assert kim.say(question, "right", key="same-key-1").status_code == 409, "one key says one thing"
    [word] = standing_preferences(server.labels, "preference", 3, kim.id)
    seen = (word.said.left_hash, word.said.right_hash)
    assert (word.said.choice, *seen) == ("left", question["left_hash"], question["right_hash"])
    clips = open_clip_set(clips_of(server.home, 3)).clips
    assert tuple(clips[name].content_hash for name in (word.said.left, word.said.right)) == seen
    assert word.seconds == 2.5

    assert kim.say(question, "right").json()["progress"]["mine"] == 1, "another word takes its place"
    taken_back = kim.say(question, None)
    other_side = {"left_hash": question["right_hash"], "right_hash": question["left_hash"]}
    assert kim.say(question, "left", **other_side, repeat=True).status_code == 409, "there is no first answer any more"
    assert taken_back.json()["progress"]["mine"] == 0
    assert standing_preferences(server.labels, "preference", 3, kim.id) == []
    lee = server.join("Lee")
    assert lee.next()["pair"] != question["pair"], "it is still in Kim's hands"
    assert kim.look()["questions"][0]["pair"] == question["pair"], "it is asked again"
    assert kim.say(kim.held[0], "cant_tell").status_code == 200
    lee.say(lee.held[0], "tie")


def test_everybody_gets_pairs_of_their_own_and_some_again_with_sides_changed(server: CompareServer) -> None:
    people = [server.join(f"person {number}") for number in range(3)]
    held = [one.look(3)["questions"] for one in people]
    pairs = [question["pair"] for questions in held for question in questions]
    assert len(set(pairs)) == 9, "nobody has what another one has"
    for kim in people:
        for question in list(kim.held):
            assert kim.say(question, "left", seconds=1.5).status_code == 200
    kim = people[0]
    seen = {question["pair"]: question for question in held[0]}
    again: list[dict[str, Any]] = []
    while len(again) < 2:
        question = kim.next()
        if question["repeat"]:
            before = seen[question["pair"]]
            assert (question["left_hash"], question["right_hash"]) == (before["right_hash"], before["left_hash"])
            assert question["left_film"] == before["right_film"]
            again.append(question)
        # The first time they mean the clip, the second time the side.
        choice = "right" if question["repeat"] and len(again) == 1 else "left"
        assert kim.say(question, choice).status_code == 200
        seen.setdefault(question["pair"], question)
    told = {one["name"]: one for one in kim.ask("GET", "overview").json()["people"]}
    me = told["person 0"]
    assert me["mine"] and (me["repeats"], me["repeats_alike"]) == (2, 1)
    assert me["answers"] == len(seen) + 2 and me["shares"]["left"] == pytest.approx((len(seen) + 1) / me["answers"])
    assert not told["person 1"]["mine"] and told["person 1"]["seconds_per_answer"] == pytest.approx(1.5)
    lefts = [word.said for word in standing_preferences(server.labels, "preference", 3)]
    sides = {said.left == open_clip_set(clips_of(server.home, 3)).pairs_by_id[said.pair_id].left for said in lefts}
    assert sides == {True, False}, "sides are changed by lot"


def test_films_are_made_before_anybody_asks(server: CompareServer) -> None:
    kim = server.join("Early")
    question = kim.look()["questions"][0]
    cache = Store.at(server.home).cache / "station"
    eventually(lambda: (cache / "clips" / f"{question['left_film']}.mp4").exists())
    # What comes next as well, though nobody has looked at it.
    following = server.join("Late").look()["questions"][0]
    for kind, suffix in (("clips", "mp4"), ("sheets", "jpg")):
        eventually((cache / kind / f"{following['right_film']}.{suffix}").exists)
    (cache / "sheets" / f"{question['left_film']}.jpg").unlink()
    assert kim.film(question["left_film"], "sheet").status_code == 200, "made again where one of the two is gone"


def test_strangers_and_odd_names_get_nothing(server: CompareServer) -> None:
    kim = server.join("Kim")
    question = kim.next()
    url = f"{server.url}/api/compare"
    assert httpx.post(f"{url}/questions", json={"held": [], "count": 1, "seconds": 0}).status_code == 401
    assert httpx.get(f"{url}/films/{question['left_film']}/video").status_code == 401
    assert httpx.get(f"{url}/me").json() is None
    elsewhere = {"token": server.labels.create_invitation("station", 0, purpose="annotate")[1], "name": "Eve"}
    assert httpx.post(f"{url}/join", json=elsewhere).status_code == 403
    to_play = {"token": server.labels.create_invitation("preference", 0)[1], "name": "Eve"}
    assert httpx.post(f"{url}/join", json=to_play).status_code == 403
    for stamp in ("..%2F..%2Flabels.db", "%00", "A" * 32, "0" * 31, "0" * 32, f"{'0' * 32}/../../x"):
        assert kim.ask("GET", f"films/{stamp}/video").status_code in (400, 404)
    before = len(server.labels.labels("preference", superseded=True))
    for changed, refused in (
        ({"pair": "../../etc/passwd"}, 400),
        ({"pair": "pair-9999"}, 409),
        ({"left_hash": question["right_hash"]}, 409),
        ({"left": "clip-0001"}, 400),
        ({"left_hash": "0" * 64}, 409),
        ({"iteration": 4}, 409),
        ({"iteration": -1}, 400),
        ({"repeat": True}, 409),
        ({"seconds": -1}, 400),
        ({"seconds": 1e9}, 400),
        ({"annotator": "somebody else"}, 400),
        ({"key": "short"}, 400),
    ):
        assert kim.say(question, "left", **changed).status_code == refused, changed
    assert [kim.say(question, odd).status_code for odd in ("both", "", "LEFT")] == [400] * 3
    assert len(server.labels.labels("preference", superseded=True)) == before
    odd: list[Any] = [
        {"held": [], "count": 9, "seconds": 0},
        {"held": [{}], "count": 1, "seconds": 0},
        [],
        "x" * 20_000,
    ]
    assert all(kim.ask("POST", "questions", json=body).status_code in (400, 413) for body in odd)
    foreign = kim.ask("POST", "labels", json={}, headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    page = httpx.get(f"{server.url}/compare")
    assert page.status_code == 200 and page.headers["content-security-policy"].startswith("default-src 'self'")


def test_a_kill_loses_no_choice_that_was_acknowledged_and_doubles_none(server: CompareServer) -> None:
    acknowledged: dict[str, int] = {}
    people = [server.join(f"killed {number}") for number in range(3)]
    saying: list[tuple[dict[str, Any], str]] = [({}, "")] * 3

    def compare(number: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            for turn in range(1000):
                question, key = people[number].next(), f"kill-{number}-{turn:04d}"
                saying[number] = question, key
                acknowledged[key] = people[number].say(question, "right", key=key).json()["kept"]

    threads = [threading.Thread(target=compare, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 25)
    server.kill()
    for thread in threads:
        thread.join()
    heard = dict(acknowledged)
    server.start()
    stored = {one.client_key: one.id for one in server.labels.labels("preference", superseded=True)}
    assert heard.items() <= stored.items(), "what was acknowledged is there"
    for number, (question, key) in enumerate(saying):
        acknowledged[key] = people[number].say(question, "right", key=key).json()["kept"]
    kept = [one for one in server.labels.labels("preference", superseded=True) if one.client_key.startswith("kill")]
    assert {one.client_key: one.id for one in kept} == acknowledged and len(kept) == len(acknowledged), "each once"
    mine = [one for one in kept if one.annotator == people[0].id and not one.value["repeat"]]
    assert people[0].look()["progress"]["mine"] == len(mine), "the server knows the same after it"


def test_sets_come_are_replaced_and_cannot_be_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    chosen = {"queue.overlap": 0.0, "films_ahead": 1}
    with compare_server(home, "--invite", "9", settings=chosen) as server:
        kim = server.join("Kim")
        assert "none in" in server.said
        none = kim.look()
        assert (none["standing"], none["questions"], none["progress"]) == ("no_clips", [], None)
        write_clip_set(clips_of(home), make_clips(2, steps=4), [])
        assert kim.look()["standing"] == "no_pairs"
        make_clip_set(clips_of(home), 4, 2, steps=4)
        question = kim.look(1)["questions"][0]
        assert question["iteration"] == 0

        # The next iteration opens: what is in front of somebody may still be answered, and counts for its own.
        make_clip_set(clips_of(home, 1), 6, 12, steps=4, seed=5)
        later = kim.look(1)
        assert [one["iteration"] for one in later["questions"]] == [1] and later["gone"] == []
        assert kim.say(question, "tie").status_code == 200
        [word] = standing_preferences(server.labels, "preference")
        assert (word.iteration, word.said.choice) == (0, "tie")

        # Replaced under the same names: what is held is not asked any more, and a choice on it is not taken.
        [held] = kim.held
        make_clip_set(clips_of(home, 1), 6, 12, steps=5, seed=6)
        refused = kim.say(held, "left")
        assert refused.status_code == 409 and "replaced meanwhile" in refused.json()["message"]
        told = kim.look(1)
        assert [one["pair"] for one in told["gone"]] == [held["pair"]] and len(kim.held) == 1

        # One clip's numbers are not its own: its pairs are left out, all others go on.
        spoil(clips_of(home, 1), "clip-0002")
        kim.held.clear()
        spoiled = open_clip_set(clips_of(home, 1))
        bad = {pair.pair_id for pair in spoiled.pairs if "clip-0002" in (pair.left, pair.right)}
        assert 0 < len(bad) < 12
        stamp = next(
            question[f"{side}_film"]
            for question in kim.look(8)["questions"]
            for side in ("left", "right")
            if question[f"{side}_hash"] == "f" * 64
        )
        film = kim.film(stamp)
        assert film.status_code == 409
        assert f"clip 'clip-0002' cannot be shown, left out: pair {min(bad)}" in server.said
        kim.held.clear()
        asked = {question["pair"] for question in kim.look(8)["questions"]}
        assert asked and not asked & bad
        clip_set = open_clip_set(clips_of(home, 1))
        eventually(lambda: pairs_not_shown(clip_set) == dict.fromkeys(bad, "clip 'clip-0002' cannot be shown"))
        told = kim.look(0)
        why = "is left out: one of its clips cannot be shown."
        assert told["left_out"] == [f"Pair {pair} {why}" for pair in sorted(bad)]
        assert told["progress"]["wanted"] == 12 - len(bad)
        assert kim.say(kim.held[0], "left").status_code == 200

        # All of them: the file with the numbers is gone, then the set says nothing that can be read.
        kim.held.clear()
        make_clip_set(clips_of(home, 2), 3, 2, steps=4, seed=7)
        (clips_of(home, 2) / STEPS_FILE).unlink()
        eventually(lambda: kim.look(0)["standing"] == "left_out")
        assert len(kim.look(0)["left_out"]) == 2
        (clips_of(home, 2) / CLIPS_FILE).write_text("{")
        assert kim.look()["standing"] == "unreadable"
        assert "iteration 002 cannot be compared" in server.said
        shutil.rmtree(clips_of(home, 2))
        kim.held.clear()
        assert kim.look()["standing"] == "asking"
        assert len(standing_preferences(server.labels, "preference")) == 2, "nothing is lost"


def test_what_could_not_be_shown_is_noted_and_tried_again_after_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    clip_set = make_clip_set(clips_of(home), 4, 3, steps=4)
    steps = clip_set.root / STEPS_FILE
    kept = steps.read_bytes()
    steps.write_bytes(kept[:100])
    with compare_server(home) as server:
        eventually(lambda: pairs_not_shown(clip_set).keys() == clip_set.pairs_by_id.keys())
        server.stop()
        assert len(pairs_not_shown(clip_set)) == 3, "whoever learns knows it while nobody serves"
        steps.write_bytes(kept)
        server.start()
        eventually(lambda: pairs_not_shown(clip_set) == {})
        assert not note_file(clip_set).exists()


def spoil(folder: Path, clip: str) -> None:
    """Let a set say that one of its clips has other numbers."""
    file = folder / CLIPS_FILE
    said = json.loads(file.read_text())
    for one in said["clips"]:
        if one["clip_id"] == clip:
            one["content_hash"] = "f" * 64
    shutil.rmtree(folder.with_name("spoiled"), ignore_errors=True)
    file.with_name("new").write_text(json.dumps(said))
    file.with_name("new").replace(file)


def test_each_program_has_a_server_of_its_own(server: CompareServer) -> None:
    with compare_server(server.home, "--program", "station", "--invite", "1") as beside:
        assert beside.join("Kim").look()["standing"] == "no_clips"
    with pytest.raises(UserError, match="clips of the preference program are compared in"):
        serve_compare(CompareSettings(port=0), Store.at(server.home), None, None)


def test_the_shelf_shows_the_newest_or_the_one_that_is_named(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    shelf = ClipShelf(store, CompareSettings())
    assert shelf.now() is None
    make_clip_set(clips_of(tmp_path), 2, 1, steps=2)
    make_clip_set(clips_of(tmp_path, 11), 2, 1, steps=2, seed=1)
    store.iteration("preference", 12).samples.mkdir(parents=True)
    first = shelf.now()
    assert first is not None and first.iteration == 11 and shelf.now() is first
    earlier = shelf.at(0)
    assert earlier is not None and shelf.of_film(earlier.stamps["clip-0001"]) == (earlier, "clip-0001")
    assert shelf.of_film("0" * 32) is None
    only = ClipShelf(store, CompareSettings(only_iteration=0)).now()
    assert only is not None and only.iteration == 0
    assert ClipShelf(store, CompareSettings(program="station")).now() is None
    elsewhere = make_clip_set(tmp_path / "elsewhere", 2, 1, steps=2, seed=2).root
    named = ClipShelf(store, CompareSettings(only_iteration=7), elsewhere)
    served = named.now()
    assert served is not None and served.iteration == 7 and named.at(7) is served and named.at(0) is None
    (elsewhere / CLIPS_FILE).write_bytes(b"{")
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be read"):
            named.now()
    assert np.all([len(stamp) == 32 for stamp in first.stamps.values()])
