"""The one training loop: units in, trained weights and checkpoints out.

The loss of a step is the sum over its samples of weight times the negative log-likelihood of their tokens, divided by
the sum over its samples of weight times tokens. A sample of weight 2 pulls as two samples of weight 1, a sample of
weight 0 is not there, and multiplying all weights by one number changes nothing. The denominator is that of the
whole step, over all its batches and processes, so that neither packing nor accumulation nor the number of processes
changes what is optimised.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from transformers import PreTrainedModel

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.training.batches import Batch, Unit, plan_steps, share_out
from hitl_ops.training.block_attention import AttentionKind
from hitl_ops.training.checkpoint import Identity, LoopState, load_best, load_checkpoint, save_best, save_checkpoint
from hitl_ops.training.loss import mean_loss, rows_of, weighted_loss
from hitl_ops.training.optimization import build_optimizer, learning_rate_at
from hitl_ops.training.rows import Row
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_config import OptimizationConfig
from hitl_ops.training.train_log import TrainLog

_PATIENCE = timedelta(hours=12)
"""How long processes wait for each other. One alone decodes videos, publishes weights and reports while the others
wait; torch gives up after ten or thirty minutes, which a large model's report can take."""


@dataclass(frozen=True)
class LoopResult:
    """What the loop leaves behind.

    Attributes:
        state: where the run stands.
        total_steps: steps of the whole training.
        resumed_step: step the run went on from, 0 where it began.
        finished: whether there is nothing left to do.
    """

    state: LoopState
    total_steps: int
    resumed_step: int
    finished: bool


class Placement(Protocol):
    """Where a training runs and in which number format."""

    @property
    def device(self) -> str:
        """``auto`` or ``cpu``."""

    @property
    def precision(self) -> str:
        """``fp32`` or ``bf16``."""


def open_accelerator(config: Placement) -> Accelerator:
    """Accelerate as the configuration asks; joins the processes torchrun started, if it did.

    Raises:
        UserError: the launcher asks for a kind of distribution the checkpoints don't know, or that there is none of
            between devices of this kind.
    """
    if PartialState._shared_state and PartialState().num_processes == 1:
        # Accelerate remembers device and precision of the process's first training.
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        # Accelerate joins processes that only have processors when it is told so, not when it finds so itself: each
        # would then take itself for the only one, and all would write into one folder.
        cpu=config.device == "cpu" or not torch.accelerator.is_available(),
        mixed_precision="no" if config.precision == "fp32" else "bf16",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise UserError(
            f"{started} processes were started, but on '{accelerator.device.type}' they cannot train together",
            "set device=cpu, or start one process",
        )
    known = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in known:
        raise UserError(
            f"distributed training of the kind {accelerator.distributed_type.value} is not supported",
            "launch one process, or several with torchrun",
        )
    return accelerator


