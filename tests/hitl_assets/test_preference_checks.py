"""The preference program's checks find what they are there for, and each limit is the one that counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from hitl_assets.preference_checks import (
    clips_are_whole,
    examination_is_complete,
    people_look_at_the_clips,
    reward_generalises,
    reward_is_not_constant,
    targets_are_apart,
)
from hitl_assets.preference_iterations import PreferencePaths
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_ops.contracts.preference import ClipFacts, ClipPair, PreferenceValue
from hitl_ops.contracts.publish import publish_bytes, publish_json
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.evaluation.evaluate import Scores, publish_evaluation
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import STEPS_FILE, Clip, content_hash, write_clip_set
from hitl_ops.samples.preference_card import write_preference_card
from resources.store import StoreResource

Verdict = Callable[..., tuple[bool, str, str]]


@pytest.fixture
def iteration(tmp_path: Path) -> IterationPaths:
    return Store.at(tmp_path).iteration("preference", 0)


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    """Runs a check for partition 000, as Dagster would: passed, severity, description."""

    def run(check: dg.AssetChecksDefinition, *overrides: str) -> tuple[bool, str, str]:
        resources = {
            "store": StoreResource(home=str(tmp_path)),
            "preference_preset": PreferencePresetChoice(name="tiny_ci", overrides=list(overrides)),
        }
        with dg.DagsterInstance.ephemeral() as instance:
            job = dg.Definitions(asset_checks=[check], resources=resources).resolve_implicit_global_asset_job_def()
            result = job.execute_in_process(instance=instance, tags={"dagster/partition": "000"}, raise_on_error=False)
            (found,) = result.get_asset_check_evaluations()
        return found.passed, found.severity.value, found.description or ""

    return run


def _clips(iteration: IterationPaths, *, steps: Sequence[int] = (5,) * 12, pairs: int = 6, seed: int = 1) -> Path:
    clips = []
    for number, length in enumerate(steps):
        seen, done = np.full((length, 20), number, np.float32), np.zeros((length, 7), np.float32)
        facts = ClipFacts(
            clip_id=f"c000-{number}",
            kind="reach",
            episode_id=f"reach/{seed}",
            start=0,
            steps=length,
            fps=20,
            task="",
            policy_id="",
            seed=seed,
            content_hash=content_hash(seen, done),
        )
        clips.append(Clip(facts, seen, done))
    names = [clip.facts.clip_id for clip in clips]
    asked = [
        ClipPair(pair_id=f"q{number}", left=names[2 * number], right=names[2 * number + 1], chosen_by="random")
        for number in range(pairs)
    ]
    folder = iteration.clips
    write_clip_set(folder, clips, asked)
    return folder


def test_clips_are_whole_and_of_one_length(iteration: IterationPaths, verdict: Verdict) -> None:
    folder = _clips(iteration)
    assert verdict(clips_are_whole)[:2] == (True, "ERROR")
    assert verdict(clips_are_whole, "first_pairs=7") == (
        False,
        "WARN",
        "there are 6 pairs, 7 were wanted: make more clips",
    )
    steps = folder / STEPS_FILE
    content = bytearray(steps.read_bytes())
    content[-1] ^= 0x40
    publish_bytes(steps, bytes(content))
    passed, severity, said = verdict(clips_are_whole)
    assert (passed, severity) == (False, "ERROR") and "clip 'c000-" in said
    _clips(iteration, steps=(5,) * 11 + (4,))
    assert "clips have [4, 5] steps, clips.steps is 5" in verdict(clips_are_whole)[2]


def test_targets_of_the_examination_are_in_no_clip(iteration: IterationPaths, verdict: Verdict) -> None:
    _clips(iteration, seed=104)
    assert verdict(targets_are_apart, "evaluation.seed=100")[0], "the first four are examined"
    passed, severity, said = verdict(targets_are_apart, "evaluation.seed=101")
    assert (passed, severity) == (False, "ERROR") and said.startswith("12 clips show targets of the examination")


def _words(sides: str, annotator: str) -> list[Preference]:
    found = []
    for number, side in enumerate(sides):
        said = PreferenceValue(
            pair_id=f"q{number}",
            left="a",
            right="b",
            left_hash="0" * 64,
            right_hash="1" * 64,
            choice="left" if side == "l" else "right",
        )
        found.append(Preference(number + 1, "preference", 0, annotator, said, 1.0))
    return found


def test_whoever_answers_by_side_is_named(iteration: IterationPaths, verdict: Verdict) -> None:
    file = PreferencePaths(iteration).preferences
    publish_bytes(file, b"")
    write_preference_card(_words("lr" * 15, "ada"), file, {}, {})
    assert verdict(people_look_at_the_clips)[0]
    write_preference_card([*_words("lr" * 15, "ada"), *_words("r" * 30, "bob")], file, {"old": 2}, {})
    assert verdict(people_look_at_the_clips) == (
        False,
        "WARN",
        "'bob' says nearly always right: 30 answers; 2 comparisons are old",
    )


def _reward(iteration: IterationPaths, *, deviation: float = 0.8, held_out: int = 9, accuracy: float = 0.7) -> None:
    figures = {
        "comparisons": 40,
        "ties": 0,
        "held_out": held_out,
        "loss": 0.5,
        "accuracy": 0.9,
        "validation_loss": 0.6,
        "validation_accuracy": accuracy,
        "decided": 0.5,
    }
    report = {"figures": figures, "deviation": deviation, "disagreement": 0.2, "truth": None}
    publish_json(
        PreferencePaths(iteration).reward / "summary.json",
        {"report": report, "members": 2, "seconds": 1.0, "config": {}},
    )


@pytest.mark.slow  # torch is loaded for it
def test_a_constant_reward_stops_and_a_doubtful_one_warns(iteration: IterationPaths, verdict: Verdict) -> None:
    _reward(iteration)
    limit = "checks.least_held_out_accuracy=0.7"
    assert verdict(reward_is_not_constant)[0] and verdict(reward_generalises, limit)[0]
    _reward(iteration, deviation=1e-7, accuracy=0.69)
    assert verdict(reward_is_not_constant)[:2] == (False, "ERROR")
    passed, severity, said = verdict(reward_generalises, limit)
    assert (passed, severity) == (False, "WARN") and "agrees with 69% of 9 held-out answers; 70% are wanted" in said
    assert verdict(reward_generalises, limit, "checks.least_held_out=10")[0], "too few to say anything"


def _examined(iteration: IterationPaths, targets: dict[str, int], *, solved: bool = True) -> None:
    scores: Scores = {
        name: {
            f"reach_{number}": EpisodeScore(
                episode_id=f"reach_{number}",
                task_type="reach",
                split="val",
                scene_id=f"reach_{number}",
                instruction="",
                success=solved,
                percent_complete=float(solved),
                sim_steps=3,
                decisions=3,
                latency_ms=[0.1],
                runtime_s=0.1,
                ended_by="success",
                explanation="",
                policy_id=name,
            )
            for number in range(count)
        }
        for name, count in targets.items()
    }
    iteration.evaluation.mkdir(parents=True, exist_ok=True)
    publish_evaluation(scores, iteration.evaluation, EvaluationConfig(reference="serving", resamples=100), {"val": "0"})


def test_everybody_reaches_for_every_target(iteration: IterationPaths, verdict: Verdict) -> None:
    _examined(iteration, {"student": 4, "control": 4})
    assert verdict(examination_is_complete)[0]
    assert verdict(examination_is_complete, "checks.least_episodes=5")[1:] == (
        "WARN",
        "4 targets say little, least is 5",
    )
    assert "'control' reached for 4 targets, evaluation.targets is 5" in _wrong(verdict, "evaluation.targets=5")
    _examined(iteration, {"student": 4}, solved=False)
    assert verdict(examination_is_complete)[1:] == ("WARN", "the policy reached no target")


def _wrong(verdict: Verdict, *overrides: str) -> Any:
    passed, severity, said = verdict(examination_is_complete, *overrides)
    assert (passed, severity) == (False, "ERROR")
    return said
