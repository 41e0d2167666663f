"""The station loop's state as a file that scripts of other pipelines read: ``training_state_<task>.json``.

An export only. What is true stands in Dagster and in the registry; the file is written anew whenever an iteration
opens, a training begins or another policy comes to serve, and nobody here reads it.
"""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.models.robot_policy import WEIGHTS_FOLDER
from hitl_ops.serving.policy_alias import resolve

PROGRAM = "station"
Status = Literal["collecting_data", "training", "finished"]


@dataclass(frozen=True)
class TaskNames:
    """What the loop is about.

    Attributes:
        task: short name of the task.
        description: the task in words.
        config: name of the training's configuration.
    """

    task: str
    description: str
    config: str


class TrainingState(BaseModel):
    """The file's content."""

    model_config = ConfigDict(extra="forbid")

    task_name: str
    task_description: str
    config_name: str
    epoch: int = Field(ge=0, description="the open iteration")
    last_checkpoint: str = Field(description="folder of the weights that serve; empty where none do")
    base_checkpoint: str = Field(description="folder of the weights that iteration 0 made; empty where there are none")
    status: Status
    updated_at: str = Field(description="ISO 8601, with the time zone")


def training_state_file(store: Store, task: str) -> Path:
    """Where the state of a task's loop is exported to."""
    return store.root / PROGRAM / f"training_state_{task}.json"


def export_training_state(store: Store, names: TaskNames, *, last: int | None = None, training: bool = False) -> Path:
    """Write the state as it is now; returns the file.

    Args:
        store: holds the registry, and the iterations' folders.
        names: what the loop is about.
        last: the last iteration there is to be; None where it goes on for ever.
        training: whether the open iteration's policy is being trained right now.

    Raises:
        UserError: the registry cannot be read, or the file cannot be written.
    """
    epoch = store.newest_iteration(PROGRAM)
    serving = resolve(store, PROGRAM)
    base = store.iteration(PROGRAM, 0).policy / WEIGHTS_FOLDER
    file = training_state_file(store, names.task)
    publish_json(
        file,
        TrainingState(
            task_name=names.task,
            task_description=names.description,
            config_name=names.config,
            epoch=epoch,
            last_checkpoint=str(serving.folder / WEIGHTS_FOLDER) if serving is not None else "",
            base_checkpoint=str(base) if base.is_dir() else "",
            status=_status(store, epoch, last, training),
            updated_at=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        ),
    )
    return file


def export_again(store: Store) -> None:
    """Write anew whatever state files there are, after another policy has come to serve by hand.

    Raises:
        UserError: the registry cannot be read, or a file cannot be written.
    """
    for file in sorted((store.root / PROGRAM).glob(training_state_file(store, "*").name)):
        with contextlib.suppress(ValueError):  # somebody else's, or damaged: left as it is
            before = TrainingState.model_validate_json(file.read_bytes())
            names = TaskNames(before.task_name, before.task_description, before.config_name)
            last = before.epoch if before.status == "finished" else None
            export_training_state(store, names, last=last, training=before.status == "training")


def _status(store: Store, epoch: int, last: int | None, training: bool) -> Status:
    # Nobody collects for iteration 0: its policy comes of demonstrations.
    if training or epoch == 0:
        return "training"
    decided = read_gate(store.iteration(PROGRAM, epoch).evaluation) is not None
    return "finished" if decided and last is not None and epoch >= last else "collecting_data"
