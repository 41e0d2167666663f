"""Training an advantage estimator: progress, or differences of progress, regressed on pictures.

The loss of a step is the mean of the squared error over all pairs of frames (KAI0) or all frames (PI06) of the whole
step, whatever the number of processes that share its episodes. The same command run again goes on from the newest
checkpoint; a training that was killed and resumed ends as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing, sweep_temporaries
from hitl_ops.models.advantage_estimator import (
    AdvantageEstimator,
    EstimatorFacts,
    build_estimator,
    load_estimator,
    save_estimator,
    save_estimator_facts,
)
from hitl_ops.records.norm_stats import NormStats, write_norm_stats
from hitl_ops.training.checkpoint import BY_STEP, Identity, LoopState, load_checkpoint, save_checkpoint
from hitl_ops.training.estimator_batches import StepBatch, StepPlan, StepShares, step_batches
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_data import EstimatorFrames, read_estimator_frames, split, validation_slots
from hitl_ops.training.estimator_pictures import DecodedPictures, KeptPictures, PictureSource, keep_pictures
from hitl_ops.training.estimator_report import REPORT, is_reported, report_estimator
from hitl_ops.training.loop import open_accelerator
from hitl_ops.training.optimization import learning_rate_at
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_log import TrainLog, plot_loss, read_log

SUMMARY = "train_summary.json"
TRAINED = "trained"
LOG = "train_log.jsonl"
ASSETS = "assets"


class EstimatorSummary(BaseModel):
    """What a training did, as in ``train_summary.json``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="of the estimator")
    variant: str
    backbone: str
    trained: str = Field(description="folder of the weights, relative to the summary")
    finished: bool = Field(description="whether the training came to its end")
    steps: int = Field(description="optimizer steps done")
    total_steps: int
    resumed_step: int = Field(description="step this run went on from; 0: from the start")
    train_episodes: int
    train_frames: int
    validation_episodes: int
    left_out: int = Field(description="episodes of a single frame, which has no other to be compared with")
    train_loss: float | None
    validation_loss: float | None
    advantage_pearson: float | None = Field(description="correlation with the truth on episodes kept aside, at the end")
    value_pearson: float | None
    seconds: float = Field(description="time spent in steps, over all runs")
    frames_per_second: float = Field(description="frames encoded and learned from, all cameras of a moment being one")
    parameters: int
    processes: int
    data_hash: str
    config: dict[str, Any]


