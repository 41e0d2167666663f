"""The advantage program's graph reads as its pipeline does, and its presets are typed, strict, and fair."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from hitl_assets.advantage_checks import ADVANTAGE_CHECKS
from hitl_assets.advantage_iterations import AdvantagePaths, advantage_iterations, open_first_advantage_iteration
from hitl_assets.advantage_presets import ADVANTAGE_PRESETS, AdvantagePreset, chosen_advantage_preset
from hitl_assets.definitions import build_defs
from hitl_assets.preset_choice import AdvantagePresetChoice
from hitl_ops.contracts.advantage_prompt import label_prompts
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import Store
from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from hitl_ops.training.estimator_report import REPORT, Agreement, EpisodeAgreement, EstimatorReport
from resources.store import StoreResource
from tests.support.station_recordings import TASK, record

PIPELINE = [
    "advantage_recordings",
    "progress_dataset",
    "labeled_dataset",
    "advantage_estimator",
    "estimated_dataset",
    "advantage_dataset",
    "awbc_policy",
    "awbc_evaluation",
]


def test_follows_the_pipeline() -> None:
    graph = build_defs().resolve_asset_graph()
    own = {node.key.to_user_string() for node in graph.asset_nodes if node.group_name == "advantage"}
    assert own == set(PIPELINE)
    for before, after in itertools.pairwise(PIPELINE):
        node = graph.get(dg.AssetKey(after))
        assert before in {key.to_user_string() for key in node.parent_keys}
        assert node.partitions_def == advantage_iterations
    job = build_defs().resolve_job_def("advantage_iteration_0")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(PIPELINE)
    blocking = {
        key.name for key in graph.asset_check_keys if key.asset_key.to_user_string() in own and graph.get(key).blocking
    }
    assert blocking == {"new_episodes_are_new", "progress_is_sound", "estimates_are_sound", "asked_as_it_was_trained"}
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_advantage_iteration(instance) == open_first_advantage_iteration(instance) == "000"


@pytest.mark.parametrize("name", ADVANTAGE_PRESETS)
def test_presets_survive_being_written_down(name: str) -> None:
    preset = chosen_advantage_preset(name, [])
    assert AdvantagePreset.model_validate_json(preset.model_dump_json()) == preset
    # A policy is weighed by the advantage that labels are made of.
    if name == "laptop":
        assert preset.policies.training.advantage_column == preset.estimated_labels.column


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["policies.training.step=3"], "did you mean 'steps'?"),
        (["evaluation.seed=30001"], "evaluation.seed and recordings.marked.seed give the same scenes"),
        (["recordings.new.seed=30003"], "recordings.marked.seed and recordings.new.seed give the same scenes"),
        (["recordings.marked_dataset=/somewhere"], "marking.by=scripted looks at what the simulator"),
        (["policies.seeds=[1, 1]"], "policies.seeds"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_advantage_preset("tiny_ci", overrides)
    assert said in str(caught.value)
    chosen_advantage_preset("tiny_ci", ["recordings.marked_dataset=/somewhere", "progress.source=verdicts"])
    with pytest.raises(UserError, match="choose one of laptop, paper, tiny_ci"):
        chosen_advantage_preset("labtop", [])


def test_runs_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_ADVANTAGE_PRESET", "tiny_ci")
    monkeypatch.setenv("FLYWHEEL_ADVANTAGE_OVERRIDES", "policies.seeds=[4,5]")
    assert AdvantagePresetChoice.from_environment().resolve().policies.seeds == (4, 5)
    monkeypatch.setenv("FLYWHEEL_ADVANTAGE_OVERRIDES", "policies.seed=4")
    with pytest.raises(UserError, match="FLYWHEEL_ADVANTAGE_OVERRIDES"):
        AdvantagePresetChoice.from_environment()


class _Checked:
    """Two small data sets where the program looks for them, and its checks by name."""

    def __init__(self, root: Path) -> None:
        self.store = Store.at(root)
        self.paths = AdvantagePaths(self.store.iteration("advantage", 0))
        for place, first in ((self.paths.marked_dataset, 0), (self.paths.new_dataset, 2)):
            for number in range(2):
                record(place.parent / f"raw_{first}" / f"episode_{number}.hdf5", 12, seed=first + number)
            build_station_dataset(place.parent / f"raw_{first}", place, StationDatasetConfig(unlabelled="keep"))
        self.marked = open_lerobot(self.paths.marked_dataset)
        self.frames = self.marked.info.total_frames

    def overlay(self, place: Path, columns: dict[str, Any], **further: Any) -> None:
        dataset = self.paths.new_dataset if place in (self.paths.estimated, self.paths.advantage) else self.marked.root
        write_overlay(place, open_lerobot(dataset), columns, **further)

    def check(self, name: str, *overrides: str) -> dg.AssetCheckEvaluation:
        check = next(one for one in ADVANTAGE_CHECKS if next(iter(one.check_keys)).name == name)
        resources = {
            "store": StoreResource(home=str(self.store.root)),
            "advantage_preset": AdvantagePresetChoice(name="tiny_ci", overrides=list(overrides)),
        }
        with dg.DagsterInstance.ephemeral() as instance:
            job = dg.Definitions(asset_checks=[check], resources=resources).resolve_implicit_global_asset_job_def()
            result = job.execute_in_process(instance=instance, tags={"dagster/partition": "000"}, raise_on_error=False)
            evaluations = result.get_asset_check_evaluations()
        assert len(evaluations) == 1, "the check did not finish"
        return evaluations[0]


@pytest.fixture
def checked(tmp_path: Path) -> _Checked:
    return _Checked(tmp_path)


def test_checks_find_what_is_wrong(checked: _Checked) -> None:
    paths, count = checked.paths, checked.frames
    assert checked.check("new_episodes_are_new").passed
    same = f"recordings.new_dataset={paths.marked_dataset}"
    assert "the same one" in str(checked.check("new_episodes_are_new", same).description)

    rising = np.tile(np.linspace(0, 1, 12, dtype=np.float32), 2)
    checked.overlay(paths.progress, {"progress_gt": rising, "stage_progress_gt": rising})
    assert checked.check("progress_is_sound", "progress.monotone=true").passed
    checked.overlay(paths.progress, {"progress_gt": rising[::-1].copy(), "stage_progress_gt": rising * 2})
    said = str(checked.check("progress_is_sound", "progress.monotone=true").description)
    assert "'progress_gt' falls in episode 0" in said and "goes from 0 to 2" in said
    assert checked.check("progress_is_sound").passed is False

    tasks = dict(enumerate(label_prompts(TASK, "binary")))
    half = (np.arange(count) % 2).astype(np.int32)
    checked.overlay(paths.labeled, {"task_index": half}, tasks=tasks)
    assert checked.check("labels_are_balanced").passed
    checked.overlay(paths.labeled, {"task_index": np.ones(count, np.int32)}, tasks=tasks)
    lopsided = checked.check("labels_are_balanced")
    assert (lopsided.passed, lopsided.severity) == (False, dg.AssetCheckSeverity.WARN)

    columns = {name: rising - 0.5 for name in ("absolute_value", "absolute_advantage", "relative_advantage")}
    checked.overlay(paths.estimated, columns)
    assert checked.check("estimates_are_sound").passed
    checked.overlay(paths.estimated, {**columns, "relative_advantage": rising * 3})
    assert "leaves -1 to 1" in str(checked.check("estimates_are_sound").description)
    checked.overlay(paths.estimated, {name: columns[name] for name in list(columns)[:2]})
    assert "relative_advantage" in str(checked.check("estimates_are_sound").description)


def test_an_estimator_is_judged_on_what_it_has_not_learned_from(checked: _Checked) -> None:
    def report(pearson: float, held_out: list[int]) -> None:
        same = Agreement(frames=12, pearson=pearson, spearman=pearson, mean_error=0.1, bias=0.0)
        said = EstimatorReport(
            name="KAI0",
            variant="KAI0",
            steps=4,
            delta=50,
            advantage=same,
            absolute_advantage=same,
            value=same,
            advantage_calibration=[],
            value_calibration=[],
            episodes=[EpisodeAgreement(episode=number, advantage=same, value=same) for number in held_out],
            trained_on=[0],
        )
        publish_json(checked.paths.estimator / REPORT, said)

    report(0.9, [1])
    assert checked.check("estimator_generalises", "checks.least_correlation=0.8").passed
    report(0.7, [1])
    low = checked.check("estimator_generalises", "checks.least_correlation=0.8")
    assert (low.passed, low.severity) == (False, dg.AssetCheckSeverity.WARN) and "is 0.70" in str(low.description)
    report(0.9, [0, 1])
    assert "episode 0 was held out and learned from" in str(checked.check("estimator_generalises").description)
    none = checked.check("estimator_generalises", "estimator.validation_fraction=0")
    assert "no episode was held out" in str(none.description)
