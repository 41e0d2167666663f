"""Plain language modelling on texts: gives ``tiny`` a grasp of the household's language before it is fine-tuned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.contracts.store import Store
from hitl_ops.models.base_models import TINY, TinyConfig, load_base, quiet_transformers
from hitl_ops.models.tokenization import SampleEncoder
from hitl_ops.training.batches import build_units
from hitl_ops.training.block_attention import prepare_attention
from hitl_ops.training.loop import open_accelerator, run_loop
from hitl_ops.training.prefix_tree import EncodedSample
from hitl_ops.training.sample_reader import split_episodes
from hitl_ops.training.train_config import OptimizationConfig

MODEL = "model"


class PretrainConfig(OptimizationConfig):
    """Language modelling of every token; a batch is counted in texts."""

    base: str = Field(default=TINY, description="'tiny', 'smollm2', a Hugging Face id, or a folder with a model")
    tiny: TinyConfig = Field(default_factory=TinyConfig, description="shape of the base 'tiny'; unused by others")
    max_length: int = Field(default=1024, ge=2, description="longer texts are cut into pieces of this many tokens")


class PretrainSummary(BaseModel):
    """What a pretraining did, as in ``pretrain_summary.json``."""

    model_config = ConfigDict(extra="forbid")

    base: str
    texts: int
    steps: int
    tokens: int = Field(description="tokens trained on, repetitions counted")
    seconds: float
    train_loss: float | None
    validation_loss: float | None


def pretrain(
    config: PretrainConfig,
    texts: Iterable[str],
    out: Path,
    progress: Progress = silent,
    *,
    cache: Path | None = None,
) -> PretrainSummary:
    """Train a base model on texts, or go on with it after a kill; publishes ``out/model``, ready to be a base.

    Args:
        config: what to do.
        texts: the corpus; for ``tiny`` its tokenizer is trained on it, too.
        out: folder of this training alone.
        progress: told after every step.
        cache: where base models are unpacked; by default the store's.

    Raises:
        UserError: no texts, a bad model, or ``out`` holds a training with another configuration.
    """
    corpus = list(texts)
    if not any(corpus):
        raise UserError("the corpus to pretrain on is empty", "give it texts")
    accelerator = open_accelerator(config)
    cache = cache or Store.from_environment().cache
    base = load_base(config.base, cache=cache, corpus=corpus, tiny=config.tiny, seed=config.seed)
    pieces = _pieces(corpus, SampleEncoder(base.tokenizer), config.max_length)
    aside = split_episodes((piece.episode for piece in pieces), config.validation_fraction, config.seed)
    kept, watched = ([p for p in pieces if (p.episode in aside) == side] for side in (False, True))
    attention = prepare_attention(base.model, max(len(piece.tokens) for piece in pieces))
    if config.compile:
        from hitl_ops.training.compilation import compile_layers

        compile_layers(base.model)
    base.model.requires_grad_(True)
    digest = hashlib.sha256("\0".join(corpus).encode()).hexdigest()
    state = run_loop(
        base.model,
        attention,
        build_units(kept, batch_size=config.batch_size, packing="rows"),
        build_units(watched, batch_size=config.batch_size, packing="rows"),
        config,
        out,
        digest,
        progress,
        accelerator=accelerator,
    ).state
    summary = PretrainSummary(
        base=config.base,
        texts=len(corpus),
        steps=state.step,
        tokens=state.packed_tokens,
        seconds=round(state.seconds, 3),
        train_loss=state.train_loss,
        validation_loss=state.validation_loss,
    )
    if accelerator.is_main_process:
        with publishing(out / MODEL) as temporary, quiet_transformers():
            base.model.save_pretrained(temporary)
            base.tokenizer.save_pretrained(temporary)
        publish_json(out / "pretrain_summary.json", summary)
    accelerator.wait_for_everyone()
    return summary


def _pieces(corpus: list[str], encoder: SampleEncoder, max_length: int) -> list[EncodedSample]:
    pieces: list[EncodedSample] = []
    for number, text in enumerate(corpus):
        tokens = np.array(encoder.prompt(text), np.int64)
        for start in range(0, len(tokens), max_length):
            piece = tokens[start : start + max_length]
            if len(piece) > 1:  # a single token has nothing to be predicted from
                pieces.append(EncodedSample(piece, np.ones(len(piece)), f"{number}/{start}", str(number)))
    return pieces
