"""What people with bad intent, or broken programs, send to the annotation server: refused, and nobody else notices."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.store import Store
from tests.support.annotate_server import AnnotateServer, AnnotatorClient, annotate_server, marking
from tests.support.collected_plays import Collected
from tests.support.plays import small_episode

pytestmark = pytest.mark.integration

NASTY = [
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/",
    "a\x00b",
    "\x1b[31m",
    "a\nb",
    "\u202egnp.exe",
    "'; DROP TABLE labels;--",
    "<script>",
    "\ud800",
    "x" * 5000,
]
LIMITS = {
    "joins_per_s": 10_000,
    "join_burst": 100_000,
    "annotation.requests_per_s": 100_000,
    "annotation.request_burst": 100_000,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, str, str]:
    store = Store.at(tmp_path_factory.mktemp("annotate-hostile") / "home")
    elsewhere = Collected(store, iteration=1).play(small_episode(), solve=False).id
    collected = Collected(store)
    return collected, collected.play(small_episode()).id, elsewhere


@pytest.fixture(scope="module")
def server(played: tuple[Collected, str, str]) -> Iterator[AnnotateServer]:
    with annotate_server(played[0].store.root, "--iteration", "0", settings=LIMITS) as running:
        yield running
        assert "Traceback" not in running.said, running.said[-3000:]
    accesses = [json.loads(line) for line in (running.home / "collection" / "access.jsonl").read_text().splitlines()]
    bad = [line for line in accesses if line["status"] >= 500 or line["status"] == 0]
    assert not bad, bad[:3]
    assert not any(token in json.dumps(accesses) for token in (running.invitation, "Bearer"))


@pytest.fixture(scope="module")
def eve(server: AnnotateServer) -> AnnotatorClient:
    return server.join("Eve")


def refused(answer: httpx.Response) -> bool:
    """Whether it is a refusal in one line that says nothing of what was sent, or of this machine."""
    if answer.status_code not in (400, 401, 403, 404, 405, 409, 413, 422, 429):
        return False
    body = answer.json()
    return set(body) == {"code", "message"} and "\n" not in body["message"] and "/" not in body["message"]


def test_without_a_good_token_nothing_is_told(server: AnnotateServer, played: tuple[Collected, str, str]) -> None:
    _, play, _ = played
    tokens = ["", "Bearer", "Basic abc", f"Bearer {'A' * 43}", f"Bearer {server.invitation}"]
    tokens += [f"Bearer {text}" for text in ("'; --", "../x", "a" * 500)]
    for token in tokens:
        for method, path in (
            ("GET", "queue"),
            ("GET", "figures"),
            ("GET", f"plays/{play}"),
            ("GET", f"plays/{play}/film"),
            ("GET", f"plays/{play}/decisions/0/prompt"),
            ("POST", f"plays/{play}/open"),
        ):
            answer = httpx.request(
                method, f"{server.url}/api/annotate/{path}", headers={"authorization": token}, timeout=30
            )  # fmt: skip
            assert answer.status_code in (401, 429) and refused(answer), (token, path, answer.text)
            assert play not in answer.text


def test_guessing_tokens_is_slow_and_does_not_lock_others_out(server: AnnotateServer, eve: AnnotatorClient) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as guesser:
        headers = [{"authorization": f"Bearer {'B' * 40}{number:03d}"} for number in range(200)]
        codes = [guesser.get("/api/annotate/queue", headers=one).status_code for one in headers]
    assert set(codes) == {401, 429} and codes.count(429) > 50
    assert eve.queue()


def test_an_invitation_to_play_does_not_let_in_to_annotate_nor_the_other_way(
    server: AnnotateServer, played: tuple[Collected, str, str]
) -> None:
    labels = played[0].labels
    _, token = labels.create_invitation("planner", 0, 5)
    answer = httpx.post(f"{server.url}/api/annotate/join", json={"token": token, "name": "Eve"}, timeout=30)
    assert (answer.status_code, answer.json()["message"]) == (403, "This invitation is for something else.")
    assert labels.invitations("planner", 0, "play")[0].uses == 0


@pytest.mark.parametrize("text", NASTY)
def test_paths_and_control_characters_do_no_harm_in_any_field(
    server: AnnotateServer, eve: AnnotatorClient, played: tuple[Collected, str, str], text: str
) -> None:
    _, play, _ = played
    before = len(server.labels.labels(superseded=True))
    good = marking(play, 0, "Wait[]")
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("labels", {**good, name: text}) for name in ("key", "play", "decision", "verdict", "tool", "args", "seconds")
    ]
    bodies += [("labels", {**good, "args": [text]}), ("labels", {**good, text: 1})]
    bodies += [("reviews", {"key": text, "play": play, "status": "finished", "seconds": 1})]
    bodies += [("reviews", {"key": "good-key-1", "play": text, "status": "finished", "seconds": 1})]
    bodies += [("iteration/finished", {"key": text}), (f"plays/{play}/alive", {"seconds": text})]
    for path, body in bodies:
        answer = eve.ask("POST", path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert refused(answer), (path, body, answer.status_code, answer.text)
        assert text not in answer.text
    for name in ("token", "name"):
        body = {"token": server.invitation, "name": "Eve", name: text}
        answer = httpx.post(
            f"{server.url}/api/annotate/join",
            content=json.dumps(body),
            headers={"content-type": "application/json"},
            timeout=30,
        )
        fits = name == "name" and text.isprintable() and len(text) <= 80
        assert answer.status_code == 200 if fits else refused(answer), answer.text
    assert len(server.labels.labels(superseded=True)) == before


@pytest.mark.parametrize(
    "path",
    [
        "/api/annotate/plays/../../../etc/passwd",
        "/api/annotate/plays/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/annotate/plays/0123456789abcdef%00/film",
        "/api/annotate/plays/0123456789ABCDEF/film",
        "/api/annotate/plays/0123456789abcdef0/film",
        "/api/annotate/plays/{play}/decisions/-1/prompt",
        "/api/annotate/plays/{play}/decisions/1e3/prompt",
        "/api/annotate/plays/{play}/decisions/99999999999999999999/prompt",
        "/api/annotate/queue?filter=everything",
        "/api/annotate/queue?filter=chosen&play=../x",
        "/api/annotate/queue?iteration=-1",
        "/api/annotate/queue?iteration=1",
        "/api/annotate/plays/{elsewhere}",
        "/api/annotate/plays/{elsewhere}/film",
        "/api/annotate/nothing",
        "/admin",
        "/docs",
        "/openapi.json",
    ],
)
def test_paths_lead_nowhere_else(
    server: AnnotateServer, eve: AnnotatorClient, played: tuple[Collected, str, str], path: str
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    path = path.format(play=played[1], elsewhere=played[2])
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {eve.token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert int(answer.split()[1]) in (400, 403, 404), answer[:300]
    assert b"root:" not in answer and b"content-security-policy" in answer.lower()


def test_other_sites_large_bodies_and_other_methods_are_refused(
    server: AnnotateServer, eve: AnnotatorClient, played: tuple[Collected, str, str]
) -> None:
    body = marking(played[1], 0, "Wait[]")
    assert eve.ask("POST", "labels", json=body, headers={"origin": "https://evil.example"}).status_code == 403
    assert eve.ask("POST", "labels", content=b"x" * 20_000).status_code == 413
    for method in ("PUT", "DELETE", "PATCH", "GET"):
        assert eve.ask(method, "labels").status_code in (404, 405)
    for content in (b"", b"{", b"null", b"[]", b"[" * 10_000, b'{"key":' * 2000, b"\xff\xfe"):
        assert refused(eve.ask("POST", "labels", content=content, headers={"content-type": "application/json"}))


def test_somebody_who_asks_too_often_is_slowed_down(played: tuple[Collected, str, str], tmp_path: Path) -> None:
    limits = {"annotation.requests_per_s": 0.01, "annotation.request_burst": 5, "joins_per_s": 0.01, "join_burst": 2}
    with annotate_server(tmp_path / "home", settings=limits) as server:
        first, second = server.join("One"), server.join("Two")
        body = {"token": server.invitation, "name": "Three"}
        assert httpx.post(f"{server.url}/api/annotate/join", json=body, timeout=30).status_code == 429
        assert [first.ask("GET", "queue").status_code for _ in range(7)] == [200] * 5 + [429] * 2
        assert second.get("queue") == {"items": [], "iteration": 0, "finished": False}
        refusal = first.ask("GET", "queue")
        assert refusal.headers["retry-after"] == "5" and refused(refusal)


# --- thousands of requests that no page would make ----------------------------------------------------------------

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.sampled_from(["../../x", "\x00", "\ud800", "a" * 3000, "\u202e", "[", "]", ",", "Wait", "error", "finished"]),
)
values = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=6
)
keys = st.text(alphabet="abcdefgh0123", min_size=6, max_size=12)
near = st.fixed_dictionaries(
    {},
    optional={
        "key": keys | values,
        "play": st.sampled_from(["PLAY", "ELSEWHERE"]) | values,
        "decision": st.integers(-1, 30) | values,
        "verdict": st.sampled_from(["error", "withdrawn"]) | values,
        "tool": st.sampled_from(["Pick", "Navigate", "Wait", "Explore", ""]) | values,
        "args": st.lists(st.sampled_from(["mug_1", "kitchen_1"]) | st.text(max_size=70), max_size=6) | values,
        "reason": st.text(max_size=100) | values,
        "seconds": st.floats(0, 100) | values,
        "status": st.sampled_from(["finished", "skipped"]) | values,
        "token": st.text(max_size=60) | values,
        "name": st.text(max_size=90) | values,
        "x": values,
    },
)
valid = st.one_of(
    st.builds(
        lambda key, decision, tool, args: {
            "key": key,
            "play": "PLAY",
            "decision": decision,
            "verdict": "error",
            "tool": tool,
            "args": args,
            "reason": "",
            "seconds": 1,
        },
        keys.filter(lambda key: len(key) >= 8),
        st.integers(0, 20),
        st.sampled_from(["Wait", "Done", "Explore", "Navigate"]),
        st.lists(st.sampled_from(["kitchen_1", "bedroom_1", "mug_1"]), max_size=2),
    ),
    st.builds(
        lambda key, status: {"key": key, "play": "PLAY", "status": status, "seconds": 1},
        keys.filter(lambda key: len(key) >= 8),
        st.sampled_from(["finished", "skipped"]),
    ),
)
bodies = st.one_of(
    near.map(json.dumps),
    valid.map(json.dumps),
    values.map(json.dumps),
    st.text(max_size=300),
    st.builds(lambda text, cut: text[:cut], valid.map(json.dumps), st.integers(0, 60)),
    st.sampled_from(["", "{", "[" * 3000, "x" * 17_000]),
)
paths = st.sampled_from(
    ["labels", "reviews", "iteration/finished", "join", "plays/PLAY/alive", "plays/PLAY/open", "plays/ELSEWHERE/open"]
)
requests = st.tuples(paths, bodies)
_EXAMPLES, _PER_EXAMPLE = 160, 25


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_requests_no_page_would_make(
    server: AnnotateServer, eve: AnnotatorClient, played: tuple[Collected, str, str]
) -> None:
    _, play, elsewhere = played
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    memory: list[int] = []
    sent: dict[int, int] = {}
    headers = {"authorization": f"Bearer {eve.token}", "content-type": "application/json"}
    client = httpx.Client(base_url=f"{server.url}/api/annotate/", headers=headers, timeout=60)

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(requests, min_size=_PER_EXAMPLE, max_size=_PER_EXAMPLE))
    def fuzz(batch: list[tuple[str, str]]) -> None:
        for path, body in batch:
            named = [text.replace("PLAY", play).replace("ELSEWHERE", elsewhere) for text in (path, body)]
            answer = client.post(named[0], content=named[1].encode("utf-8", "surrogatepass"))
            sent[answer.status_code] = sent.get(answer.status_code, 0) + 1
            assert answer.status_code == 200 or refused(answer), (named, answer.status_code, answer.text)
        memory.append(process.memory_info().rss)

    fuzz()
    client.close()
    assert sum(sent.values()) >= 4000 and sent[200] > 100, sent
    assert max(memory[len(memory) // 2 :]) - memory[len(memory) // 4] < 60 * 2**20, "memory grows"
    stored = server.labels.labels(superseded=True)
    assert {label.episode_play_id for label in stored if label.kind == "correction"} <= {play}
    fine = server.join("Fine")
    shown = fine.get(f"plays/{play}")
    admissible = {one["index"]: one["admissible"] for one in shown["decisions"]}
    for label in stored:
        if label.kind == "correction" and label.value["verdict"] == "error":
            assert label.decision_index is not None
            assert label.value["corrected"] in admissible[label.decision_index]
