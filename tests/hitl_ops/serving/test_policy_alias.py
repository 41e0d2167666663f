"""Promotion and rollback: what serves, what served, and that neither changes under anybody's feet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.serving.policy_alias import (
    ALIASES,
    RegisteredPolicy,
    evaluation_of,
    promote,
    register,
    resolve,
    rollback,
)
from tests.support.evaluated_policies import write_evaluated, write_evaluation
from tests.support.registries import with_registry
from tests.support.small_policies import write_policy

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return with_registry(Store.at(tmp_path / "root"))


def aliases(store: Store) -> dict[str, str]:
    return {alias: found.policy_id for alias in ALIASES if (found := resolve(store, "planner", alias)) is not None}


def by_mlflow(store: Store) -> dict[str, str]:
    """The same, asked of MLflow itself."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store.mlflow_uri, registry_uri=store.mlflow_uri)
    model = client.get_registered_model("planner")
    return {
        alias: client.get_model_version("planner", str(version)).tags["policy_id"]
        for alias, version in model.aliases.items()
    }


@pytest.mark.slow
def test_promotions_and_rollbacks(store: Store) -> None:
    assert resolve(store, "planner") is None
    first, second = write_evaluated(store, 0, seed=1), write_evaluated(store, 1, seed=2)

    assert promote(store, "planner", "000").policy_id == first
    assert aliases(store) == {"candidate": first, "serving": first}
    with pytest.raises(UserError, match="no policy of 'planner' served before"):
        rollback(store, "planner")
    assert promote(store, "planner", 1).version == 2
    assert aliases(store) == {"candidate": second, "serving": second, "previous": first}
    assert promote(store, "planner", 1).version == 2, "promoting what serves changes nothing"
    assert aliases(store) == {"candidate": second, "serving": second, "previous": first}
    assert rollback(store, "planner").policy_id == first
    assert aliases(store) == {"candidate": second, "serving": first, "previous": second} == by_mlflow(store)
    assert rollback(store, "planner").policy_id == second
    assert aliases(store) == {"candidate": second, "serving": second, "previous": first} == by_mlflow(store)


@pytest.mark.slow
def test_what_serves_stays_as_it_was_when_its_iteration_is_trained_anew(store: Store) -> None:
    policy = store.iteration("planner", 0).policy
    old = write_evaluated(store, 0, seed=1)
    served = promote(store, "planner", 0)
    weights = (served.folder / "merged" / "model.safetensors").read_bytes()
    new = write_policy(policy, seed=2)
    assert resolve(store, "planner").policy_id == served.card.policy_id == old != new
    assert (served.folder / "merged" / "model.safetensors").read_bytes() == weights
    assert (policy / "merged" / "model.safetensors").read_bytes() != weights
    candidate = register(store, "planner", 0)
    assert (candidate.policy_id, candidate.version) == (new, 2)
    assert aliases(store) == {"candidate": new, "serving": old}
    # Weights that were promoted outlive those they came from.
    shutil.rmtree(policy)
    assert promote_back(store) == old
    with pytest.raises(UserError, match="iteration 000 of 'planner' has no policy"):
        promote(store, "planner", 0)


def promote_back(store: Store) -> str:
    found = resolve(store, "planner")
    assert found is not None and (found.folder / "merged" / "model.safetensors").is_file()
    return found.policy_id


@pytest.mark.slow
def test_a_store_may_be_moved(store: Store, tmp_path: Path) -> None:
    write_evaluated(store, 0, seed=1)
    promote(store, "planner", 0)
    shutil.move(store.root, tmp_path / "elsewhere")
    moved = resolve(Store.at(tmp_path / "elsewhere"), "planner")
    assert moved is not None and moved.folder.is_dir()
    assert moved.folder.is_relative_to(tmp_path / "elsewhere")


@pytest.mark.slow
def test_only_the_evaluated_come_to_serve(store: Store) -> None:
    first = write_evaluated(store, 0, seed=1)
    promote(store, "planner", 0)
    paths = store.iteration("planner", 1)
    second = write_policy(paths.policy, iteration=1, seed=2)
    with pytest.raises(UserError, match=r"summary\.json' does not exist: run the evaluation first"):
        promote(store, "planner", 1)
    write_evaluation(paths.evaluation, "planner-001-0123456789", "1111")
    with pytest.raises(
        UserError, match=f"policy '{second}' has not been evaluated: .* is about planner-001-0123456789"
    ):
        promote(store, "planner", 1)
    assert aliases(store) == {"candidate": first, "serving": first}
    assert not store.policy("planner", second).exists()
    write_evaluation(paths.evaluation, second, "1111")
    # What a kill between the two files of an evaluation leaves: new scores beside an old summary.
    scores, summary = (paths.evaluation / name for name in ("scores.jsonl.gz", "summary.json"))
    whole = scores.read_bytes()
    write_evaluation(paths.evaluation, "planner-001-0123456789", "1111")
    older = summary.read_bytes().replace(b"planner-001-0123456789", second.encode())
    summary.write_bytes(older)
    with pytest.raises(UserError, match="has not been evaluated"):
        promote(store, "planner", 1)
    scores.write_bytes(whole)
    assert promote(store, "planner", 1).policy_id == second