def train_estimator(
    config: EstimatorTrainConfig,
    dataset: Path,
    out: Path,
    progress: Progress = silent,
    tracker: Tracker | None = None,
    *,
    overlays: Sequence[Path] = (),
    stop_after: int | None = None,
) -> EstimatorSummary:
    """Train an estimator on a LeRobot data set; one that is trained already is only reported anew, if asked otherwise.

    Args:
        config: how.
        dataset: its folder, version 3.0 or 2.1; it is only read.
        out: folder of this training alone: checkpoints ``<step>/``, log, plots, and in the end ``trained/``.
        progress: told after every step.
        tracker: told parameters, figures and files.
        overlays: folders with further columns, such as the progress; the last one that has a column counts.
        stop_after: stop once this step is done, as a kill would, but with a checkpoint.

    Raises:
        UserError: bad data or configuration, ``out`` holds another training, the loss became infinite, or the disk is
            full.
    """
    frames = read_estimator_frames(dataset, config, overlays)
    done = _finished(out, config, frames.hash)
    if done is not None and _is_as_asked(out, config, done):
        return done
    training, validation, left_out = split(frames, config)
    accelerator = open_accelerator(config)
    if done is not None:
        return _reported_anew(done, config, frames, (training, validation), accelerator, out, progress, tracker)
    model = build_estimator(_facts(frames, config, training), seed=config.seed).to(accelerator.device)
    if accelerator.is_main_process:
        sweep_temporaries(out)
    source = _source(frames, config, out, accelerator, progress)
    if tracker is not None and accelerator.is_main_process:
        tracker.log_params({**config.decisive(), "dataset": str(dataset), "frames": len(frames)})
    run = _Run(config, frames, source, model, accelerator, out, training, validation)
    state, resumed = run.until(
        config.steps if stop_after is None else min(stop_after, config.steps), progress, tracker or NullTracker()
    )
    model.facts = model.facts.model_copy(update={"steps": state.step})  # also where a checkpoint had them all
    summary = EstimatorSummary(
        name=config.called,
        variant=config.model.variant,
        backbone=config.model.backbone,
        trained=TRAINED,
        finished=state.step == config.steps,
        steps=state.step,
        total_steps=config.steps,
        resumed_step=resumed,
        train_episodes=len(training),
        train_frames=sum(frames.episodes[number].length for number in training),
        validation_episodes=len(validation),
        left_out=left_out,
        train_loss=state.train_loss,
        validation_loss=state.validation_loss,
        advantage_pearson=None,
        value_pearson=None,
        seconds=round(state.seconds, 3),
        frames_per_second=round(state.samples / max(state.seconds, 1e-9), 1),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        processes=accelerator.num_processes,
        data_hash=frames.hash,
        config=config.model_dump(mode="json"),
    )
    if summary.finished and accelerator.is_main_process:
        with publishing(out / TRAINED) as temporary:
            temporary.mkdir()
            save_estimator(model, temporary)
        summary = summary.model_copy(
            update=_reported(model.eval(), config, frames, source, (training, validation), out)
        )
        plot_loss(read_log(out / LOG), out / "plots" / "loss.png", unit="squared error of progress")
        publish_json(out / SUMMARY, summary)  # last: it says that all the rest is there
        if tracker is not None:
            for name in (SUMMARY, LOG, "plots", *([REPORT] if validation else [])):
                tracker.log_artifact(out / name)
    accelerator.wait_for_everyone()
    return summary


def _reported(
    model: AdvantageEstimator,
    config: EstimatorTrainConfig,
    frames: EstimatorFrames,
    source: PictureSource,
    parts: tuple[Sequence[int], Sequence[int]],
    out: Path,
) -> dict[str, float | None]:
    """Report on episodes kept aside, where there are any; returns what the summary says of it."""
    training, validation = parts
    if not validation:
        return {}
    places = np.linspace(0, len(validation) - 1, min(len(validation), config.report_episodes)).astype(np.int64)
    batch = max(1, config.episodes_per_batch * config.frames_per_episode)
    chosen = [validation[place] for place in places]
    report = report_estimator(model, frames, source, chosen, config.delta, out, batch=batch, trained_on=training)
    return {"advantage_pearson": report.advantage.pearson, "value_pearson": report.value.pearson}


def _reported_anew(
    done: EstimatorSummary,
    config: EstimatorTrainConfig,
    frames: EstimatorFrames,
    parts: tuple[Sequence[int], Sequence[int]],
    accelerator: Accelerator,
    out: Path,
    progress: Progress,
    tracker: Tracker | None,
) -> EstimatorSummary:
    """Report a finished training as it is asked for now; its weights stay as they are."""
    accelerator.wait_for_everyone()  # each process has to find the same summary
    told = {"config": config.model_dump(mode="json"), "advantage_pearson": None, "value_pearson": None}
    summary = done.model_copy(update=told)
    if accelerator.is_main_process:
        sweep_temporaries(out)
        source = _source(frames, config, out, accelerator, progress)
        model = load_estimator(out / done.trained, str(accelerator.device))
        summary = summary.model_copy(update=_reported(model, config, frames, source, parts, out))
        publish_json(out / SUMMARY, summary)
        if tracker is not None:
            for name in (SUMMARY, "plots", *([REPORT] if parts[1] else [])):
                tracker.log_artifact(out / name)
    accelerator.wait_for_everyone()
    return summary


