"""``flywheel promote`` and ``flywheel rollback``, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from hitl_ops.serving.policy_alias import resolve
from tests.support.evaluated_policies import write_evaluated
from tests.support.registries import with_registry
from tests.support.small_policies import write_policy


@pytest.mark.slow
def test_promote_and_roll_back(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = with_registry(Store.at(own_store))
    first, second = write_evaluated(store, 0, seed=1, solved="0111"), write_evaluated(store, 1, seed=2, solved="1110")
    capsys.readouterr()
    assert run(["promote", "planner", "000"]) == 0
    assert run(["promote", "planner", "1", "--root", str(own_store)]) == 0
    assert run(["rollback", "planner"]) == 0
    verdict = json.loads((store.iteration("planner", 1).evaluation / "gate.json").read_text())
    share = f"{verdict['probability_not_worse']:.1%}"
    assert capsys.readouterr().out.splitlines() == [
        "gate: nothing serves yet: 75.0% success on 4 episodes of 'val'",
        f"{first} serves (version 1 of 'planner')",
        "gate: may serve: 75.0% against 75.0% success on 4 episodes of 'val' (+0.0 points, 95% interval "
        f"-75.0 to +75.0); not worse in {share} of the resamples, 50.0% asked for",
        f"{second} serves (version 2 of 'planner'); before: {first}",
        f"{first} serves again (version 1 of 'planner'); before: {second}",
    ]


@pytest.mark.slow
def test_against_the_gate_only_by_name(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = with_registry(Store.at(own_store))
    first, second = write_evaluated(store, 0, seed=1, solved="1111"), write_evaluated(store, 1, seed=2, solved="0010")
    assert run(["promote", "planner", "0"]) == 0
    capsys.readouterr()
    assert run(["promote", "planner", "1"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("gate: may not serve: 25.0% against 100.0% success on 4 episodes of 'val'")
    assert said.err == (
        f"error: {first} serves 'planner': promote the candidate all the same with --against-the-gate\n"
    )
    assert resolve(store, "planner").policy_id == first
    # What may be lost is a matter of configuration.
    assert run(["promote", "planner", "1", "--set", "margin=0.8"]) == 0
    assert run(["rollback", "planner"]) == 0
    assert run(["promote", "planner", "1", "--against-the-gate"]) == 0
    assert resolve(store, "planner").policy_id == second
    # Against the gate is not past the examination.
    write_policy(store.iteration("planner", 2).policy, iteration=2, seed=3)
    capsys.readouterr()
    assert run(["promote", "planner", "2", "--against-the-gate"]) == 2
    assert "run the evaluation first" in capsys.readouterr().err
    assert resolve(store, "planner").policy_id == second


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
