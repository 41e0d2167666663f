"""Training an advantage estimator: it learns, goes on where it was stopped, and leaves whole checkpoints."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_json
from hitl_ops.models.advantage_estimator import load_estimator
from hitl_ops.training.estimator import EstimatorSummary, train_estimator
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_report import read_estimator_report
from hitl_ops.training.train_log import read_log
from tests.support.estimator_sets import waving_set


@pytest.fixture(scope="module")
def waving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short episodes with one camera, one of them of a single frame."""
    return waving_set(tmp_path_factory.mktemp("waving"), (14, 12, 1, 9, 11))


def config(**changes: Any) -> EstimatorTrainConfig:
    model = {"image_size": 16, "features": 16, "hidden": 16, **changes.pop("model", {})}
    fast = {
        "steps": 6, "episodes_per_batch": 3, "frames_per_episode": 4, "near_span": 8, "eval_every": 3, "log_every": 1,
        "save_interval": 2, "device": "cpu", "warmup_steps": 2, "validation_frames": 5, "shift": 1, "brightness": 0.1,
    }  # fmt: skip
    return EstimatorTrainConfig.model_validate({"model": model, **fast, **changes})


def trained(told: EstimatorTrainConfig, folder: Path, out: Path, **how: Any) -> EstimatorSummary:
    torch.set_num_threads(1)
    return train_estimator(told, folder / "set", out, overlays=[folder / "progress"], **how)


@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
def test_a_resumed_training_ends_as_one_that_was_not_stopped(waving: Path, tmp_path: Path, variant: str) -> None:
    told = config(model={"variant": variant})
    whole = trained(told, waving, tmp_path / "whole")
    assert not trained(told, waving, tmp_path / "torn", stop_after=3).finished
    torn = trained(told, waving, tmp_path / "torn")
    assert (torn.resumed_step, torn.steps, torn.finished) == (3, 6, True)
    assert torn.validation_loss == whole.validation_loss
    one, other = (read_log(tmp_path / name / "train_log.jsonl") for name in ("whole", "torn"))
    assert [(line["step"], line["loss"]) for line in one] == [(line["step"], line["loss"]) for line in other]
    for name in ("trained", "6"):
        weights = [load_file(tmp_path / run / name / "model.safetensors") for run in ("whole", "torn")]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert trained(told, waving, tmp_path / "torn") == torn  # there is nothing left to do
    assert (torn.left_out, torn.validation_episodes) == ((1, 1) if variant == "KAI0" else (0, 1))


def test_a_training_that_died_before_its_summary_is_published_as_it_would_have_been(
    waving: Path, tmp_path: Path
) -> None:
    trained(config(), waving, tmp_path)
    names = ("trained/estimator.json", "trained/model.safetensors", "report.json")
    before = [(tmp_path / name).read_bytes() for name in names]
    shutil.rmtree(tmp_path / "trained")
    for name in ("report.json", "train_summary.json"):
        (tmp_path / name).unlink()
    assert trained(config(), waving, tmp_path).resumed_step == 6
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert load_estimator(tmp_path / "trained").facts.steps == 6


@pytest.mark.parametrize("cache", [True, False])
def test_another_report_is_made_of_the_same_weights(waving: Path, tmp_path: Path, cache: bool) -> None:
    first = trained(config(cache=cache, validation_fraction=0.5), waving, tmp_path)
    log, weights = tmp_path / "train_log.jsonl", tmp_path / "trained" / "model.safetensors"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (log, weights)}
    report = read_estimator_report(tmp_path)
    asked = config(cache=cache, validation_fraction=0.5, delta=3, report_episodes=1)
    later = trained(asked, waving, tmp_path)
    again = read_estimator_report(tmp_path)
    assert (report.delta, again.delta, len(again.episodes)) == (50, 3, 1) and len(report.episodes) > 1
    assert again.steps == report.steps == 6 and again.trained_on == report.trained_on
    assert not {one.episode for one in report.episodes} & set(report.trained_on)
    assert len(report.trained_on) == first.train_episodes == later.train_episodes
    assert (later.advantage_pearson, later.seconds) == (again.advantage.pearson, first.seconds)
    assert later.advantage_pearson != first.advantage_pearson
    assert EstimatorSummary.model_validate_json((tmp_path / "train_summary.json").read_text()) == later
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (log, weights)} == before
    told = (tmp_path / "report.json").stat().st_mtime_ns
    assert trained(asked, waving, tmp_path) == later
    assert (tmp_path / "report.json").stat().st_mtime_ns == told  # it is there already
    # Killed between the report and the summary that names it: neither is taken for the other.
    publish_json(tmp_path / "train_summary.json", first)
    assert trained(asked, waving, tmp_path) == later
    publish_json(tmp_path / "train_summary.json", first)
    trained(config(cache=cache, validation_fraction=0.5), waving, tmp_path)
    assert read_estimator_report(tmp_path) == report


