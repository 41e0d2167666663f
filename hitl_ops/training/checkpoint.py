"""Checkpoints: whole folders, published at once, from which a run goes on as if it had never stopped.

``checkpoints/step_000123/`` holds ``weights.safetensors`` (what is trained, by parameter name),
``optimizer.safetensors`` and ``state.json``. No random state is kept: the loop seeds itself anew at every step from
(seed, step, process), and the data's order is a function of the seed, so that the step number is the whole state.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_json, publishing

BEST = "best"


@dataclass(frozen=True)
class Layout:
    """What checkpoints and the files in them are called.

    Attributes:
        pattern: of a checkpoint's name; its group is the step.
        name: the name, with a place for ``step``.
        weights: file of the weights.
        optimizer: file of the optimizer's state.
        state: file that says where the training stands.
        whole: whether what is not trained is kept too, so that the weights can be opened by themselves.
    """

    pattern: re.Pattern[str]
    name: str
    weights: str
    optimizer: str
    state: str
    whole: bool = False


OURS = Layout(
    re.compile(r"^step_(\d{6,})$"), "step_{step:06d}", "weights.safetensors", "optimizer.safetensors", "state.json"
)
BY_STEP = Layout(
    re.compile(r"^(\d+)$"), "{step}", "model.safetensors", "optimizer.safetensors", "metadata.json", whole=True
)
"""Folders named after their step alone, as openpi and kai0 have them; without pickle."""


class LoopState(BaseModel):
    """Where a training stands after a step."""

    model_config = ConfigDict(extra="forbid")

    step: int = Field(default=0, description="optimizer steps done; with the seed it says where the data stands")
    samples: int = Field(default=0, description="samples trained on so far, repetitions counted")
    sample_tokens: int = Field(default=0, description="their tokens, had each been trained by itself")
    packed_tokens: int = Field(default=0, description="tokens the model really ran on")
    seconds: float = Field(default=0.0, description="time spent in steps, over all runs")
    train_loss: float | None = Field(default=None, description="loss of the last step")
    validation_loss: float | None = Field(default=None, description="at the last look")
    best_validation_loss: float | None = Field(default=None, description="lowest so far")
    best_step: int | None = Field(default=None, description="the step that had it")
    looks_without_gain: int = Field(default=0, description="looks since the lowest")
    stopped_early: bool = Field(default=False, description="patience ran out")


class Identity(BaseModel):
    """What a checkpoint belongs to."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any] = Field(description="every field that can change the weights, flat")
    config_hash: str
    data: str = Field(description="hash of what is trained on")
    processes: int = Field(default=1, description="processes; each has its own dropout")

    @classmethod
    def of(cls, decisive: dict[str, Any], data: str, processes: int) -> Self:
        """That of a training.

        Args:
            decisive: every field of its configuration that can change the weights, flat.
            data: hash of what is trained on.
            processes: that train together.
        """
        config_hash = hashlib.sha256(repr(sorted(decisive.items())).encode()).hexdigest()
        return cls(config=decisive, config_hash=config_hash, data=data, processes=processes)


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid")

    identity: Identity
    state: LoopState


def list_checkpoints(folder: Path, layout: Layout = OURS) -> list[Path]:
    """Complete checkpoints, oldest first; whatever is still being written has another name."""
    if not folder.is_dir():
        return []
    named = ((layout.pattern.match(path.name), path) for path in folder.iterdir() if path.is_dir())
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match)]


def trained_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that are trained, by name, each once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _kept_tensors(model: torch.nn.Module, layout: Layout) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) if layout.whole else trained_tensors(model)


