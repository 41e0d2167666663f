"""What a person decided for the partner, as the label store keeps it: the two actions and all they were chosen from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from hitl_ops.rollouts.live_session import LiveSession


class CorrectionValue(BaseModel):
    """Value of a ``correction`` label: enough to train on, without looking anything up."""

    model_config = ConfigDict(extra="forbid")

    decision_index: int = Field(description="index, among the play's decisions, of what the partner did instead")
    replaces: int | None = Field(description="index of the decision broken off; null: the policy had not replied yet")
    original: str = Field(description="what the policy chose, as Tool[args]; empty where it never replied")
    corrected: str = Field(description="what the person chose, as Tool[args]")
    policy_id: str = Field(description="the policy that was overridden")
    by: str = Field(description="participant id")
    tick: int = Field(description="simulation step at which the person decided")
    asked_tick: int = Field(description="simulation step of what both chose from")
    prompt: str = Field(description="what the policy read, to the letter")
    admissible: list[str] = Field(description="every action that could be named")


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
