"""The sensor that takes up what people have played: when it asks for a run, and that it asks once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import CollectionSection
from hitl_ops.labels.label_store import LabelStore
from resources.store import StoreResource
from sensors import collection, watching
from sensors.collection import finished_collection, mark_reached


@pytest.fixture(autouse=True)
def no_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look a tick, unless a test wants more."""
    monkeypatch.setattr(collection, "WATCH_S", 0.0)


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
def tick(instance: dg.DagsterInstance, tmp_path: Path) -> Any:
    """Evaluates the sensor as the daemon would, the cursor included."""
    cursor: list[str | None] = [None]

    def evaluate(*overrides: str, forget: bool = False) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=None if forget else cursor[0],
            resources={
                "store": StoreResource(home=str(tmp_path)),
                "preset": PresetChoice(
                    name="laptop", overrides=["collection.target=3", "collection.step=2", *overrides]
                ),
            },
        )
        result: Any = finished_collection(context)
        if isinstance(result, dg.SensorResult):
            cursor[0] = result.cursor
        return result

    return evaluate


def finish_plays(labels: LabelStore, number: int, iteration: int = 0, *, tutorial: bool = False) -> None:
    _, token = labels.create_invitation("planner", iteration)
    session = labels.use_invitation(token).session
    for _ in range(number):
        play = labels.start_play(session.id, "episode-1", 1, tutorial=tutorial)
        labels.finish_play(play.id, percent_complete=0.0, success=False, ended_by="skip", seconds=1.0)


def _keys(result: Any) -> list[str | None]:
    assert isinstance(result, dg.SensorResult), result
    return [request.run_key for request in result.run_requests or []]


@pytest.mark.parametrize(
    ("plays", "mark"), [(0, 0), (99, 0), (100, 100), (124, 100), (125, 125), (149, 125), (1000, 1000)]
)
def test_marks_are_the_target_and_then_the_steps(plays: int, mark: int) -> None:
    assert mark_reached(plays, CollectionSection(target=100, step=25)) == mark


def test_without_a_label_store_it_waits_and_makes_none(tick: Any, tmp_path: Path) -> None:
    assert "nobody was invited" in tick().skip_message
    assert not list(tmp_path.glob("labels.db*"))


def test_asks_at_the_target_and_at_each_further_step(labels: LabelStore, tick: Any) -> None:
    assert tick().skip_message == "nobody has finished a play yet"
    finish_plays(labels, 2)
    finish_plays(labels, 9, tutorial=True)
    assert tick().skip_message == "iteration 000: 2 of 3 plays"
    finish_plays(labels, 1)
    result = tick()
    (request,) = result.run_requests
    assert (request.run_key, request.partition_key) == ("planner/000/plays-3", "000")
    assert request.tags["flywheel/plays"] == "3"
    assert not result.dynamic_partitions_requests
    # What the run is made from is told before it starts.
    assert {event.asset_key.to_user_string() for event in result.asset_events} == {
        "collected_plays",
        "annotation_labels",
        "human_input",
    }
    assert all(isinstance(event, dg.AssetObservation) and event.partition == "000" for event in result.asset_events)
    assert tick().skip_message == "iteration 000: 3 of 5 plays"
    finish_plays(labels, 1)
    assert isinstance(tick(), dg.SkipReason)
    finish_plays(labels, 1)
    assert _keys(tick()) == ["planner/000/plays-5"]
    # What came while nobody looked is one run, not several.
    finish_plays(labels, 7)
    assert _keys(tick()) == ["planner/000/plays-11"]


def test_a_lost_cursor_asks_for_the_same_run_and_no_other(labels: LabelStore, tick: Any) -> None:
    finish_plays(labels, 5)
    first = _keys(tick())
    assert _keys(tick(forget=True)) == first  # which Dagster knows by its key, and does not start again
    assert isinstance(tick(), dg.SkipReason)


@pytest.mark.parametrize("cursor", ["", "not json", "[1, 2]", '{"000": "many"}', "null"])
def test_a_garbled_cursor_is_forgotten(cursor: str, labels: LabelStore, instance: Any, tmp_path: Path) -> None:
    finish_plays(labels, 3)
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        resources={
            "store": StoreResource(home=str(tmp_path)),
            "preset": PresetChoice(name="laptop", overrides=["collection.target=3"]),
        },
    )
    assert _keys(finished_collection(context)) == ["planner/000/plays-3"]


def test_a_lower_target_does_not_repeat_what_was_asked_for(labels: LabelStore, tick: Any) -> None:
    finish_plays(labels, 3)
    assert _keys(tick()) == ["planner/000/plays-3"]
    assert isinstance(tick("collection.target=2", "collection.step=5"), dg.SkipReason)


def test_iterations_count_by_themselves_and_playing_opens_one(labels: LabelStore, tick: Any) -> None:
    finish_plays(labels, 2)
    finish_plays(labels, 4, iteration=1)
    result = tick()
    assert [(request.run_key, request.partition_key) for request in result.run_requests] == [
        ("planner/001/plays-3", "001")
    ]
    (opening,) = result.dynamic_partitions_requests
    assert opening.partition_keys == ["001"]
    (event,) = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
    assert (event.asset_key, event.partition) == (dg.AssetKey("base_policy"), "001")
    assert "policy" not in event.metadata  # nothing serves in this store
    finish_plays(labels, 1)
    finish_plays(labels, 1, iteration=1)
    assert _keys(tick()) == ["planner/000/plays-3", "planner/001/plays-5"]


def test_goes_on_looking_while_a_tick_lasts(labels: LabelStore, tick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    count = LabelStore.finished_play_counts

    def counted(self: LabelStore, program: str) -> dict[int, int]:
        nonlocal looks
        looks += 1
        if looks == 3:
            finish_plays(labels, 3)
        return count(self, program)

    monkeypatch.setattr(LabelStore, "finished_play_counts", counted)
    monkeypatch.setattr(collection, "WATCH_S", 60.0)
    monkeypatch.setattr(collection, "LOOK_EVERY_S", 0.01)
    assert _keys(tick()) == ["planner/000/plays-3"]
    assert looks == 3
    monkeypatch.setattr(collection, "WATCH_S", 0.2)
    before = time.monotonic()
    assert isinstance(tick(), dg.SkipReason)
    assert looks > 4 and time.monotonic() - before >= 0.1


def test_a_tick_ends_before_the_daemon_comes_round_again() -> None:
    from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME

    from hitl_assets.definitions import build_defs

    assert watching.WATCH_S + watching.LOOK_EVERY_S < MIN_INTERVAL_LOOP_TIME
    for sensor in build_defs().sensors or []:
        assert (getattr(sensor, "minimum_interval_seconds", None) or 30) < MIN_INTERVAL_LOOP_TIME


def test_a_store_that_does_not_answer_is_named(tick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_LABELS_URL", "postgresql://somebody:secret@127.0.0.1:1/labels")
    with pytest.raises(dg.Failure) as caught:
        tick()
    assert "does not answer" in (caught.value.description or "") and "secret" not in (caught.value.description or "")


def test_it_is_on_by_itself() -> None:
    assert finished_collection.default_status is dg.DefaultSensorStatus.RUNNING
    assert finished_collection.job_name == "planner_collection"
