"""The loop at work, in process: a second policy out of plays and corrections, and what then counts as stale."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from hitl_assets.planner_iterations import base_policy_of
from hitl_assets.planner_opening import due_opening, open_what_is_due
from hitl_assets.planner_versions import report_versions
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.models.planner_lm import read_card
from hitl_ops.samples.parquet import read_samples
from hitl_ops.samples.training_mix import mix_path
from hitl_ops.serving.policy_alias import resolve
from tests.support.annotations import made_in, mark
from tests.support.collected_plays import Collected
from tests.support.looped_store import OVERRIDES, Looped, annotate, looped, made, succeeded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OF_PLAYS = {
    "session_logs",
    "session_scores",
    "human_gold_samples",
    "annotation_queue",
    "session_videos",
    "expert_samples",
}
LEARNED = {"training_mix", "planner_adapter", "planner_policy", "planner_evaluation", "planner_promotion"}


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Looped, Collected, list[EpisodePlay]]]:
    """Iterations 000 and 001, both through. Tests run in their order, each on what the one before left."""
    folder = tmp_path_factory.mktemp("loop")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield looped(folder / "store", instance)


Turned = tuple[Looped, Collected, list[EpisodePlay]]


def _at(assets: set[str], *keys: str) -> set[tuple[str, str]]:
    return {(asset, key) for asset in assets for key in keys}


def test_the_second_policy_comes_of_the_first_and_of_what_people_said(turned: Turned) -> None:
    loop, collected, plays = turned
    first, second = (read_card(loop.store.iteration("planner", number).policy) for number in (0, 1))
    assert first.parent == "tiny"
    assert second.parent == first.policy_id == base_policy_of(loop.instance, "001")
    assert second.config["base"] == str(loop.store.policy("planner", first.policy_id) / "merged")

    samples = list(read_samples(mix_path(loop.store.iteration("planner", 1))))
    assert {sample.source: sample.weight for sample in samples} == {"distilled": 0.5, "human_gold": 1.0, "expert": 5.0}
    corrected = [sample for sample in samples if sample.source == "expert"]
    assert {sample.trace for sample in corrected} == {f"{play.id}.jsonl.gz" for play in plays}
    for sample in corrected:
        play = next(play for play in plays if sample.trace.startswith(play.id))
        assert sample.prompt == made_in(collected, play)[0].prompt
        assert sample.label_id
    distilled = {sample.sample_id for sample in read_samples(mix_path(loop.store.iteration("planner", 0)))}
    assert {sample.iteration for sample in samples if sample.sample_id in distilled} == {0}


def test_the_gate_compares_it_with_what_served_and_says_so(turned: Turned) -> None:
    loop, _, _ = turned
    first, second = (read_card(loop.store.iteration("planner", number).policy).policy_id for number in (0, 1))
    opening = read_gate(loop.store.iteration("planner", 0).evaluation)
    assert opening is not None and opening.promote and "nothing serves yet" in opening.reason
    verdict = read_gate(loop.store.iteration("planner", 1).evaluation)
    assert verdict is not None and (verdict.candidate, verdict.serving) == (second, first)
    serving = resolve(loop.store, "planner")
    assert serving is not None and serving.policy_id == (second if verdict.promote else first)

    # What the first had played when it was examined itself is not played again, nor is the teacher's part.
    paths = loop.store.iteration("planner", 1).evaluation / "rollouts"
    for name, before in (("serving", "student"), ("teacher", "teacher")):
        (trace,) = (paths / name / "traces").iterdir()
        twin = loop.store.iteration("planner", 0).evaluation / "rollouts" / before / "traces" / trace.name
        assert trace.samefile(twin)
    summary, _ = read_evaluation(loop.store.iteration("planner", 1).evaluation)
    assert summary.policy_ids["serving"] == first and set(summary.policies) == {"teacher", "student", "serving"}


def test_nothing_is_stale_that_nobody_touched(turned: Turned) -> None:
    loop, _, _ = turned
    assert report_versions(loop.instance, loop.store) == 0
    assert loop.stale() == set()


def test_made_again_from_the_same_everything_stays_what_it_is(turned: Turned) -> None:
    loop, _, _ = turned
    paths = loop.store.iteration("planner", 1)
    files = (paths.policy / "card.json", paths.evaluation / "gate.json")
    before, trained = [file.read_bytes() for file in files], (paths.policy / "train_summary.json").stat().st_mtime_ns
    serving = resolve(loop.store, "planner")
    succeeded(loop.run("planner_refinement", 1))
    assert (paths.policy / "train_summary.json").stat().st_mtime_ns == trained  # not trained again
    assert [file.read_bytes() for file in files] == before
    assert resolve(loop.store, "planner") == serving
    assert loop.stale() == set()


def test_the_next_iteration_opens_on_what_serves(turned: Turned) -> None:
    loop, _, _ = turned
    assert due_opening(loop.instance, loop.store, 1) == "iteration 001 was the last of 1"
    assert open_what_is_due(loop.instance, loop.store, 2) == "002"
    serving = resolve(loop.store, "planner")
    assert serving is not None and base_policy_of(loop.instance, "002") == serving.policy_id
    assert loop.store.iteration("planner", 2).base.is_dir()  # where a collection server looks for the newest
    assert due_opening(loop.instance, loop.store, 9) == "iteration 002 is not decided yet"
    assert loop.stale() == set()

    collected, plays = loop.play(2)
    succeeded(loop.run("planner_collection", 2))
    annotate(collected, plays)
    succeeded(loop.run("planner_refinement", 2))
    assert loop.stale() == set()


def test_a_decision_judged_otherwise_marks_exactly_what_came_of_it(turned: Turned) -> None:
    loop, collected, plays = turned
    decision = made_in(collected, plays[0])[0]
    mark(collected, plays[0], decision, [act for act in decision.admissible if act != decision.action][1])
    assert report_versions(loop.instance, loop.store) == 3  # the labels of 001, and what is known in 001 and in 002
    assert loop.stale() == {("expert_samples", "001"), *_at(LEARNED, "001", "002")}

    # Made again in both, all is as it should be; in one alone the other would be marked still.
    succeeded(loop.run("planner_refinement", 1))
    report_versions(loop.instance, loop.store)
    assert loop.stale() == _at(LEARNED, "002")
    succeeded(loop.run("planner_refinement", 2))
    report_versions(loop.instance, loop.store)
    assert loop.stale() == set()


def test_a_play_taken_back_marks_exactly_what_came_of_it(turned: Turned) -> None:
    loop, collected, plays = turned
    collected.labels.withdraw_play(plays[1].id, "not my finest hour", "ann")
    assert report_versions(loop.instance, loop.store) == 4
    assert loop.stale() == {*_at(OF_PLAYS, "001"), *_at(LEARNED, "001", "002")}

    succeeded(loop.run("planner_collection", 1))
    succeeded(loop.run("planner_refinement", 1))
    samples = list(read_samples(mix_path(loop.store.iteration("planner", 1))))
    assert not [sample for sample in samples if sample.trace.startswith(plays[1].id)]
    report_versions(loop.instance, loop.store)
    assert loop.stale() == _at(LEARNED, "002")


def test_what_the_gate_refused_teaches_nobody_later(turned: Turned) -> None:
    loop, _, _ = turned
    second = loop.store.iteration("planner", 1)
    verdict = read_gate(second.evaluation)
    assert verdict is not None
    from hitl_ops.contracts.publish import publish_json

    publish_json(second.evaluation / "gate.json", verdict.model_copy(update={"promote": False}))
    succeeded(loop.run("planner_refinement", 2, only=["training_mix"]))
    kept = {(sample.iteration, sample.source) for sample in read_samples(mix_path(loop.store.iteration("planner", 2)))}
    assert {source for iteration, source in kept if iteration == 1} == set()
    assert {source for iteration, source in kept if iteration == 2} == {"human_gold", "expert"}


def test_from_the_base_anew_where_the_preset_says_so(turned: Turned, tmp_path: Path) -> None:
    loop, _, _ = turned
    result = succeeded(
        loop.run(
            "planner_refinement",
            2,
            "refinement.start=base",
            only=["planner_adapter", "planner_policy"],
        )
    )
    assert made(result, "planner_policy")["parent"] == "tiny"
    assert made(result, "planner_adapter")["starts from"] == "tiny"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "iteration 003 was never opened, so nothing says what it starts from"),
        (["refinement.mix.sources=[expert]"], "no sample"),
    ],
)
def test_mistakes_are_one_line(overrides: list[str], said: str, turned: Turned) -> None:
    loop, _, _ = turned
    loop.instance.add_dynamic_partitions("planner_iterations", ["003"])
    only = ["planner_adapter"] if not overrides else ["training_mix"]
    if not overrides:
        shutil.copytree(loop.store.iteration("planner", 2).samples, loop.store.iteration("planner", 3).samples)
    result = loop.run("planner_refinement", 3 if not overrides else 0, *overrides, only=only)
    (failure,) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None, failure.step_failure_data.error
    assert said in (data.description or "") and "\n" not in (data.description or "")


def test_an_iteration_with_a_gate_that_asks_for_more_than_not_worse(turned: Turned) -> None:
    loop, _, _ = turned
    serving = resolve(loop.store, "planner")
    result = succeeded(
        loop.run(
            "planner_refinement",
            1,
            "checks.gate_severity=ERROR",
            "checks.gate_ratio=0.99",
            only=["planner_promotion"],
        )
    )
    said = made(result, "planner_promotion")
    assert not said["promoted"] and "checks.gate_severity asks for 0.99" in said["why"]
    assert resolve(loop.store, "planner") == serving
    assert not [name for name in OVERRIDES if name.startswith("checks.gate")]


def test_a_store_without_people_has_nothing_to_tell(tmp_path: Path) -> None:
    from hitl_assets.planner_iterations import open_first_iteration

    with dg.DagsterInstance.ephemeral() as instance:
        open_first_iteration(instance)
        assert report_versions(instance, Store.at(tmp_path)) == 3
        assert report_versions(instance, Store.at(tmp_path)) == 0
