"""The language model that labels text games, against a real HTTP server: good, chatty, empty, slow, dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, TextTurn
from hitl_ops.experts.llm_client import LLMClient
from hitl_ops.experts.llm_ledger import BudgetExhausted
from hitl_ops.experts.text_few_shot import few_shot_games
from hitl_ops.experts.text_llm import SYSTEM_PROMPT, THOUGHT_PROMPT, LLMTextConfig, LLMTextExpert
from hitl_ops.rollouts.text_history import TextHistory
from hitl_ops.worlds.household_text.world import HouseholdTextWorld
from hitl_ops.worlds.text_commands import parse_command
from tests.support.openai_server import Drop, OpenAIServer, Raw, Say, Slow, Status
from tests.support.text_rounds import games

ADMISSIBLE = ("go to desk 1", "go to desk 2", "inventory", "look")
TURN = TextTurn("You see.", ADMISSIBLE, won=False, over=False, steps=0)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda messages: "go to desk 2") as running:
        yield running


def expert_for(
    server: OpenAIServer, folder: Path, client: dict[str, Any] | None = None, **changes: Any
) -> LLMTextExpert:
    endpoint = {"base_url": server.base_url, "api_key_env": "", "model": server.model, "backoff_initial_s": 0.001}
    config = parse_config(LLMTextConfig, {"client": {**endpoint, **(client or {})}, **changes}, source="test")
    expert = LLMTextExpert(config, LLMClient(config.client, folder))
    game = games()[0]
    world = HouseholdTextWorld(5)
    expert.start(game, world, world.begin(game))
    return expert


def history() -> TextHistory:
    return TextHistory("put a mug in desk.", "You are in a room.\nYour task is to: put a mug in desk.")


def test_asks_with_examples_and_the_game_and_labels(server: OpenAIServer, tmp_path: Path) -> None:
    expert = expert_for(server, tmp_path)
    assert expert.label(history(), TURN) == "go to desk 2"
    (request,) = server.received
    system, user = request.messages
    assert system == {"role": "system", "content": SYSTEM_PROMPT}
    assert user["content"] == history().expert_prompt(few_shot_games(games()[0].family, 2))
    assert request.payload["temperature"] == 0 and "stop" not in request.payload
    assert expert.policy_id == "llm:test-model"


@pytest.mark.parametrize(
    "reply",
    [
        "> go to desk 1",
        "\n\ngo to desk 1",
        "Go to the desk 1.",
        "go to desk 1\nYou arrive.\n> look",
        "Action: go to desk 1",
    ],
)
def test_much_is_forgiven(server: OpenAIServer, tmp_path: Path, reply: str) -> None:
    server.script.append(Say(reply))
    assert expert_for(server, tmp_path).label(history(), TURN) == "go to desk 1"
    assert len(server.received) == 1


def test_tries_again_with_rising_temperature_until_something_can_be_done(server: OpenAIServer, tmp_path: Path) -> None:
    server.script += [Say(""), Say(None), Say("go to desk"), Say("go to desk 9"), Say("'desk' may mean much")]
    expert = expert_for(server, tmp_path)
    assert expert.label(history(), TURN) == "go to desk 2"
    assert [request.payload["temperature"] for request in server.received] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    asides = [[message["content"] for message in request.messages[2:]] for request in server.received]
    assert asides[:3] == [[], [], []] and asides[3][0] == "go to desk" and asides[4][0] == "go to desk 9"
    assert all(command in asides[3][1].splitlines() for command in ADMISSIBLE)
    assert (expert.labels, expert.missing, expert.tries) == (1, 0, 6)
    # What was said aside is forgotten.
    later = history()
    later.add("go to desk 2", "You arrive.")
    expert.label(later, TURN)
    assert len(server.received[-1].messages) == 2


def test_no_answer_is_none_and_counted(server: OpenAIServer, tmp_path: Path) -> None:
    server.script += [Say("")] * 6
    expert = expert_for(server, tmp_path)
    assert expert.label(history(), TURN) is None
    assert (expert.labels, expert.missing, expert.tries) == (0, 1, 6)
    server.script += [Say("I cannot decide.")] * 2
    assert expert_for(server, tmp_path / "two", temperatures=(0.0, 1.0)).label(history(), TURN) is None


def test_thoughts_are_asked_for_only_where_wanted(server: OpenAIServer, tmp_path: Path) -> None:
    server.brain = lambda messages: "think: the desk is near.\ngo to desk 1"
    plain, thinking = expert_for(server, tmp_path / "1"), expert_for(server, tmp_path / "2", thoughts=True)
    assert plain.label(history(), TURN) == thinking.label(history(), TURN) == "go to desk 1"
    assert (plain.thought, thinking.thought) == ("", "the desk is near.")
    first, second = server.received
    assert first.messages[0]["content"] == SYSTEM_PROMPT and second.messages[0]["content"] == THOUGHT_PROMPT
    assert "> think:" not in first.messages[1]["content"] and "> think:" in second.messages[1]["content"]


def test_faults_of_the_endpoint_are_sat_out_and_its_costs_told(server: OpenAIServer, tmp_path: Path) -> None:
    server.script += [Status(429, headers={"retry-after": "0"}), Drop(), Raw("<html>"), Slow(0.05, "go to desk 1")]
    budget = {"prompt_price": 1.0, "completion_price": 2.0}
    expert = expert_for(server, tmp_path, {"budget": budget})
    assert expert.label(history(), TURN) == "go to desk 1"
    usage = expert.usage()
    assert (usage.requests, usage.retries, usage.completion_tokens) == (1, 3, 4)
    assert usage.money == pytest.approx((usage.prompt_tokens + 2 * 4) / 1e6)


def test_nothing_is_asked_twice(server: OpenAIServer, tmp_path: Path) -> None:
    server.script += [Say(""), Say("go to desk 1")]
    asked = [expert_for(server, tmp_path).label(history(), TURN) for _ in range(2)]
    assert asked == ["go to desk 1"] * 2 and len(server.received) == 2


def test_used_up_budget_and_dead_endpoint_are_told(server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetExhausted, match="token budget exhausted"):
        expert_for(server, tmp_path / "1", {"budget": {"max_tokens": 10}}).label(history(), TURN)
    dead = expert_for(server, tmp_path / "2", {"base_url": "http://127.0.0.1:9/v1"})
    with pytest.raises(UserError, match="cannot be reached"):
        dead.label(history(), TURN)


@pytest.mark.parametrize("family", FAMILIES)
def test_examples_are_games_of_the_family_won_by_commands_that_exist(family: str) -> None:
    text = few_shot_games(family, 2, thoughts=True)
    assert text.count("Your task is to:") == 2 and text == few_shot_games(family, 2, thoughts=True)
    lines = [line.removeprefix("> ") for line in text.splitlines() if line.startswith("> ")]
    commands = [line for line in lines if not line.startswith("think: ")]
    assert len(commands) >= 4 and len(commands) * 2 == len(lines)
    assert all(parse_command(command) is not None for command in commands)
    assert "Nothing happens." not in text
    verb = {"pick_clean_then_place_in_recep": "clean", "pick_heat_then_place_in_recep": "heat"}.get(family)
    assert verb is None or sum(command.startswith(f"{verb} ") for command in commands) >= 2
    without = few_shot_games(family, 2)
    assert (
        "think:" not in without and [line for line in text.splitlines() if "think:" not in line] == without.splitlines()
    )


def test_examples_of_no_family() -> None:
    assert few_shot_games(FAMILIES[0], 0) == ""
    with pytest.raises(UserError, match="no example games"):
        few_shot_games("cooking", 1)
