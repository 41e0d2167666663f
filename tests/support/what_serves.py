"""Whether what serves can serve: whole, itself, and evaluated, whatever was killed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import evaluated_policy
from hitl_ops.models.planner_lm import MERGED_FOLDER
from hitl_ops.serving.policy_alias import ALIASES, evaluation_of, resolve


def weights(folder: Path) -> dict[str, bytes]:
    """Every file of a policy's merged weights."""
    return {file.name: file.read_bytes() for file in sorted((folder / MERGED_FOLDER).iterdir())}


def aliases_stand(store: Store, made: Mapping[str, dict[str, bytes]]) -> str:
    """Look at everything that any alias stands for; returns the id of what serves.

    Args:
        store: holds the registry.
        made: policy id → its weights, as :func:`weights` found them where they were made.

    Raises:
        AssertionError: an alias stands for a policy that is half-written, another's, or not evaluated.
    """
    for alias in ALIASES:
        found = resolve(store, "planner", alias)
        if found is None:
            continue
        assert found.card.policy_id == found.policy_id, f"{alias} stands for a policy with another's card"
        assert weights(found.folder) == made[found.policy_id], f"{alias} stands for a policy that is not whole"
        assert evaluation_of(store, "planner", found.card.iteration, found.policy_id).scores
        if alias != "candidate":
            assert evaluated_policy(found.folder / "evaluation", found.policy_id).scores
    serving = resolve(store, "planner")
    assert serving is not None, "nothing serves any more"
    return serving.policy_id
