"""From what a training left to a policy that plays: weights merged into one model, and the card beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json, sweep_temporaries
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card
from hitl_ops.samples.parquet import read_manifest, read_sample_table
from hitl_ops.samples.provenance import PROVENANCE_FILE, write_provenance
from hitl_ops.training.merge import MergeSummary, merge
from hitl_ops.training.sft import TrainSummary

_FIGURES = ("train_loss", "validation_loss", "best_validation_loss")


@dataclass(frozen=True)
class PublishedPolicy:
    """A policy on disk.

    Attributes:
        card: what made it.
        merged: what the merge did.
    """

    card: PolicyCard
    merged: MergeSummary


def publish_policy(
    trained: TrainSummary,
    samples: Path,
    folder: Path,
    *,
    program: str,
    iteration: int,
    dtype: Literal["float32", "bfloat16"],
    code_version: str,
    cache: Path | None = None,
    parent: str | None = None,
) -> PublishedPolicy:
    """Merge what was trained into its base: ``folder/merged``, ``folder/provenance.parquet``, ``folder/card.json``.

    The card is written last, and an older one is taken away first: where there is a card, all three belong together.

    Args:
        trained: what the training in ``folder`` did.
        samples: the Parquet file it learned from.
        folder: the training's folder; afterwards a policy that rollouts can play.
        program: the program the policy belongs to.
        iteration: the iteration it belongs to.
        dtype: number format of the merged weights.
        code_version: version of the code that trained it.
        cache: where base models are unpacked; by default the store's.
        parent: policy id or base model the training started from; by default what the training says, by its policy
            id where that is a policy of ours.

    Raises:
        UserError: the trained weights or the samples are gone or damaged, or the merged model does not agree with
            the trained one; then no card is written.
    """
    manifest = read_manifest(samples)
    sweep_temporaries(folder)
    (folder / CARD_FILE).unlink(missing_ok=True)
    merged = merge(trained.base, folder / trained.trained, folder / MERGED_FOLDER, cache=cache, dtype=dtype)
    write_provenance(samples, folder / PROVENANCE_FILE)
    card = PolicyCard(
        program=program,
        iteration=iteration,
        parent=parent or _parent(trained.base),
        samples_hash=manifest.hash,
        sample_counts=dict(sorted(Counter(read_sample_table(samples, ["source"])["source"].to_pylist()).items())),
        config=trained.config,
        prompt_style=manifest.notes["prompt_style"],
        metrics={name: float(value) for name in _FIGURES if (value := getattr(trained, name)) is not None},
        code_version=code_version,
    )
    publish_json(folder / CARD_FILE, card)
    return PublishedPolicy(card, merged)


def _parent(base: str) -> str:
    """The policy id of a policy of ours, else the base model as it is called."""
    folder = Path(base)
    for place in (folder, folder.parent):
        if folder.is_dir() and (place / CARD_FILE).is_file():
            return read_card(place).policy_id
    return base
