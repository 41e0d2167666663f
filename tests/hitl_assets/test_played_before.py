"""Traces are taken over from rollouts under the same conditions, and from no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitl_assets.claims import claim
from hitl_assets.played_before import finished_rollouts, take_over
from hitl_ops.contracts.store import Store
from hitl_ops.records.traces import trace_path


def _made_from(**changes: Any) -> dict[str, Any]:
    rollout = {"planner": {"kind": "policy", "path": "/here", "decode": "score"}, "decision_limit": 12}
    return {
        "rollout": rollout,
        "generator": "household-4",
        "planner": "a card",
        "episodes": ["val_0", "val_1"],
        **changes,
    }


def _played(folder: Path, made_from: dict[str, Any], *episodes: str) -> Path:
    claim(folder, made_from)
    for episode in episodes:
        file = trace_path(folder / "traces", episode)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{episode} in {folder.name}")
    return folder


def test_takes_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    before = _played(tmp_path / "before", _made_from(), "val_0", "val_1", "val_2")
    other = _made_from()
    other["rollout"] = {**other["rollout"], "planner": {**other["rollout"]["planner"], "path": "/elsewhere"}}
    out = _played(tmp_path / "now", other, "val_0")
    assert take_over(out, other, [out, before]) == 1
    assert trace_path(out / "traces", "val_0").read_text() == "val_0 in now"
    assert trace_path(out / "traces", "val_1").samefile(trace_path(before / "traces", "val_1"))
    assert not trace_path(out / "traces", "val_2").exists()  # not asked for
    assert take_over(out, other, [before]) == 0


def test_looks_in_several_places(tmp_path: Path) -> None:
    one = _played(tmp_path / "one", _made_from(episodes=["val_0"]), "val_0")
    two = _played(tmp_path / "two", _made_from(episodes=["val_1", "val_2"]), "val_1", "val_2")
    wanted = _made_from(episodes=["val_0", "val_1", "val_2", "val_3"])
    out = _played(tmp_path / "out", wanted)
    assert take_over(out, wanted, [one, two]) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": "household-5"},
        {"planner": "another card"},
        {"rollout": {"planner": {"kind": "policy", "path": "/here", "decode": "greedy"}, "decision_limit": 12}},
        {"rollout": {"planner": {"kind": "policy", "path": "/here", "decode": "score"}, "decision_limit": 13}},
    ],
)
def test_other_conditions_are_played_anew(changes: dict[str, Any], tmp_path: Path) -> None:
    before = _played(tmp_path / "before", _made_from(**changes), "val_0", "val_1")
    out = _played(tmp_path / "now", _made_from())
    assert take_over(out, _made_from(), [before]) == 0


def test_a_folder_without_a_note_is_passed_over(tmp_path: Path) -> None:
    before = _played(tmp_path / "before", _made_from(), "val_0")
    (before / "made_from.json").write_text("[1, 2")
    out = _played(tmp_path / "now", _made_from())
    assert take_over(out, _made_from(), [before, tmp_path / "nothing"]) == 0


def test_the_newest_iteration_comes_first(tmp_path: Path) -> None:
    for key in ("000", "001"):
        (tmp_path / "planner" / key / "evaluation" / "rollouts" / "student").mkdir(parents=True)
    (tmp_path / "planner" / "policies" / "x" / "evaluation" / "rollouts" / "student").mkdir(parents=True)
    found = finished_rollouts(Store.at(tmp_path), "planner")
    assert [place.parts[-4] for place in found] == ["001", "000"]