def run_loop(
    model: PreTrainedModel,
    attention: AttentionKind,
    train_units: Sequence[Unit],
    validation_units: Sequence[Unit],
    config: OptimizationConfig,
    out: Path,
    data_hash: str,
    progress: Progress,
    *,
    accelerator: Accelerator,
    tracker: Tracker | None = None,
    stop_after: int | None = None,
) -> LoopResult:
    """Train until the end, or go on from the newest checkpoint in ``out``.

    Args:
        model: the bare model, its untrained parameters frozen; on return it holds the weights to publish.
        attention: as :func:`~hitl_ops.training.block_attention.prepare_attention` says.
        train_units: what to train on.
        validation_units: what to watch the loss on; may be empty.
        config: everything else.
        out: folder for checkpoints and log.
        data_hash: names the data, so that a checkpoint of other data is refused.
        progress: told after every step.
        accelerator: from :func:`open_accelerator`.
        tracker: told figures.
        stop_after: stop once this step is done, as a kill would, but with a checkpoint; schedule and data order stay
            those of the whole training.

    Raises:
        UserError: the checkpoint belongs to another configuration or other data, the loss became infinite, or the
            disk is full.
    """
    main = accelerator.is_main_process
    if main:
        sweep_temporaries(out)
    accelerator.wait_for_everyone()
    steps = plan_steps(
        [unit.samples for unit in train_units],
        batch_size=config.batch_size,
        gradient_accumulation=config.gradient_accumulation,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    total = len(steps)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.to(accelerator.device)
    model.train()
    optimizer = build_optimizer(model, config)
    checkpoints = out / "checkpoints"
    identity = Identity(
        config=config.decisive(),
        config_hash=config.fingerprint(),
        data=data_hash,
        processes=accelerator.num_processes,
    )
    state = load_checkpoint(checkpoints, model, optimizer, identity) or LoopState()
    resumed_step = state.step
    wrapped, prepared = accelerator.prepare(model, optimizer)
    log = TrainLog(out / "train_log.jsonl", resumed_step) if main else None
    tracker = tracker or NullTracker()
    stepper = _Stepper(accelerator, wrapped, attention, train_units, config)
    last = total if stop_after is None else min(total, stop_after)
    try:
        while state.step < last and not state.stopped_early:
            began = time.perf_counter()
            rate = learning_rate_at(state.step, total, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, norm, counts = stepper.step(steps[state.step], state.step, prepared)
            if not torch.isfinite(torch.tensor([loss, norm])).all():
                raise UserError(f"the loss became {loss} at step {state.step + 1}", "lower learning_rate")
            state = state.model_copy(
                update={
                    "step": state.step + 1,
                    "samples": state.samples + counts.samples,
                    "sample_tokens": state.sample_tokens + counts.sample_tokens,
                    "packed_tokens": state.packed_tokens + counts.packed_tokens,
                    "train_loss": loss,
                    "seconds": state.seconds + time.perf_counter() - began,
                }
            )
            line: dict[str, Any] = {
                "step": state.step,
                "loss": loss,
                "learning_rate": rate,
                "grad_norm": norm,
                "samples": state.samples,
                "sample_tokens": state.sample_tokens,
                "packed_tokens": state.packed_tokens,
                "seconds": round(state.seconds, 3),
            }
            looked = bool(validation_units) and (state.step % config.eval_every == 0 or state.step == total)
            if looked:
                state = _look(stepper, validation_units, state, config, checkpoints, model)
                line["validation_loss"] = state.validation_loss
            if log is not None:
                if looked or state.step % config.log_every == 0 or state.step == total:
                    log.write(line)
                    tracker.log_metrics({k: float(v) for k, v in line.items() if k != "step"}, state.step)
                ending = state.step == last or state.stopped_early
                if ending or state.step % config.checkpoint_every == 0:
                    log.sync()
                    save_checkpoint(checkpoints, model, optimizer, identity, state, keep_last=config.keep_last)
                progress(state.step, total, f"loss {loss:.4f}")
    finally:
        if log is not None:
            log.close()
    accelerator.wait_for_everyone()
    finished = state.step == total or state.stopped_early
    if finished and config.keep == "best":
        load_best(checkpoints, model)
    return LoopResult(state, total, resumed_step, finished)


@dataclass(frozen=True)
class _Counts:
    samples: int
    sample_tokens: int
    packed_tokens: int


class _Stepper:
    """One optimizer step on this process's share of the data."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: torch.nn.Module,
        attention: AttentionKind,
        units: Sequence[Unit],
        config: OptimizationConfig,
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self._attention = attention
        self._units = units
        self._config = config
        self._align = 32 if config.precision == "bf16" else 1

    def step(self, batches: list[Batch], index: int, optimizer: Any) -> tuple[float, float, _Counts]:
        """Run one step; returns loss, gradient norm before clipping, and what was trained on."""
        accelerator, config = self.accelerator, self._config
        _seed(config.seed, index, accelerator.process_index)
        rows = [row for batch in batches for row in self._rows(batch)]
        units = [self._units[number] for batch in batches for number in batch]
        denominator = sum(unit.total_weight for unit in units)
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=accelerator.device)
        for number, row in enumerate(rows):
            # Gradients are averaged over processes, here they must be summed; and exchanged once a step.
            exchange = number == len(rows) - 1
            with nullcontext() if exchange else accelerator.no_sync(self.model):
                loss = weighted_loss(self.model, row, self._attention) / denominator
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or float("inf"))
        optimizer.step()
        if accelerator.num_processes > 1:
            total = accelerator.reduce(total, "sum")
        counts = _Counts(
            samples=sum(unit.samples for unit in units),
            sample_tokens=sum(unit.sample_tokens for unit in units),
            packed_tokens=sum(unit.tokens for unit in units),
        )
        return float(total), float(norm), counts

    def _rows(self, batch: Batch) -> list[Row]:
        units = [self._units[number] for number in batch]
        share = share_out([unit.tokens for unit in units], self.accelerator.num_processes)[
            self.accelerator.process_index
        ]
        if share:
            return rows_of([units[i] for i in share], self._config.pack_tokens, self.accelerator.device, self._align)
        # Every process must take part in the exchange of gradients, also with nothing to say.
        row = rows_of(units[:1], self._config.pack_tokens, self.accelerator.device, self._align)[0]
        row.weights.zero_()
        return [row]

    def mean_loss(self, units: Sequence[Unit]) -> float:
        """Mean loss per weighted token over ``units``, the same on every process."""
        accelerator = self.accelerator
        mine = share_out([unit.tokens for unit in units], accelerator.num_processes)[accelerator.process_index]
        total, weight = mean_loss(
            # Not through the wrapper: processes may hold unequal numbers of rows.
            accelerator.unwrap_model(self.model, keep_fp32_wrapper=True),
            [units[i] for i in mine],
            self._attention,
            pack_tokens=self._config.pack_tokens,
            align=self._align,
            device=accelerator.device,
            precision=accelerator.autocast(),
        )
        if accelerator.num_processes > 1:
            both = accelerator.reduce(torch.tensor([total, weight], device=accelerator.device), "sum")
            total, weight = both.tolist()
        return total / weight


def _look(
    stepper: _Stepper,
    units: Sequence[Unit],
    state: LoopState,
    config: OptimizationConfig,
    checkpoints: Path,
    model: torch.nn.Module,
) -> LoopState:
    loss = stepper.mean_loss(units)
    best = state.best_validation_loss
    if best is None or loss < best:
        update = {"best_validation_loss": loss, "best_step": state.step, "looks_without_gain": 0}
    else:
        update = {"looks_without_gain": state.looks_without_gain + 1}
    state = state.model_copy(update={"validation_loss": loss, **update})
    if config.keep == "best" and state.best_step == state.step and stepper.accelerator.is_main_process:
        save_best(checkpoints, model, state)
    if config.early_stop_patience and state.looks_without_gain >= config.early_stop_patience:
        state = state.model_copy(update={"stopped_early": True})
    return state


def _seed(seed: int, step: int, process: int) -> None:
    """Make everything random in a step a function of these three, whatever was drawn before."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed}:{step}:{process}".encode()).digest()[:8]) >> 1)
