"""Every field of an estimator's training changes what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.training.estimator import train_estimator
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_presets import ESTIMATOR_PRESETS
from tests.support.estimator_sets import waving_set

SMALL: dict[str, Any] = {"image_size": 16, "features": 8, "hidden": 8}
DEFAULT: dict[str, Any] = {
    "model": SMALL, "steps": 6, "episodes_per_batch": 2, "frames_per_episode": 3, "near_share": 0.5, "near_span": 4,
    "warmup_steps": 1, "max_grad_norm": 0.05, "device": "cpu", "log_every": 2, "eval_every": 2,
}  # fmt: skip
DECISIVE: list[dict[str, Any]] = [
    {"column": "other"},
    {"seed": 1},
    {"steps": 7},
    {"episodes_per_batch": 3},
    {"frames_per_episode": 4},
    {"near_share": 1.0},
    {"near_span": 8},
    {"learning_rate": 2e-3},
    {"schedule": "constant"},
    {"schedule": "linear_end"},
    {"warmup_steps": 3},
    {"final_learning_rate_share": 0.5},
    {"weight_decay": 0.5},
    {"beta1": 0.5},
    {"beta2": 0.5},
    {"max_grad_norm": 0.0},
    {"brightness": 0.5},
    {"shift": 3},
    {"least_deviation": 5.0},
    {"precision": "bf16"},
    {"validation_fraction": 0.5},
    {"model": {**SMALL, "variant": "PI06"}},
    {"model": {**SMALL, "cameras": ["cam_low"]}},
    {"model": {**SMALL, "image_size": 24}},
    {"model": {**SMALL, "use_state": False}},
    {"model": {**SMALL, "features": 9}},
    {"model": {**SMALL, "hidden": 9}},
]
HARMLESS: list[dict[str, Any]] = [
    {"save_interval": 1}, {"keep_period": 1}, {"log_every": 1}, {"cache": False}, {"eval_every": 1}, {"delta": 3},
    {"report_episodes": 1}, {"validation_frames": 4}, {"name": "other"},
]  # fmt: skip
# Backbones and what goes with them: test_vla_backbone.py; processes that fetch: test_estimator.py.
ELSEWHERE = {"device", "workers", "model.backbone", "model.pretrained", "model.tokenizer", "model.frozen"}


@pytest.fixture(scope="module")
def waving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short episodes with two cameras, and another idea of how much was done."""
    folder = waving_set(tmp_path_factory.mktemp("waving"), (9, 8, 10, 7), cameras=("cam_high", "cam_low"))
    values = np.random.default_rng(0).random(34, np.float32)
    write_overlay(folder / "other", open_lerobot(folder / "set"), {"other": values})
    return folder


def weights(folder: Path, out: Path, changes: dict[str, Any], last: int = 4) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    told = EstimatorTrainConfig.model_validate({**DEFAULT, **changes})
    train_estimator(told, folder / "set", out, overlays=[folder / "progress", folder / "other"], stop_after=last)
    return dict(load_file(out / str(last) / "model.safetensors"))


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    same = one.keys() == other.keys() and all(one[key].shape == other[key].shape for key in one)
    return not same or any(not torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def plain(waving: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What comes of the settings as they are."""
    return weights(waving, tmp_path_factory.mktemp("plain"), {})


@pytest.fixture(scope="module")
def ended(waving: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The same, at the end, with a report."""
    return weights(waving, tmp_path_factory.mktemp("ended"), {}, 6)


@pytest.mark.slow
@pytest.mark.parametrize("changes", DECISIVE, ids=str)
def test_a_field_that_decides_changes_the_weights(
    changes: dict[str, Any], waving: Path, plain: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    assert differ(weights(waving, tmp_path, changes), plain)


@pytest.mark.slow
@pytest.mark.parametrize("changes", HARMLESS, ids=str)
def test_a_field_that_only_shows_changes_no_weight(
    changes: dict[str, Any], waving: Path, ended: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    assert not differ(weights(waving, tmp_path, changes, 6), ended)


def test_no_field_is_forgotten() -> None:
    named = {key for changes in DECISIVE + HARMLESS for key in changes if key != "model"}
    named |= {f"model.{key}" for changes in DECISIVE for key in changes.get("model", {}) if key != "options"}
    fields = set(EstimatorTrainConfig().decisive()) | set(EstimatorTrainConfig.model_fields) - {"model"}
    assert {key for key in fields if not key.startswith("model.options")} == named | ELSEWHERE


def test_presets_differ_in_scale_and_not_in_kind() -> None:
    laptop, paper = ESTIMATOR_PRESETS["laptop"], ESTIMATOR_PRESETS["paper"]
    assert laptop.model.backbone == "small" and not laptop.model.pretrained
    assert (paper.model.backbone, paper.steps, paper.model.image_size) == ("pi05", 100_000, 224)
    assert len(paper.model.cameras) == 3 and paper.model.variant == laptop.model.variant == "KAI0"
