"""What is told of rounds is what was learned in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitl_ops.records.round_games import RoundPhase
from hitl_ops.samples.replay_buffer import BCReplayBuffer, DPOReplayBuffer
from hitl_ops.samples.round_rows import phase_rows
from tests.support.round_games import SIZE, made_game

THOUGHTS: dict[str, Any] = {"expert_thought": "go on", "agent_thought": "stay"}


@pytest.mark.parametrize("thoughts", [{}, THOUGHTS], ids=["silent", "aloud"])
@pytest.mark.parametrize("phase", ["bc", "dpo"])
def test_rows_are_those_of_the_buffer(tmp_path: Path, phase: RoundPhase, thoughts: dict[str, Any]) -> None:
    earlier = made_game(tmp_path / "earlier", ("b", "a", None), **thoughts)
    own = made_game(tmp_path / "own", ("look", None, "b"), phase=phase, game=3, **thoughts)
    buffer = (DPOReplayBuffer if phase == "dpo" else BCReplayBuffer)(100, SIZE)
    buffer.add_game(earlier, "000-bc")
    buffer.add_game(own)
    learned = {row.row_id: (row.prompt, *(answer.strip() for answer in row.answers)) for row in buffer.sample(0, 99, 0)}
    rows = phase_rows(phase, tmp_path / "own", replay=[("000-bc", earlier.folder)])
    told = {row.row_id: (row.prompt, row.better, *([row.worse] if row.worse is not None else [])) for row in rows}
    assert told == learned and len(rows) == len(learned) > 2
    assert {row.source for row in rows} == {"rounds", "replay"}
    assert all((row.worse is None) == (phase == "bc") for row in rows)
    if thoughts:
        judged_after = "stay" if phase == "dpo" else "go on"
        assert f"{phase}/00/0003/002/thought" in told
        assert told[f"{phase}/00/0003/002"][0] == f"Step 2.\n> think: {judged_after}\n>"
