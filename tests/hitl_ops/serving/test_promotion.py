"""Judged, then promoted: what is worse never comes to serve by itself, and nobody is judged against the wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import GateConfig, read_gate
from hitl_ops.serving.policy_alias import resolve, rollback
from hitl_ops.serving.promotion import judge, promote_by_gate
from tests.support.evaluated_policies import write_evaluated, write_evaluation
from tests.support.registries import with_registry
from tests.support.small_policies import write_policy

GATE = GateConfig(resamples=1000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return with_registry(Store.at(tmp_path / "root"))


@pytest.mark.slow
def test_the_better_takes_over_and_the_worse_does_not(store: Store) -> None:
    first = write_evaluated(store, 0, seed=1, solved="1100")
    worse = write_evaluated(store, 1, seed=2, solved="0000")
    better = write_evaluated(store, 2, seed=3, solved="1110")

    done = promote_by_gate(store, "planner", 0, GATE)
    assert done.promoted is not None and done.serving == done.promoted and done.promoted.policy_id == first
    assert read_gate(store.iteration("planner", 0).evaluation) == done.verdict

    done = promote_by_gate(store, "planner", 1, GATE)
    assert done.promoted is None and done.serving is not None and done.serving.policy_id == first
    assert done.verdict is not None and not done.verdict.promote and done.verdict.candidate == worse
    assert read_gate(store.iteration("planner", 1).evaluation) == done.verdict
    assert resolve(store, "planner").policy_id == first
    assert resolve(store, "planner", "candidate").policy_id == first, "what may not serve is not even registered"

    done = promote_by_gate(store, "planner", 2, GATE)
    assert done.verdict is not None and (done.verdict.candidate, done.verdict.serving) == (better, first)
    assert resolve(store, "planner").policy_id == better
    again = promote_by_gate(store, "planner", 2, GATE)
    assert again.verdict == done.verdict, "what opened the gate stands"
    assert resolve(store, "planner", "previous").policy_id == first


@pytest.mark.slow
def test_the_verdict_on_an_iteration_outlives_later_policies(store: Store) -> None:
    first = write_evaluated(store, 0, seed=1, solved="1100")
    promote_by_gate(store, "planner", 0, GATE)
    write_evaluated(store, 1, seed=2, solved="1110")
    promote_by_gate(store, "planner", 1, GATE)
    # Asked again, the first is worse than what came after it; its own iteration was not refused.
    verdict = judge(store, "planner", 0, GATE)
    assert not verdict.promote
    kept = read_gate(store.iteration("planner", 0).evaluation)
    assert kept is not None and kept.promote and (kept.candidate, kept.serving) == (first, None)
    # Trained anew, it is another policy, and there is another verdict.
    write_evaluated(store, 0, seed=3, solved="0000")
    refused = judge(store, "planner", 0, GATE)
    assert not refused.promote and read_gate(store.iteration("planner", 0).evaluation) == refused
    # A refusal that was gone against stays on record.
    promote_by_gate(store, "planner", 0, GATE, against_the_gate=True)
    assert judge(store, "planner", 0, GATE).reason.startswith(f"{refused.candidate} serves already")
    assert read_gate(store.iteration("planner", 0).evaluation) == refused


def _in_two_phases(store: Store, iteration: int, first: str, second: str) -> tuple[str, str]:
    """An iteration of two phases with what both policies solved; their ids."""
    paths = store.iteration("planner", iteration)
    started = write_policy(paths.first_policy, iteration=iteration, seed=100 + iteration)
    student = write_policy(paths.policy, iteration=iteration, seed=200 + iteration)
    write_evaluation(paths.evaluation, student, second, beside={"first": (started, first)})
    return started, student


@pytest.mark.slow
def test_the_first_to_serve_is_the_better_of_its_two_phases(store: Store) -> None:
    started, student = _in_two_phases(store, 0, first="1110", second="1000")
    for _ in range(2):  # run again, it says and does the same
        done = promote_by_gate(store, "planner", 0, GATE)
        assert done.promoted is None and done.serving is not None and done.serving.policy_id == started
        assert done.verdict is not None and (done.verdict.candidate, done.verdict.serving) == (student, started)
        assert (done.verdict.candidate_mean, done.verdict.serving_mean, done.verdict.episodes) == (0.25, 0.75, 4)
        assert done.verdict.reason.endswith(f"; {started}, which it started from, may")
        assert read_gate(store.iteration("planner", 0).evaluation) == done.verdict
    serving = resolve(store, "planner")
    assert serving is not None and serving.card.policy_id == started and (serving.folder / "evaluation").is_dir()
    assert resolve(store, "planner", "previous") is None and not store.policy("planner", student).exists()
    # From then on it is what serves: the next one is compared with it, whatever that one started from.
    better = write_evaluated(store, 1, seed=7, solved="1111")
    done = promote_by_gate(store, "planner", 1, GATE)
    assert done.promoted is not None and done.promoted.policy_id == better
    assert done.verdict is not None and done.verdict.serving == started


@pytest.mark.slow
def test_the_second_phase_serves_where_it_is_not_worse(store: Store) -> None:
    started, student = _in_two_phases(store, 0, first="1100", second="1110")
    done = promote_by_gate(store, "planner", 0, GATE)
    assert done.promoted is not None and done.promoted.policy_id == student
    assert done.verdict is not None and (done.verdict.serving, done.verdict.serving_mean) == (started, 0.5)
    assert promote_by_gate(store, "planner", 0, GATE).verdict == done.verdict
    # Later ones are compared with what serves, and a refusal leaves that as it is.
    own, worse = _in_two_phases(store, 1, first="1111", second="0000")
    done = promote_by_gate(store, "planner", 1, GATE)
    assert done.serving is not None and done.serving.policy_id == student
    assert done.verdict is not None and (done.verdict.candidate, done.verdict.serving) == (worse, student)
    assert own not in done.verdict.reason


@pytest.mark.slow
def test_the_worse_of_two_phases_serves_only_against_the_gate(store: Store) -> None:
    started, student = _in_two_phases(store, 0, first="1111", second="0000")
    done = promote_by_gate(store, "planner", 0, GATE, against_the_gate=True)
    assert done.promoted is not None and done.promoted.policy_id == student
    assert done.verdict is not None and not done.verdict.promote and done.verdict.serving == started


@pytest.mark.slow
def test_judging_alone_changes_nothing(store: Store) -> None:
    write_evaluated(store, 0, seed=1)
    assert judge(store, "planner", 0, GATE).promote
    assert resolve(store, "planner") is None and not store.policies("planner").exists()


@pytest.mark.slow
def test_what_cannot_be_compared_is_not_promoted(store: Store) -> None:
    first = write_evaluated(store, 0, seed=1, solved="1100")
    promote_by_gate(store, "planner", 0, GATE)
    second = write_evaluated(store, 1, seed=2, solved="111111")
    with pytest.raises(UserError, match="were not evaluated on the same episodes"):
        promote_by_gate(store, "planner", 1, GATE)
    assert resolve(store, "planner").policy_id == first
    # Once the serving policy has been examined on the new episodes, too, they can be compared.
    write_evaluation(store.iteration("planner", 0).evaluation, first, "111110")
    assert promote_by_gate(store, "planner", 1, GATE).promoted is not None
    # Or once both have sat the candidate's examination: it then needs no other.
    rollback(store, "planner")
    examined = store.iteration("planner", 1).evaluation
    shutil.rmtree(examined)
    write_evaluation(examined, second, "000", beside={"serving": (first, "110"), "teacher": ("oracle", "111")})
    verdict = judge(store, "planner", 1, GATE)
    assert (verdict.candidate_mean, verdict.serving_mean, verdict.episodes) == (0.0, pytest.approx(2 / 3), 3)
    promote_by_gate(store, "planner", 1, GATE, against_the_gate=True)
    # Against the gate even what cannot be compared, and then there is no verdict.
    third = write_evaluated(store, 2, seed=3, solved="0")
    done = promote_by_gate(store, "planner", 2, GATE, against_the_gate=True)
    assert done.verdict is None and resolve(store, "planner").policy_id == third
    assert resolve(store, "planner", "previous").policy_id == second


@pytest.mark.slow
def test_who_came_to_serve_meanwhile_is_not_overridden(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for iteration, solved in enumerate(("0000", "1000", "1111")):
        write_evaluated(store, iteration, seed=iteration, solved=solved)
    promote_by_gate(store, "planner", 0, GATE)

    from hitl_ops.serving import promotion

    plain = promotion.write_gate

    def while_another_is_promoted(*arguments: object) -> Path:
        monkeypatch.setattr(promotion, "write_gate", plain)
        promote_by_gate(store, "planner", 2, GATE)
        return plain(*arguments)

    monkeypatch.setattr(promotion, "write_gate", while_another_is_promoted)
    with pytest.raises(UserError, match=r"meanwhile planner-002-.* serves 'planner': decide again"):
        promote_by_gate(store, "planner", 1, GATE)
    assert resolve(store, "planner").policy_id.startswith("planner-002-")
    assert not promote_by_gate(store, "planner", 1, GATE).verdict.promote