@pytest.mark.slow
def test_the_evaluation_is_kept_with_the_policy(store: Store) -> None:
    policy_id = write_evaluated(store, 0, seed=1, solved="1010")
    promote(store, "planner", 0)
    frozen = store.policy("planner", policy_id) / "evaluation"
    # The iteration is trained anew, and its evaluation is of the new policy.
    other = write_evaluated(store, 0, seed=2, solved="0000")
    kept = evaluation_of(store, "planner", 0, policy_id)
    assert [score.success for score in kept.scores.values()] == [True, False, True, False]
    assert not any(score.success for score in evaluation_of(store, "planner", 0, other).scores.values())
    # Evaluated again on other episodes, it is the newer evaluation that counts, and that is kept.
    write_evaluation(store.iteration("planner", 0).evaluation, other, "110000")
    promote(store, "planner", 0)
    write_evaluation(store.iteration("planner", 0).evaluation, other, "111000")
    promote(store, "planner", 0)
    shutil.rmtree(store.iteration("planner", 0).evaluation)
    assert sum(score.success for score in evaluation_of(store, "planner", 0, other).scores.values()) == 3
    assert (frozen / "summary.json").is_file()


@pytest.mark.slow
def test_a_decision_about_another_policy_is_not_carried_out(store: Store) -> None:
    for iteration in range(3):
        write_evaluated(store, iteration, seed=iteration)
    with pytest.raises(UserError, match="meanwhile no policy serves 'planner': decide again"):
        promote(store, "planner", 1, instead_of=RegisteredPolicy("planner", 1, "gone", store.root))
    before = promote(store, "planner", 0, instead_of=None)
    promote(store, "planner", 1)
    with pytest.raises(UserError, match=r"meanwhile planner-001-.* serves 'planner': decide again"):
        promote(store, "planner", 2, instead_of=before)
    assert aliases(store)["serving"].startswith("planner-001-")


@pytest.mark.slow
def test_what_a_killed_promotion_left_is_cleared_away(store: Store) -> None:
    policy_id = write_evaluated(store, 0, seed=1)
    half = store.policies("planner") / f"{policy_id}.part-0badc0de" / "merged"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    assert promote(store, "planner", 0).folder.is_dir()
    assert [found.name for found in store.policies("planner").iterdir() if found.is_dir()] == [policy_id]


@pytest.mark.slow
def test_a_card_taken_away_while_weights_are_written_stops_the_freezing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_evaluated(store, 0, seed=1)
    paths = store.iteration("planner", 0)
    link = os.link

    def retrained(*names: str) -> None:
        link(*names)
        (paths.policy / "card.json").unlink(missing_ok=True)

    monkeypatch.setattr("os.link", retrained)
    with pytest.raises(UserError, match="was written anew while it was frozen: run it again"):
        promote(store, "planner", 0)
    assert resolve(store, "planner") is None
    assert not [found for found in store.policies("planner").iterdir() if found.is_dir()]


def test_mistakes_are_a_line_each(store: Store) -> None:
    with pytest.raises(UserError, match="iteration 004 of 'planner' has no policy"):
        promote(store, "planner", "004")
    with pytest.raises(UserError, match="program 'plannet' is unknown"):
        promote(store, "plannet", 0)
    with pytest.raises(UserError, match=r"program '\.\./x' is unknown"):
        resolve(store, "../x")
    with pytest.raises(UserError, match=r"iteration '\.\./000' is not a number"):
        promote(store, "planner", "../000")
    file = Path(store.mlflow_uri.removeprefix("sqlite:///"))
    file.write_bytes(b"this is no database, but long enough to look at" * 10)
    with pytest.raises(UserError, match=r"registry .* is damaged"):
        resolve(store, "planner")


@pytest.mark.slow
def test_looking_an_alias_up_needs_no_mlflow(store: Store) -> None:
    write_evaluated(store, 0, seed=1)
    policy_id = promote(store, "planner", 0).policy_id
    code = (
        "import sys; from hitl_ops.contracts.store import Store; from hitl_ops.serving.policy_alias import resolve;"
        f"print(resolve(Store.at({str(store.root)!r}), 'planner').policy_id); assert 'mlflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == policy_id