def _is_as_asked(out: Path, config: EstimatorTrainConfig, done: EstimatorSummary) -> bool:
    """Whether a finished training is reported as it is asked for now."""
    told = EstimatorTrainConfig.model_validate(done.config)
    episodes = min(done.validation_episodes, config.report_episodes)
    return told.of_the_report() == config.of_the_report() and is_reported(out, config.delta, episodes)


def _finished(out: Path, config: EstimatorTrainConfig, data_hash: str) -> EstimatorSummary | None:
    """The summary of a training that came to its end with this data and all that decides what the weights become."""
    path = out / SUMMARY
    if not path.is_file():
        return None
    try:
        summary = EstimatorSummary.model_validate_json(path.read_text(encoding="utf-8"))
        same = EstimatorTrainConfig.model_validate(summary.config).decisive() == config.decisive()
    except ValueError:
        raise UserError(f"'{path}' is damaged", "remove it to publish the training's result again") from None
    return summary if same and summary.data_hash == data_hash else None


def _facts(frames: EstimatorFrames, config: EstimatorTrainConfig, training: Sequence[int]) -> EstimatorFacts:
    mean = std = np.empty(0)
    if frames.state is not None:
        rows = [slice(one.start, one.start + one.length) for one in (frames.episodes[number] for number in training)]
        seen = np.concatenate([frames.state[part] for part in rows]).astype(np.float64)
        mean, std = seen.mean(axis=0), np.maximum(seen.std(axis=0), config.least_deviation)
    return EstimatorFacts(
        name=config.called,
        config=config.model,
        cameras=frames.cameras,
        joints=len(mean),
        state_mean=tuple(mean.tolist()),
        state_std=tuple(std.tolist()),
        task=frames.task,
        fps=frames.fps,
    )


def _source(
    frames: EstimatorFrames, config: EstimatorTrainConfig, out: Path, accelerator: Accelerator, progress: Progress
) -> PictureSource:
    size = config.model.image_size
    if not config.cache:
        return DecodedPictures(frames, size)
    makes = bool(accelerator.is_local_main_process)  # machines may share the folder or not
    return KeptPictures(keep_pictures(frames, size, out, progress, makes=makes), frames)


