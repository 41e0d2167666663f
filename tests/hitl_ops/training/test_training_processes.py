"""Two processes under torchrun take the same steps as one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig
from hitl_ops.training.train_log import read_log

SCRIPT = """
import sys
from pathlib import Path
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig
train(TrainConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.integration
@pytest.mark.parametrize("batch_size", [6, 3])  # with 3 one of the two processes has nothing to say
def test_two_processes_equal_one(
    batch_size: int, tmp_path: Path, samples_file: Callable[..., Path], config_of: Callable[..., TrainConfig]
) -> None:
    samples = samples_file(episodes=5)
    config = config_of(batch_size=batch_size, lora={"dropout": 0.0}, eval_every=2)
    train(config, samples, tmp_path / "one")
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [*launch, str(script), config.model_dump_json(), str(samples), str(tmp_path / "two")],
        check=True,
        timeout=280,
        capture_output=True,
    )
    one, two = (read_log(tmp_path / name / "train_log.jsonl") for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert a["samples"] == b["samples"] and a["sample_tokens"] == b["sample_tokens"]
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
        assert a.keys() == b.keys()
        if "validation_loss" in a:
            assert b["validation_loss"] == pytest.approx(a["validation_loss"], rel=1e-5)
    assert "validation_loss" in one[-1]
    weights = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)
