"""The annotation server as annotators use it: two of them, over real sockets, on plays that were really played."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hitl_ops.contracts.correction import AnnotationFinished, DecisionCorrection, PlayReview
from hitl_ops.contracts.store import Store
from hitl_ops.labels.opinions import annotation_target, review_target
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.traces import Trace, read_trace
from hitl_ops.rollouts.session_replay import replay
from tests.support.annotate_server import AnnotateServer, AnnotatorClient, annotate_server, marking, new_key
from tests.support.collected_plays import Collected
from tests.support.plays import small_episode
from ui_collect.keyframes import Picture
from ui_collect.protocol import EpisodeMessage

pytestmark = pytest.mark.integration

HEAD = struct.Struct("<BII")


@dataclass
class Place:
    """What there is to annotate.

    Attributes:
        collected: the store and how plays got into it.
        solved: two plays that came to a good end.
        failed: one that did not.
        elsewhere: one of another iteration.
    """

    collected: Collected
    solved: list[EpisodePlay]
    failed: EpisodePlay
    elsewhere: EpisodePlay

    def trace(self, play: EpisodePlay) -> Trace:
        return read_trace(self.collected.files(play)["trace"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    store = Store.at(tmp_path_factory.mktemp("annotate") / "home")
    collected = Collected(store)
    other = Collected(store, iteration=1)
    return Place(
        collected,
        [collected.play(small_episode(), "ann", idle_ticks=400), collected.play(small_episode(), "bob")],
        collected.play(small_episode(), "ann", solve=False, attempt=2),
        other.play(small_episode(), "cleo", solve=False),
    )


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[AnnotateServer]:
    settings = {"annotation.requests_per_s": 1000, "annotation.request_burst": 1000}
    with annotate_server(place.collected.store.root, "--iteration", "0", "--target", "3", settings=settings) as running:
        yield running
        assert "Traceback" not in running.said, running.said


@pytest.fixture(scope="module")
def eva(server: AnnotateServer) -> AnnotatorClient:
    return server.join("Eva")


@pytest.fixture(scope="module")
def finn(server: AnnotateServer) -> AnnotatorClient:
    return server.join("Finn")


def wrong_and_right(shown: dict[str, Any]) -> tuple[int, str]:
    """A decision of the policy, and another action it could have chosen."""
    decision = next(one for one in shown["decisions"] if one["can_be_marked"])
    return decision["index"], next(action for action in decision["admissible"] if action != decision["action"])


def test_the_queue_has_the_iterations_plays_in_the_order_that_was_made(
    server: AnnotateServer, eva: AnnotatorClient, place: Place
) -> None:
    ranked = json.loads((place.collected.sessions / "annotation_queue.json").read_text())["plays"]
    queue = eva.queue()
    assert list(queue) == [one["play_id"] for one in ranked]
    assert set(queue) == {play.id for play in [*place.solved, place.failed]}
    first = queue[place.failed.id]
    assert first["instruction"] == "Bring the mug to the bed." and not first["success"]
    assert (first["state"], first["by"], first["my_review"], first["reviews"]) == ("open", None, None, 0)
    assert first["reasons"] and first["value"] == next(o["value"] for o in ranked if o["play_id"] == place.failed.id)
    assert list(eva.queue(filter="failed")) == [place.failed.id]
    assert set(eva.queue(filter="chosen", play=[play.id for play in place.solved])) == {p.id for p in place.solved}
    assert eva.queue(filter="chosen") == {}
    assert eva.queue(iteration=0) == queue


def test_a_play_comes_with_its_home_and_both_agents_decisions(eva: AnnotatorClient, place: Place) -> None:
    play = place.solved[0]
    shown = eva.get(f"plays/{play.id}")
    trace = place.trace(play)
    episode = EpisodeMessage.model_validate(shown["episode"])
    assert "mug_1" in episode.objects and episode.instruction == trace.header.instruction
    assert (shown["ticks"], shown["ticks_per_second"]) == (trace.result.sim_steps, 30)
    assert [one["index"] for one in shown["decisions"]] == [decision.index for decision in trace.decisions]
    for one, logged in zip(shown["decisions"], trace.decisions, strict=True):
        for name in ("agent", "role", "policy_id", "sim_step", "action", "response", "percent_complete"):
            assert one[name] == getattr(logged, name)
        assert one["admissible"] == (logged.admissible if logged.role == "ai" else [])
        assert one["can_be_marked"] == (logged.role == "ai") and not one["overridden"]
        assert one["end_step"] >= one["sim_step"]
        prompt = eva.get(f"plays/{play.id}/decisions/{one['index']}/prompt")
        assert prompt == {"prompt": logged.prompt}
    assert {one["role"] for one in shown["decisions"]} == {"human", "ai"}
    assert (shown["review"], shown["agreement"]) == ({"mine": None, "others": []}, None)


def test_a_film_shows_the_play_from_beginning_to_end(eva: AnnotatorClient, place: Place) -> None:
    play = place.solved[0]
    frames = eva.film(play.id)
    session = replay(place.collected.files(play)["log"]).session
    heads = [HEAD.unpack_from(frame) for frame in frames]
    ticks = [tick for _, tick, _ in heads]
    assert heads[0][:2] == (1, 0) and ticks == sorted(ticks) and ticks[-1] == session.tick
    assert max(later - earlier for earlier, later in itertools.pairwise(ticks)) <= 30
    assert {tick for kind, tick, _ in heads if kind == 1} == set(range(0, session.tick + 1, 300))
    picture = Picture()
    for number, frame in enumerate(frames):
        picture.take(frame)
        # From every full frame on it is the same film.
        if frame[0] == 1 and number:
            begun_here = Picture()
            begun_here.take(frame)
            assert begun_here.agents == picture.agents and begun_here.objects == picture.objects
    assert (picture.success, picture.over, picture.percent_complete) == (True, True, 1.0)
    for number, body in enumerate(session.world.facts.agents):
        assert picture.agents[number][:2] == pytest.approx((body.x, body.z), abs=0.002)
    known = [session.world.state.knowledge[agent].objects for agent in (0, 1)]
    names = list(session.world.state.facts.objects)
    assert {names[index] for index in picture.objects} >= set(known[0]) | set(known[1])


def test_a_film_is_made_once_and_known_by_its_tag(eva: AnnotatorClient, server: AnnotateServer, place: Place) -> None:
    path = f"plays/{place.solved[1].id}/film"
    first = eva.ask("GET", path)
    assert first.headers["content-type"] == "application/octet-stream"
    assert first.headers["content-encoding"] == "gzip"
    plain = eva.ask("GET", path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == first.content
    again = eva.ask("GET", path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    kept = server.home / "cache" / "films"
    assert len([file for file in kept.iterdir() if file.name.startswith(place.solved[1].id)]) == 2


def test_two_annotators_see_who_has_which_play(eva: AnnotatorClient, finn: AnnotatorClient, place: Place) -> None:
    play = place.failed.id
    assert eva.post(f"plays/{play}/open") == {"play": play, "taken_by": None, "lease_s": 120.0}
    assert (eva.queue()[play]["state"], eva.queue()[play]["by"], eva.queue()[play]["mine"]) == ("open", "Eva", True)
    assert (finn.queue()[play]["state"], finn.queue()[play]["by"]) == ("taken", "Eva")
    assert finn.post(f"plays/{play}/open")["taken_by"] == "Eva"
    assert finn.get(f"plays/{play}")["taken_by"] == "Eva"
    assert finn.post(f"plays/{play}/alive", seconds=1.0)["taken_by"] == "Eva"
    assert eva.post(f"plays/{play}/alive", seconds=1.0)["taken_by"] is None
    # Through with it, she lets go of it.
    eva.post("reviews", key=new_key(), play=play, status="skipped", seconds=2)
    after = eva.queue()[play]
    assert (after["state"], after["my_review"], after["by"]) == ("reviewed_by_me", "skipped", None)
    assert finn.queue()[play]["state"] == "open", "what somebody skipped is open to others"
    assert finn.post(f"plays/{play}/open")["taken_by"] is None
    assert eva.get(f"plays/{play}")["taken_by"] == "Finn"


def test_a_correction_is_kept_seen_taken_back_and_kept_once(
    server: AnnotateServer, eva: AnnotatorClient, finn: AnnotatorClient, place: Place
) -> None:
    play = place.solved[0].id
    decision, right = wrong_and_right(eva.get(f"plays/{play}"))
    logged = place.trace(place.solved[0]).decisions[decision]
    body = marking(play, decision, right, "It is  in the kitchen.\u202e\x00\nSurely.")
    saved = eva.post("labels", **body)
    mine = {"verdict": "error", "corrected": right, "reason": "It is  in the kitchen.\nSurely."}
    assert (saved["mine"], saved["others"], saved["corrections"]) == (mine, [], 1)
    for _ in range(3):
        assert eva.post("labels", **body)["label_id"] == saved["label_id"]
    (label,) = server.labels.labels("correction", annotator=eva.id, episode_play_id=play, superseded=True)
    assert DecisionCorrection.model_validate(label.value) == DecisionCorrection(
        verdict="error",
        original=logged.action,
        corrected=right,
        reason=mine["reason"],
        policy_id=logged.policy_id,
        prompt_hash=hashlib.sha256(logged.prompt.encode()).hexdigest(),
    )
    assert (label.target, label.seconds, label.id) == (f"play/{play}/decision/{decision}", 4.5, saved["label_id"])
    assert (label.program, label.iteration, label.decision_index) == ("planner", 0, decision)
    # A reload loses nothing, and the other one sees it.
    assert eva.get(f"plays/{play}")["decisions"][decision]["mine"] == mine
    seen = finn.get(f"plays/{play}")["decisions"][decision]
    assert (seen["mine"], seen["others"]) == (None, [{**mine, "annotator": "Eva"}])
    assert finn.queue()[play]["corrections"] == 1
    # Another one's mark does not take the place of hers.
    theirs = finn.mark(play, decision, right, "Me too.")
    assert theirs["others"] == [{**mine, "annotator": "Eva"}]
    assert eva.get(f"plays/{play}")["decisions"][decision]["mine"] == mine
    # Undo, and again.
    gone = finn.mark(play, decision, "")
    assert (gone["mine"], gone["corrections"]) == (None, 0)
    assert finn.get(f"plays/{play}")["decisions"][decision]["mine"] is None
    assert finn.mark(play, decision, right)["mine"]["corrected"] == right
    finn.mark(play, decision, "")
    answer = eva.ask("POST", "labels", json={**body, "reason": "something else"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_reviews_are_counted_and_agreement_is_told(
    server: AnnotateServer, eva: AnnotatorClient, finn: AnnotatorClient, place: Place
) -> None:
    play = place.solved[1].id
    shown = eva.get(f"plays/{play}")
    judged = [one["index"] for one in shown["decisions"] if one["can_be_marked"]]
    decision, right = wrong_and_right(shown)
    eva.mark(play, decision, right)
    key = new_key()
    review = {"key": key, "play": play, "status": "finished", "seconds": 30.5}
    kept = eva.post("reviews", **review)
    assert kept["mine"] == {"status": "finished", "errors": 1}
    assert finn.get(f"plays/{play}")["agreement"] is None, "one alone agrees with nobody"
    eva.mark(play, decision, "")
    assert eva.post("reviews", **review) == kept, "a retry is told what was kept"
    eva.mark(play, decision, right)
    assert eva.ask("POST", "reviews", json={**review, "status": "skipped"}).status_code == 409
    finn.post("reviews", key=key, play=play, status="finished", seconds=10)
    alike = (len(judged) - 1) / len(judged)
    shown = finn.get(f"plays/{play}")
    assert shown["agreement"] == pytest.approx(alike)
    assert shown["review"]["mine"] == {"status": "finished", "errors": 0}
    assert shown["review"]["others"] == [{"annotator": "Eva", "status": "finished", "errors": 1}]
    (label, _) = [x for x in server.labels.labels("verdict", episode_play_id=play, superseded=True)]
    assert PlayReview.model_validate(label.value).status == "finished" and label.target == review_target(play)
    item = eva.queue()[play]
    assert (item["state"], item["reviews"], item["corrections"]) == ("reviewed_by_me", 2, 1)
    figures = eva.get("figures")
    assert figures["agreement"] == pytest.approx(alike)
    assert (figures["target"], figures["queued"]) == (3, 3)
    labels = server.labels.labels(program="planner", iteration=0, superseded=True)
    mine = sum(label.seconds for label in labels if label.annotator == eva.id)
    assert figures["my_seconds"] == pytest.approx(mine)
    assert figures["seconds"] == pytest.approx(sum(label.seconds for label in labels))
    assert figures["my_reviewed"] == 2 and figures["annotators"] >= 2 and not figures["finished"]


def test_the_iterations_annotation_is_closed_by_hand(
    server: AnnotateServer, eva: AnnotatorClient, finn: AnnotatorClient
) -> None:
    key = new_key()
    first = eva.post("iteration/finished", key=key)
    assert first == eva.post("iteration/finished", key=key)
    (label,) = [
        label for label in server.labels.labels("verdict") if label.target == annotation_target("planner", 0)
    ]  # fmt: skip
    assert AnnotationFinished.model_validate(label.value) and label.annotator == eva.id
    assert finn.get("figures")["finished"] and finn.get("queue")["finished"]


def test_seconds_of_looking_are_kept_with_the_annotator(server: AnnotateServer, place: Place) -> None:
    gil = server.join("Gil")
    for _ in range(3):
        gil.post(f"plays/{place.solved[0].id}/alive", seconds=2.5)
    row = server.labels.annotator(gil.id)
    assert row is not None and (row.seconds_active, row.display_name) == (7.5, "Gil")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"action": "Pick[unicorn_1]"}, 422, "That could not be done at that moment."),
    ({"action": "Fly[]"}, 422, "That could not be done at that moment."),
    ({"same": True}, 422, "That is what the partner did."),
    ({"human": True}, 422, "Only what the partner's policy decided can be corrected."),
    ({"decision": 99_999}, 404, "There is no such decision in this play."),
    ({"play": "0" * 16}, 404, "There is no such play in your iteration."),
    ({"elsewhere": True}, 404, "There is no such play in your iteration."),
    ({"verdict": "withdrawn"}, 400, "The request is not valid."),
    ({"tool": ""}, 400, "The request is not valid."),
    ({"reason": "x" * 2001}, 400, "The request is not valid."),
    ({"seconds": -1}, 400, "The request is not valid."),
    ({"key": "short"}, 400, "The request is not valid."),
    ({"extra": 1}, 400, "The request is not valid."),
]


@pytest.mark.parametrize(("wrong", "status", "said"), REFUSED)
def test_every_refusal_is_one_clear_line(
    server: AnnotateServer, eva: AnnotatorClient, place: Place, wrong: dict[str, Any], status: int, said: str
) -> None:
    play = place.solved[0].id
    shown = eva.get(f"plays/{play}")
    decision, right = wrong_and_right(shown)
    before = len(server.labels.labels(superseded=True))
    changes = dict(wrong)
    action = changes.pop("action", right)
    if changes.pop("same", False):
        action = shown["decisions"][decision]["action"]
    if changes.pop("human", False):
        decision = next(one["index"] for one in shown["decisions"] if one["role"] == "human")
    if changes.pop("elsewhere", False):
        changes["play"] = place.elsewhere.id
    answer = eva.ask("POST", "labels", json={**marking(play, decision, action), **changes})
    body = answer.json()
    assert answer.status_code == status and set(body) == {"code", "message"}
    assert body["message"].startswith(said) and "\n" not in body["message"]
    assert len(server.labels.labels(superseded=True)) == before


def test_what_is_not_ones_own_cannot_be_looked_at(server: AnnotateServer, eva: AnnotatorClient, place: Place) -> None:
    elsewhere = place.elsewhere.id
    for method, path in (
        ("GET", f"plays/{elsewhere}"),
        ("GET", f"plays/{elsewhere}/film"),
        ("GET", f"plays/{elsewhere}/decisions/0/prompt"),
        ("POST", f"plays/{elsewhere}/open"),
    ):
        answer = eva.ask(method, path)
        assert answer.status_code == 404
        assert answer.json() == {"code": "not_found", "message": "There is no such play in your iteration."}
    answer = eva.ask("GET", "queue", params={"iteration": 1})
    assert (answer.status_code, answer.json()["message"]) == (403, "Your invitation is for iteration 0.")
    stranger = AnnotatorClient(server, "A" * 43)
    for path in ("queue", "figures", f"plays/{place.failed.id}"):
        answer = stranger.ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (401, "forbidden")


def test_a_withdrawn_play_is_gone_and_comes_back(eva: AnnotatorClient, place: Place) -> None:
    play = place.failed.id
    place.collected.labels.withdraw_play(play, "asked for", "tester")
    assert play not in eva.queue() and eva.ask("GET", f"plays/{play}").status_code == 404
    place.collected.labels.restore_play(play)
    assert play in eva.queue() and eva.ask("GET", f"plays/{play}").status_code == 200


def test_films_are_made_beside_the_server_never_in_it(
    server: AnnotateServer, eva: AnnotatorClient, place: Place
) -> None:
    late = place.collected.play(small_episode(), "dora", solve=False)
    assert list(eva.queue())[-1] == late.id, "what finished since stands behind what is in order"
    eva.film(place.solved[0].id)
    worker = server.film_worker
    assert worker is not None
    worker.send_signal(signal.SIGSTOP)
    film: list[list[bytes]] = []
    waiting = threading.Thread(target=lambda: film.append(eva.film(late.id)))
    try:
        waiting.start()
        for _ in range(10):
            assert httpx.get(f"{server.url}/health", timeout=10).status_code == 200
            eva.queue()
            assert not film
    finally:
        worker.send_signal(signal.SIGCONT)
    waiting.join(60)
    assert len(film) == 1 and film[0]


def test_a_film_whose_process_dies_is_made_all_the_same(
    server: AnnotateServer, eva: AnnotatorClient, place: Place
) -> None:
    late = place.collected.play(small_episode(), "emil", solve=False)
    worker = server.film_worker
    assert worker is not None
    worker.send_signal(signal.SIGSTOP)
    film: list[list[bytes]] = []
    waiting = threading.Thread(target=lambda: film.append(eva.film(late.id)))
    waiting.start()
    time.sleep(0.3)
    worker.kill()
    waiting.join(60)
    assert len(film) == 1 and film[0]


def test_a_damaged_record_is_refused_in_one_line(server: AnnotateServer, eva: AnnotatorClient, place: Place) -> None:
    late = place.collected.play(small_episode(), "fritz", solve=False)
    log = place.collected.files(late)["log"]
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0xFF
    log.write_bytes(bytes(content))
    answer = eva.ask("GET", f"plays/{late.id}/film")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["message"] == "The record of this play cannot be shown. Choose another one."
    assert str(server.home) not in answer.text
    place.collected.labels.withdraw_play(late.id, "damaged", "tester")