def test_checkpoints_are_whole_and_open_as_estimators(waving: Path, tmp_path: Path) -> None:
    trained(config(keep_period=4), waving, tmp_path)
    kept = sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit())
    assert kept == ["4", "6"]
    assert {path.name for path in (tmp_path / "6").iterdir()} == {
        "assets", "estimator.json", "metadata.json", "model.safetensors", "optimizer.safetensors"
    }  # fmt: skip
    assert json.loads((tmp_path / "6" / "metadata.json").read_text())["state"]["step"] == 6
    stats = json.loads((tmp_path / "6" / "assets" / "norm_stats.json").read_text())["norm_stats"]["state"]
    assert len(stats["mean"]) == 14 and stats["q01"] is None
    last, at_four, final = (load_estimator(tmp_path / name) for name in ("6", "4", "trained"))
    assert (at_four.facts.steps, last.facts.steps, final.facts.steps) == (4, 6, 6)
    pictures = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    state = torch.randn(2, 14)
    with torch.no_grad():
        assert torch.equal(last.encode(pictures, state), final.encode(pictures, state))
        assert not torch.equal(at_four.encode(pictures, state), final.encode(pictures, state))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".pkl", ".bin")]


def test_pictures_kept_or_decoded_make_the_same_estimator(waving: Path, tmp_path: Path) -> None:
    told = {"steps": 1, "episodes_per_batch": 2, "frames_per_episode": 3, "validation_fraction": 0}
    kept = trained(config(**told), waving, tmp_path / "kept")
    decoded = trained(config(cache=False, **told), waving, tmp_path / "decoded")
    assert kept.train_loss == decoded.train_loss
    assert not (tmp_path / "decoded" / "pictures").exists()


@pytest.mark.slow
def test_workers_make_the_same_estimator(waving: Path, tmp_path: Path) -> None:
    alone = trained(config(steps=3), waving, tmp_path / "alone")
    helped = trained(config(steps=3, workers=1), waving, tmp_path / "helped")
    assert helped.train_loss == alone.train_loss


@pytest.mark.parametrize(("key", "value"), [("learning_rate", 2e-3), ("model", {"image_size": 16, "hidden": 9})])
def test_another_configuration_does_not_go_on(waving: Path, tmp_path: Path, key: str, value: Any) -> None:
    trained(config(), waving, tmp_path, stop_after=2)
    with pytest.raises(UserError, match="was made with"):
        trained(config().replace(**{key: value}), waving, tmp_path)


def test_episodes_of_one_frame_alone_teach_nothing(tmp_path: Path) -> None:
    folder = waving_set(tmp_path / "short", (1, 1))
    with pytest.raises(UserError, match=r"no episode to learn from: episode 0.*frame 0"):
        trained(config(validation_fraction=0), folder, tmp_path / "out")
    one = trained(config(validation_fraction=0, steps=1, model={"variant": "PI06"}), folder, tmp_path / "one")
    assert one.train_frames == 2


def test_the_data_set_stays_as_it_was(waving: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in sorted((waving / "set").rglob("*")) if path.is_file()}
    trained(config(steps=1), waving, tmp_path)
    assert {path: path.read_bytes() for path in sorted((waving / "set").rglob("*")) if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
def test_progress_is_learned_from_the_pictures_of_a_station(lid_set: Path, tmp_path: Path, variant: str) -> None:
    told = config(
        steps=60, episodes_per_batch=6, frames_per_episode=6, near_span=60, learning_rate=3e-3, eval_every=60,
        shift=0, brightness=0, model={"image_size": 32, "features": 48, "hidden": 64, "variant": variant},
    )  # fmt: skip
    summary = trained(told, lid_set, tmp_path)
    assert summary.validation_loss is not None
    # Who says the mean of all is off by 1/12 for progress and by 1/6 for differences of it.
    assert summary.validation_loss < (1 / 6 if variant == "KAI0" else 1 / 12) / 2
    log = read_log(tmp_path / "train_log.jsonl")
    assert np.mean([line["loss"] for line in log[-5:]]) < 0.3 * log[0]["loss"]


def _killed(told: EstimatorTrainConfig, folder: Path, out: Path, after: int) -> bool:
    """Start a training and kill it once its log has so many lines; whether it was killed before its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hitl_ops.training.estimator"])  # imports are done once
    process = context.Process(target=trained, args=(told, folder, out))
    process.start()
    while process.is_alive() and len(read_log(out / "train_log.jsonl")) < after:
        time.sleep(0.002)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(waving: Path, tmp_path: Path) -> None:
    told = config(steps=40, save_interval=3)
    trained(told, waving, tmp_path / "whole")
    assert [_killed(told, waving, tmp_path / "torn", after) for after in (1, 28)] == [True] * 2
    resumed = trained(told, waving, tmp_path / "torn")
    assert resumed.resumed_step >= 27 and resumed.finished
    one, other = (read_log(tmp_path / name / "train_log.jsonl") for name in ("whole", "torn"))
    assert [(line["step"], line["loss"]) for line in one] == [(line["step"], line["loss"]) for line in other]
    for name in ("trained/model.safetensors", "40/optimizer.safetensors"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "torn").rglob(f"*{TEMPORARY_MARK}*"))
