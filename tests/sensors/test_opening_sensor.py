"""The sensor that opens the next iteration: after a decision, on what serves, up to the last one wanted."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from hitl_assets.planner_iterations import base_policy_of, opened_iterations
from hitl_ops.serving.policy_alias import promote
from resources.store import StoreResource
from sensors.opening import next_iteration
from tests.support.evaluated_policies import write_evaluated
from tests.support.registries import with_registry


def _decide(instance: dg.DagsterInstance, key: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("planner_promotion", partition=key))


def test_waits_for_the_decision_and_for_a_policy_that_serves(look: Any, instance: Any) -> None:
    assert look(next_iteration).skip_message == "iteration 000 is not decided yet"
    _decide(instance, "000")
    assert "no policy serves yet" in look(next_iteration).skip_message
    assert opened_iterations(instance) == ["000"]


@pytest.mark.slow
def test_opens_one_iteration_after_the_other_on_what_serves(look: Any, instance: Any, store: StoreResource) -> None:
    first = write_evaluated(store.open(), 0, seed=1)
    promote(with_registry(store.open()), "planner", 0)
    _decide(instance, "000")
    result = look(next_iteration, "loop.iterations=2")
    assert isinstance(result, dg.SensorResult)
    assert opened_iterations(instance) == ["000", "001"]
    assert base_policy_of(instance, "001") == first
    assert store.iteration("planner", "001").base.is_dir()
    told = {(event.asset_key.to_user_string(), event.partition) for event in result.asset_events}
    assert {("base_policy", "001"), ("human_input", "001"), ("collected_plays", "001")} <= told
    assert look(next_iteration, "loop.iterations=2").skip_message == "iteration 001 is not decided yet"

    # Refused or not, a decision is one: the next iteration starts from what goes on serving.
    _decide(instance, "001")
    assert isinstance(look(next_iteration, "loop.iterations=2"), dg.SensorResult)
    assert base_policy_of(instance, "002") == first
    _decide(instance, "002")
    assert look(next_iteration, "loop.iterations=2").skip_message == "iteration 002 was the last of 2"
    assert look(next_iteration, "loop.iterations=0").skip_message == "iteration 002 was the last of 0"


def test_it_is_on_by_itself() -> None:
    assert next_iteration.default_status is dg.DefaultSensorStatus.RUNNING
