"""The annotation server killed between a click and its answer, again and again: what was said is there exactly once."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from hitl_ops.contracts.store import Store
from tests.support.annotate_server import AnnotateServer, AnnotatorClient, marking, new_key
from tests.support.collected_plays import Collected
from tests.support.plays import small_episode

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("FLYWHEEL_TEST_KILLS", "8"))


def insist(server: AnnotateServer, me: AnnotatorClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send until it is answered, as the page does."""
    while True:
        try:
            answer = me.ask("POST", path, json=body)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            saved: dict[str, Any] = answer.json()
            return saved
        assert answer.status_code in (429, 503), answer.text
        time.sleep(0.1)


def clicked(
    server: AnnotateServer, me: AnnotatorClient, path: str, body: dict[str, Any]
) -> tuple[threading.Thread, list[dict[str, Any]]]:
    """Click, and do not wait: what sends it, and where the answer will be."""
    saved: list[dict[str, Any]] = []
    sending = threading.Thread(target=lambda: saved.append(insist(server, me, path, body)), daemon=True)
    sending.start()
    return sending, saved


def test_a_click_whose_answer_never_came_is_kept_exactly_once(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path / "home"))
    play = collected.play(small_episode()).id
    server = AnnotateServer(collected.store.root, "--iteration", "0").start()
    me = server.join("Eva")
    shown = me.get(f"plays/{play}")
    choices = [one for one in shown["decisions"] if one["can_be_marked"]]
    chance = random.Random(7)
    begun = time.perf_counter()
    me.mark(play, choices[0]["index"], "")
    usual = time.perf_counter() - begun
    cut = 0
    expected: dict[int, str] = {}
    keys: list[str] = []
    try:
        for number in range(KILLS):
            decision = choices[number % len(choices)]
            right = chance.choice([action for action in decision["admissible"] if action != decision["action"]])
            body = marking(play, decision["index"], right if number % 4 else "", key=new_key())
            keys.append(body["key"])
            expected[decision["index"]] = right if number % 4 else ""
            answered = len(me.answers)
            saved: list[dict[str, Any]] = []
            clicking = threading.Thread(
                target=lambda body=body, saved=saved: saved.append(insist(server, me, "labels", body))
            )
            clicking.start()
            time.sleep(chance.uniform(0, 2 * usual))
            server.kill()
            cut += len(me.answers) == answered
            server.start()
            clicking.join(120)
            assert saved, "it was never answered"
            labels = server.labels.labels("correction", annotator=me.id, superseded=True)
            assert [label.client_key for label in labels][1:] == keys, "each once, in the order of the clicks"
            assert labels[-1].id == saved[0]["label_id"]
        for one in me.get(f"plays/{play}")["decisions"]:
            if one["index"] in expected:
                assert (one["mine"] or {"corrected": ""})["corrected"] == expected[one["index"]]
        assert cut, "no kill came before an answer"
        # A review, likewise.
        review = {"key": new_key(), "play": play, "status": "finished", "seconds": 3}
        clicking, done = clicked(server, me, "reviews", review)
        server.kill()
        server.start()
        clicking.join(120)
        marked = sum(1 for corrected in expected.values() if corrected)
        assert done[0]["mine"] == {"status": "finished", "errors": marked}
        assert len(server.labels.labels("verdict", superseded=True)) == 1
        assert server.stop() == 0
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()
