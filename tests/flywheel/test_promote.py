"""``flywheel promote`` and ``flywheel rollback``, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from tests.support.small_policies import write_policy


@pytest.mark.slow
def test_promote_and_roll_back(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.at(own_store)
    first = write_policy(store.iteration("planner", 0).policy, iteration=0, seed=1)
    second = write_policy(store.iteration("planner", 1).policy, iteration=1, seed=2)
    capsys.readouterr()
    assert run(["promote", "planner", "000"]) == 0
    assert run(["promote", "planner", "1", "--root", str(own_store)]) == 0
    assert run(["rollback", "planner"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{first} serves (version 1 of 'planner')",
        f"{second} serves (version 2 of 'planner'); before: {first}",
        f"{first} serves again (version 1 of 'planner'); before: {second}",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["promote", "planner", "007"], "error: iteration 007 of 'planner' has no policy"),
        (["promote", "robot", "000"], "error: program 'robot' is unknown"),
        (["promote", "planner", "../000"], "error: iteration '../000' is not a number"),
        (["rollback", "planner"], "error: no policy of 'planner' served before"),
    ],
)
def test_mistakes_end_in_a_line(
    words: list[str], line: str, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(line)
