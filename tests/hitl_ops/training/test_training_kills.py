"""A training killed at any moment goes on, and ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.training.checkpoint import list_checkpoints
from hitl_ops.training.sft import train
from hitl_ops.training.train_config import TrainConfig
from hitl_ops.training.train_log import read_log

Write = Callable[..., Path]
Configure = Callable[..., TrainConfig]


def context() -> ForkServerContext:
    """Real processes, whose imports are done once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["hitl_ops.training.sft", "peft", "transformers.models.llama.modeling_llama"])
    return made


def start(config: TrainConfig, samples: Path, out: Path) -> multiprocessing.process.BaseProcess:
    process = context().Process(target=train, args=(config, samples, out))
    process.start()
    return process


def kill_and_resume(kills: int, tmp_path: Path, samples: Path, config: TrainConfig) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    straight = start(config, samples, whole)
    straight.join()
    assert straight.exitcode == 0

    draw = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "0")))
    killed, target = 0, 0.0
    while killed < kills:
        # Somewhere within the next stretch of steps, or before the first, while something is read, computed or written.
        target += draw.uniform(0, 20 / kills)
        process = start(config, samples, torn)
        while process.is_alive() and len(read_log(torn / "train_log.jsonl")) < target:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was quicker: begin again, so that every kill counts
            shutil.rmtree(torn)
            target = 0.0
            continue
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        for checkpoint in list_checkpoints(torn / "checkpoints"):
            assert {path.name for path in checkpoint.iterdir()} == {
                "weights.safetensors",
                "optimizer.safetensors",
                "state.json",
            }
    last = start(config, samples, torn)
    last.join()
    assert last.exitcode == 0
    assert not list(torn.rglob(f"*{TEMPORARY_MARK}*"))
    for name in ("adapter/adapter_model.safetensors", "checkpoints/step_000024/optimizer.safetensors"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()
    told = [[(line["step"], line["loss"]) for line in read_log(o / "train_log.jsonl")] for o in (whole, torn)]
    assert told[0] == told[1] and [step for step, _ in told[1]] == list(range(1, 25))
    assert [path.name for path in list_checkpoints(torn / "checkpoints")] == ["step_000022", "step_000024"]


def config(config_of: Configure) -> TrainConfig:
    return config_of(max_steps=24, checkpoint_every=2, eval_every=5, keep="best")


@pytest.mark.slow
@pytest.mark.timeout(900)  # twenty starts of a training, on a machine that may be busy
def test_killed_at_twenty_moments(tmp_path: Path, samples_file: Write, config_of: Configure) -> None:
    kill_and_resume(20, tmp_path, samples_file(), config(config_of))
