"""What a person decided for the partner, as the label store keeps it: the two actions and all they were chosen from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.correction import CorrectionValue

if TYPE_CHECKING:
    from hitl_ops.rollouts.live_session import LiveSession

__all__ = ["CorrectionValue", "corrections_of"]


def corrections_of(live: LiveSession) -> list[dict[str, Any]]:
    """The corrections made in a play so far, as plain data in the order they were made."""
    values = []
    for correction in live.corrections:
        replaced = live.decisions[correction.replaces] if correction.replaces is not None else None
        values.append(
            CorrectionValue(
                decision_index=correction.decision_index,
                replaces=correction.replaces,
                original=correction.original,
                corrected=correction.corrected,
                policy_id=replaced.policy_id if replaced is not None else live.partner_policy,
                by=correction.by,
                tick=correction.tick,
                asked_tick=correction.asked_tick,
                prompt=correction.prompt,
                admissible=correction.admissible,
            ).model_dump(mode="json")
        )
    return values
