"""From what a training left to a policy that plays: weights merged into one model, and the card beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_ops.training.merge import MergeSummary
    from hitl_ops.training.sft import TrainSummary
    from hitl_ops.training.train_config import TrainConfig


def publish_policy(config: TrainConfig, trained: TrainSummary, samples: Path, out: Path) -> MergeSummary:
    """Write ``out/merged`` and ``out/card.json``, so that ``flywheel rollout --policy <out>`` plays it.

    Raises:
        UserError: the training has not come to its end, or the merged model does not agree with the trained one.
    """
    from hitl_assets.provenance import code_version
    from hitl_ops.contracts.policy_card import PolicyCard
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
    from hitl_ops.samples.parquet import read_manifest, read_sample_table
    from hitl_ops.training.merge import merge

    merged = merge(trained.base, out / trained.trained, out / MERGED_FOLDER, dtype=config.base_dtype)
    manifest = read_manifest(samples)
    figures = ("train_loss", "validation_loss", "best_validation_loss")
    card = PolicyCard(
        program="planner",
        iteration=0,
        parent=trained.base,
        samples_hash=manifest.hash,
        sample_counts=dict(Counter(read_sample_table(samples, ["source"])["source"].to_pylist())),
        config=trained.config,
        prompt_style=manifest.notes["prompt_style"],
        metrics={name: value for name in figures if (value := getattr(trained, name)) is not None},
        code_version=code_version("contracts", "models", "training"),
    )
    publish_json(out / CARD_FILE, card)
    return merged
