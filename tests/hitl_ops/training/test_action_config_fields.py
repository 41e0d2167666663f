"""Every field of a robot policy's training changes what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from hitl_ops.training.action_config import ActionTrainConfig
from hitl_ops.training.action_policy import train_action_policy
from hitl_ops.training.checkpoint import list_checkpoints
from hitl_ops.training.train_log import read_log
from tests.support.station_recordings import record, robot

SMALL = {
    "dim_model": 16, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "n_decoder_layers": 1,
    "use_vae": False, "dropout": 0.0,
}  # fmt: skip
DEFAULT: dict[str, Any] = {
    "model": {"chunk": 8, "options": SMALL}, "steps": 4, "batch_size": 8, "warmup_steps": 1, "max_grad_norm": 0.5,
    "indicator_dropout": 0.3, "device": "cpu", "log_every": 2, "eval_every": 2, "schedule": "cosine",
}  # fmt: skip
DECISIVE: list[dict[str, Any]] = [
    {"seed": 1},
    {"steps": 5},
    {"batch_size": 9},
    {"learning_rate": 2e-3},
    {"schedule": "constant"},
    {"schedule": "linear_end"},
    {"warmup_steps": 3},
    {"final_learning_rate_share": 0.5},
    {"weight_decay": 0.1},
    {"beta1": 0.5},
    {"beta2": 0.5},
    {"max_grad_norm": 0.0},
    {"indicator_dropout": 0.9},
    {"precision": "bf16"},
    {"validation_fraction": 0.5},
    {"model": {"chunk": 7, "options": SMALL}},
    {"model": {"chunk": 8, "options": SMALL, "least_deviation": 5.0}},
    {"model": {"chunk": 8, "options": SMALL, "advantage": "none"}},
    {"model": {"chunk": 8, "options": {**SMALL, "dropout": 0.5}}},
]
HARMLESS: list[dict[str, Any]] = [{"save_interval": 1}, {"log_every": 1}, {"workers": 1}, {"eval_every": 1}]


def weights(dataset: Path, out: Path, changes: dict[str, Any]) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    train_action_policy(ActionTrainConfig.model_validate({**DEFAULT, **changes}), dataset, out)
    return dict(load_file(out / "trained" / "model.safetensors"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("waving")
    for number in range(4):
        label = "good" if number % 2 else "bad"
        record(folder / "raw" / f"episode_{number}.hdf5", 20, spec=robot(environment=2), label=label, seed=number)
    build_station_dataset(folder / "raw", folder / "set", StationDatasetConfig())
    return folder / "set"


@pytest.fixture(scope="module")
def usual(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return weights(dataset, tmp_path_factory.mktemp("usual"), {})


@pytest.mark.parametrize("changes", DECISIVE, ids=str)
def test_it_changes_the_weights(
    dataset: Path, usual: dict[str, torch.Tensor], tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = weights(dataset, tmp_path, changes)
    assert found.keys() != usual.keys() or any(
        found[key].shape != usual[key].shape or not torch.equal(found[key], usual[key]) for key in usual
    )


@pytest.mark.parametrize(
    "changes", [{"save_interval": 1}, {"log_every": 1}, {"workers": 1}, {"eval_every": 1}], ids=str
)
def test_it_leaves_the_weights_alone(
    dataset: Path, usual: dict[str, torch.Tensor], tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = weights(dataset, tmp_path, changes)
    assert all(torch.equal(found[key], usual[key]) for key in usual)


def test_it_shows_in_log_and_checkpoints(dataset: Path, tmp_path: Path) -> None:
    weights(dataset, tmp_path / "often", {"log_every": 1, "eval_every": 4, "save_interval": 1, "keep_period": 1})
    weights(dataset, tmp_path / "seldom", {"log_every": 4, "eval_every": 4, "save_interval": 4})
    weights(dataset, tmp_path / "few", {"eval_every": 4, "validation_frames": 2})
    often, seldom, few = (read_log(tmp_path / name / "train_log.jsonl") for name in ("often", "seldom", "few"))
    assert (len(often), len(seldom)) == (4, 1)
    assert len(list_checkpoints(tmp_path / "often" / "checkpoints")) == 4
    assert len(list_checkpoints(tmp_path / "seldom" / "checkpoints")) == 1
    assert few[-1]["validation_loss"] != seldom[-1]["validation_loss"]
