"""Two processes under torchrun train the same estimator as one, also where one of them has nothing to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.training.estimator import train_estimator
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.train_log import read_log
from tests.support.estimator_sets import waving_set

SCRIPT = """
import json, sys
from pathlib import Path
from hitl_ops.training.estimator import train_estimator
from hitl_ops.training.estimator_config import EstimatorTrainConfig
folder, out = Path(sys.argv[2]), Path(sys.argv[3])
for name, config in json.loads(sys.argv[1]).items():
    told = EstimatorTrainConfig.model_validate(config)
    train_estimator(told, folder / "set", out / name, overlays=[folder / "progress"])
    later = told.replace(delta=3)
    train_estimator(later, folder / "set", out / name, overlays=[folder / "progress"])
"""


def config(**changes: Any) -> dict[str, Any]:
    told = {
        "steps": 12, "frames_per_episode": 4, "near_span": 8, "eval_every": 4, "log_every": 1, "save_interval": 6,
        "warmup_steps": 2, "validation_frames": 5, "shift": 1, "brightness": 0.1, "precision": "fp32",
    }  # fmt: skip
    return {**told, **changes}


@pytest.mark.integration
def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torch.set_num_threads(1)
    folder = waving_set(tmp_path / "waving", (14, 12, 2, 9, 11))
    small = {"image_size": 16, "features": 16, "hidden": 16}
    told = {
        # Shares of two episodes and of one, which differ in length too.
        "KAI0": config(model={**small, "variant": "KAI0"}, episodes_per_batch=3),
        # Nothing is left for the second.
        "PI06": config(model={**small, "variant": "PI06"}, episodes_per_batch=1),
    }
    for name, one in told.items():
        alone = EstimatorTrainConfig.model_validate({**one, "device": "cpu"})
        train_estimator(alone, folder / "set", tmp_path / "one" / name, overlays=[folder / "progress"])
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(script), json.dumps(told), str(folder), str(tmp_path / "two")],
        check=False,
        timeout=280,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in told:
        one, two = (read_log(tmp_path / count / name / "train_log.jsonl") for count in ("one", "two"))
        assert len(one) == 12
        for a, b in zip(one, two, strict=True):
            assert a["samples"] == b["samples"]
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-5, rel=1e-4)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
            if "validation_loss" in a:
                assert b["validation_loss"] == pytest.approx(a["validation_loss"], abs=1e-5, rel=1e-4)
        assert "validation_loss" in one[-1]
        files = [tmp_path / count / name / "trained" / "model.safetensors" for count in ("one", "two")]
        weights = [load_file(file) for file in files]
        for key, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][key], tensor, rtol=1e-3, atol=1e-4)
        assert json.loads((tmp_path / "two" / name / "report.json").read_text())["delta"] == 3
        assert json.loads((tmp_path / "two" / name / "12" / "metadata.json").read_text())["identity"]["processes"] == 2
