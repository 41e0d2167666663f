"""Training a robot's policy: chunks of actions cloned from recordings, told of each episode whether it was good.

The same command run again goes on from the newest checkpoint; a run that was killed and resumed gives the weights of
one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import DataLoader

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing, sweep_temporaries
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.models.action_model import (
    WEIGHTS_FILE,
    ActionModel,
    build_action_model,
    load_action_model,
    save_action_model,
)
from hitl_ops.training.action_config import ActionTrainConfig
from hitl_ops.training.action_data import (
    Batch,
    ChunkDataset,
    RobotFrames,
    advantage_weights,
    batches_of,
    drawn_batches,
    read_robot_frames,
    seen_by,
    without_advantage,
)
from hitl_ops.training.checkpoint import Identity, LoopState, load_checkpoint, save_checkpoint
from hitl_ops.training.loop import open_accelerator
from hitl_ops.training.optimization import learning_rate_at
from hitl_ops.training.sample_reader import split_episodes
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_log import TrainLog, plot_loss, read_log

SUMMARY = "train_summary.json"
TRAINED = "trained"
_DROPOUT_STREAM = 0xD20


class ActionTrainSummary(BaseModel):
    """What a training did, as in ``train_summary.json``."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(description="LeRobot's name of the policy")
    start: str = Field(description="folder of the policy it went on from; empty: from the first weights")
    trained: str = Field(description="folder of the weights, relative to the summary")
    finished: bool = Field(description="whether the training came to its end")
    steps: int = Field(description="optimizer steps done")
    total_steps: int
    resumed_step: int = Field(description="step this run went on from; 0: from the start")
    train_episodes: int
    train_frames: int
    validation_episodes: int
    frames_good: int = Field(description="frames trained on of which people said good")
    frames_bad: int = Field(description="… bad")
    frames_untold: int = Field(description="… nothing")
    train_loss: float | None
    validation_loss: float | None
    seconds: float = Field(description="time spent in steps, over all runs")
    samples_per_second: float
    parameters: int
    data_hash: str
    config: dict[str, Any]


def train_action_policy(
    config: ActionTrainConfig,
    dataset: Path,
    out: Path,
    progress: Progress = silent,
    tracker: Tracker | None = None,
    *,
    start: Path | None = None,
    overlays: Sequence[Path] = (),
    stop_after: int | None = None,
) -> ActionTrainSummary:
    """Train a policy on a LeRobot data set.

    Args:
        config: how.
        dataset: its folder, version 3.0 or 2.1.
        out: folder of this training alone: checkpoints, log, and in the end the trained policy.
        progress: told after every step.
        tracker: told parameters, figures and files.
        start: folder with a trained policy's weights to go on from; by default the first weights, or the
            configuration's pretrained ones.
        overlays: folders with columns laid over the data set's own, such as advantage labels; a later one wins.
        stop_after: stop once this step is done, as a kill would, but with a checkpoint.

    Raises:
        UserError: bad data or configuration, ``out`` holds another training, the loss became infinite, or the disk is
            full.
    """
    weighted = config.learn_from == "weighted"
    frames = read_robot_frames(dataset, overlays, advantage_column=config.advantage_column if weighted else None)
    frames = seen_by(frames, config.model.cameras)
    data_hash = frames.hash if start is None else f"{frames.hash}+{_weights_hash(start)}"
    done = _finished(out, config, data_hash)
    if done is not None:
        return done
    accelerator = open_accelerator(config)
    model = _model(config, frames, start, accelerator.device.type)
    training, validation = _split(frames, config)
    if tracker is not None and accelerator.is_main_process:
        tracker.log_params({**config.decisive(), "dataset": str(dataset), "frames": len(frames)})
    state, resumed = _Run(config, frames, model, accelerator, out, data_hash, training, validation).until(
        config.steps if stop_after is None else min(stop_after, config.steps), progress, tracker or NullTracker()
    )
    told = frames.indicator[training]
    summary = ActionTrainSummary(
        kind=config.model.kind,
        start="" if start is None else str(start),
        trained=TRAINED,
        finished=state.step == config.steps,
        steps=state.step,
        total_steps=config.steps,
        resumed_step=resumed,
        train_episodes=len(np.unique(frames.episode[training])),
        train_frames=len(training),
        validation_episodes=len(np.unique(frames.episode[validation])),
        frames_good=int((told > 0).sum()),
        frames_bad=int((told < 0).sum()),
        frames_untold=int((told == 0).sum()),
        train_loss=state.train_loss,
        validation_loss=state.validation_loss,
        seconds=round(state.seconds, 3),
        samples_per_second=round(state.samples / max(state.seconds, 1e-9), 1),
        parameters=sum(parameter.numel() for parameter in model.policy.parameters()),
        data_hash=data_hash,
        config=config.model_dump(mode="json"),
    )
    if summary.finished and accelerator.is_main_process:
        with publishing(out / TRAINED) as temporary:
            temporary.mkdir()
            save_action_model(model, temporary)
        plot_loss(read_log(out / "train_log.jsonl"), out / "plots" / "loss.png", unit="loss, normalised actions")
        publish_json(out / SUMMARY, summary)  # last: it says that all the rest is there
        if tracker is not None:
            for name in (SUMMARY, "train_log.jsonl", "plots"):
                tracker.log_artifact(out / name)
    accelerator.wait_for_everyone()
    return summary


