"""The process that decides: batches, newer policies, and what it does with what it cannot use."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from hitl_ops.contracts.planner import Observation
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig
from hitl_ops.serving.decision_client import DecisionClient
from hitl_ops.serving.decision_messages import DecisionMade, DecisionRefused, ServerStatus
from hitl_ops.serving.decision_server import DecisionServer
from hitl_ops.serving.policy_source import FolderSource
from hitl_ops.serving.serving_config import ServingConfig
from hitl_ops.serving.wire import pack
from tests.support.evaluated_policies import write_evaluated
from tests.support.small_policies import prompts, write_policy

PATIENCE_S = 120.0


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # Not under tmp_path: a Unix socket's path has to be short.
    folder = Path(mkdtemp())
    yield folder / "s"
    shutil.rmtree(folder)


@contextmanager
def serving(folder: Path, path: Path, **config: object) -> Iterator[DecisionServer]:
    """A server in a thread of its own, for as long as the block lasts."""
    server = DecisionServer(
        FolderSource(folder), ServingConfig.model_validate({"poll_s": 0.05, "device": "cpu", **config})
    )
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve(path, stop)))
    thread.start()
    try:
        until(path.exists)
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    assert not path.exists()


def until(condition: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain {what}"
        time.sleep(0.005)


def answers(client: DecisionClient, count: int) -> dict[int, DecisionMade | DecisionRefused]:
    came: dict[int, DecisionMade | DecisionRefused] = {}

    def enough() -> bool:
        came.update({answer.id: answer for answer in client.receive()})
        return len(came) >= count

    until(enough, f"for {count} answers, {len(came)} came")
    return came


def ready(client: DecisionClient, policy_id: str) -> None:
    def serves() -> bool:
        client.ask_status()
        client.receive()
        return client.status is not None and client.status.policy_id == policy_id

    until(serves, f"for {policy_id}")


def alone(folder: Path) -> list[str]:
    """What the policy chooses when asked one by one, in this process."""
    planner = PlannerLM.load(folder, PlannerLMConfig(device="cpu"))
    return [
        planner.decide(Observation(agent=1, role="ai", instruction="", prompt=prompt, admissible=admissible)).action
        for prompt, admissible in prompts()
    ]


@pytest.mark.parametrize("batching", ["never", "always"])
def test_many_sessions_get_the_decisions_each_would_get_alone(batching: str, tmp_path: Path, socket_path: Path) -> None:
    policy_id = write_policy(tmp_path / "p", seed=1)
    expected = alone(tmp_path / "p")
    with serving(tmp_path / "p", socket_path, batching=batching, gather_ms=20, most_together=8) as server:
        client = DecisionClient(socket_path)
        ready(client, policy_id)
        for turn, (prompt, admissible) in enumerate(prompts()):
            ids = [client.ask(f"session-{number}", 1, prompt, admissible) for number in range(12)]
            made = answers(client, 12)
            assert [made[number].action for number in ids] == [expected[turn]] * 12
            assert {made[number].policy_id for number in ids} == {policy_id}
            if turn and batching == "never":
                # What the session's last prompt left is gone on from.
                assert all(
                    made[number].stats["new_tokens"] < 100 < made[number].stats["prompt_tokens"] for number in ids
                )
        status = server.status()
        assert (status.decisions, status.refusals, status.waiting) == (72, 0, 0)
        assert 2 <= status.largest_batch <= 8
        client.close()


def test_a_newer_policy_takes_over_and_loses_nobody(tmp_path: Path, socket_path: Path) -> None:
    folder = tmp_path / "p"
    first = write_policy(folder, seed=1)
    (prompt, admissible), *_ = prompts()
    with serving(folder, socket_path) as server:
        client = DecisionClient(socket_path)
        ready(client, first)
        asked = [client.ask("s", 1, prompt, admissible) for _ in range(20)]
        second = write_policy(folder, seed=2)
        came: dict[int, DecisionMade | DecisionRefused] = {}

        def taken_over() -> bool:
            if len(asked) < 3000:
                asked.append(client.ask("s", 1, prompt, admissible))
            came.update({answer.id: answer for answer in client.receive()})
            return server.status().policy_id == second

        until(taken_over)
        after = client.ask("s", 1, prompt, admissible)
        came |= answers(client, len(asked) + 1 - len(came))
        assert set(came) == {*asked, after}
        assert all(isinstance(answer, DecisionMade) for answer in came.values())
        by_id = [came[number].policy_id for number in sorted(came)]
        assert set(by_id) == {first, second} and by_id == sorted(by_id, key=[first, second].index)
        assert came[after].policy_id == second
        assert server.status().swaps == 2
        client.close()


def test_a_policy_that_cannot_be_loaded_changes_nothing(tmp_path: Path, socket_path: Path) -> None:
    folder = tmp_path / "p"
    first = write_policy(folder, seed=1)
    (prompt, admissible), *_ = prompts()
    with serving(folder, socket_path) as server:
        client = DecisionClient(socket_path)
        ready(client, first)
        shutil.copytree(folder, tmp_path / "next")
        write_policy(tmp_path / "next", seed=2)
        (tmp_path / "next" / "merged" / "model.safetensors").write_bytes(b"not weights")
        shutil.move(folder, tmp_path / "old")
        until(lambda: "does not exist" in server.status().error)
        shutil.move(tmp_path / "next", folder)
        until(lambda: server.status().error != "" and "does not exist" not in server.status().error)
        assert server.status().policy_id == first
        number = client.ask("s", 1, prompt, admissible)
        assert answers(client, 1)[number].policy_id == first
        # Once it is mended, it is taken over like any other.
        third = write_policy(folder, seed=3)
        ready(client, third)
        assert server.status().error == ""
        client.close()


def test_without_a_policy_requests_are_refused_for_now(tmp_path: Path, socket_path: Path) -> None:
    (prompt, admissible), *_ = prompts()
    with serving(tmp_path / "p", socket_path) as server:
        client = DecisionClient(socket_path)
        until(lambda: "does not exist" in server.status().error)
        number = client.ask("s", 1, prompt, admissible)
        refused = answers(client, 1)[number]
        assert isinstance(refused, DecisionRefused) and not refused.lasting
        assert "no policy serves" in refused.reason
        policy_id = write_policy(tmp_path / "p")
        ready(client, policy_id)
        number = client.ask("s", 1, prompt, admissible)
        assert isinstance(answers(client, 1)[number], DecisionMade)
        client.close()


@pytest.mark.parametrize("batching", ["never", "always"])
def test_one_bad_request_costs_nobody_else_an_answer(batching: str, tmp_path: Path, socket_path: Path) -> None:
    policy_id = write_policy(tmp_path / "p", seed=1)
    (prompt, admissible), *_ = prompts()
    with serving(tmp_path / "p", socket_path, batching=batching, gather_ms=50):
        client = DecisionClient(socket_path)
        ready(client, policy_id)
        good = [client.ask("a", 1, prompt, admissible), client.ask("b", 0, prompt, admissible)]
        too_long = client.ask("c", 1, prompt * 40, admissible)
        other_style = client.ask("d", 1, prompt, admissible, style="snapshot")
        good.append(client.ask("e", 1, prompt, admissible))
        came = answers(client, 5)
        assert all(isinstance(came[number], DecisionMade) for number in good)
        assert came[too_long].lasting and "longer than the model reads" in came[too_long].reason
        assert came[other_style].lasting and "'incremental' prompts" in came[other_style].reason
        client.close()


def test_noise_costs_a_connection_and_a_bad_request_only_itself(tmp_path: Path, socket_path: Path) -> None:
    policy_id = write_policy(tmp_path / "p", seed=1)
    (prompt, admissible), *_ = prompts()
    with serving(tmp_path / "p", socket_path) as server:
        client = DecisionClient(socket_path)
        ready(client, policy_id)

        async def hostile() -> list[bytes]:
            ends = []
            for noise in (
                b"\xff\xff\xff\x7f",
                b"\x03\x00\x00\x00\xc1\xc1\xc1",
                pack(["decide"]),
                pack({"kind": "decide", "id": -1}),
                pack({"kind": "status", "and": "more"}),
            ):
                reader, writer = await asyncio.open_unix_connection(socket_path)
                writer.write(noise)
                ends.append(await asyncio.wait_for(reader.read(), PATIENCE_S))
                writer.close()
            reader, writer = await asyncio.open_unix_connection(socket_path)
            too_many = {"kind": "decide", "id": 5, "session": "../x", "agent": 1, "prompt": prompt, "admissible": []}
            writer.write(pack(too_many) + pack({"kind": "status"}))
            ends.append(await asyncio.wait_for(reader.readexactly(8), PATIENCE_S))
            writer.close()
            return ends

        *closed, answered = asyncio.run(hostile())
        assert closed == [b""] * 5
        assert answered
        number = client.ask("s", 1, prompt, admissible)
        assert isinstance(answers(client, 1)[number], DecisionMade)
        assert server.status().refusals == 1
        client.close()


def test_what_is_kept_of_a_session_that_is_over_is_let_go(tmp_path: Path, socket_path: Path) -> None:
    policy_id = write_policy(tmp_path / "p", seed=1)
    (prompt, admissible), *_ = prompts()
    with serving(tmp_path / "p", socket_path):
        client = DecisionClient(socket_path)
        ready(client, policy_id)
        for session in ("stays", "goes"):
            answers_to = client.ask(session, 1, prompt, admissible)
            assert answers_to in answers(client, 1)
        client.forget("goes")
        again = {session: client.ask(session, 1, prompt, admissible) for session in ("stays", "goes")}
        came = answers(client, 2)
        new = {session: came[number].stats["new_tokens"] for session, number in again.items()}
        assert new["stays"] < 20 < came[again["goes"]].stats["prompt_tokens"] <= new["goes"]
        client.close()


@pytest.mark.slow
def test_a_client_survives_its_server(tmp_path: Path, socket_path: Path) -> None:
    policy_id = write_policy(tmp_path / "p", seed=1)
    (prompt, admissible), *_ = prompts()
    client = DecisionClient(socket_path)
    number = client.ask("s", 1, prompt, admissible)
    assert client.receive()[0].id == number, "refused at once: there is nobody"
    assert not client.connected and client.status is None
    with serving(tmp_path / "p", socket_path):
        ready(client, policy_id)
        number = client.ask("s", 1, prompt, admissible)
        assert isinstance(answers(client, 1)[number], DecisionMade)
    number = client.ask("s", 1, prompt, admissible)
    lost = answers(client, 1)[number]
    assert isinstance(lost, DecisionRefused) and not lost.lasting
    with serving(tmp_path / "p", socket_path):
        ready(client, policy_id)
        number = client.ask("s", 1, prompt, admissible)
        assert isinstance(answers(client, 1)[number], DecisionMade)
    client.close()


def test_a_client_waits_for_nobody_for_ever(tmp_path: Path, socket_path: Path) -> None:
    import socket

    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    silent.bind(str(socket_path))
    silent.listen()
    client = DecisionClient(socket_path, patience_s=0.05)
    number = client.ask("s", 1, "prompt", ["Wait[]"])
    refused = answers(client, 1)[number]
    assert isinstance(refused, DecisionRefused) and "no answer" in refused.reason
    silent.close()
    client.close()


@pytest.mark.slow
def test_the_process_serves_an_alias_and_ends_when_told(tmp_path: Path, socket_path: Path) -> None:
    import subprocess
    import sys

    from hitl_ops.contracts.store import Store
    from hitl_ops.serving.policy_alias import promote, rollback

    store = Store.at(tmp_path / "root")
    first, second = write_evaluated(store, 0, seed=1), write_evaluated(store, 1, seed=2)
    command = [sys.executable, "-m", "hitl_ops.serving", "--socket", str(socket_path), "--root", str(store.root)]
    command += ["--alias", "serving", "--config", '{"poll_s": 0.1, "device": "cpu"}']
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        client = DecisionClient(socket_path)

        def status() -> ServerStatus | None:
            client.ask_status()
            client.receive()
            return client.status

        until(lambda: (now := status()) is not None and "flywheel promote planner 000" in now.error)
        promote(store, "planner", 0)
        ready(client, first)
        promote(store, "planner", 1)
        ready(client, second)
        rollback(store, "planner")
        ready(client, first)
        assert socket_path.stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert not socket_path.exists()
    finally:
        process.kill()
        process.wait()
