"""A phase of rounds by hand, and an examination: through the same functions as the assets."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_assets.dagger_presets import DAGGER_PRESETS
from hitl_ops.evaluation.text_evaluation import read_text_figures
from hitl_ops.rollouts.text_game_sets import make_text_games, write_text_games
from hitl_ops.training.agent_rounds_log import read_rounds_summary

TINY = DAGGER_PRESETS["tiny_ci"]
TRAIN = ["train", "--program", "dagger", "--preset", "tiny_ci", "--no-track"]


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("games") / "train.jsonl"
    return write_text_games(make_text_games(TINY.household, "train", TINY.games), file)


@pytest.mark.slow
def test_both_phases_and_an_examination_by_hand(
    tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bc, dpo = tmp_path / "bc", tmp_path / "dpo"
    rounds = ["--set", "rounds.rounds=1", "--games", str(games)]
    assert run([*TRAIN, "--phase", "bc", "--out", str(bc), *rounds]) == 0, capsys.readouterr().err
    assert str(bc / "agent") in capsys.readouterr().out
    replay = ["--replay", f"first={bc}", "--skip-games", "2"]
    assert run([*TRAIN, "--phase", "dpo", "--base", str(bc), "--out", str(dpo), *rounds, *replay]) == 0
    first, second = read_rounds_summary(bc), read_rounds_summary(dpo)
    assert second.start == first.policy_id != second.policy_id
    names = [json.loads(line)["game_id"] for line in games.read_text().splitlines()]
    played = [json.loads((game / "result.json").read_text())["game_id"] for game in sorted((dpo / "games").iterdir())]
    assert played == names[2:]
    out = tmp_path / "evaluation"
    words = ["evaluate", f"bc={bc}", f"dpo={dpo}", "--program", "dagger", "--preset", "tiny_ci", "--out", str(out)]
    capsys.readouterr()
    assert run(words) == 0, capsys.readouterr().err
    said, note = capsys.readouterr().out, read_text_figures(out).note
    assert str(out / "report.html") in said and "not comparable with those of the papers" in note
    assert note in said and note in html.unescape((out / "report.html").read_text())
    assert {name: set(splits) for name, splits in read_text_figures(out).agents.items()} == {
        "bc": {"test"},
        "dpo": {"test"},
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say --phase bc or --phase dpo"),
        (["--phase", "rl"], "phase 'rl' is unknown"),
        (["--phase", "dpo"], "name it with --base"),
        (["--phase", "bc", "--samples", "x"], "--program dagger learns from games"),
        (["--phase", "bc", "--games", "nowhere.jsonl"], "there are no games in 'nowhere.jsonl'"),
        (["--phase", "bc", "--set", "rounds.training.phase=dpo"], "the configuration is of phase dpo, not bc"),
        (["--phase", "bc", "--replay", "x"], "'x' is malformed"),
        (["--phase", "dpo", "--base", "nobody"], "there is no agent in 'nobody'"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, tmp_path: Path, games: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [] if "--games" in words else ["--games", str(games)]
    assert run([*TRAIN, "--out", str(tmp_path / "out"), *words, *named]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "out" / "games").exists()


def test_options_for_games_are_for_agents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--out", str(tmp_path), "--phase", "bc"]) == 2
    assert "add --program dagger" in capsys.readouterr().err
