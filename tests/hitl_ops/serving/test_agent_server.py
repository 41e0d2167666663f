"""An agent and its games in two processes: the same games, and nobody else is answered."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.records.round_games import RoundGame, list_round_games
from hitl_ops.rollouts.text_players import TextPlayersConfig
from hitl_ops.rollouts.text_rounds import ExpertStopped, RoundBatch, RoundPlayConfig
from hitl_ops.serving.agent_client import AgentClient
from hitl_ops.serving.agent_server import BODY_BYTES, AgentServer
from hitl_ops.serving.games_process import GamesProcess, make_collector
from hitl_ops.serving.openpi_codec import pack
from hitl_ops.training.agent_rounds import train_rounds
from tests.support.openai_server import OpenAIServer, Status
from tests.support.text_rounds import PLAYERS, WORLDS, games, rounds_config, start_agent, tiny_agent

PICTURE = 32
PROMPTS = ["Your task is to: put a mug in desk.\n>", "Else.\n>"]
TASKS = ["put a mug in desk.", "put a cup in desk."]
ADMISSIBLE = [["inventory", "look"], ["go to desk 1", "look"]]


@pytest.fixture(scope="module")
def agent() -> VisionAgent:
    return tiny_agent(2)


@pytest.fixture
def server(agent: VisionAgent) -> Iterator[AgentServer]:
    with AgentServer(agent, PICTURE) as running:
        yield running


def pictures(count: int = 2) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, PICTURE, PICTURE, 3), dtype=np.uint8)


def test_answers_are_those_of_the_agent(server: AgentServer, agent: VisionAgent) -> None:
    with AgentClient(server.url, server.token) as client:
        assert client.policy_id == agent.policy_id
        served = client.choose(PROMPTS, TASKS, pictures(), ADMISSIBLE)
        own = agent.choose(PROMPTS, TASKS, pictures(), ADMISSIBLE)
        assert [(a.text, a.action, a.logprob) for a in served] == [(a.text, a.action, a.logprob) for a in own]
        written = client.write(PROMPTS, TASKS, pictures(), " think:")
        long = ["word " * 5000 + "\n>", PROMPTS[0]]
        assert client.fits(long, ADMISSIBLE, " think:") == agent.fits(long, ADMISSIBLE, " think:") == [False, True]
        assert [a.text for a in written] == [a.text for a in agent.write(PROMPTS, TASKS, pictures(), " think:")]


def test_mistakes_of_the_asker_are_told_as_the_agent_tells_them(server: AgentServer) -> None:
    with AgentClient(server.url, server.token) as client:
        with pytest.raises(UserError, match="tokens"):
            client.choose(["word " * 5000 + "\n>"], TASKS[:1], pictures(1), ADMISSIBLE[:1])
        assert client.choose(PROMPTS, TASKS, pictures(), ADMISSIBLE)
    with AgentClient(server.url, "guessed") as stranger, pytest.raises(UserError, match="token is wrong"):
        stranger.choose(PROMPTS, TASKS, pictures(), ADMISSIBLE)
    with pytest.raises(UserError, match="not on this machine"):
        AgentClient("http://192.0.2.1:80", "token")
    with AgentClient("http://127.0.0.1:9", "token") as nobody, pytest.raises(UserError, match="does not answer"):
        nobody.policy_id  # noqa: B018


def question(**changes: Any) -> bytes:
    asked = {"prompts": PROMPTS, "tasks": TASKS, "pictures": pictures(), "admissible": ADMISSIBLE}
    return pack({name: value for name, value in {**asked, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/choose", question(), 200),
        ("/write", question(admissible=None), 200),
        ("/choose", b"", 400),
        ("/choose", b"\x80\x04\x95.", 400),
        ("/choose", pack([1, 2]), 400),
        ("/choose", question(pictures=None), 400),
        ("/choose", question(pictures=pictures()[:1]), 400),
        ("/choose", question(pictures=pictures().astype(np.float32)), 400),
        ("/choose", question(pictures=np.zeros((2, 8, 8, 3), np.uint8)), 400),
        ("/choose", question(prompts=[]), 400),
        ("/choose", question(prompts=["x"] * 65, tasks=["x"] * 65), 400),
        ("/choose", question(prompts=[1, 2]), 400),
        ("/choose", question(tasks=TASKS[:1]), 400),
        ("/choose", question(admissible=[["look"]]), 400),
        ("/choose", question(admissible=[["look"], []]), 400),
        ("/choose", question(extra="no"), 400),
        ("/fits", pack({"prompts": PROMPTS, "admissible": ADMISSIBLE, "opening": None}), 200),
        ("/fits", question(), 400),
        ("/fits", pack({"prompts": PROMPTS, "admissible": ADMISSIBLE[:1], "opening": None}), 400),
        ("/fits", pack({"prompts": PROMPTS, "admissible": ADMISSIBLE, "opening": 1}), 400),
        ("/", question(), 404),
        ("/status", question(), 404),
    ],
)
def test_only_questions_are_answered(server: AgentServer, path: str, body: bytes, status: int) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    assert httpx.post(server.url + path, content=body, headers=headers).status_code == status
    assert httpx.get(f"{server.url}/status", headers=headers).status_code == 200


def test_only_this_machines_programs_with_the_token_are_answered(server: AgentServer) -> None:
    key = {"Authorization": f"Bearer {server.token}"}
    for headers, status in (
        ({}, 401),
        ({"Authorization": server.token}, 401),
        ({"Authorization": f"Bearer {server.token}x"}, 401),
        ({**key, "Origin": "http://localhost"}, 403),
        ({**key, "Host": "evil.example"}, 403),
    ):
        assert httpx.post(f"{server.url}/choose", content=question(), headers=headers).status_code == status
        assert httpx.get(f"{server.url}/status", headers=headers).status_code == status
    assert server.url.startswith("http://127.0.0.1:") and len(server.token) >= 40


def raw(server: AgentServer, request: bytes) -> bytes:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_bodies_without_bounds_are_not_read(server: AgentServer) -> None:
    head = f"POST /choose HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n".encode()
    assert b" 413 " in raw(server, head + f"Content-Length: {BODY_BYTES + 1}\r\n\r\n".encode())
    assert b" 413 " in raw(server, head + b"Content-Length: 99999999999999999999\r\n\r\n")
    assert b" 411 " in raw(server, head + b"\r\n")
    assert b" 411 " in raw(server, head + b"Content-Length: -1\r\n\r\n")
    assert b" 411 " in raw(server, head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    assert b" 411 " in raw(server, head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert b" 400 " in raw(server, head + b"Content-Length: 40\r\n\r\nshort")


def batch(*numbers: int) -> RoundBatch:
    chosen = tuple((number, games()[number]) for number in numbers)
    play = RoundPlayConfig(games_at_once=len(numbers))
    return RoundBatch(
        phase="bc", round=0, games=chosen, beta=0.3, agent_step=0, picture=PICTURE, history_turns=5, play=play
    )


def content(game: RoundGame) -> tuple[Any, ...]:
    timing = {"latency_ms", "expert_latency_ms"}
    steps = [step.model_dump(exclude=timing) for step in game.steps]
    return steps, game.result.model_dump(exclude=timing), game.pictures().tobytes()


@pytest.mark.integration
@pytest.mark.parametrize("max_tokens", [1024, 150])
def test_games_in_a_process_of_their_own_are_the_same(tmp_path: Path, max_tokens: int) -> None:
    found, agent = [], tiny_agent(2, max_tokens=max_tokens)
    for link in ("in_process", "http"):
        collector = make_collector(link, PLAYERS, tmp_path)  # type: ignore[arg-type]
        reports: list[tuple[int, int]] = []
        try:
            played = [
                *collector.play(batch(0, 1), agent, tmp_path / link, lambda *step, told=reports: told.append(step)),
                *collector.play(batch(2), agent, tmp_path / link, lambda *step: None),
            ]
        finally:
            collector.close()
        found.append([content(game) for game in played])
        assert len(reports) == len(played[0].steps) and reports[-1][0] == 0
    assert found[0] == found[1]
    assert not [child for child in psutil.Process().children() if "games_process" in " ".join(child.cmdline())]


@pytest.mark.integration
def test_rounds_learn_the_same_from_games_in_another_process(tmp_path: Path) -> None:
    start = start_agent(tmp_path / "start")
    learned = []
    for link in ("in_process", "http"):
        collector = make_collector(link, PLAYERS, tmp_path)  # type: ignore[arg-type]
        try:
            summary = train_rounds(rounds_config(rounds=1), start, games(), collector, tmp_path / link)
        finally:
            collector.close()
        learned.append((summary.policy_id, summary.gradient_steps))
    assert learned[0] == learned[1]


@pytest.mark.integration
def test_death_of_the_games_process_is_told_and_it_begins_anew(tmp_path: Path, agent: VisionAgent) -> None:
    collector = GamesProcess(PLAYERS, tmp_path)

    def kill(running: int, steps: int) -> None:
        assert collector.pid is not None
        os.kill(collector.pid, signal.SIGKILL)

    try:
        with pytest.raises(UserError, match="plays games ended"):
            collector.play(batch(0), agent, tmp_path / "games", kill)
        assert not list_round_games(tmp_path / "games")
        assert len(collector.play(batch(0), agent, tmp_path / "games", lambda *step: None)) == 1
    finally:
        collector.close()


@pytest.mark.integration
def test_experts_end_and_costs_come_through(tmp_path: Path, agent: VisionAgent) -> None:
    with OpenAIServer(lambda messages: "look") as server:
        client = {"base_url": server.base_url, "api_key_env": "", "model": server.model, "max_retries": 0}
        llm = {"client": client, "few_shot": 0}
        players = TextPlayersConfig.model_validate({"expert": "llm", "llm": llm, "worlds": WORLDS})
        collector = GamesProcess(players, tmp_path / "llm")
        try:
            collector.play(batch(0), agent, tmp_path / "games", lambda *step: None)
            process = collector.pid
            server.script += [Status(500)]
            with pytest.raises(ExpertStopped, match="keeps answering 500"):
                collector.play(batch(1), agent, tmp_path / "games", lambda *step: None)
            collector.play(batch(2), agent, tmp_path / "games", lambda *step: None)
            assert collector.pid == process
            usage = collector.usage()
        finally:
            collector.close()
    assert usage is not None and usage.requests == 12 and usage.prompt_tokens > 0


@pytest.mark.integration
def test_player_that_cannot_begin_says_why(tmp_path: Path, agent: VisionAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    players = TextPlayersConfig.model_validate({"expert": "llm", "llm": {"client": {"model": "m"}}})
    collector = GamesProcess(players, tmp_path)
    try:
        for _ in range(2):
            with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
                collector.play(batch(0), agent, tmp_path / "games", lambda *step: None)
    finally:
        collector.close()


@pytest.mark.integration
def test_games_process_does_not_outlive_its_starter(tmp_path: Path) -> None:
    import multiprocessing

    starter = multiprocessing.get_context("spawn").Process(target=_start_and_wait, args=(tmp_path,))
    starter.start()
    try:
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        starter.kill()
        starter.join()
    child.wait(30)


def _start_and_wait(folder: Path) -> None:
    collector = GamesProcess(PLAYERS, folder)

    def tell(running: int, steps: int) -> None:
        (folder / "pid").write_text(str(collector.pid))
        time.sleep(60)

    collector.play(batch(0), tiny_agent(), folder / "games", tell)
