"""Who a planner is, where it cannot be asked itself: in the trace of an episode that crashed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json
from hitl_ops.rollouts.planners import PlannerConfig, planner_name


def test_a_policy_is_named_by_its_card_and_others_by_their_kind(tmp_path: Path) -> None:
    card = PolicyCard(program="planner", iteration=2, parent="tiny", samples_hash="0", config={}, metrics={"loss": 0.5})
    publish_json(tmp_path / "card.json", card)
    assert planner_name(PlannerConfig(kind="policy", path=str(tmp_path))) == card.policy_id
    assert planner_name(PlannerConfig()) == "oracle"
    (tmp_path / "card.json").unlink()
    with pytest.raises(UserError, match=r"has no card\.json"):
        planner_name(PlannerConfig(kind="policy", path=str(tmp_path)))
