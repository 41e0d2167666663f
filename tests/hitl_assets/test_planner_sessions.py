"""People's plays in the graph: listed, scored, made into samples, and stopped where something is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets import planner_session_checks as checks
from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.episode import read_episodes, write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.samples.data_card import write_data_card
from hitl_ops.samples.parquet import read_samples, write_samples
from resources.store import StoreResource
from tests.support.collected_plays import Collected, collection

pytestmark = pytest.mark.slow

Run = Callable[..., dg.ExecuteInProcessResult]
Played = tuple[Collected, list[EpisodePlay]]
ASSETS = ["session_logs", "session_scores", "human_gold_samples"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Played:
    collected, plays = collection(tmp_path_factory.mktemp("people"))
    collected.labels.close()
    return collected, plays


@pytest.fixture
def people(sound: Played, tmp_path: Path) -> Played:
    """A copy of a sound collection, to be spoiled."""
    shutil.copytree(sound[0].store.root, tmp_path / "people")
    return Collected(Store.at(tmp_path / "people"), people=dict(sound[0].people)), sound[1]


@pytest.fixture
def run(people: Played) -> Iterator[Run]:
    """Runs the job's first half for partition 000, in an instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        open_first_iteration(instance)
        definitions = build_defs(resource_overrides={"store": StoreResource(home=str(people[0].store.root))})
        job = definitions.resolve_job_def("planner_collection")

        def materialise(*overrides: str) -> dg.ExecuteInProcessResult:
            return job.execute_in_process(
                instance=instance,
                partition_key="000",
                asset_selection=[dg.AssetKey(name) for name in ASSETS],
                run_config={"resources": {"preset": {"config": {"name": "tiny_ci", "overrides": list(overrides)}}}},
                raise_on_error=False,
            )

        yield materialise


def _made(result: dg.ExecuteInProcessResult, asset: str) -> dg.AssetMaterialization:
    (event,) = result.asset_materializations_for_node(asset)
    return event


def _versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {asset: (_made(result, asset).tags or {})["dagster/data_version"] for asset in ASSETS}


