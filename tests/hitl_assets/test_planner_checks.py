"""Each check passes on sound data and fails on data spoiled in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from hitl_assets import planner_checks as checks
from hitl_assets import planner_learning_checks as learning
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.episode import read_episodes, write_episodes
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.records.traces import Trace, list_traces, read_trace, write_trace
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.data_card import write_data_card
from hitl_ops.samples.parquet import read_samples, write_samples
from resources.store import StoreResource

Verdict = Callable[..., dg.AssetCheckResult]


@pytest.fixture
def iteration(store: StoreResource) -> IterationPaths:
    """Folders of iteration 000 of the copied store."""
    return store.iteration("planner", "000")


def _spoil_traces(iteration: IterationPaths, change: Callable[[Trace], None], first_only: bool = False) -> None:
    for file in list_traces(iteration.rollouts / "teacher" / "traces")[: 1 if first_only else None]:
        trace = read_trace(file)
        change(trace)
        write_trace(file, trace.header, trace.decisions, trace.result)


def _spoil_samples(iteration: IterationPaths, **changes: object) -> None:
    file = iteration.samples / "distilled.parquet"
    spoiled = [sample.model_copy(update=changes) for sample in read_samples(file)]
    write_samples(file, spoiled, prompt_style="incremental")
    write_data_card(file, iteration.samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        checks.episodes_schema,
        checks.episodes_leakage,
        checks.rollouts_schema,
        checks.teacher_is_worth_learning_from,
        checks.samples_schema,
        checks.samples_leakage,
        checks.samples_degenerate,
    ],
    ids=lambda check: next(iter(check.check_keys)).name,
)
def test_sound_data_pass(check: dg.AssetChecksDefinition, verdict: Verdict) -> None:
    found = verdict(check)
    assert found.passed, found.description
    assert found.metadata


def test_episode_file_cut_short(store: StoreResource, verdict: Verdict) -> None:
    file = episode_file(store.open().episodes, "val")
    file.write_bytes(file.read_bytes()[:100])
    found = verdict(checks.episodes_schema)
    assert not found.passed
    assert "corrupt" in (found.description or "") and str(file) in (found.description or "")


def test_too_few_episodes(store: StoreResource, verdict: Verdict) -> None:
    file = episode_file(store.open().episodes, "test")
    write_episodes(file, read_episodes(file)[:-1])
    assert "test has 1 episodes, the preset 2" in (verdict(checks.episodes_schema).description or "")


def test_episodes_without_a_goal(store: StoreResource, verdict: Verdict) -> None:
    file = episode_file(store.open().episodes, "train")
    episodes = read_episodes(file)
    episodes[0].evaluation_propositions = []
    write_episodes(file, episodes)
    assert "1 episodes of train have no goal" in (verdict(checks.episodes_schema).description or "")


@pytest.mark.parametrize("shared", ["episode", "home", "seed"])
def test_splits_that_share_something(shared: str, store: StoreResource, verdict: Verdict) -> None:
    folder = store.open().episodes
    train, val = read_episodes(episode_file(folder, "train")), read_episodes(episode_file(folder, "val"))
    if shared == "episode":
        val[0].episode_id = train[0].episode_id
    elif shared == "home":
        val[0].scene_id = train[0].scene_id
    else:
        val[0].info["flywheel"]["seed"] = train[0].seed
    write_episodes(episode_file(folder, "val"), val)
    found = verdict(checks.episodes_leakage)
    assert not found.passed
    assert f"train and val share 1 {shared}(s)" in (found.description or "")
    assert found.severity is dg.AssetCheckSeverity.ERROR


def test_trace_cut_short(iteration: IterationPaths, verdict: Verdict) -> None:
    file = list_traces(iteration.rollouts / "teacher" / "traces")[0]
    file.write_bytes(file.read_bytes()[:-20])
    found = verdict(checks.rollouts_schema)
    assert not found.passed
    assert str(file) in (found.description or "")


def test_inadmissible_decision(iteration: IterationPaths, verdict: Verdict) -> None:
    def change(trace: Trace) -> None:
        trace.decisions[0].action = "Pick[moon_1]"

    _spoil_traces(iteration, change, first_only=True)
    assert "1 decisions name an action that was not admissible" in (verdict(checks.rollouts_schema).description or "")


def test_teacher_that_never_succeeds(iteration: IterationPaths, verdict: Verdict) -> None:
    def change(trace: Trace) -> None:
        trace.result.success = False

    _spoil_traces(iteration, change)
    assert "none of 8 episodes succeeded" in (verdict(checks.teacher_is_worth_learning_from).description or "")


def test_teacher_below_the_limit(iteration: IterationPaths, verdict: Verdict) -> None:
    def change(trace: Trace) -> None:
        trace.result.success = False

    _spoil_traces(iteration, change, first_only=True)
    strict = PresetChoice(name="tiny_ci", overrides=["checks.least_teacher_success=0.95"])
    assert "least is 95%" in (verdict(checks.teacher_is_worth_learning_from, strict).description or "")


def test_samples_that_are_no_parquet(iteration: IterationPaths, verdict: Verdict) -> None:
    (iteration.samples / "distilled.parquet").write_bytes(b"PAR1 not really")
    found = verdict(checks.samples_schema)
    assert not found.passed
    assert "corrupt" in (found.description or "")


def test_samples_from_the_examination(store: StoreResource, iteration: IterationPaths, verdict: Verdict) -> None:
    home = read_episodes(episode_file(store.open().episodes, "test"))[0].scene_id
    _spoil_samples(iteration, scene_id=home)
    found = verdict(checks.samples_leakage)
    assert not found.passed
    assert "samples and test share 1 home(s)" in (found.description or "")


def test_samples_that_teach_one_thing(iteration: IterationPaths, verdict: Verdict) -> None:
    _spoil_samples(iteration, completion="Wait[]<end_act>")
    found = verdict(
        checks.samples_degenerate, PresetChoice(name="tiny_ci", overrides=["checks.largest_tool_share=0.8"])
    )
    assert not found.passed
    assert "100% of the samples teach Wait, most is 80%" in (found.description or "")


def test_too_few_samples(verdict: Verdict) -> None:
    many = PresetChoice(name="tiny_ci", overrides=["checks.least_samples=100000"])
    assert "are no training set" in (verdict(checks.samples_degenerate, many).description or "")


def test_no_sample_at_all(iteration: IterationPaths, verdict: Verdict) -> None:
    write_samples(iteration.samples / "distilled.parquet", [], prompt_style="incremental")
    write_data_card(iteration.samples / "distilled.parquet", iteration.samples)
    assert "there is no sample" in (verdict(checks.samples_degenerate).description or "")


def test_data_card_of_other_samples(iteration: IterationPaths, verdict: Verdict) -> None:
    file = iteration.samples / "distilled.parquet"
    write_samples(file, list(read_samples(file))[1:], prompt_style="incremental")
    assert "the data card is of other samples" in (verdict(checks.samples_degenerate).description or "")


@pytest.mark.parametrize(
    ("losses", "said", "severity"),
    [
        ([3.0, 2.5, 2.0], None, "ERROR"),
        ([2.0, 2.5, 3.0], "the loss did not fall: 2.0000 at first, 3.0000 at last", "WARN"),
        ([2.0, float("nan"), 1.0], "a loss is not finite", "ERROR"),
        ([], "the log holds no loss", "ERROR"),
    ],
)
def test_loss(
    losses: list[float], said: str | None, severity: str, iteration: IterationPaths, verdict: Verdict
) -> None:
    log = iteration.policy / "train_log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, 1)))
    found = verdict(learning.training_learned)
    assert found.passed is (said is None)
    assert found.severity.value == severity
    if said:
        assert said in (found.description or "")


def _evaluate(store: StoreResource, iteration: IterationPaths, tmp_path: Path, *, student: list[bool]) -> None:
    """An evaluation in which the teacher always succeeds and the student as told."""
    from hitl_ops.evaluation.evaluate import summarise
    from hitl_ops.evaluation.summary import EvaluationConfig

    trace = read_trace(list_traces(iteration.rollouts / "teacher" / "traces")[0])
    folders = {}
    for name, successes in (("teacher", [True] * len(student)), ("student", student)):
        folders[name] = tmp_path / "played" / name
        for number, success in enumerate(successes):
            header = trace.header.model_copy(update={"episode_id": f"val_{number:04d}", "split": "val"})
            result = trace.result.model_copy(update={"success": success, "percent_complete": float(success)})
            write_trace(folders[name] / f"val_{number:04d}.jsonl.gz", header, trace.decisions, result)
    summarise(folders, iteration.evaluation, EvaluationConfig(resamples=100))


@pytest.mark.parametrize(
    ("student", "overrides", "passed", "severity", "said"),
    [
        ([True] * 4, [], True, "WARN", "all is well"),
        ([True, True, True, False], [], False, "WARN", "student over teacher is 0.75, the gate is 0.90"),
        ([True, True, True, False], ["checks.gate_ratio=0.75"], True, "WARN", "all is well"),
        ([True, False, False, False], ["checks.gate_severity=ERROR"], False, "ERROR", "the gate is 0.90"),
        ([False] * 4, [], False, "WARN", "the student succeeded in no episode"),
    ],
)
def test_gate(
    student: list[bool],
    overrides: list[str],
    passed: bool,
    severity: str,
    said: str,
    store: StoreResource,
    iteration: IterationPaths,
    tmp_path: Path,
    verdict: Verdict,
) -> None:
    _evaluate(store, iteration, tmp_path, student=student)
    found = verdict(learning.evaluation_gate, PresetChoice(name="tiny_ci", overrides=overrides))
    assert (found.passed, found.severity.value) == (passed, severity)
    assert said in (found.description or "")


def test_gate_without_an_evaluation(verdict: Verdict) -> None:
    found = verdict(learning.evaluation_gate)
    assert not found.passed
    assert "run the evaluation first" in (found.description or "")
