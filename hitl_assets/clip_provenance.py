"""What a clip set of the arm was made of, as it is noted in the set: the asset and ``flywheel clips`` note it alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hitl_assets.preference_presets import PreferencePreset
from hitl_assets.provenance import folder_hash


def made_of(
    chosen: PreferencePreset, iteration: int, *, policy: str, reward_of: str, reward: Path | None
) -> dict[str, Any]:
    """What decides which clips of the arm an iteration has, and which pairs of them are asked.

    Args:
        chosen: the program's preset.
        iteration: its number.
        policy: id of the policy that acts; "" for an arm that moves by lot.
        reward_of: the key of the iteration in which the reward was learned, or the reward's folder; "" for none.
        reward: folder of the weights of the reward on whose disagreement pairs are asked; None: by lot.
    """
    return {
        "policy": policy,
        "reward_of": reward_of,
        # What it says, too: learned anew, it asks other questions.
        "reward": "" if reward is None else folder_hash(reward),
        "world": chosen.world.model_dump(mode="json"),
        "clips": chosen.clips_of(iteration).model_dump(mode="json"),
        "queries": chosen.queries_of(iteration).model_dump(mode="json"),
    }
