"""The gate lets through what is not worse, stops what is, and compares like with like only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.evaluate import read_evaluation, summarise
from hitl_ops.evaluation.gate import (
    EvaluatedPolicy,
    GateConfig,
    evaluated_policy,
    gate,
    read_gate,
    write_gate,
)
from hitl_ops.evaluation.metrics import missing_score
from hitl_ops.evaluation.summary import EvaluationConfig
from tests.support.evaluated_policies import write_evaluation

Evaluated = Callable[..., EvaluatedPolicy]
QUICK = GateConfig(resamples=2000)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    def make(policy_id: str, solved: str, **how: Any) -> EvaluatedPolicy:
        write_evaluation(tmp_path / policy_id, policy_id, solved, **how)
        return evaluated_policy(tmp_path / policy_id, policy_id)

    return make


def test_the_first_may_serve(evaluated: Evaluated) -> None:
    verdict = gate(evaluated("a", "0100"), None, QUICK)
    assert verdict.promote and (verdict.serving, verdict.difference) == (None, None)
    assert verdict.reason == "nothing serves yet: 25.0% success on 4 episodes of 'val'"


@pytest.mark.parametrize(
    ("candidate", "serving", "promote"),
    [
        ("1111100000", "1111100000", True),
        ("0000000000", "0000000000", True),
        ("1111110000", "1111100000", True),
        ("1111000000", "1111100000", False),
        ("0000000000", "1111111111", False),
        ("0000011111", "1111100000", True),
    ],
    ids=["equal", "both fail", "one more", "one fewer", "none of all", "others, as many"],
)
def test_not_worse_is_what_counts(evaluated: Evaluated, candidate: str, serving: str, promote: bool) -> None:
    verdict = gate(evaluated("a", candidate), evaluated("b", serving), QUICK)
    assert verdict.promote is promote
    assert (verdict.candidate, verdict.serving, verdict.episodes) == ("a", "b", 10)
    gained = (candidate.count("1") - serving.count("1")) / 10
    assert verdict.difference is not None and verdict.difference.difference == pytest.approx(gained)
    assert verdict.candidate_mean - (verdict.serving_mean or 0) == pytest.approx(gained)
    assert verdict.reason.startswith("may serve: " if promote else "may not serve: ")


def test_the_share_is_that_of_the_resamples(evaluated: Evaluated) -> None:
    """Against the exact chance that ten draws of +1 (2 of 10), 0 (5) and -1 (3) sum to at least nothing."""
    verdict = gate(evaluated("a", "1100011111"), evaluated("b", "0011111111"), GateConfig(resamples=100_000))
    steps = np.array([0.3, 0.5, 0.2])
    distribution = np.array([1.0])
    for _ in range(10):
        distribution = np.convolve(distribution, steps)
    assert verdict.probability_not_worse == pytest.approx(distribution[10:].sum(), abs=0.01)


@pytest.mark.parametrize(
    ("changes", "promote"),
    [
        ({}, False),
        ({"margin": 0.1}, True),
        ({"confidence": 0.2}, True),
        ({"figure": "percent_complete", "margin": 0.05}, True),
        ({"figure": "percent_complete"}, False),
    ],
)
def test_what_may_be_lost_is_configured(evaluated: Evaluated, changes: dict[str, Any], promote: bool) -> None:
    # One episode of ten lost; of the others nothing: 35 % of the resamples do not draw it at all.
    verdict = gate(evaluated("a", "0111111111"), evaluated("b", "1111111111"), QUICK.replace(**changes))
    assert verdict.promote is promote
    if not changes:
        assert verdict.probability_not_worse == pytest.approx(0.9**10, abs=0.03)
        assert "90.0% against 100.0% success on 10 episodes" in verdict.reason and "-10.0 points" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "differs"), [({"seed": 4}, True), ({"cluster_by": "home"}, True), ({"resamples": 2000}, False)]
)
def test_the_resampling_is_configured(evaluated: Evaluated, changes: dict[str, Any], differs: bool) -> None:
    pair = evaluated("a", "0111010110"), evaluated("b", "1110011011")
    plain = gate(*pair, QUICK)
    other = gate(*pair, QUICK.replace(**changes))
    assert (
        (plain.difference, plain.probability_not_worse) != (other.difference, other.probability_not_worse)
    ) is differs
    narrow = gate(*pair, QUICK.replace(level=0.5))
    assert plain.difference is not None and narrow.difference is not None
    assert narrow.difference.high - narrow.difference.low < plain.difference.high - plain.difference.low


def test_other_episodes_are_no_comparison(evaluated: Evaluated, tmp_path: Path) -> None:
    ours = evaluated("a", "1111")
    with pytest.raises(
        UserError, match=r"'a' and 'b' were not evaluated on the same episodes of 'val' \(4 and 6, 4 of"
    ):
        gate(ours, evaluated("b", "111111"), QUICK)
    with pytest.raises(UserError, match=r"\(4 and 4, 0 of the same name and task\): evaluate 'c' again"):
        gate(ours, evaluated("c", "1111", instruction="Bring the cup to the table."), QUICK)
    with pytest.raises(UserError, match=r"'a' was not evaluated on 'test': .* set gate.split to: val"):
        gate(ours, None, QUICK.replace(split="test"))
    with pytest.raises(UserError, match=r"'d' was not evaluated on 'val': .* set gate.split to: test"):
        gate(ours, evaluated("d", "1111", split="test"), QUICK)


def test_episodes_made_by_another_generator_are_no_comparison(tmp_path: Path) -> None:
    """Same names, same words, but the mug lay somewhere else."""
    made = []
    for name, place in (("a", "counter_1"), ("b", "fridge_1")):
        write_evaluation(tmp_path / name, name, "11")
        expected = [
            Episode(
                episode_id=f"val_{number:03d}",
                scene_id="val_home_0",
                instruction="Bring the mug to the table.",
                name_to_receptacle={"mug_1": place},
                info={"flywheel": {"split": "val", "task_type": "spatial"}},
            )
            for number in range(2)
        ]
        traces = tmp_path / name / "rollouts" / "student" / "traces"
        summarise({"student": traces}, tmp_path / name, EvaluationConfig(resamples=100), expected=expected)
        made.append(evaluated_policy(tmp_path / name, name))
        # In whatever order they are named.
        again = summarise(
            {"student": traces}, tmp_path / f"{name}_again", EvaluationConfig(resamples=100), expected=expected[::-1]
        )
        assert again.episode_sets == made[-1].summary.episode_sets and list(again.episode_sets) == ["val"]
    with pytest.raises(UserError, match=r"not evaluated on the same episodes of 'val' \(2 and 2, 2 of the same name"):
        gate(made[0], made[1], QUICK)


def test_what_was_not_played_never_helps(evaluated: Evaluated) -> None:
    ours, theirs = evaluated("a", "1111"), evaluated("b", "1110")

    def without(policy: EvaluatedPolicy, *names: str) -> EvaluatedPolicy:
        gaps = {name: missing_score(policy.scores[name]) for name in names}
        return dataclasses.replace(policy, scores={**policy.scores, **gaps})

    lost = gate(without(ours, "val_000", "val_001"), theirs, QUICK)
    assert not lost.promote and lost.episodes == 4 and lost.candidate_mean == 0.5
    # Of the serving policy's gap nothing is known: it neither helps nor harms.
    left_out = gate(ours, without(theirs, "val_003"), QUICK)
    assert left_out.promote and left_out.episodes == 3 and left_out.serving_mean == 1.0
    with pytest.raises(UserError, match="'b' played no episode of 'val': evaluate it again"):
        gate(ours, without(theirs, *theirs.scores), QUICK)


def test_only_a_finished_evaluation_of_this_policy_counts(evaluated: Evaluated, tmp_path: Path) -> None:
    evaluated("a", "11")
    with pytest.raises(UserError, match=r"policy 'z' has not been evaluated: .* is about a: evaluate it first"):
        evaluated_policy(tmp_path / "a", "z")
    with pytest.raises(UserError, match="does not exist: run the evaluation first"):
        evaluated_policy(tmp_path / "nothing", "z")
    summary = read_evaluation(tmp_path / "a")[0]
    assert summary.policy_ids == {"student": "a"}


def test_of_two_policies_in_one_name_none_was_evaluated(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "a", "1111")
    write_evaluation(tmp_path, "b", "11")
    with pytest.raises(UserError, match=r"policy 'b' has not been evaluated: .* is about policies it does not name"):
        evaluated_policy(tmp_path, "b")


def test_the_verdict_is_published_with_its_picture(evaluated: Evaluated, tmp_path: Path) -> None:
    assert read_gate(tmp_path) is None
    verdict = gate(evaluated("a", "0010"), evaluated("b", "1110"), QUICK)
    assert write_gate(tmp_path, verdict) == tmp_path / "gate.json"
    assert read_gate(tmp_path) == verdict
    picture = (tmp_path / "gate.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    write_gate(tmp_path, verdict)
    assert (tmp_path / "gate.png").read_bytes() == picture
    write_gate(tmp_path, gate(evaluated("a", "0010"), None, QUICK))
    assert (tmp_path / "gate.png").read_bytes() != picture
    (tmp_path / "gate.json").write_text('{"promote": true}')
    with pytest.raises(UserError, match=r"gate verdict '.*' is damaged \(\d+ invalid fields\): delete it"):
        read_gate(tmp_path)
