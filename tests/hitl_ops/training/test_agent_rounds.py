"""Rounds of playing and learning, with the real world, agent, trainer and experts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.records.round_games import list_round_games, read_result, read_round_game
from hitl_ops.rollouts.text_players import TextPlayersConfig, make_players
from hitl_ops.rollouts.text_rounds import Players, RoundPlayer
from hitl_ops.samples.preference_pairs import write_preference_pairs
from hitl_ops.samples.replay_buffer import ReplayRow, blank_picture
from hitl_ops.training.agent_phase import train_agent_phase
from hitl_ops.training.agent_phase_config import AgentPhaseConfig
from hitl_ops.training.agent_rounds import OtherSamples, train_rounds
from hitl_ops.training.agent_rounds_log import (
    Corrections,
    RoundsSummary,
    read_corrections,
    read_rounds,
    read_rounds_summary,
)
from hitl_ops.training.checkpoint import list_checkpoints
from hitl_ops.training.tracking import NullTracker
from hitl_ops.training.train_log import read_log
from tests.support.openai_server import Drop, OpenAIServer, Raw, Say, Slow, Status
from tests.support.text_rounds import (
    MAX_STEPS,
    PLAYERS,
    WORLDS,
    games,
    rounds_config,
    start_agent,
    tiny_agent,
    val_games,
)


class Told(NullTracker):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))


def run(folder: Path, phase: str = "bc", players: Players | None = None, **given: Any) -> RoundsSummary:
    """A phase from the start agent, or from the imitation's."""
    agent = start_agent(folder / "start") if phase == "bc" else folder / "bc" / "agent"
    keywords = {name: given.pop(name) for name in ("others", "tracker", "progress", "validation") if name in given}
    collector = RoundPlayer(players or make_players(PLAYERS, folder / "llm"))
    some = given.pop("some", games())
    try:
        return train_rounds(rounds_config(phase, **given), agent, some, collector, folder / phase, **keywords)
    finally:
        collector.close()


