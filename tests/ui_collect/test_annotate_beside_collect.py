"""The annotation page served by the collection server, and the verb that serves it alone."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from tests.support.annotate_server import AnnotatorClient, annotate_server
from tests.support.collect_server import collect_server
from tests.support.collected_plays import Collected
from tests.support.plays import small_episode

pytestmark = pytest.mark.integration


def test_the_collection_server_lets_annotators_in_beside_people_who_play(tmp_path: Path) -> None:
    home = tmp_path / "home"
    play = Collected(Store.at(home)).play(small_episode()).id
    with collect_server(home, "--partner", "none", "--iteration", "0") as server:
        found = re.search(r"annotate +(http\S+)/annotate#(\S+)", server.said)
        assert found is not None and found[1] == server.url
        made = server.admin("POST", "/invitations", json={"purpose": "annotate", "max_uses": 2})
        assert made.status_code == 201
        link = made.json()["link"]
        assert link.startswith(f"{server.url}/annotate#") and made.json()["invitation"]["purpose"] == "annotate"
        for token in (found[2], link.partition("#")[2]):
            answer = httpx.post(f"{server.url}/api/annotate/join", json={"token": token, "name": "Eva"}, timeout=30)
            assert answer.status_code == 200, answer.text
            eva = AnnotatorClient(server, answer.json()["token"], answer.json()["annotator"])
            assert list(eva.queue()) == [play]
            played = httpx.post(f"{server.url}/api/join", json={"invitation": token}, timeout=30)
            assert (played.status_code, played.json()["message"]) == (403, "This invitation is for something else.")
        assert eva.film(play)
        decision = next(one for one in eva.get(f"plays/{play}")["decisions"] if one["can_be_marked"])
        right = next(action for action in decision["admissible"] if action != decision["action"])
        assert eva.mark(play, decision["index"], right)["corrections"] == 1
        page = httpx.get(f"{server.url}/admin", timeout=30)
        assert page.status_code == 200
        refused = httpx.post(f"{server.url}/api/annotate/join", json={"token": "A" * 43, "name": "Eva"}, timeout=30)
        assert (refused.status_code, refused.json()["message"]) == (403, "This invitation does not exist.")


def test_what_stands_in_the_way_of_the_page_alone_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(*words: str) -> str:
        assert run(["annotate", "--port", "0", "--root", str(tmp_path / "home"), *words]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("error: ") and "\n" not in said, said
        return said

    with annotate_server(tmp_path / "home") as server:
        assert "plays         0 finished in iteration 0" in server.said
        assert "another server collects into" in refusal("--without-page")
    for words, expected in (
        (("--certificate", "missing.pem"), "--certificate and --key"),
        (("--labels-url", "mysql://x"), "mysql"),
        (("--host", "256.1.1.1"), "cannot listen on"),
        (("--set", "annotation.lease=3"), "did you mean 'lease_s'"),
        (("--target", "-1"), "annotation.target"),
    ):
        assert expected in refusal("--without-page", *words)
    monkeypatch.setattr("ui_collect.page_files.PageFiles.__init__.__defaults__", (tmp_path / "nothing",))
    assert "the page people annotate on is not built" in refusal()


def test_a_restart_keeps_the_invitation_and_who_came_in(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path / "home"), iteration=2)
    play = collected.play(small_episode(), solve=False).id
    with annotate_server(tmp_path / "home") as server:
        assert "1 finished in iteration 2" in server.said, "the newest with plays, where none is named"
        eva = server.join("Eva")
        invitation = server.invitation
        assert server.stop() == 0
        server.start()
        assert server.invitation == invitation and "invite 2" in server.said.rpartition("annotate ")[2]
        assert list(eva.queue()) == [play]
        server.join("Finn")


def test_patience_room_and_leases_are_as_set(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path / "home"))
    plays = [collected.play(small_episode(), name, solve=False).id for name in ("ann", "bob", "cleo")]
    settings = {
        "annotation.film_within_s": 1,
        "annotation.films_waiting": 1,
        "annotation.lease_s": 7,
        "annotation.cache_mb": 3,
    }
    with annotate_server(tmp_path / "home", settings=settings) as server:
        eva = server.join("Eva")
        assert eva.post(f"plays/{plays[0]}/open")["lease_s"] == 7
        assert server.film_worker is None, "where nobody looks there is no process"
        deadline = time.monotonic() + 60
        while eva.ask("GET", f"plays/{plays[0]}/film").status_code == 503:
            assert time.monotonic() < deadline
        worker = server.film_worker
        assert worker is not None and worker.cmdline()[worker.cmdline().index("--cache-mb") + 1] == "3"
        worker.send_signal(signal.SIGSTOP)
        try:
            slow = eva.ask("GET", f"plays/{plays[1]}/film")
            full = eva.ask("GET", f"plays/{plays[2]}/film")
        finally:
            worker.send_signal(signal.SIGCONT)
        for answer, said in ((slow, "The replay is still being made."), (full, "Too many plays are looked at")):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.json()["message"].startswith(said) and answer.headers["retry-after"] == "5"
        for play in plays:
            while eva.ask("GET", f"plays/{play}/film").status_code == 503:
                assert time.monotonic() < deadline + 60
            assert eva.film(play)