def save_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: Identity,
    state: LoopState,
    *,
    keep_last: int,
    keep_period: int = 0,
    layout: Layout = OURS,
    beside: Callable[[Path], None] | None = None,
) -> Path:
    """Publish a checkpoint and remove the oldest beyond ``keep_last``.

    Args:
        folder: ``checkpoints``.
        model: the bare model.
        optimizer: its optimizer, whose parameter groups hold the model's own parameters.
        identity: what run it belongs to.
        state: where that stands.
        keep_last: how many to keep.
        keep_period: those of every so many steps are kept besides; 0: none.
        layout: what it and its files are called.
        beside: writes further files into its folder before it is published.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    target = folder / layout.name.format(step=state.step)
    tensors = _kept_tensors(model, layout)
    with publishing(target) as temporary:
        temporary.mkdir()
        _save_tensors(tensors, temporary / layout.weights)
        names = {id(parameter): name for name, parameter in tensors.items()}
        flat = {
            f"{key}/{names[id(parameter)]}": value
            for parameter, slots in optimizer.state.items()
            for key, value in slots.items()
        }
        _save_tensors(flat, temporary / layout.optimizer)
        text = _Saved(identity=identity, state=state).model_dump_json(indent=2)
        (temporary / layout.state).write_text(text, encoding="utf-8")
        if beside is not None:
            beside(temporary)
    for old in list_checkpoints(folder, layout)[:-keep_last]:
        if keep_period and int(old.name.rpartition("_")[2]) % keep_period == 0:
            continue
        # Renamed first: a kill half-way through the removal must not leave something that looks whole.
        doomed = old.with_name(f"{old.name}{TEMPORARY_MARK}doomed")
        old.rename(doomed)
        shutil.rmtree(doomed)
    return target


def load_checkpoint(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: Identity,
    *,
    layout: Layout = OURS,
) -> LoopState | None:
    """Set model and optimizer to the newest checkpoint.

    Returns:
        Where the run stood, or None where there is no checkpoint.

    Raises:
        UserError: the newest checkpoint belongs to another configuration or other data, or is damaged.
    """
    found = list_checkpoints(folder, layout)
    if not found:
        return None
    path = found[-1]
    remedy = "remove the folder to fall back on the checkpoint before it"
    try:
        saved = _Saved.model_validate_json((path / layout.state).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"checkpoint '{path}' is damaged ({layout.state})", remedy) from None
    _check_identity(path, saved.identity, identity)
    tensors = _kept_tensors(model, layout)
    try:
        weights = load_file(path / layout.weights)
        slots = load_file(path / layout.optimizer)
    except (OSError, SafetensorError) as error:
        raise UserError(f"checkpoint '{path}' is damaged ({error})", remedy) from None
    _copy_into(path, tensors, weights)
    for key, value in slots.items():
        slot, _, name = key.partition("/")
        parameter = tensors[name]
        # AdamW keeps its step count on the CPU, whatever the device.
        optimizer.state[parameter][slot] = value if value.dim() == 0 else value.to(parameter.device)
    return saved.state


def save_best(folder: Path, model: torch.nn.Module, state: LoopState) -> None:
    """Publish the weights with the lowest validation loss so far."""
    with publishing(folder / BEST) as temporary:
        temporary.mkdir()
        _save_tensors(trained_tensors(model), temporary / "weights.safetensors")
        publish_json(temporary / "state.json", state)


def load_best(folder: Path, model: torch.nn.Module) -> None:
    """Set the model to the weights with the lowest validation loss.

    Raises:
        UserError: they are gone or damaged.
    """
    path = folder / BEST
    try:
        _copy_into(path, trained_tensors(model), load_file(path / "weights.safetensors"))
    except (OSError, SafetensorError):
        raise UserError(f"the best weights '{path}' are damaged or gone", "train again into another folder") from None


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _copy_into(path: Path, tensors: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
    if tensors.keys() != values.keys():
        odd = sorted(tensors.keys() ^ values.keys())[0]
        raise UserError(f"checkpoint '{path}' and the model disagree on '{odd}'", "train into another folder")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(values[name])


def _check_identity(path: Path, saved: Identity, wanted: Identity) -> None:
    elsewhere = "train into another folder, or go on with what it was begun with"
    for key in sorted(saved.config.keys() | wanted.config.keys()):
        was, now = saved.config.get(key), wanted.config.get(key)
        # Through JSON, so that a tuple equals the list it became.
        if json.dumps(was) != json.dumps(now):
            raise UserError(f"checkpoint '{path}' was made with {key}={was}, not {now}", elsewhere)
    if saved.data != wanted.data:
        raise UserError(f"checkpoint '{path}' was made from other samples", elsewhere)
    if saved.processes != wanted.processes:
        raise UserError(
            f"checkpoint '{path}' was made by {saved.processes} processes, not {wanted.processes}", elsewhere
        )
