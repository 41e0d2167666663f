"""What sensors look at: a label store, an instance with its iterations, and one look a tick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.labels.label_store import LabelStore
from resources.store import StoreResource


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[LabelStore]:
    opened = LabelStore.open(f"sqlite:///{tmp_path / 'labels.db'}")
    yield opened
    opened.close()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        open_first_iteration(opened)
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> StoreResource:
    return StoreResource(home=str(tmp_path))


@pytest.fixture
def look(instance: dg.DagsterInstance, store: StoreResource) -> Any:
    """Evaluates a sensor as the daemon would: cursors are kept, events and partitions are applied."""
    cursors: dict[str, str | None] = {}

    def evaluate(sensor: Any, *overrides: str) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursors.get(sensor.name),
            resources={"store": store, "preset": PresetChoice(name="tiny_ci", overrides=list(overrides))},
        )
        result: Any = sensor(context)
        if isinstance(result, dg.SensorResult):
            cursors[sensor.name] = result.cursor
            for event in result.asset_events or []:
                instance.report_runless_asset_event(event)
            for request in result.dynamic_partitions_requests or []:
                instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    return evaluate
