"""Games in which an agent acts and an expert labels, with the real world, agent and experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import GameHistory, TextTurn
from hitl_ops.experts.text_searcher import SearcherExpert
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.records.round_games import RoundGame, list_round_games, read_round_game
from hitl_ops.rollouts.beta_schedule import expert_acts
from hitl_ops.rollouts.text_history import TextHistory
from hitl_ops.rollouts.text_players import TextPlayersConfig, make_players
from hitl_ops.rollouts.text_rounds import ExpertStopped, Players, RoundBatch, RoundPlayConfig, RoundPlayer
from hitl_ops.samples.replay_buffer import BCReplayBuffer, DPOReplayBuffer
from tests.support.openai_server import OpenAIServer, Say, Status
from tests.support.text_rounds import MAX_STEPS, PLAYERS, WORLDS, games, tiny_agent


@pytest.fixture(scope="module")
def agent() -> VisionAgent:
    return tiny_agent(3)


def batch(
    numbers: tuple[int, ...] = (0, 1, 2, 3), beta: float = 0.0, history_turns: int = 3, **play: Any
) -> RoundBatch:
    return RoundBatch(
        phase="bc",
        round=1,
        games=tuple((number, games(4)[number]) for number in numbers),
        beta=beta,
        agent_step=7,
        picture=32,
        history_turns=history_turns,
        play=RoundPlayConfig(**play),
    )


def played(folder: Path, agent: VisionAgent, *batches: RoundBatch, players: Players | None = None) -> list[RoundGame]:
    player = RoundPlayer(players or make_players(PLAYERS, folder / "llm"))
    try:
        return [game for some in batches for game in player.play(some, agent, folder / "games")]
    finally:
        player.close()


def content(game: RoundGame) -> tuple[Any, ...]:
    """All of a game but the time it took."""
    timing = {"latency_ms", "expert_latency_ms"}
    steps = [step.model_dump(exclude=timing | {"logprob"}) for step in game.steps]
    return steps, game.result.model_dump(exclude=timing), game.pictures().tobytes()


def test_agent_acts_and_every_step_is_labelled(tmp_path: Path, agent: VisionAgent) -> None:
    game = played(tmp_path, agent, batch((2,)))[0]
    result = game.result
    assert (result.game, result.round, result.steps, result.by_expert) == (2, 1, MAX_STEPS, 0)
    assert (result.agent, result.agent_step, result.expert) == (agent.policy_id, 7, "text-searcher")
    assert result.labelled == MAX_STEPS and result.missing == 0
    assert len({picture.tobytes() for picture in game.pictures()}) >= 1
    for before, after in zip(game.steps, game.steps[1:], strict=False):
        assert before.executed == before.agent_action and before.executed_by == "agent"
        assert after.turn == before.response
        assert before.expert_action in before.admissible and before.agent_action in before.admissible
        assert f"> {before.executed}\n{before.response.strip()}\n>" in after.prompt
    last = game.steps[-1].prompt
    assert last.count("\n> ") == 3 and "\n...\n" in last and game.result.task in last
    assert content(read_round_game(game.folder)) == content(game)


def test_games_are_the_same_however_many_are_played_at_once(tmp_path: Path, agent: VisionAgent) -> None:
    alone = played(tmp_path / "1", agent, *(batch((number,), beta=0.4) for number in (3, 1, 0, 2)))
    together = played(tmp_path / "2", agent, batch(beta=0.4, games_at_once=4))
    by_number = {game.result.game: content(game) for game in alone}
    assert {game.result.game: content(game) for game in together} == by_number
    assert len({game.steps[0].prompt for game in together}) > 1
    logprobs = [
        [step.logprob for game in sorted(some, key=lambda g: g.result.game) for step in game.steps]
        for some in (alone, together)
    ]
    np.testing.assert_allclose(logprobs[0], logprobs[1], rtol=1e-3, atol=1e-4)


def test_mixing_decides_who_acts(tmp_path: Path, agent: VisionAgent) -> None:
    seen = {"agent": 0, "expert": 0}
    for game in played(tmp_path, agent, batch(beta=0.5, seed=4)):
        for step in game.steps:
            place = {"round_number": 1, "game": game.result.game, "step": step.step}
            assert (step.executed_by == "expert") == expert_acts(0.5, seed=4, **place)
            assert step.executed == (step.expert_action if step.executed_by == "expert" else step.agent_action)
            seen[step.executed_by] += 1
    assert min(seen.values()) > 3


def test_expert_that_always_acts_wins(tmp_path: Path, agent: VisionAgent) -> None:
    worlds: Any = {"household": {**WORLDS["household"], "max_steps": 40}}
    for expert in ("searcher", "oracle"):
        config = TextPlayersConfig(expert=expert, worlds=worlds)  # type: ignore[arg-type]
        found = played(tmp_path / expert, agent, batch((0, 1), beta=1.0), players=make_players(config, tmp_path))
        assert all(game.result.success and game.result.by_expert == game.result.steps < 40 for game in found)
        assert all(game.steps[-1].executed == game.steps[-1].expert_action for game in found)


class Absent(SearcherExpert):
    """Has no answer at every second step."""

    def label(self, history: GameHistory | None, turn: TextTurn) -> str | None:
        return None if turn.steps % 2 else super().label(history, turn)


def test_step_without_an_answer_is_kept_and_the_agent_acts(tmp_path: Path, agent: VisionAgent) -> None:
    players = make_players(PLAYERS, tmp_path)
    game = played(tmp_path, agent, batch((0,), beta=1.0), players=Players(players.world, lambda _: Absent()))[0]
    assert [step.expert_action is None for step in game.steps] == [False, True] * (MAX_STEPS // 2)
    assert [step.executed_by for step in game.steps] == ["expert", "agent"] * (MAX_STEPS // 2)
    assert (game.result.labelled, game.result.missing) == (MAX_STEPS // 2, MAX_STEPS // 2)


def test_whatever_an_agent_writes_goes_to_the_world(tmp_path: Path) -> None:
    game = played(tmp_path, tiny_agent(0, reply="free", max_reply_tokens=4), batch((0,)))[0]
    assert game.result.nothing_happened == game.result.steps == MAX_STEPS
    assert all(step.executed == step.agent_action not in step.admissible for step in game.steps)


def test_thoughts_of_both_are_kept(tmp_path: Path, agent: VisionAgent) -> None:
    with OpenAIServer(lambda messages: "think: I look around.\nlook") as server:
        game = played(tmp_path, agent, batch((0,), enable_tc=True), players=llm(server, tmp_path, thoughts=True))[0]
    assert all(step.expert_thought == "I look around." for step in game.steps)
    thoughts = [step.agent_thought for step in game.steps]
    assert any(thoughts) and all("\n" not in thought for thought in thoughts)
    told = next(step for step in game.steps if step.agent_thought)
    later = game.steps[told.step + 1].prompt
    assert f"> think: {told.agent_thought}\n> {told.executed}\n" in later


def test_thoughts_are_not_asked_of_an_expert_that_has_none(tmp_path: Path, agent: VisionAgent) -> None:
    with pytest.raises(UserError, match="'text-searcher' tells no thoughts"):
        played(tmp_path, agent, batch((0,), enable_tc=True))
    with OpenAIServer(lambda messages: "think: I look around.\nlook") as server:
        game = played(tmp_path, agent, batch((0,), beta=1.0), players=llm(server, tmp_path, thoughts=True))[0]
    assert not any(step.expert_thought or step.agent_thought or "think:" in step.prompt for step in game.steps)


class Reader:
    """An agent that remembers what it was given to read."""

    def __init__(self, agent: VisionAgent) -> None:
        self.agent, self.policy_id, self.read = agent, agent.policy_id, list[str]()

    def fits(self, prompts: Any, admissible: Any, opening: str | None = None) -> list[bool]:
        return self.agent.fits(prompts, admissible, opening)

    def choose(self, prompts: Any, *rest: Any) -> Any:
        self.read += prompts
        return self.agent.choose(prompts, *rest)

    def write(self, prompts: Any, *rest: Any) -> Any:
        return self.agent.write(prompts, *rest)


def learn(agent: VisionAgent, found: list[RoundGame]) -> int:
    """Encode everything that an agent learns from games, in both phases; how many answers that were."""
    rows = []
    for kind in (BCReplayBuffer, DPOReplayBuffer):
        buffer = kind(1000, 32)
        for game in found:
            buffer.add_game(game)
        rows += buffer.sample(0, 1000, 0)
    return len([agent.encode(row.prompt, answer, row.task) for row in rows for answer in row.answers])


@pytest.mark.parametrize("changes", [{}, {"reply": "free", "max_reply_tokens": 4}], ids=["constrained", "free"])
def test_oldest_turns_are_left_out_where_the_agent_cannot_read_all(tmp_path: Path, changes: dict[str, Any]) -> None:
    reader = Reader(tiny_agent(3, max_tokens=150, **changes))
    found = played(tmp_path, reader, batch((0, 1, 2), beta=0.5, history_turns=20))  # type: ignore[arg-type]
    steps = [step for game in found for step in game.steps]
    cut = [step for step in steps if "\n...\n" in step.prompt]
    assert cut and len(cut) < len(steps)
    assert sorted(reader.read) == sorted(step.prompt for step in steps)
    for game in found:
        for before, after in zip(game.steps, game.steps[1:], strict=False):
            opening, _, told = after.prompt.partition("\n...\n")
            newest = f"> {before.executed}\n{before.response.strip()}\n>"
            assert told in ("", ">") or told.endswith(newest)
            if after in cut:  # one turn more would not have fitted
                history = TextHistory(game.result.task, opening)
                for step in game.steps[: after.step]:
                    history.add(step.executed, step.response)
                whole = next(n for n in range(20) if history.prompt(n) == after.prompt)
                assert reader.fits([history.prompt(whole + 1)], [after.admissible]) == [False]
    assert learn(reader.agent, found) > len(steps)


def test_opening_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="longer than the agent reads"):
        played(tmp_path, tiny_agent(3, max_tokens=64), batch((0,), history_turns=20))


@pytest.mark.parametrize("thought", ["Hm.", "I look around. " * 40], ids=["short", "long"])
def test_thoughts_that_nothing_can_be_read_behind_are_left_out(tmp_path: Path, thought: str) -> None:
    agent = tiny_agent(3, max_tokens=240, max_reply_tokens=8)
    with OpenAIServer(lambda messages: f"think: {thought}\nlook") as server:
        players = llm(server, tmp_path, thoughts=True)
        found = played(tmp_path, agent, batch((0, 1), history_turns=20, enable_tc=True), players=players)
    steps = [step for game in found for step in game.steps]
    assert {step.expert_thought for step in steps} == {thought.strip() if thought == "Hm." else ""}
    assert any("\n...\n" in step.prompt for step in steps)
    assert learn(agent, found) > len(steps)


def llm(server: OpenAIServer, folder: Path, client: dict[str, Any] | None = None, **changes: Any) -> Players:
    endpoint = {
        "base_url": server.base_url,
        "api_key_env": "",
        "model": server.model,
        "backoff_initial_s": 0.001,
        "max_retries": 1,
        "max_tokens": 50,
    }
    settings = {"client": {**endpoint, **(client or {})}, "few_shot": 0, **changes}
    return make_players(TextPlayersConfig.model_validate({"expert": "llm", "llm": settings, "worlds": WORLDS}), folder)


def test_language_model_labels_many_games_at_once_and_tells_its_costs(tmp_path: Path, agent: VisionAgent) -> None:
    with OpenAIServer(lambda messages: "> Look.\n\nThat tells most.", delay_s=0.05) as server:
        server.script += [Say(""), Status(429, headers={"retry-after": "0"})]
        players = llm(server, tmp_path)
        found = played(tmp_path, agent, batch(), players=players)
        assert server.peak > 1
    assert {step.expert_action for game in found for step in game.steps} == {"look"}
    usage = players.usage()
    assert usage is not None and usage.requests == 4 * MAX_STEPS + 1 and usage.retries == 1
    assert all(game.result.expert_latency_ms > 40 for game in found)


def test_finished_games_stay_where_the_expert_stops(tmp_path: Path, agent: VisionAgent) -> None:
    with OpenAIServer(lambda messages: "look") as server:
        players = llm(server, tmp_path)
        played(tmp_path, agent, batch((0,)), players=players)
        server.script += [Status(500)] * 50
        with pytest.raises(ExpertStopped, match="keeps answering 500"):
            played(tmp_path, agent, batch((1,)), players=players)
    assert [path.name for path in list_round_games(tmp_path / "games")] == ["bc-01-0000"]
