"""A partner's policy made on the spot: the laptop preset's shape with weights that have learned nothing."""

from __future__ import annotations

from pathlib import Path

from hitl_assets.presets import PRESETS
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publishing
from hitl_ops.experts.oracle import Oracle
from hitl_ops.models.base_models import TINY, load_base
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
from hitl_ops.rollouts.play import play_episode


def make_fresh_policy(folder: Path, episodes: list[Episode], *, preset: str = "laptop") -> Path:
    """Write a policy that decides as fast as a trained one of the same shape, and at random.

    Args:
        folder: where it goes.
        episodes: its tokenizer learns from the oracle's prompts in these.
        preset: whose shape.

    Returns:
        ``folder``.
    """
    oracle = Oracle("partial")
    corpus = [
        f"{decision.prompt}{decision.action}"
        for episode in episodes
        for decision in play_episode(episode, {0: oracle, 1: oracle}, keep_world_graph=False).decisions
    ]
    shape = PRESETS[preset].training.config.tiny
    base = load_base(TINY, cache=folder, corpus=corpus, tiny=shape)
    card = PolicyCard(
        program="planner",
        iteration=0,
        parent=TINY,
        samples_hash="none",
        config={"tiny": shape.model_dump(mode="json"), "learned": False},
    )
    with publishing(folder) as temporary:
        base.model.save_pretrained(temporary / MERGED_FOLDER)
        base.tokenizer.save_pretrained(temporary / MERGED_FOLDER)
        (temporary / CARD_FILE).write_text(card.model_dump_json())
    return folder
