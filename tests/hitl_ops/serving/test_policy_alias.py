"""Promotion and rollback: what serves, what served, and that neither changes under anybody's feet."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.serving.policy_alias import ALIASES, promote, register, resolve, rollback
from tests.support.small_policies import write_policy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "root")


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
    first = write_policy(store.iteration("planner", 0).policy, iteration=0, seed=1)
    second = write_policy(store.iteration("planner", 1).policy, iteration=1, seed=2)

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
    old = write_policy(policy, seed=1)
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
    write_policy(store.iteration("planner", 0).policy, seed=1)
    promote(store, "planner", 0)
    shutil.move(store.root, tmp_path / "elsewhere")
    moved = resolve(Store.at(tmp_path / "elsewhere"), "planner")
    assert moved is not None and moved.folder.is_dir()
    assert moved.folder.is_relative_to(tmp_path / "elsewhere")


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
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database, but long enough to look at" * 10)
    with pytest.raises(UserError, match=r"registry .* is damaged"):
        resolve(store, "planner")


@pytest.mark.slow
def test_looking_an_alias_up_needs_no_mlflow(store: Store) -> None:
    write_policy(store.iteration("planner", 0).policy, seed=1)
    policy_id = promote(store, "planner", 0).policy_id
    code = (
        "import sys; from hitl_ops.contracts.store import Store; from hitl_ops.serving.policy_alias import resolve;"
        f"print(resolve(Store.at({str(store.root)!r}), 'planner').policy_id); assert 'mlflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == policy_id