def _finished(out: Path, config: ActionTrainConfig, data_hash: str) -> ActionTrainSummary | None:
    """The summary of a training that came to its end with this very configuration and data."""
    path = out / SUMMARY
    if not path.is_file():
        return None
    try:
        summary = ActionTrainSummary.model_validate_json(path.read_text(encoding="utf-8"))
        same = ActionTrainConfig.model_validate(summary.config).decisive() == config.decisive()
    except ValueError:
        raise UserError(f"'{path}' is damaged", "remove it to publish the training's result again") from None
    return summary if same and summary.data_hash == data_hash else None


def _weights_hash(folder: Path) -> str:
    try:
        return sha256_of(folder / WEIGHTS_FILE)
    except OSError as error:
        raise UserError(f"policy '{folder}' has no weights ({error.strerror})", "name a trained policy") from None


def _model(config: ActionTrainConfig, frames: RobotFrames, start: Path | None, device: str) -> ActionModel:
    """The policy with its first weights, or with those of ``start``.

    Its scaling is always that of ``start``: another one would change what the weights mean.

    Raises:
        UserError: ``start`` is for another robot, or of another kind or shape.
    """
    # Published weights are not fetched where others take their place at once.
    asked = config.model if start is None else config.model.replace(pretrained="")
    fresh = build_action_model(
        asked, frames.info, frames.stats, frames.task, device=device, seed=config.seed, style=frames.style
    )
    if start is None:
        return fresh
    before = load_action_model(start, device=device)
    if before.facts.spec != fresh.facts.spec or before.facts.advantage != fresh.facts.advantage:
        raise UserError(f"policy '{start}' is not for the robot of the data set", "train from the first weights")
    try:
        fresh.policy.load_state_dict(before.policy.state_dict())
    except RuntimeError:
        raise UserError(f"policy '{start}' has another shape", "leave model as it was, or train anew") from None
    facts = before.facts.model_copy(
        update={"task": fresh.facts.task, "style": frames.style, "guidance": fresh.facts.guidance}
    )
    return ActionModel(fresh.policy, before.before, before.after, facts)


