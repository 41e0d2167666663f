"""The preference program's sensors: enough said starts one run, a decision opens the next, words said later count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pytest

from hitl_assets.preference_iterations import PREFERENCE_LOOP, open_first_preference_iteration
from hitl_assets.preference_presets import PreferencePreset
from hitl_assets.preference_versions import Answered, answered
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_ops.contracts.preference import Choice, ClipFacts, ClipPair, PreferenceValue
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import Preference, say_preference
from hitl_ops.records.clips import Clip, content_hash, open_clip_set, write_clip_set
from hitl_ops.records.unshown_clips import note_pairs_not_shown
from resources.store import StoreResource
from sensors import preference as sensors
from sensors.preference import new_preferences, next_preference_iteration, preference_changes
from tests.support.evaluated_policies import write_evaluation
from tests.support.registries import with_registry
from tests.support.robot_policies import write_hold_policy

Look = Callable[..., Any]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        open_first_preference_iteration(opened)
        yield opened


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(sensors, "WATCH_S", 0.0)
    return Store.at(tmp_path)


@pytest.fixture
def look(instance: dg.DagsterInstance, root: Store) -> Look:
    """Evaluates a sensor as the daemon would: events and partitions are applied, runs are remembered as failed."""

    def evaluate(sensor: Any, *overrides: str) -> Any:
        context = dg.build_sensor_context(
            instance=instance,
            resources={
                "store": StoreResource(home=str(root.root)),
                "preference_preset": PreferencePresetChoice(name="tiny_ci", overrides=list(overrides)),
            },
        )
        result: Any = sensor(context)
        if isinstance(result, dg.SkipReason):
            return result.skip_message
        for event in result.asset_events or []:
            instance.report_runless_asset_event(event)
        for request in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        for request in result.run_requests or []:
            instance.create_run_for_job(
                _job(sensor.job.name),
                tags={**request.tags, "dagster/run_key": request.run_key, "dagster/partition": request.partition_key},
                status=dg.DagsterRunStatus.FAILURE,
            )
        return result

    return evaluate


def _job(name: str) -> Any:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name=name)
    def job() -> None:
        nothing()

    return job


def _clips(store: Store, iteration: int, pairs: int = 4, seed: int = 0) -> list[ClipPair]:
    """Publish pairs of clips of three steps each."""
    rng, clips = np.random.default_rng([iteration, seed]), []
    for number in range(2 * pairs):
        seen, done = rng.random((3, 20), dtype=np.float32), rng.random((3, 7), dtype=np.float32)
        facts = ClipFacts(
            clip_id=f"c{iteration:03d}-{number}",
            kind="reach",
            episode_id=f"reach/{number}",
            start=0,
            steps=3,
            fps=20,
            task="",
            policy_id="",
            content_hash=content_hash(seen, done),
        )
        clips.append(Clip(facts, seen, done))
    asked = [
        ClipPair(
            pair_id=f"q{iteration:03d}-{number:04d}",
            left=clips[2 * number].facts.clip_id,
            right=clips[2 * number + 1].facts.clip_id,
            chosen_by="random",
        )
        for number in range(pairs)
    ]
    write_clip_set(store.iteration("preference", iteration).clips, clips, asked)
    return asked


def _say(
    store: Store,
    iteration: int,
    pairs: list[ClipPair],
    choice: Choice | None = "left",
    again: bool = False,
    annotator: str = "eva",
) -> None:
    clips = open_clip_set(store.iteration("preference", iteration).clips).clips
    with closing(LabelStore.open(store.labels_url)) as labels:
        for pair in pairs:
            said = PreferenceValue(
                pair_id=pair.pair_id,
                left=pair.left,
                right=pair.right,
                left_hash=clips[pair.left].content_hash,
                right_hash=clips[pair.right].content_hash,
                choice=choice,
                repeat=again,
            )
            say_preference(
                labels,
                said,
                program="preference",
                iteration=iteration,
                annotator=annotator,
                client_key=f"{pair.pair_id}/{choice}/{again}",
                seconds=1.0,
            )


def test_enough_said_starts_one_run(look: Look, instance: dg.DagsterInstance, root: Store) -> None:
    assert "has no clips yet" in look(new_preferences)
    pairs = _clips(root, 0)
    assert look(new_preferences) == "iteration 000 has 0 of 4 comparisons: 4 are missing"
    _say(root, 0, pairs[:3])
    _say(root, 0, pairs[:3], again=True)
    assert look(new_preferences) == "iteration 000 has 3 of 4 comparisons: 1 are missing", "repeats are none of them"
    (request,) = look(new_preferences, "labels.every=3").run_requests
    assert request.partition_key == "000" and request.run_key.startswith("preference/000/")
    assert request.tags["flywheel/comparisons"] == "3"
    # What the run is made from was told with it, so that it is no change afterwards.
    assert look(preference_changes) == "nothing has changed"
    assert "a run was started for these comparisons already" in look(new_preferences, "labels.every=3")
    # Something else was said: tried again.
    _say(root, 0, pairs[3:])
    (again,) = look(new_preferences).run_requests
    assert again.run_key != request.run_key
    instance.report_runless_asset_event(dg.AssetMaterialization(PREFERENCE_LOOP.decision, partition="000"))
    assert look(new_preferences) == "iteration 000 is decided"


def test_pairs_count_once_whoever_answers_them_and_only_of_these_clips(look: Look, root: Store) -> None:
    pairs = _clips(root, 0)
    _say(root, 0, pairs[:3])
    _say(root, 0, pairs[:3], annotator="bob")
    assert look(new_preferences) == "iteration 000 has 3 of 4 comparisons: 1 are missing", "six words, of three pairs"
    # Other numbers under the same names: nobody has said anything of these.
    clip_set = root.iteration("preference", 0).clips
    clip_set.rename(clip_set.with_name("before"))
    _clips(root, 0, seed=9)
    assert look(new_preferences) == "iteration 000 has 0 of 4 comparisons: 4 are missing"


def test_pairs_that_cannot_be_shown_are_not_waited_for(look: Look, root: Store) -> None:
    pairs = _clips(root, 0)
    clip_set = open_clip_set(root.iteration("preference", 0).clips)
    note_pairs_not_shown(clip_set, {pair.pair_id: "its film cannot be made" for pair in pairs})
    told = "iteration 000 has 0 of 1 comparisons: 1 are missing; 4 pairs cannot be shown"
    assert look(new_preferences) == told, "where nothing can be shown, nothing is learned"
    _say(root, 0, pairs[1:2])
    note_pairs_not_shown(clip_set, {pair.pair_id: "its film cannot be made" for pair in pairs[:2]})
    assert look(new_preferences) == "iteration 000 has 1 of 3 comparisons: 2 are missing; 1 pairs cannot be shown"
    _say(root, 0, pairs[2:])
    assert look(new_preferences).run_requests[0].tags["flywheel/comparisons"] == "3"
    note_pairs_not_shown(clip_set, {})
    assert look(new_preferences) == "iteration 000 has 3 of 4 comparisons: 1 are missing"


def test_whoever_says_one_side_only_does_not_make_it_learn(look: Look, root: Store) -> None:
    pairs = _clips(root, 0, pairs=20)
    _say(root, 0, pairs)
    told = look(new_preferences, "first_pairs=20")
    assert told.startswith("iteration 000 has 0 of 20 comparisons: 20 are missing; what eva said does not count")
    assert look(new_preferences, "first_pairs=20", "reward.weigh_annotators=false").run_requests
    _say(root, 0, pairs[::2], "left", annotator="bob")
    _say(root, 0, pairs[1::2], "right", annotator="bob")
    assert look(new_preferences, "first_pairs=20").run_requests


def test_one_tick_hears_what_is_said_meanwhile_and_counts_anew_only_then(
    look: Look, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = _clips(root, 0)
    counted: list[int] = []

    def nobody_says_anything() -> None: ...

    meanwhile = iter(
        [
            nobody_says_anything,
            lambda: _say(root, 0, pairs[:3]),
            nobody_says_anything,
            lambda: _say(root, 0, pairs[:1], choice=None),
            lambda: _say(root, 0, pairs[:1], again=True),
            nobody_says_anything,
            lambda: _say(root, 0, [pairs[0], pairs[3]], "right"),
        ]
    )

    def count(store: Store, words: list[Preference], chosen: PreferencePreset, iteration: int) -> Answered:
        found = answered(store, words, chosen, iteration)
        counted.append(found.answers)
        return found

    monkeypatch.setattr(sensors, "WATCH_S", 600.0)
    monkeypatch.setattr(sensors, "answered", count)
    monkeypatch.setattr(sensors, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: next(meanwhile)()))
    (request,) = look(new_preferences).run_requests
    assert request.tags["flywheel/comparisons"] == "4" and next(meanwhile, None) is None
    assert counted == [0, 3, 2, 2, 4], "the label store came to exist only after the first look"
    assert look(preference_changes) == "nothing has changed"


def test_a_run_at_work_is_waited_for(look: Look, instance: dg.DagsterInstance, root: Store) -> None:
    _say(root, 0, _clips(root, 0))
    instance.create_run_for_job(
        _job("preference_learning"), tags={"dagster/partition": "000"}, status=dg.DagsterRunStatus.STARTED
    )
    assert look(new_preferences) == "a run is at work on iteration 000"


def test_what_is_said_later_is_a_change_here_and_in_every_later_iteration(
    look: Look, instance: dg.DagsterInstance, root: Store
) -> None:
    for iteration in (1, 2):
        PREFERENCE_LOOP.open(instance, iteration, {})
    pairs = _clips(root, 1)
    _say(root, 1, pairs)
    look(preference_changes)
    assert look(preference_changes) == "nothing has changed"
    for choice in ("right", None):
        _say(root, 1, pairs[:1], choice)
        told = {(event.asset_key.to_user_string(), event.partition) for event in look(preference_changes).asset_events}
        assert told == {("preference_input", "001"), ("preference_input", "002")}
    assert look(preference_changes) == "nothing has changed"


@pytest.mark.slow
def test_a_decision_opens_the_next_iteration_and_asks_for_its_clips(
    look: Look, instance: dg.DagsterInstance, root: Store
) -> None:
    from hitl_ops.serving.policy_alias import promote

    assert look(next_preference_iteration) == "iteration 000 is not decided yet"
    instance.report_runless_asset_event(dg.AssetMaterialization(PREFERENCE_LOOP.decision, partition="000"))
    assert "promote one with `flywheel promote preference 0`" in look(next_preference_iteration)
    paths = root.iteration("preference", 0)
    first = write_hold_policy(paths.policy)
    write_evaluation(paths.evaluation, first, "11")
    promote(with_registry(root), "preference", 0)
    (request,) = look(next_preference_iteration).run_requests
    assert (request.partition_key, request.run_key) == ("001", "preference/001/clips")
    assert PREFERENCE_LOOP.opened(instance) == ["000", "001"]
    assert PREFERENCE_LOOP.base_policy_of(instance, "001") == first
    assert look(next_preference_iteration) == "iteration 001 is not decided yet", "its clips were asked for once"
    # One that a person opened waits for its clips as well.
    PREFERENCE_LOOP.open(instance, 2, {})
    (request,) = look(next_preference_iteration).run_requests
    assert (request.partition_key, request.run_key) == ("002", "preference/002/clips")
    instance.report_runless_asset_event(dg.AssetMaterialization(PREFERENCE_LOOP.decision, partition="002"))
    _clips(root, 2)
    assert look(next_preference_iteration) == "iteration 002 was the last of 1"


def test_they_are_on_by_themselves() -> None:
    for sensor in (new_preferences, next_preference_iteration, preference_changes):
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
