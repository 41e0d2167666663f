"""Traces become figures; what is missing or broken never counts as a success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.evaluate import pick_videos, read_evaluation, summarise
from hitl_ops.evaluation.metrics import EpisodeScore, LatencyQuantiles, score_folder, score_trace
from hitl_ops.evaluation.summary import EvaluationConfig, EvaluationSummary
from hitl_ops.records.traces import read_trace

Play = Callable[..., Path]
QUICK = EvaluationConfig(resamples=200)


@pytest.fixture
def folders(tmp_path: Path, play: Play) -> dict[str, Path]:
    """Ten val and four test episodes: the teacher fails one of each, the student two more."""
    folders = {"teacher": tmp_path / "teacher", "student": tmp_path / "student"}
    for split, count in (("val", 10), ("test", 4)):
        for number in range(count):
            for name, folder in folders.items():
                fails = number < (1 if name == "teacher" else 3)
                play(
                    folder,
                    f"{split}_{number}",
                    percent=0.5 if fails else 1.0,
                    steps=1000 + 100 * number,
                    latencies=(10.0, 20.0) if name == "teacher" else (1.0, 2.0),
                    split=split,
                    task_type="spatial" if number % 2 else "temporal",
                    scene_id=f"{split}_home_{number % 3}",
                )
    return folders


def test_a_score_from_a_trace(tmp_path: Path, play: Play) -> None:
    path = play(tmp_path, "e", latencies=(1.0, 3.0), partner_latencies=(500.0,), explanation="x")
    score = score_trace(read_trace(path))
    assert score.success and score.percent_complete == 1.0 and score.sim_steps == 1000
    assert score.latency_ms == [1.0, 3.0] and score.decisions == 2
    assert score.replans == {0: 2, 1: 1}
    assert (score.scene_id, score.split, score.task_type, score.runtime_s) == ("home_1", "val", "spatial", 0.5)
    both = score_trace(read_trace(path), roles=("ai", "human"))
    assert both.latency_ms == [1.0, 3.0, 500.0]


@pytest.mark.parametrize(
    ("changes", "success"),
    [
        ({}, True),
        ({"ended_by": "step_limit"}, True),
        ({"ended_by": "error"}, False),
        ({"percent": 0.5, "success": True}, False),
        ({"percent": 1.0, "success": False}, False),
    ],
)
def test_what_counts_as_success(tmp_path: Path, play: Play, changes: dict[str, Any], success: bool) -> None:
    assert score_trace(read_trace(play(tmp_path, "e", **changes))).success is success


def test_the_flat_keys(folders: dict[str, Path], tmp_path: Path) -> None:
    summarise(folders, tmp_path / "out", QUICK)
    body = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert body["teacher.success"] == 0.9 and body["student.success"] == 0.7
    assert body["student.success_low"] < 0.7 < body["student.success_high"]
    assert body["student_over_teacher"] == pytest.approx(7 / 9)
    assert body["student_over_teacher_test"] == pytest.approx(1 / 3)
    assert body["student_over_teacher_low"] <= 7 / 9 <= body["student_over_teacher_high"]
    assert body["student.success_test"] == 0.25 and body["student.success_val"] == 0.7
    assert body["student.percent_complete"] == pytest.approx(0.85)
    assert body["student.sim_steps"] == 1450
    latency = body["decisions_latency_ms"]
    assert latency["teacher"] == {"mean": 15.0, "p50": 15.0, "p95": 20.0, "decisions": 20}
    assert latency["student"]["p50"] == 1.5
    assert body["primary_split"] == "val"
    assert body["student"]["by_split"]["test"]["episodes"] == 4
    assert body["student"]["by_task_type"]["spatial"]["success"]["mean"] == 0.8
    assert body["student"]["by_split"]["val"]["by_task_type"]["temporal"]["success"]["mean"] == 0.6
    comparison = body["comparisons"]["student_over_teacher"]["val"]
    assert comparison["mcnemar"]["only_reference"] == 2 and comparison["speed_up"] == 10.0
    assert comparison["success"]["difference"] == pytest.approx(-0.2)


def test_the_same_traces_give_the_same_bytes_and_are_read_back(folders: dict[str, Path], tmp_path: Path) -> None:
    summary = summarise(folders, tmp_path / "one", QUICK)
    summarise(folders, tmp_path / "two", QUICK)
    for name in ("summary.json", "scores.jsonl.gz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    again, scores = read_evaluation(tmp_path / "one")
    assert again == summary
    assert list(scores["student"].values()) == list(score_folder(folders["student"]))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"resamples": 1501}, "resamples"),
        ({"level": 0.5}, "level"),
        ({"seed": 3}, "seed"),
        ({"cluster_by": "home"}, "clusters"),
    ],
)
def test_the_config_moves_the_intervals(
    folders: dict[str, Path], tmp_path: Path, config: dict[str, Any], what: str
) -> None:
    base = summarise(folders, tmp_path / "a", QUICK).primary("student").sim_steps
    other = summarise(folders, tmp_path / "b", QUICK.replace(**config)).primary("student").sim_steps
    assert base is not None and other is not None
    assert base.mean == other.mean and (base.low, base.high) != (other.low, other.high), what
    assert other.clusters == (3 if what == "clusters" else 10)


def test_primary_split_reference_and_roles(folders: dict[str, Path], tmp_path: Path) -> None:
    test = summarise(folders, tmp_path / "o", QUICK.replace(primary_split="test"))
    assert test.figures()["student.success"] == 0.25
    swapped = summarise(folders, tmp_path / "o", QUICK.replace(reference="student"))
    assert swapped.figures()["teacher_over_student"] == pytest.approx(9 / 7)
    humans = summarise(folders, tmp_path / "o", QUICK.replace(roles=["human"]))
    assert humans.primary("student").decisions.mean == 0 and humans.figures()["decisions_latency_ms"]["student"] is None
    with pytest.raises(UserError, match=r"'teacher' has no episode of the split 'train': .*val, test|test, val"):
        summarise(folders, tmp_path / "o", QUICK.replace(primary_split="train"))


def test_one_policy_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    summary = summarise({"student": folders["student"]}, tmp_path / "o", QUICK)
    assert summary.reference is None and summary.comparisons == {}
    assert summary.figures()["student.success"] == 0.7


def test_an_episode_the_other_played_counts_as_failed(folders: dict[str, Path], tmp_path: Path) -> None:
    (folders["student"] / "val_9.jsonl.gz").unlink()
    summary = summarise(folders, tmp_path / "o", QUICK)
    student = summary.primary("student")
    assert student.episodes == 10 and student.success.mean == 0.6
    assert student.ended_by == {"done": 9, "missing": 1}
    assert student.sim_steps is not None and student.sim_steps.n == 9
    assert summary.comparisons["student_over_teacher"]["val"].episodes == 10
    steps = summary.comparisons["student_over_teacher"]["val"].sim_steps
    assert steps is not None and steps.n == 9


def test_a_split_one_policy_never_played_is_not_held_against_it(folders: dict[str, Path], tmp_path: Path) -> None:
    for path in folders["teacher"].glob("test_*"):
        path.unlink()
    summary = summarise(folders, tmp_path / "o", QUICK)
    assert list(summary.policies["teacher"]) == ["val"]
    assert "student_over_teacher_test" not in summary.figures()
    assert summary.figures()["student.success_test"] == 0.25


def test_expected_episodes_count_for_everybody(folders: dict[str, Path], tmp_path: Path) -> None:
    lost = Episode(
        episode_id="val_77",
        scene_id="val_home_0",
        instruction="x",
        info={"flywheel": {"split": "val", "task_type": "spatial"}},
    )
    summary = summarise(folders, tmp_path / "o", QUICK, expected=[lost])
    assert summary.primary("teacher").success.mean == pytest.approx(9 / 11)
    assert summary.primary("student").success.mean == pytest.approx(7 / 11)


def test_different_tasks_under_one_id_are_refused(folders: dict[str, Path], tmp_path: Path, play: Play) -> None:
    play(folders["student"], "val_9", scene_id="elsewhere")
    with pytest.raises(UserError, match=r"'val_9' of policy 'student' is another task"):
        summarise(folders, tmp_path / "o", QUICK)
    assert not (tmp_path / "o").exists()


def test_broken_input_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"of policy 'student' holds no trace"):
        summarise(folders | {"student": tmp_path / "empty"}, tmp_path / "o", QUICK)
    with pytest.raises(UserError, match="does not exist"):
        summarise(folders | {"student": tmp_path / "none"}, tmp_path / "o", QUICK)
    for name in ("a b", "comparisons", "a.b"):
        with pytest.raises(UserError, match="cannot be a key"):
            summarise({name: folders["student"]}, tmp_path / "o", QUICK)
    with pytest.raises(UserError, match="no policy"):
        summarise({}, tmp_path / "o", QUICK)
    copy = folders["student"] / "val_x.jsonl.gz"
    copy.write_bytes((folders["student"] / "val_1.jsonl.gz").read_bytes())
    with pytest.raises(UserError, match=r"two traces of episode 'val_1'"):
        summarise(folders, tmp_path / "o", QUICK)
    copy.write_bytes(copy.read_bytes()[:100])
    with pytest.raises(UserError, match=r"val_x\.jsonl\.gz', line"):
        summarise(folders, tmp_path / "o", QUICK)


def test_a_broken_evaluation_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "o"
    with pytest.raises(UserError, match=r"summary\.json' does not exist"):
        read_evaluation(out)
    summarise(folders, out, QUICK)
    scores = (out / "scores.jsonl.gz").read_bytes()
    (out / "scores.jsonl.gz").write_bytes(scores[:50])
    with pytest.raises(UserError, match="is corrupt"):
        read_evaluation(out)
    (out / "scores.jsonl.gz").write_bytes(scores)
    (out / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="is corrupt"):
        read_evaluation(out)


def test_progress_counts_over_all_policies(folders: dict[str, Path], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    summarise(folders, tmp_path / "o", QUICK, lambda done, total, note="": told.append((done, total)))
    assert told == [(done, 28) for done in range(1, 29)]


def test_three_videos(folders: dict[str, Path]) -> None:
    scores = [score for score in score_folder(folders["student"]) if score.split == "val"]
    picks = pick_videos(scores)
    # Successes 3 to 9 by their steps, then the failures 0 to 2 by theirs: the fifth of ten is 7.
    assert (picks.best, picks.median, picks.worst) == ("val_3", "val_7", "val_2")
    assert pick_videos(reversed(scores)) == picks
    assert pick_videos(scores[:1]).best == pick_videos(scores[:1]).worst == "val_0"
    with pytest.raises(ValueError, match="no episode was played"):
        pick_videos([])


def test_latency_quantiles_pool_decisions() -> None:
    def score(*latencies: float) -> EpisodeScore:
        return EpisodeScore(
            episode_id="e", task_type="t", split="s", scene_id="h", success=True, percent_complete=1, sim_steps=1,
            latency_ms=list(latencies), ended_by="done",
        )  # fmt: skip

    quantiles = LatencyQuantiles.of([score(1, 2, 3), score(), score(94)])
    assert quantiles is not None
    assert (quantiles.mean, quantiles.p50, quantiles.decisions) == (25, 2.5, 4)
    assert quantiles.p95 == pytest.approx(80.35)
    assert LatencyQuantiles.of([score()]) is None


def test_summaries_survive_json(folders: dict[str, Path], tmp_path: Path) -> None:
    summary = summarise(folders, tmp_path / "o", QUICK)
    assert EvaluationSummary.from_json(json.loads(json.dumps(summary.as_json()))) == summary