def _split(frames: RobotFrames, config: ActionTrainConfig) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frames to learn from, and frames of other episodes to look at; by a hash, whatever else is in the data set."""
    chosen = split_episodes(map(str, np.unique(frames.episode).tolist()), config.validation_fraction, config.seed)
    aside = np.isin(frames.episode, sorted(map(int, chosen)))
    counts = frames.indicator > 0 if config.learn_from == "good" else np.ones(len(frames), bool)
    if not (counts & ~aside).any():
        raise UserError("of no frame to learn from was said that it is good", "label the data set, or learn from all")
    validation = np.flatnonzero(aside & counts)
    if len(validation) > config.validation_frames:
        validation = validation[np.linspace(0, len(validation) - 1, config.validation_frames).astype(np.int64)]
    return np.flatnonzero(~aside & counts), validation


class _Run:
    """One training, from its newest checkpoint on."""

    def __init__(
        self,
        config: ActionTrainConfig,
        frames: RobotFrames,
        model: ActionModel,
        accelerator: Accelerator,
        out: Path,
        data_hash: str,
        training: npt.NDArray[np.int64],
        validation: npt.NDArray[np.int64],
    ) -> None:
        self._config, self._model, self._accelerator, self._out = config, model, accelerator, out
        self._training, self._validation = training, validation
        self._conditioned = config.model.advantage == "environment_state"
        self._forgets = 1.0 if config.model.advantage == "none" else config.indicator_dropout
        self._weights = None
        if frames.advantage is not None:
            weighed = frames.advantage[training]
            self._weights = advantage_weights(weighed, config.temperature, config.largest_weight)
        self._data = ChunkDataset(frames, config.model.chunk, conditioned=self._conditioned)
        self._identity = Identity.of(config.decisive(), data_hash, accelerator.num_processes)
        self._loss = loss_of(model.policy)

    def until(self, last: int, progress: Progress, tracker: Tracker) -> tuple[LoopState, int]:
        """Train until a step is done; returns where the training stands and the step it went on from."""
        config, accelerator, policy = self._config, self._accelerator, self._model.policy
        main = accelerator.is_main_process
        if main:
            sweep_temporaries(self._out)
        accelerator.wait_for_everyone()
        policy.train()
        optimizer = torch.optim.AdamW(
            [parameter for parameter in policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        checkpoints = self._out / "checkpoints"
        state = load_checkpoint(checkpoints, policy, optimizer, self._identity) or LoopState()
        resumed = state.step
        wrapped, prepared = accelerator.prepare(policy, optimizer)
        log = TrainLog(self._out / "train_log.jsonl", resumed) if main else None
        try:
            for batch in self._batches(range(resumed, last)):
                began = time.perf_counter()
                rate = learning_rate_at(state.step, config.steps, config)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                loss, norm = self._step(wrapped, prepared, batch, state.step)
                state = state.model_copy(
                    update={
                        "step": state.step + 1,
                        "samples": state.samples + config.batch_size,
                        "train_loss": loss,
                        "seconds": state.seconds + time.perf_counter() - began,
                    }
                )
                line: dict[str, Any] = {
                    "step": state.step, "loss": loss, "learning_rate": rate, "grad_norm": norm,
                    "samples": state.samples, "seconds": round(state.seconds, 3),
                }  # fmt: skip
                looked = len(self._validation) and (state.step % config.eval_every == 0 or state.step == config.steps)
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
                            checkpoints, policy, optimizer, self._identity, state,
                            keep_last=1, keep_period=config.keep_period,
                        )  # fmt: skip
                    progress(state.step, config.steps, f"loss {loss:.4f}")
        finally:
            if log is not None:
                log.close()
        accelerator.wait_for_everyone()
        return state, resumed

    def _batches(self, steps: range) -> Iterator[Batch]:
        config, rank, count = self._config, self._accelerator.process_index, self._accelerator.num_processes
        if self._weights is None:
            chosen = batches_of(self._training, config.batch_size, steps, config.seed)
        else:
            chosen = drawn_batches(self._training, self._weights, config.batch_size, steps, config.seed)
        rows = (list(map(int, one[rank::count])) for one in chosen)
        loader: DataLoader[Batch] = DataLoader(
            self._data,
            batch_sampler=list(rows),
            num_workers=config.workers,
            collate_fn=_as_it_is,
            persistent_workers=config.workers > 0,
            multiprocessing_context="forkserver" if config.workers else None,  # torch's threads do not outlive a fork
        )
        return iter(loader)

    def _step(self, wrapped: Any, optimizer: Any, batch: Batch, step: int) -> tuple[float, float]:
        """One optimizer step on this process's share of the frames; returns loss and gradient norm before clipping."""
        config, accelerator = self._config, self._accelerator
        seed = (_DROPOUT_STREAM, config.seed, step, accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        forgotten = np.random.default_rng(seed).random(len(batch["task"])) < self._forgets
        ready = self._model.before(without_advantage(batch, forgotten, conditioned=self._conditioned))
        optimizer.zero_grad(set_to_none=True)
        with accelerator.autocast():
            loss = self._loss(wrapped, ready)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm or float("inf"))
        optimizer.step()
        value = float(accelerator.reduce(loss.detach(), "mean"))
        if not np.isfinite([value, float(norm)]).all():
            raise UserError(f"the loss became {value} at step {step + 1}", "lower learning_rate")
        return value, float(norm)

    @torch.no_grad()
    def _look(self) -> float:
        """Mean loss over the validation frames, the same on every process."""
        policy, size = self._model.policy, self._config.batch_size
        policy.eval()
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)  # a policy that draws noise draws the same at every look
            for first in range(0, len(self._validation), size):
                rows = self._validation[first : first + size].tolist()
                with self._accelerator.autocast():
                    batch = self._data.__getitems__(rows)
                    if self._forgets == 1.0:
                        batch = without_advantage(batch, np.ones(len(rows), bool), conditioned=self._conditioned)
                    loss = self._loss(policy, self._model.before(batch))
                total += float(loss) * len(rows)
        policy.train()
        return total / len(self._validation)


def _as_it_is(batch: Any) -> Any:
    return batch


def loss_of(policy: Any) -> Callable[[Any, Batch], torch.Tensor]:
    """How the loss of a batch is had from a LeRobot policy, with the padding behind an episode's end left out.

    ACT and SmolVLA leave it out themselves. The flow-matching loss of pi0 and pi05 counts it, so it is taken out of
    what their inner model gives. pi0_fast compresses a chunk as a whole: its padding, which repeats the last action,
    cannot be told apart.
    """
    if getattr(policy, "name", "") not in ("pi0", "pi05"):
        return lambda asked, batch: asked(batch)[0]
    inner, padding = policy.model.forward, [torch.empty(0)]

    def counted(*arguments: Any, **named: Any) -> torch.Tensor:
        losses: torch.Tensor = inner(*arguments, **named)
        keep = (~padding[0]).to(losses.dtype).unsqueeze(-1)
        # Whoever takes the mean of these afterwards takes it over what is kept.
        return losses * keep * (keep.numel() / keep.sum().clamp_min(1))

    policy.model.forward = counted

    def loss(asked: Any, batch: Batch) -> torch.Tensor:
        padding[0] = batch["action_is_pad"]
        value: torch.Tensor = asked(batch)[0]
        return value

    return loss