class _Run:
    """One training, from its newest checkpoint on."""

    def __init__(
        self,
        config: EstimatorTrainConfig,
        frames: EstimatorFrames,
        source: PictureSource,
        model: AdvantageEstimator,
        accelerator: Accelerator,
        out: Path,
        training: list[int],
        validation: list[int],
    ) -> None:
        self._config, self._frames, self._model, self._accelerator = config, frames, model, accelerator
        self._out, self._training = out, training
        self._validation = validation_slots(frames, validation, config)
        pairs = config.model.variant == "KAI0"
        rank, count = accelerator.process_index, accelerator.num_processes
        self._shares = StepShares(frames, source, pairs=pairs, rank=rank, count=count)
        self._whole = StepShares(frames, source, pairs=pairs, rank=0, count=1)
        self._identity = Identity.of(config.decisive(), frames.hash, count)

    def until(self, last: int, progress: Progress, tracker: Tracker) -> tuple[LoopState, int]:
        """Train until a step is done; returns where the training stands and the step it went on from."""
        config, accelerator, model = self._config, self._accelerator, self._model
        model.train()
        optimizer = _optimizer(model, config)
        state = load_checkpoint(self._out, model, optimizer, self._identity, layout=BY_STEP) or LoopState()
        resumed = state.step
        wrapped, prepared = accelerator.prepare(model, optimizer)
        log = TrainLog(self._out / LOG, resumed) if accelerator.is_main_process else None
        began = time.perf_counter()
        try:
            plan = StepPlan(self._frames, self._training, config, range(resumed, last))
            for batch in step_batches(self._shares, plan, config.workers):
                rate = learning_rate_at(state.step, config.steps, config)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss, norm = self._step(wrapped, prepared, batch, state.step)
                state = state.model_copy(
                    update={
                        "step": state.step + 1,
                        "samples": state.samples + batch.frames,
                        "train_loss": loss,
                        "seconds": state.seconds + time.perf_counter() - began,
                    }
                )
                line: dict[str, Any] = {
                    "step": state.step, "loss": loss, "learning_rate": rate, "grad_norm": norm,
                    "samples": state.samples, "seconds": round(state.seconds, 3),
                }  # fmt: skip
                looked = len(self._validation) > 0 and (
                    state.step % config.eval_every == 0 or state.step == config.steps
                )
                if looked:
                    state = state.model_copy(update={"validation_loss": self._look()})
                    line["validation_loss"] = state.validation_loss
                if log is not None:
                    if looked or state.step % config.log_every == 0 or state.step == config.steps:
                        log.write(line)
                        tracker.log_metrics({k: float(v) for k, v in line.items() if k != "step"}, state.step)
                    if state.step % config.save_interval == 0 or state.step == last:
                        log.sync()
                        save_checkpoint(
                            self._out, model, optimizer, self._identity, state,
                            keep_last=1, keep_period=config.keep_period, layout=BY_STEP,
                            beside=partial(_beside, model, state.step),
                        )  # fmt: skip
                    progress(state.step, config.steps, f"loss {loss:.4f}")
                began = time.perf_counter()  # the next batch's fetching counts, looks and checkpoints do not
        finally:
            if log is not None:
                log.close()
        accelerator.wait_for_everyone()
        return state, resumed

    def _step(self, wrapped: Any, optimizer: Any, batch: StepBatch, step: int) -> tuple[float, float]:
        """One optimizer step on this process's share; returns the step's loss and its gradient norm before clipping."""
        config, accelerator = self._config, self._accelerator
        optimizer.zero_grad(set_to_none=True)
        with accelerator.autocast():
            loss = _squares(wrapped, batch, accelerator.device) * batch.weight
        # Gradients are averaged over processes, here they must be summed.
        accelerator.backward(loss * accelerator.num_processes)
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm or float("inf"))
        optimizer.step()
        value = float(accelerator.reduce(loss.detach(), "sum"))
        if not np.isfinite([value, float(norm)]).all():
            raise UserError(f"the loss became {value} at step {step + 1}", "lower learning_rate")
        return value, float(norm)

    @torch.no_grad()
    def _look(self) -> float:
        """Mean squared error over the episodes kept aside, each counting alike; the same on every process."""
        self._model.eval()
        total = 0.0
        for slot in self._validation:
            batch = self._whole.__getitems__([slot])
            with self._accelerator.autocast():
                total += float(_squares(self._model, batch, self._accelerator.device)) * batch.weight
        self._model.train()
        return total / len(self._validation)


def _squares(model: Any, batch: StepBatch, device: torch.device) -> torch.Tensor:
    """The sum of the squared errors of a batch."""

    def there(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(device, non_blocking=True)

    said = model(there(batch.pictures), there(batch.state), there(batch.then), there(batch.now))
    error: torch.Tensor = said - batch.target.to(device)
    return error.square().sum()


def _optimizer(model: torch.nn.Module, config: EstimatorTrainConfig) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def _beside(model: AdvantageEstimator, step: int, folder: Path) -> None:
    """What makes a checkpoint an estimator that can be opened, and the assets that openpi's tools look for."""
    model.facts = model.facts.model_copy(update={"steps": step})
    save_estimator_facts(model, folder)
    (folder / ASSETS).mkdir()
    if model.facts.joints:
        mean, std = np.asarray(model.facts.state_mean), np.asarray(model.facts.state_std)
        write_norm_stats(folder / ASSETS / "norm_stats.json", {"state": NormStats(mean, std, None, None)})
