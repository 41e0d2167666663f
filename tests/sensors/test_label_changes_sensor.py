"""The sensor that tells what people changed: each change once, in the iteration it is about and in those after it."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from hitl_assets.planner_iterations import open_iteration
from hitl_ops.contracts.correction import PlayReview
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.opinions import review_target
from sensors.label_changes import label_changes

KEYS = ("000", "001")


def _told(result: Any) -> set[tuple[str, str | None]]:
    assert isinstance(result, dg.SensorResult), result
    return {(event.asset_key.to_user_string(), event.partition) for event in result.asset_events}


def _play(labels: LabelStore, iteration: int) -> str:
    _, token = labels.create_invitation("planner", iteration)
    session = labels.use_invitation(token).session
    play = labels.start_play(session.id, "episode-1", 1)
    labels.finish_play(play.id, percent_complete=1.0, success=True, ended_by="person", seconds=1.0)
    return play.id


def _review(labels: LabelStore, play: str, iteration: int, key: str = "a") -> None:
    labels.add_label(
        "verdict",
        program="planner",
        iteration=iteration,
        annotator="eva",
        client_key=key,
        value=PlayReview(status="finished").model_dump(),
        episode_play_id=play,
        target=review_target(play),
    )


def test_tells_once_and_only_what_has_changed(look: Any, labels: LabelStore, instance: Any) -> None:
    open_iteration(instance, 1, {"policy": "planner-000-x"})
    everything = {(name, key) for name in ("collected_plays", "annotation_labels", "human_input") for key in KEYS}
    assert _told(look(label_changes)) == everything
    assert look(label_changes).skip_message == "nothing has changed"

    play = _play(labels, 0)
    assert _told(look(label_changes)) == {
        ("collected_plays", "000"),
        ("human_input", "000"),
        ("human_input", "001"),
    }
    _review(labels, play, 0)
    assert _told(look(label_changes)) == {
        ("annotation_labels", "000"),
        ("human_input", "000"),
        ("human_input", "001"),
    }
    _play(labels, 1)
    assert _told(look(label_changes)) == {("collected_plays", "001"), ("human_input", "001")}
    labels.withdraw_play(play, "", "ann")
    assert _told(look(label_changes)) == {
        ("collected_plays", "000"),
        ("annotation_labels", "000"),
        ("human_input", "000"),
        ("human_input", "001"),
    }
    assert look(label_changes).skip_message == "nothing has changed"


def test_samples_made_anew_are_news_to_later_iterations(look: Any, labels: LabelStore, instance: Any) -> None:
    open_iteration(instance, 1, {"policy": "planner-000-x"})
    look(label_changes)
    version = {"dagster/data_version": "1"}
    instance.report_runless_asset_event(dg.AssetMaterialization("distilled_samples", partition="000", tags=version))
    assert _told(look(label_changes)) == {("human_input", "001")}
    instance.report_runless_asset_event(dg.AssetMaterialization("distilled_samples", partition="000", tags=version))
    assert look(label_changes).skip_message == "nothing has changed"


@pytest.mark.parametrize("cursor", ["", "not json", "[1, 2]", '{"000": "many"}', '{"000": {}}', "null"])
def test_a_garbled_cursor_is_forgotten(cursor: str, store: Any, labels: LabelStore, instance: Any) -> None:
    from hitl_assets.preset_choice import PresetChoice

    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"store": store, "preset": PresetChoice(name="tiny_ci")}
    )
    assert {asset for asset, _ in _told(label_changes(context))} == {
        "collected_plays",
        "annotation_labels",
        "human_input",
    }


def test_it_is_on_by_itself_and_starts_nothing() -> None:
    assert label_changes.default_status is dg.DefaultSensorStatus.RUNNING
    assert not label_changes.has_jobs
