"""``flywheel compare-scripted``, ``train-reward`` and ``train --program preference``, as typed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_assets.preference_presets import PREFERENCE_PRESETS
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import standing_preferences
from hitl_ops.rollouts.reach_clips import UntaughtReach
from hitl_ops.samples.preference_samples import join_preferences, write_preference_samples
from hitl_ops.samples.reach_queries import make_reach_queries

TINY = PREFERENCE_PRESETS["tiny_ci"]
QUICK = ["--preset", "tiny_ci"]


def _asked(store: Store) -> None:
    """Clips and pairs of iteration 0, of an arm that moves by lot."""
    out = store.iteration("preference", 0).clips
    make_reach_queries(UntaughtReach(), TINY.world, TINY.clips_of(0), TINY.queries_of(0), out, 0, {})


@pytest.mark.slow
def test_from_pairs_to_a_policy_by_hand(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.at(own_store)
    _asked(store)
    words = ["compare-scripted", *QUICK, "--person", "ada", "--person", "bob", "--errors", "0"]
    assert run([*words, "--limit", "3"]) == 0
    assert "ada: 2 answers" in capsys.readouterr().out
    assert run(words) == 0
    assert "3 comparisons of iteration 000, 3 stood before" in capsys.readouterr().out
    iteration = store.iteration("preference", 0)
    with closing(LabelStore.open(store.labels_url)) as labels:
        said = standing_preferences(labels, "preference")
    joined = join_preferences(said, lambda _: iteration.clips, one_sided_count=False)
    write_preference_samples(joined, iteration.samples / "preferences.jsonl")

    samples, reward = str(iteration.samples / "preferences.jsonl"), own_store / "reward"
    by_hand = ["--samples", samples, "--out", str(reward), "--steps", "3", "--set", "validation_share=0"]
    assert run(["train-reward", *QUICK, *by_hand]) == 0
    told = capsys.readouterr().out
    assert "2 networks" in told and "6, 0 of them ties" in told and "weight of bob" in told
    assert (reward / "report" / "learned_against_true.png").is_file()

    train = ["train", "--program", "preference", *QUICK, "--no-track"]
    assert run([*train, "--reward", str(reward), "--out", str(own_store / "first"), "--max-steps", "16"]) == 0
    assert "16 in 1 rollouts" in capsys.readouterr().out
    assert run([*train, "--reward", "true", "--base", str(own_store / "first"), "--out", str(own_store / "next")]) == 0
    told = capsys.readouterr().out
    assert "the world's own reward" in told and told.rstrip().endswith("merged")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train-reward", "--samples", "none.jsonl", "--out", "out"], "there are no preferences in 'none.jsonl'"),
        (["train-reward", "--samples", "a", "--out", "out", "--preset", "huge"], "preset 'huge' is unknown"),
        (["train-reward", "--samples", "a", "--out", "out", "--set", "step=1"], "did you mean 'steps'?"),
        (["compare-scripted", "--iteration", "4"], "there are no clips in"),
        (["compare-scripted", "--person", "ada", "--person", "ada"], "everybody needs a name of their own"),
        (["train", "--program", "preference", "--out", "out"], "name it with --reward"),
        (
            ["train", "--program", "preference", "--out", "o", "--no-track", "--reward", "no"],
            "no learned reward in 'no'",
        ),
        (["train", "--out", "out"], "name it with --samples"),
        (["train", "--out", "out", "--samples", "a", "--reward", "true"], "--reward is for the arm"),
        (["demo", "--program", "preference", "--preset", "huge"], "preset 'huge' is unknown"),
        (["demo", "--program", "preference", "--world", "aloha"], "--world is for stations"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1] and "Traceback" not in "".join(told)