def make_pair(number: int, prompt: str) -> PreferencePair:
    """An annotator's correction."""
    facts: dict[str, Any] = {"episode_id": "e", "split": "train", "scene_id": "s", "task_type": "rearrange", "agent": 0}
    facts |= {"iteration": 0, "play_id": "p", "step": number, "weight": 1.0, "policy_id": "planner-0", "trace": "t"}
    said = {"chosen": "Navigate[desk]<end_act>", "rejected": "Wait[]<end_act>", "label_ids": f"{number}"}
    return PreferencePair(**facts, **said, pair_id=f"e/p/{number}/pair", prompt=prompt)


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both phases, done."""
    folder = tmp_path_factory.mktemp("phases")
    run(folder, "bc")
    run(folder, "dpo")
    return folder


def test_imitation_plays_learns_and_tells(phases: Path) -> None:
    summary = read_rounds_summary(phases / "bc")
    assert summary.finished and not summary.stopped and (summary.games, summary.gradient_steps) == (6, 12)
    results = [read_result(folder) for folder in list_round_games(phases / "bc" / "games")]
    assert [(result.round, result.game, result.agent_step) for result in results] == [
        (0, 0, 0),
        (0, 1, 2),
        (0, 2, 4),
        (1, 0, 6),
        (1, 1, 8),
        (1, 2, 10),
    ]
    # The agent of each game is the one that learned from the game before.
    assert len({result.agent for result in results}) == 6 and results[0].agent == summary.start
    lines = read_log(phases / "bc" / "train_log.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"]
    first, second = read_rounds(phases / "bc")
    assert first.loss == pytest.approx(sum(line["loss"] for line in lines[:6]) / 6)
    assert (first.games, first.success + first.fail, first.buffer, second.buffer) == (
        3,
        3,
        3 * MAX_STEPS,
        6 * MAX_STEPS,
    )
    assert first.accuracy == sum(result.success for result in results[:3]) / 3
    told = json.loads((phases / "bc" / "env_results_round_01.json").read_text())
    assert [game["name"] for game in told.values()] == [game.game_id for game in games()]
    assert [game["is_success"] for game in told.values()] == [result.success for result in results[3:]]
    assert VisionAgent.load(phases / "bc" / "agent").policy_id == summary.policy_id != summary.start


def test_preferences_begin_where_imitation_ended_and_keep_their_reference(phases: Path) -> None:
    imitated, preferred = read_rounds_summary(phases / "bc"), read_rounds_summary(phases / "dpo")
    assert preferred.start == imitated.policy_id != preferred.policy_id
    assert preferred.start_weights == sha256_of(phases / "bc" / "agent" / "weights.safetensors")
    lines = read_log(phases / "dpo" / "train_log.jsonl")
    assert lines[0]["W_reward"] == pytest.approx(0, abs=1e-5) and lines[0]["L_reward"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["margin"] > 0
    # Each pair's reference was found once, and each pair is a step at which the two differed.
    known = json.loads((list_checkpoints(phases / "dpo" / "checkpoints")[-1] / "references.json").read_text())
    differed = {
        game.step_id(step.step)
        for folder in list_round_games(phases / "dpo" / "games")
        for game in [read_round_game(folder)]
        for step in game.steps
        if step.agrees is False
    }
    assert known.keys() <= differed and len(known) > 4


def test_what_is_done_is_not_done_again(phases: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in phases.rglob("*") if path.is_file()}
    assert run(phases, "bc") == read_rounds_summary(phases / "bc")
    assert {path: path.stat().st_mtime_ns for path in phases.rglob("*") if path.is_file()} == before


def test_validation_games_follow_each_round_and_teach_nothing(phases: Path, tmp_path: Path) -> None:
    play = {"beta": {"kind": "constant", "start": 1.0}}
    told, plain = Told(), run(tmp_path / "plain", play=play)
    summary = run(tmp_path, play=play, val_games=2, validation=val_games(), tracker=told)
    assert summary.policy_id == plain.policy_id  # to the bit
    found = [read_result(folder) for folder in list_round_games(tmp_path / "bc" / "val_games")]
    assert [(one.round, one.game_id, one.agent_step, one.by_expert) for one in found] == [
        (number, game.game_id, 6 * (number + 1), 0) for number in range(2) for game in val_games()
    ]
    # Who plays them is the agent that the round left, not the one that played in it.
    assert found[0].agent == found[1].agent != found[2].agent == found[3].agent == summary.policy_id
    for log, own, other in zip(summary.rounds, (found[:2], found[2:]), plain.rounds, strict=True):
        assert log.val_accuracy == sum(one.success for one in own) / 2
        assert log.val_agreement == sum(one.agreed for one in own) / sum(one.labelled for one in own)
        same = {"val_accuracy", "val_agreement", "latency_ms", "expert_latency_ms"}
        assert log.model_dump(exclude=same) == other.model_dump(exclude=same) and other.val_accuracy is None
    assert [line["round/val_agreement"] for _, line in told.metrics if "round/val_agreement" in line] == [
        log.val_agreement for log in summary.rounds
    ]
    with pytest.raises(UserError, match="2 validation games, not 3"):
        run(tmp_path / "few", val_games=3, validation=val_games())
    with pytest.raises(UserError, match="begun with other games"):
        (tmp_path / "bc" / "summary.json").unlink()
        run(tmp_path, play=play, val_games=2, validation=val_games(3)[1:])


def test_rounds_can_be_added(tmp_path: Path) -> None:
    short = run(tmp_path, rounds=1)
    longer = run(tmp_path, rounds=2)
    whole = run(tmp_path / "whole", rounds=2)
    assert short.policy_id != longer.policy_id == whole.policy_id
    assert [log.round for log in read_rounds(tmp_path / "bc")] == [0, 1]


def test_another_agent_other_games_or_settings_are_refused(phases: Path, tmp_path: Path) -> None:
    out, collector = phases / "bc", RoundPlayer(make_players(PLAYERS, tmp_path))
    config, start = rounds_config(), phases / "start"
    with pytest.raises(UserError, match="began with agent"):
        train_rounds(config, start_agent(tmp_path / "other", seed=9), games(), collector, out)
    with pytest.raises(UserError, match="other games"):
        train_rounds(config, start, games(2), collector, out)
    with pytest.raises(UserError, match="begun with capacity=6700, not 5"):
        train_rounds(config.replace(capacity=5), start, games(), collector, out)
    with pytest.raises(UserError, match="no games"):
        train_rounds(config, start, (), collector, out)


def test_reference_that_changed_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "bc", rounds=1)
    run(tmp_path, "dpo", rounds=1)
    tiny_agent(5).save(tmp_path / "bc" / "agent")
    with pytest.raises(UserError, match="began with agent"):
        run(tmp_path, "dpo", rounds=2)


def test_other_samples_come_first(phases: Path, tmp_path: Path) -> None:
    row = ReplayRow("corrections/1", blank_picture(32), "Task.\n>", "tidy.", (" Pick[mug]", " Wait[]"))
    before = tuple((f"000/{folder.name}", folder) for folder in list_round_games(phases / "dpo" / "games"))
    run(tmp_path, "bc", rounds=1)
    alone = run(tmp_path, "dpo", rounds=1, others=OtherSamples(pairs=(row,)))
    differed = sum(read_result(folder).labelled - read_result(folder).agreed for _, folder in before)
    with pytest.raises(UserError, match="other games"):
        run(tmp_path, "dpo", rounds=1, others=OtherSamples(games=before, pairs=(row,)))
    (tmp_path / "dpo").rename(tmp_path / "first")
    both = run(tmp_path, "dpo", rounds=1, others=OtherSamples(games=before, pairs=(row,)))
    assert both.rounds[0].buffer >= alone.rounds[0].buffer - MAX_STEPS + differed > alone.rounds[0].buffer
    known = json.loads((list_checkpoints(tmp_path / "first" / "checkpoints")[-1] / "references.json").read_text())
    assert "corrections/1" in known
    assert read_corrections(tmp_path / "first") == Corrections(used=["corrections/1"])
    assert read_corrections(tmp_path / "bc") == Corrections()


def test_pairs_that_the_agent_cannot_read_are_left_out_and_it_is_opened_once(
    phases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [make_pair(0, "Task: tidy up.\nAction:"), make_pair(1, "Task: tidy up. " * 5000)]
    write_preference_pairs(tmp_path / "pairs.parquet", pairs, prompt_style="incremental")
    opened, plain = [], VisionAgent.load

    def counted(folder: Path, **changes: Any) -> VisionAgent:
        opened.append(folder)
        return plain(folder, **changes)

    monkeypatch.setattr(VisionAgent, "load", counted)
    config = AgentPhaseConfig(players=PLAYERS, rounds=rounds_config("dpo", rounds=1))
    collector = RoundPlayer(make_players(PLAYERS, tmp_path / "llm"))
    start, out, files = phases / "bc" / "agent", tmp_path / "dpo", [tmp_path / "pairs.parquet"]
    try:
        for _ in range(2):  # what is finished opens nobody
            train_agent_phase(config, games(), collector, out, start=start, pairs=files)
    finally:
        collector.close()
    (used,) = read_corrections(out).used
    assert used == f"corrections/{pairs[0].pair_id}" and read_corrections(out).too_long == 1
    assert opened == [start]
    known = json.loads((list_checkpoints(out / "checkpoints")[-1] / "references.json").read_text())
    assert {name for name in known if name.startswith("corrections/")} <= {used}


def test_fresh_games_take_the_next_of_the_list_and_the_buffer_is_bounded(tmp_path: Path) -> None:
    tracker, reports = Told(), []
    summary = run(
        tmp_path,
        games_per_round=2,
        fresh_games=True,
        capacity=MAX_STEPS + 1,
        play={"games_at_once": 2},
        tracker=tracker,
        progress=lambda done, total, note="": reports.append((done, total)),
    )
    results = [read_result(folder) for folder in list_round_games(tmp_path / "bc" / "games")]
    assert [result.game_id for result in results] == [games()[number].game_id for number in (0, 1, 2, 0)]
    assert [result.agent_step for result in results] == [0, 0, 4, 4]
    assert [log.buffer for log in summary.rounds] == [MAX_STEPS, MAX_STEPS] and summary.gradient_steps == 8
    assert reports == sorted(reports) and reports[-1] == (4, 4)
    assert [step for step, metrics in tracker.metrics if "round/accuracy" in metrics] == [4, 8]
    assert sum("loss" in metrics for _, metrics in tracker.metrics) == 8


def llm(server: OpenAIServer, folder: Path, **client: Any) -> Players:
    endpoint = {"base_url": server.base_url, "api_key_env": "", "model": server.model, "backoff_initial_s": 0.001}
    settings = {"client": {**endpoint, "max_retries": 2, "max_tokens": 50, **client}, "few_shot": 1}
    return make_players(TextPlayersConfig.model_validate({"expert": "llm", "llm": settings, "worlds": WORLDS}), folder)


def test_rounds_go_on_whatever_a_language_model_says(tmp_path: Path) -> None:
    with OpenAIServer(lambda messages: "> Go to the inventory.\ninventory") as server:
        server.script += [
            Say(""),
            Say("I would like to look.\n\nAction: look\nAction: inventory"),
            Slow(0.1, "look"),
            Status(429, headers={"retry-after": "0"}),
            Status(503),
            Say("look"),
            Raw("{}"),
            Drop(),
            *[Say("nobody knows")] * 6,
        ]
        server.brain = lambda messages: "> Inventory.\nlook"
        summary = run(tmp_path, players=llm(server, tmp_path, budget={"prompt_price": 1.0}), rounds=1)
    (log,) = summary.rounds
    assert summary.finished and log.missing == 1 and log.labelled == 3 * MAX_STEPS - 1
    usage = summary.expert_usage
    assert usage is not None and usage.requests == len(server.received) - usage.retries and usage.retries == 4
    assert usage.money == pytest.approx(usage.prompt_tokens / 1e6) and log.expert_usage == usage


def test_nothing_is_learned_where_there_is_no_answer(tmp_path: Path) -> None:
    with OpenAIServer(lambda messages: "") as server:
        summary = run(tmp_path, players=llm(server, tmp_path), rounds=1, some=games()[:2])
        assert summary.finished and summary.gradient_steps == 0 and summary.policy_id == summary.start
        assert summary.rounds[0].missing == 2 * MAX_STEPS and summary.rounds[0].agreement is None


def test_used_up_budget_stops_cleanly_and_more_of_it_goes_on(tmp_path: Path) -> None:
    with OpenAIServer(lambda messages: "look") as server:
        stopped = run(tmp_path, players=llm(server, tmp_path, budget={"max_tokens": 3_500}), rounds=1)
        assert not stopped.finished and "token budget exhausted" in stopped.stopped and "\n" not in stopped.stopped
        asked, kept = len(server.received), stopped.games
        assert 0 < kept < 3 and stopped.gradient_steps == 2 * kept
        assert not (tmp_path / "bc" / "summary.json").exists()
        done = run(tmp_path, players=llm(server, tmp_path), rounds=1)
        assert done.finished and len(server.received) == 3 * MAX_STEPS > asked
        usage = done.expert_usage
        assert usage is not None and usage.cached == asked - kept * MAX_STEPS
    with OpenAIServer(lambda messages: "look") as server:
        assert run(tmp_path / "2", players=llm(server, tmp_path / "2"), rounds=1).policy_id == done.policy_id


def test_dead_endpoint_stops_cleanly(tmp_path: Path) -> None:
    with OpenAIServer(lambda messages: "look") as server:
        players = llm(server, tmp_path)
    stopped = run(tmp_path, players=players)
    assert "cannot be reached" in stopped.stopped and stopped.games == 0 and not list_round_games(tmp_path / "bc/games")
