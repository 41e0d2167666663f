"""The sensor that makes the next policy: when annotators are through, once, and again only after something new."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from hitl_assets.planner_versions import newer_labels
from hitl_ops.contracts.correction import AnnotationFinished, PlayReview
from hitl_ops.contracts.publish import publish_json
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.opinions import annotation_target, review_target
from hitl_ops.labels.rows import Label
from hitl_ops.samples.annotation_queue import QUEUE_FILE, QueuedPlay
from resources.store import StoreResource
from sensors import annotation
from sensors.annotation import finished_annotation


@pytest.fixture(autouse=True)
def no_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look a tick, unless a test wants more."""
    monkeypatch.setattr(annotation, "WATCH_S", 0.0)


def _play(labels: LabelStore) -> str:
    _, token = labels.create_invitation("planner", 0)
    session = labels.use_invitation(token).session
    play = labels.start_play(session.id, "episode-1", 1)
    labels.finish_play(play.id, percent_complete=1.0, success=True, ended_by="person", seconds=1.0)
    return play.id


def _say(labels: LabelStore, value: dict[str, Any], target: str, play: str | None = None) -> Label:
    said = len(labels.labels(superseded=True))
    return labels.add_label(
        "verdict",
        program="planner",
        iteration=0,
        annotator="eva",
        client_key=f"key-{said}",
        value=value,
        episode_play_id=play,
        target=target,
    )


def _review(labels: LabelStore, play: str) -> Label:
    return _say(labels, PlayReview(status="finished").model_dump(), review_target(play), play)


@pytest.fixture
def waiting(labels: LabelStore, instance: dg.DagsterInstance, store: StoreResource) -> list[str]:
    """Three plays of iteration 000 that were taken up and wait for annotators."""
    plays = [_play(labels) for _ in range(3)]
    queue = [
        QueuedPlay(
            play_id=play,
            session_id="s",
            episode_id="episode-1",
            success=True,
            percent_complete=1.0,
            value=0.5,
            reasons=[],
            decisions_worth_a_look=[],
        )
        for play in plays
    ]
    body = {
        "format": "flywheel-queue-1",
        "plays_hash": "x",
        "config": {},
        "plays": [play.model_dump(mode="json") for play in queue],
    }
    publish_json(store.iteration("planner", "000").sessions / QUEUE_FILE, body)
    for asset in ("session_logs", "annotation_queue"):
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition="000"))
    return plays


def _request(result: Any) -> dg.RunRequest:
    assert isinstance(result, dg.SensorResult), result
    (request,) = result.run_requests or []
    return request


def test_waits_until_plays_are_taken_up(look: Any, labels: LabelStore) -> None:
    play = _play(labels)
    _review(labels, play)
    assert look(finished_annotation).skip_message == "no iteration waits for annotators"


def test_asks_at_the_target_once(look: Any, labels: LabelStore, waiting: list[str], instance: Any) -> None:
    assert look(finished_annotation).skip_message == "iteration 000: 0 of 2 plays are reviewed"
    _review(labels, waiting[0])
    _review(labels, waiting[0])  # looked through again, it is one play still
    assert look(finished_annotation).skip_message == "iteration 000: 1 of 2 plays are reviewed"
    last = _review(labels, waiting[1])
    result = look(finished_annotation)
    request = _request(result)
    assert (request.run_key, request.partition_key) == (f"planner/000/label-{last.id}", "000")
    assert request.tags["flywheel/reviewed"] == "2"
    # What the run is made from is told before it starts.
    assert {event.asset_key.to_user_string() for event in result.asset_events} == {
        "collected_plays",
        "annotation_labels",
        "human_input",
    }
    # The daemon starts the run under this key; asked for once, it is not asked for again, failed or not.
    run = instance.create_run_for_job(
        job_def=_job(), tags={"dagster/run_key": request.run_key or "", "dagster/partition": "000"}
    )
    instance.report_run_failed(run)
    assert isinstance(look(finished_annotation), dg.SkipReason)
    # Somebody says something new: worth another try.
    later = _review(labels, waiting[2])
    assert _request(look(finished_annotation)).run_key == f"planner/000/label-{later.id}"


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name="planner_refinement")
    def planner_refinement() -> None:
        nothing()

    return planner_refinement


def test_all_that_wait_are_enough(look: Any, labels: LabelStore, waiting: list[str]) -> None:
    for play in waiting:
        assert isinstance(look(finished_annotation, "annotation.target=30"), dg.SkipReason)
        _review(labels, play)
    assert _request(look(finished_annotation, "annotation.target=30")).tags["flywheel/reviewed"] == "3"


def test_an_annotator_may_say_that_it_is_enough(look: Any, labels: LabelStore, waiting: list[str]) -> None:
    _say(labels, AnnotationFinished().model_dump(), annotation_target("planner", 0))
    request = _request(look(finished_annotation))
    assert (request.tags["flywheel/reviewed"], request.tags["flywheel/closed_by"]) == ("0", "eva")


@pytest.mark.parametrize("job", ["planner_collection", "planner_refinement", "planner_iteration_0"])
def test_waits_for_runs_at_work(job: str, look: Any, labels: LabelStore, waiting: list[str], instance: Any) -> None:
    for play in waiting:
        _review(labels, play)
    run = instance.create_run_for_job(
        job_def=dg.JobDefinition(graph_def=_job().graph, name=job),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "000"},
    )
    assert look(finished_annotation).skip_message == "no iteration waits for annotators"
    instance.report_run_failed(run)
    assert _request(look(finished_annotation)).partition_key == "000"


def test_what_is_decided_is_over(look: Any, labels: LabelStore, waiting: list[str], instance: Any) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("planner_promotion", partition="000"))
    for play in waiting:
        _review(labels, play)
    assert look(finished_annotation).skip_message == "no iteration waits for annotators"


def test_goes_on_looking_while_a_tick_lasts(
    look: Any, labels: LabelStore, waiting: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def asked(*arguments: Any) -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            for play in waiting:
                _review(labels, play)
        return newer_labels(*arguments)

    monkeypatch.setattr(annotation, "newer_labels", asked)
    monkeypatch.setattr(annotation, "WATCH_S", 60.0)
    monkeypatch.setattr(annotation, "LOOK_EVERY_S", 0.01)
    assert _request(look(finished_annotation)).partition_key == "000"
    assert looks == 3


def test_a_queue_that_is_gone_asks_for_nothing(
    look: Any, labels: LabelStore, waiting: list[str], store: StoreResource
) -> None:
    for play in waiting:
        _review(labels, play)
    (store.iteration("planner", "000").sessions / QUEUE_FILE).unlink()
    assert look(finished_annotation).skip_message == "iteration 000: 0 of 0 plays are reviewed"


def test_it_is_on_by_itself() -> None:
    assert finished_annotation.default_status is dg.DefaultSensorStatus.RUNNING
    assert finished_annotation.job_name == "planner_refinement"
