"""Trains an agent for preferences; with a place named, it dies there while its second checkpoint is written.

``python -m tests.support.agent_training_process FOLDER [weights|optimizer|references]``
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hitl_ops.training import checkpoint
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_reference import References
from hitl_ops.training.agent_rows import seeded_draw
from hitl_ops.training.agent_training import AgentTrainer
from tests.support.taught_agents import made_up_pairs, small_agent

CONFIG = AgentTrainConfig(phase="dpo", batch_size=2, accumulation=2, gradient_steps=2, learning_rate=1e-2, warmup=3)


def train(folder: Path, steps: int) -> None:
    """Go on to ``steps`` gradient steps, with a checkpoint every second one."""
    with AgentTrainer(small_agent(), CONFIG, folder) as trainer:
        while trainer.step < steps:
            trainer.steps(seeded_draw(made_up_pairs(12)))
            trainer.checkpoint()


def die_at(place: str) -> None:
    """Let the second checkpoint end in the middle of ``place``."""
    written = {"count": 0}

    def dying(real: Any, *arguments: Any) -> None:
        written["count"] += 1
        if written["count"] < 2:
            real(*arguments)
            return
        target = next(argument for argument in arguments if isinstance(argument, Path))
        target.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    if place == "references":
        write = References.write
        References.write = lambda self, file: dying(write, self, file)  # type: ignore[method-assign]
        return
    save, name = checkpoint._save_tensors, f"{place}.safetensors"

    def save_or_die(tensors: Any, path: Path) -> None:
        if path.name == name:
            dying(save, tensors, path)
        else:
            save(tensors, path)

    checkpoint._save_tensors = save_or_die


if __name__ == "__main__":
    if len(sys.argv) > 2:
        die_at(sys.argv[2])
    train(Path(sys.argv[1]), steps=6)
