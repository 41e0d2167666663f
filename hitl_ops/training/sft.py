"""Supervised fine-tuning of a planner on weighted samples, with an adapter or in full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.contracts.store import Store
from hitl_ops.models.base_models import TINY, LoadedBase, load_base, quiet_transformers
from hitl_ops.training.batches import Unit, build_units
from hitl_ops.training.block_attention import prepare_attention
from hitl_ops.training.loop import open_accelerator, run_loop
from hitl_ops.training.prefix_tree import EncodedSample
from hitl_ops.training.sample_reader import (
    SampleRow,
    corpus_of,
    encode_rows,
    hash_rows,
    read_sample_rows,
    split_episodes,
    with_exchanged_copies,
)
from hitl_ops.training.tracking import Tracker
from hitl_ops.training.train_config import TrainConfig
from hitl_ops.training.train_log import plot_loss, read_log

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

SUMMARY = "train_summary.json"
ADAPTER = "adapter"
BASE = "base"


class TrainSummary(BaseModel):
    """What a training did, as in ``train_summary.json``."""

    model_config = ConfigDict(extra="forbid")

    base: str = Field(description="what the training started from")
    method: str = Field(description="lora or full")
    trained: str = Field(description="folder of the adapter or the full weights, relative to the summary")
    finished: bool = Field(description="whether the training came to its end")
    steps: int = Field(description="optimizer steps done")
    total_steps: int = Field(description="optimizer steps of the whole training")
    resumed_step: int = Field(description="step this run went on from; 0: from the start")
    stopped_early: bool
    train_samples: int = Field(description="different samples trained on")
    train_episodes: int
    validation_samples: int
    validation_episodes: int
    weightless_samples: int = Field(description="left out because their weight is 0")
    overlong_dropped: int = Field(description="left out because they are longer than max_length")
    overlong_truncated: int = Field(description="cut to max_length")
    sample_tokens: int = Field(description="tokens trained on, had each sample been trained by itself")
    packed_tokens: int = Field(description="tokens the model ran on")
    seconds: float = Field(description="time spent in steps, over all runs")
    sample_tokens_per_second: float
    train_loss: float | None = Field(description="of the last step")
    validation_loss: float | None = Field(description="at the last look")
    best_validation_loss: float | None
    best_step: int | None
    parameters: int = Field(description="of the whole model")
    trained_parameters: int
    attention: str = Field(description="blocks: exact cost; mask: the model only takes masks")
    samples_hash: str
    config_hash: str
    config: dict[str, object]


def train(
    config: TrainConfig,
    samples: Path,
    out: Path,
    progress: Progress = silent,
    tracker: Tracker | None = None,
    *,
    cache: Path | None = None,
    stop_after: int | None = None,
) -> TrainSummary:
    """Train, or go on with a training that was stopped or killed.

    Leaves in ``out``: ``adapter/`` (a PEFT adapter, or with method ``full`` the whole model) with the tokenizer,
    ``train_summary.json``, ``train_log.jsonl``, ``plots/loss.png``, ``checkpoints/``, and ``base/`` where the base is
    ``tiny``, which exists nowhere else. A training that has come to its end is not done again.

    Args:
        config: what to do.
        samples: Parquet file with the columns of :class:`~hitl_ops.contracts.sample.Sample`.
        out: folder of this training alone.
        progress: told after every step.
        tracker: told parameters, figures and files.
        cache: where base models are unpacked; by default the store's.
        stop_after: stop once this step is done, with a checkpoint to go on from; then nothing is published.

    Raises:
        UserError: bad samples or model, ``out`` holds a training with another configuration, or the disk is full.
    """
    rows = read_sample_rows(samples)
    samples_hash = hash_rows(rows)
    done = _finished_summary(out, config, samples_hash)
    if done is not None:
        return done
    accelerator = open_accelerator(config)
    weighty = [row for row in rows if row.weight > 0]
    if not weighty:
        raise UserError(f"all samples in '{samples}' have weight 0", "raise the weight of at least one source")
    aside = split_episodes((row.episode_id for row in weighty), config.validation_fraction, config.seed)
    training_rows = [row for row in weighty if original_episode_id(row.episode_id) not in aside]
    validation_rows = [row for row in weighty if original_episode_id(row.episode_id) in aside]
    base = _load(config, out, cache, training_rows, accelerator)
    encoded, overlong = encode_rows(
        [*with_exchanged_copies(training_rows, config.exchanged_copies, config.seed), *validation_rows],
        base.tokenizer,
        max_length=config.max_length,
        overlong=config.overlong,
        prompt_loss_weight=config.prompt_loss_weight,
    )
    training = [sample for sample in encoded if original_episode_id(sample.episode) not in aside]
    validation = [sample for sample in encoded if original_episode_id(sample.episode) in aside]
    if not training:
        raise UserError(f"no sample in '{samples}' fits into max_length {config.max_length}", "raise max_length")
    attention = prepare_attention(base.model, max(len(sample.tokens) for sample in encoded))
    model = _trainable(base.model, config)
    if config.compile:
        from hitl_ops.training.compilation import compile_layers

        compile_layers(model)
    main = accelerator.is_main_process
    if tracker is not None and main:
        tracker.log_params({**config.decisive(), "samples_hash": samples_hash})
    result = run_loop(
        model,
        attention,
        _units(training, config),
        _units(validation, config),
        config,
        out,
        samples_hash,
        progress,
        accelerator=accelerator,
        tracker=tracker,
        stop_after=stop_after,
    )
    state = result.state
    summary = TrainSummary(
        base=config.base,
        method=config.method,
        trained=ADAPTER,
        finished=result.finished,
        steps=state.step,
        total_steps=result.total_steps,
        resumed_step=result.resumed_step,
        stopped_early=state.stopped_early,
        train_samples=len(training),
        train_episodes=len({sample.episode for sample in training}),
        validation_samples=len(validation),
        validation_episodes=len({sample.episode for sample in validation}),
        weightless_samples=len(rows) - len(weighty),
        overlong_dropped=overlong.dropped,
        overlong_truncated=overlong.truncated,
        sample_tokens=state.sample_tokens,
        packed_tokens=state.packed_tokens,
        seconds=round(state.seconds, 3),
        sample_tokens_per_second=round(state.sample_tokens / max(state.seconds, 1e-9), 1),
        train_loss=state.train_loss,
        validation_loss=state.validation_loss,
        best_validation_loss=state.best_validation_loss,
        best_step=state.best_step,
        parameters=sum(p.numel() for p in model.parameters()),
        trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        attention=attention,
        samples_hash=samples_hash,
        config_hash=config.fingerprint(),
        config=config.model_dump(mode="json"),
    )
    if result.finished and main:
        _publish(model, base, config, out)
        plot_loss(read_log(out / "train_log.jsonl"), out / "plots" / "loss.png")
        publish_json(out / SUMMARY, summary)  # last: it says that all the rest is there
        if tracker is not None:
            for name in (SUMMARY, "train_log.jsonl", "plots"):
                tracker.log_artifact(out / name)
    accelerator.wait_for_everyone()
    return summary


def _finished_summary(out: Path, config: TrainConfig, samples_hash: str) -> TrainSummary | None:
    """The summary of a training that came to its end with this very configuration and data."""
    path = out / SUMMARY
    if not path.is_file():
        return None
    try:
        summary = TrainSummary.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"'{path}' is damaged", "remove it to publish the training's result again") from None
    # Where they differ the checkpoint's check names the key.
    same = summary.config_hash == config.fingerprint() and summary.samples_hash == samples_hash
    return summary if same and summary.finished else None


def _load(
    config: TrainConfig,
    out: Path,
    cache: Path | None,
    rows: list[SampleRow],
    accelerator: Accelerator,
) -> LoadedBase:
    cache = cache or Store.from_environment().cache
    if config.base != TINY:
        return load_base(config.base, cache=cache, seed=config.seed, dtype=config.base_dtype)
    base = load_base(
        TINY, cache=cache, corpus=corpus_of(rows), tiny=config.tiny, seed=config.seed, dtype=config.base_dtype
    )
    if not (out / BASE).is_dir() and accelerator.is_main_process:
        with publishing(out / BASE) as temporary, quiet_transformers():
            base.model.save_pretrained(temporary)
            base.tokenizer.save_pretrained(temporary)
    return base


def _trainable(model: PreTrainedModel, config: TrainConfig) -> PreTrainedModel:
    """Freeze what is not trained; with an adapter, put it in."""
    if config.method == "full":
        model.requires_grad_(True)
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for target in config.lora.target_modules:
        if target not in leaves:
            raise UserError(
                f"lora.target_modules: base '{config.base}' has no layer '{target}'", "name its linear layers"
            )
    shape = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        use_rslora=config.lora.rank_stabilized,
        target_modules=list(config.lora.target_modules),
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        wrapped = get_peft_model(model, shape)
    # PEFT would note the folder the model was loaded from, which another machine does not have.
    wrapped.peft_config["default"].base_model_name_or_path = config.base
    return wrapped


def _units(samples: list[EncodedSample], config: TrainConfig) -> list[Unit]:
    return build_units(samples, batch_size=config.batch_size, packing=config.packing)


def _publish(model: PreTrainedModel, base: LoadedBase, config: TrainConfig, out: Path) -> None:
    with publishing(out / ADAPTER) as temporary, quiet_transformers():
        save: Callable[..., None] = model.save_pretrained
        if config.method == "lora":
            # "auto" would ask the Hub for the base's configuration.
            save(temporary, save_embedding_layers=False)
            (temporary / "README.md").unlink(missing_ok=True)  # an unfilled form
        else:
            save(temporary)
        base.tokenizer.save_pretrained(temporary)


__all__ = ["ADAPTER", "BASE", "SUMMARY", "TrainSummary", "train"]