def _verdicts(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {found.check_name: (found.passed, found.severity.value) for found in result.get_asset_check_evaluations()}


@pytest.mark.slow
def test_plays_are_listed_scored_and_taught(run: Run, people: Played) -> None:
    collected, plays = people
    first = run()
    assert first.success
    assert all(passed for passed, _ in _verdicts(first).values()) and len(_verdicts(first)) == 7

    logs = _made(first, "session_logs").metadata
    assert (logs["plays"].value, logs["success"].value, logs["broken"].value, logs["reported"].value) == (5, 0.6, 0, 1)
    assert (logs["people"].value, logs["sessions"].value, logs["episodes"].value) == (3, 3, 3)
    assert logs["human minutes"].value == round(sum(play.seconds or 0 for play in plays) / 60, 2)
    scores = _made(first, "session_scores").metadata
    assert (scores["plays"].value, scores["episodes solved"].value) == (5, 2)
    assert "data:image/png;base64," in str(scores["plots"].value)
    gold = _made(first, "human_gold_samples").metadata
    assert (gold["episodes"].value, gold["plays reported"].value, gold["weight"].value) == (1, 1, 1.0)

    samples = collected.store.iteration("planner", 0).samples
    assert len(list(read_samples(samples / "human_gold.parquet"))) == gold["samples"].value
    (taught,) = json.loads((samples / "human_gold" / "chosen_plays.json").read_text())
    assert taught["play_id"] == plays[2].id
    assert (samples / "human_gold" / "data_card.md").is_file()
    texts = list((samples / "text" / "iteration_0" / "human_gold").rglob("sample_*.txt"))
    assert len(texts) == gold["samples"].value

    # The same plays give the same versions; what somebody says about one is another list. The attempt that is taught
    # then was made with the very same choices, so the samples are the same.
    assert _versions(run()) == _versions(first)
    heavier = _versions(run("human_gold.samples.weight=2"))
    assert [heavier[asset] == version for asset, version in _versions(first).items()] == [True, True, False]
    collected.report(plays[2])
    reported = _versions(run())
    assert [reported[asset] == version for asset, version in _versions(first).items()] == [False, False, True]
    (taught,) = json.loads((samples / "human_gold" / "chosen_plays.json").read_text())
    assert taught["play_id"] == plays[1].id


@pytest.mark.slow
def test_both_kinds_of_samples_lie_side_by_side(run: Run, people: Played) -> None:
    samples = people[0].store.iteration("planner", 0).samples
    samples.mkdir(parents=True)
    (samples / "data_card.json").write_text("of the distilled ones")
    assert run().success
    assert (samples / "data_card.json").read_text() == "of the distilled ones"


@pytest.mark.slow
def test_a_broken_record_is_told_and_many_stop_the_loop(run: Run, people: Played) -> None:
    collected, plays = people
    collected.files(plays[4])["trace"].unlink()
    stopped = run()
    assert not stopped.success
    assert _verdicts(stopped)["session_records"] == (False, "ERROR")
    assert not stopped.asset_materializations_for_node("session_scores")
    logs = _made(stopped, "session_logs").metadata
    assert logs["broken"].value == 1 and plays[4].id in str(logs["what is broken"].value)

    told = run("checks.largest_broken_share=0.2")
    assert told.success
    assert _verdicts(told)["session_records"] == (False, "WARN")
    assert _made(told, "session_scores").metadata["plays"].value == 4


def test_without_a_label_store_there_is_one_line(run: Run, people: Played) -> None:
    people[0].labels.close()
    for file in people[0].store.root.glob("labels.db*"):
        file.unlink()
    result = run()
    (failure,) = [event for event in result.get_step_failure_events() if event.step_key == "session_logs"]
    data = failure.step_failure_data.user_failure_data
    assert data is not None and "invite people with `flywheel collect`" in (data.description or "")
    assert not list(people[0].store.root.glob("labels.db*"))


# --- checks -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def materialised(sound: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("materialised") / "store"
    shutil.copytree(sound[0].store.root, root)
    with dg.DagsterInstance.ephemeral() as instance:
        open_first_iteration(instance)
        job = build_defs(
            resource_overrides={"store": StoreResource(home=str(root)), "preset": PresetChoice(name="tiny_ci")}
        ).resolve_job_def("planner_collection")
        assert job.execute_in_process(
            instance=instance, partition_key="000", asset_selection=[dg.AssetKey(name) for name in ASSETS]
        ).success
    return root


@pytest.fixture
def store(materialised: Path, tmp_path: Path) -> StoreResource:
    """Overrides the conftest's: what ``verdict`` looks at."""
    shutil.copytree(materialised, tmp_path / "store")
    return StoreResource(home=str(tmp_path / "store"))


Verdict = Callable[..., dg.AssetCheckResult]


@pytest.mark.parametrize("check", checks.SESSION_CHECKS, ids=lambda check: next(iter(check.check_keys)).name)
def test_sound_collections_pass(check: dg.AssetChecksDefinition, verdict: Verdict) -> None:
    found = verdict(check)
    assert found.passed, found.description
    assert found.metadata


def _preset(*overrides: str) -> PresetChoice:
    return PresetChoice(name="tiny_ci", overrides=list(overrides))


@pytest.mark.parametrize(
    ("check", "override", "said", "severity"),
    [
        (checks.enough_plays, "collection.target=6", "5 plays have a sound record, the target is 6", "WARN"),
        (checks.people_succeed, "checks.least_human_success=0.7", "people succeed in 60%", "WARN"),
        (
            checks.human_gold_degenerate,
            "checks.least_human_samples=1000",
            "are no training set, least is 1000",
            "ERROR",
        ),
        (checks.human_gold_degenerate, "checks.largest_tool_share=0.1", "most is 10%", "ERROR"),
    ],
)
def test_limits_are_the_presets(
    check: dg.AssetChecksDefinition, override: str, said: str, severity: str, verdict: Verdict
) -> None:
    found = verdict(check, _preset(override))
    assert not found.passed and said in (found.description or "")
    assert found.severity.value == severity


def test_a_record_that_goes_away_is_found(store: StoreResource, verdict: Verdict) -> None:
    next(store.iteration("planner", "000").sessions.glob("*/traces/*.jsonl.gz")).unlink()
    found = verdict(checks.session_records)
    assert not found.passed and "1 files have gone since the plays were listed" in (found.description or "")


def test_scores_of_another_list_are_found(store: StoreResource, verdict: Verdict) -> None:
    sessions = store.iteration("planner", "000").sessions
    manifest = json.loads((sessions / "plays.json").read_text())
    manifest["plays"].pop()
    (sessions / "plays.json").write_text(json.dumps(manifest))
    said = verdict(checks.scores_schema).description or ""
    assert "of another list of plays" in said and "not those of the listed plays" in said


def test_a_summary_of_other_rows_is_found(store: StoreResource, verdict: Verdict) -> None:
    file = store.iteration("planner", "000").sessions / "scores.json"
    summary = json.loads(file.read_text())
    summary["total"]["successes"] += 1
    file.write_text(json.dumps(summary))
    assert "the summary is not that of the rows" in (verdict(checks.scores_schema).description or "")


def test_nobody_who_succeeds_stops_the_loop(store: StoreResource, verdict: Verdict) -> None:
    file = store.iteration("planner", "000").sessions / "scores.json"
    summary = json.loads(file.read_text())
    summary["total"].update(successes=0, success=0.0)
    file.write_text(json.dumps(summary))
    found = verdict(checks.people_succeed)
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert "none of 5 plays succeeded" in (found.description or "")


def test_samples_from_the_examination_are_found(store: StoreResource, verdict: Verdict) -> None:
    folder = store.open().episodes
    home = next(read_samples(store.iteration("planner", "000").samples / "human_gold.parquet")).scene_id
    episodes = read_episodes(folder / "val.json.gz")
    episodes[0].scene_id = home
    write_episodes(folder / "val.json.gz", episodes)
    found = verdict(checks.human_gold_leakage)
    assert not found.passed and "samples and val share 1 home(s)" in (found.description or "")
    assert found.severity is dg.AssetCheckSeverity.ERROR


def test_an_empty_file_of_samples_is_found(store: StoreResource, verdict: Verdict) -> None:
    samples = store.iteration("planner", "000").samples
    write_samples(samples / "human_gold.parquet", [], prompt_style="incremental")
    write_data_card(samples / "human_gold.parquet", samples / "human_gold")
    found = verdict(checks.human_gold_degenerate)
    assert (found.passed, found.severity.value) == (False, "ERROR")
    (samples / "human_gold.parquet").write_bytes(b"PAR1 not really")
    assert "corrupt" in (verdict(checks.human_gold_schema).description or "")


# --- what runs that nobody starts are told ------------------------------------------------------------------------


def test_preset_and_target_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLYWHEEL_PRESET", "FLYWHEEL_COLLECTION_TARGET", "FLYWHEEL_OVERRIDES"):
        monkeypatch.delenv(name, raising=False)
    usual: Any = PresetChoice.from_environment()
    assert (usual.name, usual.resolve().collection.target, usual.resolve().collection.step) == ("laptop", 100, 100)
    monkeypatch.setenv("FLYWHEEL_PRESET", "tiny_ci")
    assert PresetChoice.from_environment().resolve().collection.target == 2
    monkeypatch.setenv("FLYWHEEL_COLLECTION_TARGET", "30")
    section = PresetChoice.from_environment().resolve().collection
    assert (section.target, section.step) == (30, 30)
    monkeypatch.setenv("FLYWHEEL_OVERRIDES", "loop.iterations=2 annotation.target=7")
    chosen = PresetChoice.from_environment().resolve()
    assert (chosen.loop.iterations, chosen.annotation.target, chosen.collection.target) == (2, 7, 30)
    monkeypatch.setenv("FLYWHEEL_OVERRIDES", "loop.iteratons=2")
    with pytest.raises(UserError, match=r"FLYWHEEL_OVERRIDES: .*did you mean 'iterations'"):
        PresetChoice.from_environment()
    monkeypatch.delenv("FLYWHEEL_OVERRIDES")
    for name, value in (("FLYWHEEL_COLLECTION_TARGET", "many"), ("FLYWHEEL_PRESET", "labtop")):
        monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"{name} '{value}'"):
            PresetChoice.from_environment()
        monkeypatch.delenv(name)
