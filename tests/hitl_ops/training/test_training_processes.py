"""Two processes under torchrun take the same steps as one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.loop import open_accelerator
from hitl_ops.training.merge import merge
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
# With batches of 3 one of the two processes has nothing to say.
@pytest.mark.parametrize(("batch_size", "device"), [(6, "auto"), (3, "cpu")])
def test_two_processes_equal_one(
    batch_size: int,
    device: str,
    tmp_path: Path,
    samples_file: Callable[..., Path],
    config_of: Callable[..., TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # what `auto` finds is then a processor alone
    samples = samples_file(episodes=5)
    config = config_of(batch_size=batch_size, device=device, lora={"dropout": 0.0}, eval_every=2)
    train(config.replace(device="cpu"), samples, tmp_path / "one")
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(script), config.model_dump_json(), str(samples), str(tmp_path / "two")],
        check=False,
        timeout=280,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    states = [tmp_path / name / "checkpoints" / "step_000004" / "state.json" for name in ("one", "two")]
    assert [json.loads(state.read_text())["identity"]["processes"] for state in states] == [1, 2]
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
    bases = [load_file(tmp_path / name / "base" / "model.safetensors") for name in ("one", "two")]
    assert bases[0].keys() == bases[1].keys()
    assert all(torch.equal(tensor, bases[1][name]) for name, tensor in bases[0].items())
    merged = merge(config.base, tmp_path / "two" / "adapter", tmp_path / "merged")
    assert merged.method == "lora" and merged.max_logit_difference <= 1e-4


def test_processes_that_cannot_train_together_are_refused(
    config_of: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a machine whose accelerator has no way to exchange gradients: each process would train alone.
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started"):
        open_accelerator(config_of(device="auto"))
