"""Agents in games they have not learned from: all are scored alike, finished games are kept, changes are noticed."""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextGame
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.gate import GateConfig, evaluated_policy, gate
from hitl_ops.evaluation.intervals import wilson_interval
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.evaluation.text_evaluation import (
    TextEvaluationConfig,
    TextExaminationConfig,
    evaluate_text_agents,
    figures_of,
    read_text_figures,
)
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_files import read_agent_facts
from hitl_ops.records.round_games import read_result
from tests.support.round_games import made_game
from tests.support.text_rounds import MAX_STEPS, PLAYERS, games, start_agent

SCORING = EvaluationConfig(primary_split="test", reference="bc", resamples=100)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("agents")
    return {name: (start_agent(folder / name, seed), f"dagger-{name}") for seed, name in enumerate(("bc", "dpo"))}


def _games() -> list[TextGame]:
    first, second, third = games()
    return [
        first.model_copy(update={"split": "val"}),
        *(one.model_copy(update={"split": "test"}) for one in (second, third)),
    ]


def _config(**changes: Any) -> TextExaminationConfig:
    evaluation = TextEvaluationConfig(**{"games_at_once": 2, "scoring": SCORING, **changes})
    return TextExaminationConfig(players=PLAYERS, evaluation=evaluation)


def _files(out: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in out.glob("games/*/*/steps.jsonl")}


def test_all_are_scored_alike_and_finished_games_are_kept(tmp_path: Path, agents: dict[str, tuple[Path, str]]) -> None:
    told: list[tuple[int, int, str]] = []
    summary, figures = evaluate_text_agents(
        agents, _games(), _config(), tmp_path, lambda done, total, note="": told.append((done, total, note))
    )
    assert told[-1][:2] == (6, 6) and [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert summary.policy_ids == {"bc": "dagger-bc", "dpo": "dagger-dpo"} and set(summary.comparisons) == {
        "dpo_over_bc"
    }
    _, scores = read_evaluation(tmp_path)
    for name, rows in scores.items():
        assert {row.episode_id: (row.split, row.task_type, row.instruction) for row in rows.values()} == {
            game.game_id: (game.split, game.family, game.task) for game in _games()
        }
        assert all(row.sim_steps == MAX_STEPS or row.success for row in rows.values()), name
        test = figures.agents[name]["test"]
        assert test.games == 2 and test.labelled == sum(
            one.sim_steps or 0 for one in rows.values() if one.split == "test"
        )
    assert read_text_figures(tmp_path) == figures
    assert not list(tmp_path.glob("games/*/*/pictures.safetensors"))

    before = _files(tmp_path)
    lost = sorted(tmp_path.glob("games/*/bc-00-0001"))[0]
    shutil.rmtree(lost)
    again, _ = evaluate_text_agents(agents, _games(), _config(), tmp_path)
    after = _files(tmp_path)
    assert {file for file in after if after[file] != before.get(file)} == {str(lost / "steps.jsonl")}
    assert again.primary("dpo").success == summary.primary("dpo").success

    verdict = gate(
        evaluated_policy(tmp_path, "dagger-dpo"),
        evaluated_policy(tmp_path, "dagger-bc"),
        GateConfig(split="val", resamples=100),
    )
    assert verdict.episodes == 1


def test_who_acts_is_asked_once_however_many_batches_there_are(
    tmp_path: Path, agents: dict[str, tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, plain = [], VisionAgent.policy_id.fget

    def counted(agent: VisionAgent) -> str:
        asked.append(agent)
        return str(plain(agent))

    for at_once, folder in ((3, tmp_path / "one"), (1, tmp_path / "three")):
        monkeypatch.setattr(VisionAgent, "policy_id", property(counted))
        evaluate_text_agents({"bc": agents["bc"]}, _games(), _config(games_at_once=at_once), folder)
        monkeypatch.undo()
        asked.append("|")
    batches = [len(list(some)) for told, some in groupby(asked, lambda one: one == "|") if not told]
    assert batches[0] == batches[1]
    known = read_agent_facts(agents["bc"][0]).policy_id
    assert {read_result(file.parent).agent for file in tmp_path.glob("*/games/*/*/result.json")} == {known}


def test_games_played_otherwise_are_played_again(tmp_path: Path, agents: dict[str, tuple[Path, str]]) -> None:
    one = {"bc": agents["bc"]}
    _, figures = evaluate_text_agents(one, _games(), _config(), tmp_path, code_version="a")
    first = _files(tmp_path)
    assert figures.agents["bc"]["test"].agreement is not None and figures.expert == "text-searcher"
    _, silent = evaluate_text_agents(one, _games(), _config(expert="none"), tmp_path, code_version="a")
    second = _files(tmp_path)
    assert not first.keys() & second.keys()
    assert silent.agents["bc"]["test"].agreement is None and silent.expert == ""
    assert silent.agents["bc"]["test"].success == figures.agents["bc"]["test"].success
    evaluate_text_agents(one, _games(), _config(expert="none", keep_pictures=True), tmp_path, code_version="b")
    assert not second.keys() & _files(tmp_path).keys()
    assert len(list(tmp_path.glob("games/*/*/pictures.safetensors"))) == 3


def test_mistakes_are_named(tmp_path: Path, agents: dict[str, tuple[Path, str]]) -> None:
    with pytest.raises(UserError, match="no games to examine"):
        evaluate_text_agents(agents, [], _config(), tmp_path)
    with pytest.raises(UserError, match="there is no agent in"):
        evaluate_text_agents({"bc": (tmp_path / "nobody", "x")}, _games(), _config(), tmp_path)
    with pytest.raises(UserError, match="cannot be a key"):
        evaluate_text_agents({"b c": agents["bc"]}, _games(), _config(), tmp_path)
    with pytest.raises(UserError, match="no finished examination"):
        read_text_figures(tmp_path)


def test_figures_count_what_happened(tmp_path: Path) -> None:
    results = [
        made_game(tmp_path, ["a", "b", None], game=0).result.model_copy(update={"success": True, "family": "one"}),
        made_game(tmp_path, ["b"], game=1).result.model_copy(update={"nothing_happened": 1, "family": "two"}),
    ]
    found = figures_of(results, SCORING)
    assert (found.games, found.success.mean, found.steps, found.labelled) == (2, 0.5, 2.0, 3)
    assert found.agreement == pytest.approx(1 / 3) and found.invalid == pytest.approx(1 / 4)
    low, high = wilson_interval(1, 1)
    assert (found.families["one"].mean, found.families["one"].low, found.families["one"].high) == (1.0, low, high)
    assert found.families["two"].mean == 0.0
