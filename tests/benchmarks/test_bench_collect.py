"""The collection server's benchmark, in seconds instead of minutes: that it measures what it says."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import collect
from benchmarks.collection.blocking_reference_server import Session
from benchmarks.collection.key_script import AXES, REPEATS_PER_S, presses
from benchmarks.collection.load_clients import ActionClient, StreamClient, Window, measure
from benchmarks.collection.rows import row
from flywheel import bench as verb
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.rollouts.live_session import LiveSession
from tests.support.plays import small_episode
from ui_collect.keyframes import KeyframeEncoder


def test_people_hold_keys_as_people_do_and_the_same_ones_every_time() -> None:
    first = list(islice(presses(3), 200))
    assert first == list(islice(presses(3), 200)) != list(islice(presses(4), 200))
    held = sum(press.hold_s for press in first)
    assert 0.5 < held / (held + sum(press.wait_s for press in first)) < 0.95
    assert {press.action for press in first} == set(AXES)
    assert all(press.axes == AXES[press.action] for press in first)


def test_a_ratio_holds_from_its_target_on() -> None:
    more = row("people", "people", 40, 4, target=10.0, at_least=True)
    less = row("people", "people", 39, 4, target=10.0, at_least=True)
    assert (more["ratio"], more["holds"], less["holds"]) == (10.0, True, False)
    assert (
        row("bytes", "bytes/s", 1, 20, target=0.1)["holds"] and not row("bytes", "bytes/s", 3, 20, target=0.1)["holds"]
    )
    assert row("lost", "events", 0, limit=0)["holds"] and not row("lost", "events", 1, limit=0)["holds"]
    alone = row("memory", "MB", 5)
    assert set(alone) == set(verb.COLUMNS) and alone["holds"] is None and alone["ratio"] is None


class FirstAction:
    """A planner that takes the first of what it may do."""

    def __init__(self) -> None:
        self.asked = 0

    def decide(self, observation: Observation, key: object = None) -> Reply:
        self.asked += 1
        return Reply(observation.admissible[0], observation.admissible[0])


def test_the_reference_moves_one_tick_an_action_and_sends_a_picture(tmp_path: Path) -> None:
    planner = FirstAction()
    session = Session("session_1", small_episode(), planner, {})
    answers = [session.step({"action": "MoveForward"}) for _ in range(4)]
    places = [answer["state"]["agent_0_position"] for answer in answers]
    assert places[3][0] - places[0][0] == pytest.approx(3 * 1.5 / 30)
    assert planner.asked == 1, "only when the partner is idle"
    import base64
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(answers[0]["rgb"])))
    assert (picture.format, picture.size) == ("JPEG", (640, 480))
    session.save(tmp_path)
    assert len(list(tmp_path.glob("session_1.json.gz"))) == 1


class Silent:
    """A socket that takes messages and hears nothing."""

    received_bytes = 0
    open = True

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def close(self) -> None:
        return


def test_what_is_never_shown_counts_as_late() -> None:
    async def press() -> Window:
        client = StreamClient(1, "http://nowhere", "token")
        client.socket = Silent()  # type: ignore[assignment]
        client.on_text('{"type":"stage","stage":"episode"}')
        client.on_text('{"type":"episode","next_seq":0}')
        encoder = KeyframeEncoder(LiveSession(small_episode()))
        client.on_bytes(encoder.full())
        client.begin()
        client._hold(1.0, 0.0, 0.0)
        client._pending[0] = (client._pending[0][0], time.perf_counter() - 0.5)
        client._hold(0.0, 0.0, 0.0)
        return client.seen()

    window = asyncio.run(press())
    assert window.unanswered == 2
    assert len(window.latencies_ms) == 1 and window.latencies_ms[0] > 400, "what was just sent is not late yet"


@pytest.mark.slow
def test_a_held_key_repeats_for_the_reference_and_not_for_us() -> None:
    async def press() -> tuple[int, int, float]:
        loop = asyncio.get_running_loop()
        streamed, acting = StreamClient(1, "", ""), ActionClient(1, "")
        sockets = [Silent(), Silent()]
        for client, socket in zip((streamed, acting), sockets, strict=True):
            client.socket = socket  # type: ignore[attr-defined]
        streamed._playing.set()
        until = loop.time() + 1.5
        tasks = [asyncio.create_task(client.press_keys(until)) for client in (streamed, acting)]
        await asyncio.wait(tasks, timeout=30)
        held = 0.0
        taken = presses(1)
        for _ in range(len(sockets[0].sent) // 2):
            held += next(taken).hold_s
        return len(sockets[0].sent), len(sockets[1].sent), held

    changes, events, held = asyncio.run(press())
    assert changes % 2 == 0 and changes >= 2
    assert events == pytest.approx(held * REPEATS_PER_S, abs=changes)


def test_measuring_needs_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Instant:
        async def press_keys(self, until: float) -> None:
            await asyncio.sleep(60)

        def begin(self) -> None:
            return

        def seen(self) -> Window:
            return Window(latencies_ms=[10.0, 20.0, 30.0], received_bytes=100, seconds=0.5, ticks_per_s=29.0)

    result = asyncio.run(measure([Instant(), Instant()], warm_up_s=0.0, seconds=0.01))  # type: ignore[list-item]
    assert (result.sessions, result.p50_ms, result.p95_ms) == (2, 20.0, 30.0)
    assert (result.bytes_per_s, result.ticks_per_s) == (200.0, 29.0)


@pytest.mark.integration
def test_both_servers_are_measured_in_one_run() -> None:
    # However busy the machine is: this is about what is measured, not about how much.
    patient = {"within_ms": 10_000.0, "speed_kept": 0.05, "given_up": 1000}
    settings = collect.Settings.model_validate(
        {"rounds": 1, "seconds": 1.5, "warm_up_s": 0.5, "most": 2, "episodes": 2, "preset": "tiny_ci", **patient}
    )
    rows = collect.bench(settings)
    assert all(set(found) == set(verb.COLUMNS) for found in rows)
    people, received = rows[:2]
    assert (people["ours"], people["reference"], people["target"], people["holds"]) == (2, 2, 10.0, False)
    assert 50 < received["ours"] < 20_000 < received["reference"] and received["holds"]


@pytest.mark.integration
@pytest.mark.slow
def test_a_short_soak_has_a_row_for_everything_that_must_hold() -> None:
    settings = collect.Settings(mode="soak", people=4, minutes=0.4, episodes=3, preset="tiny_ci", drops_per_minute=3.0)
    rows = {found["metric"].partition(",")[0].partition(";")[0]: found for found in collect.bench(settings)}
    for metric in (
        "acknowledged events not in the records",
        "finished plays not closed or not valid",
        "plays of ended sessions left open",
        "half-written files",
        "breaches of the protocol by the server",
    ):
        assert rows[metric]["ours"] == 0 and rows[metric]["holds"], rows[metric]


def test_a_setting_nobody_knows_is_an_error() -> None:
    with pytest.raises(UserError, match="minuets"):
        verb.bench("collect", overrides=["minuets=3"])
