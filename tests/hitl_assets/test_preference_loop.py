"""The preference program at its smallest, in process: two iterations, what then counts as stale, and what stops it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from hitl_assets.preference_examination import curve_of
from hitl_assets.preference_iterations import PREFERENCE_LOOP, PreferencePaths, open_first_preference_iteration
from hitl_assets.preference_versions import report_preference_versions
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.models.planner_lm import read_card
from hitl_ops.samples import reach_queries
from hitl_ops.samples.preference_card import read_preference_card
from hitl_ops.samples.preference_samples import read_preference_samples
from hitl_ops.samples.provenance import read_provenance
from hitl_ops.serving.policy_alias import resolve
from tests.support.looped_store import made, succeeded
from tests.support.preference_store import PreferenceLoop
from tests.support.registries import with_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LEARNED = {"preference_labels", "reward_model", "reach_policy", "reach_evaluation", "reach_promotion"}
OPEN = "loop.iterations=3"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreferenceLoop]:
    """Iterations 000 and 001, both through. Tests run in their order, each on what the one before left."""
    folder = tmp_path_factory.mktemp("preference")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        turning = PreferenceLoop(with_registry(Store.at(folder / "store")), instance)
        open_first_preference_iteration(instance)
        for iteration in (0, 1):
            if iteration:
                turning.open(iteration)
            succeeded(turning.run("preference_clips", iteration, OPEN))
            turning.compare(iteration)
            succeeded(turning.run("preference_learning", iteration, OPEN))
        yield turning


def _paths(loop: PreferenceLoop, iteration: int) -> Any:
    return loop.store.iteration("preference", iteration)


def _failure(result: dg.ExecuteInProcessResult) -> str:
    (event, *_) = result.get_step_failure_events()
    told = event.step_failure_data.user_failure_data
    assert told is not None and told.description is not None
    return told.description


def test_every_iteration_learns_from_all_that_was_said_so_far(loop: PreferenceLoop) -> None:
    for iteration, comparisons in ((0, 6), (1, 10)):
        words, folders = read_preference_samples(PreferencePaths(_paths(loop, iteration)).preferences)
        assert len(words) == comparisons == read_preference_card(_paths(loop, iteration).samples).comparisons
        assert folders == [_paths(loop, earlier).clips for earlier in range(iteration + 1)]
    clips = loop.clips(1)
    assert all(name.startswith("c001-") for name in clips.clips) and clips.pairs[0].pair_id == "q001-0000"
    assert {pair.chosen_by for pair in loop.clips(0).pairs} == {"random"}
    assert "disagreement" in {pair.chosen_by for pair in clips.pairs}, "the first ensemble says what to ask next"
    assert clips.facts.made["reward_of"] == "000" and len(clips.facts.made["reward"]) == 64
    points = curve_of(loop.store, 1)
    assert [(point.iteration, point.comparisons, point.success.n) for point in points] == [(0, 6, 4), (1, 10, 4)]
    assert all(point.control is not None for point in points)


def test_the_policy_goes_on_and_the_control_has_as_many_steps(loop: PreferenceLoop) -> None:
    first, second = (read_card(_paths(loop, iteration).policy) for iteration in (0, 1))
    assert first.parent == "" and second.parent == first.policy_id == PREFERENCE_LOOP.base_policy_of(
        loop.instance, "001"
    )
    assert loop.clips(1).facts.made["policy"] == first.policy_id
    controls = [read_card(PreferencePaths(_paths(loop, iteration)).control.policy) for iteration in (0, 1)]
    assert controls[1].parent == controls[0].policy_id and controls[0].samples_hash == "true" != first.samples_hash
    assert [one.config["ppo"] for one in controls] == [one.config["ppo"] for one in (first, second)]
    assert sum(first.sample_counts.values()) == 6 and controls[0].sample_counts == {}
    assert first.sample_counts["preference"] >= 1
    rows = read_provenance(_paths(loop, 1).policy).to_pylist()
    assert [row["iteration"] for row in rows] == [0] * 6 + [1] * 4 and all(row["label_id"] for row in rows)
    serving = resolve(loop.store, "preference")
    verdict = read_gate(_paths(loop, 1).evaluation)
    assert serving is not None and verdict is not None and verdict.serving == first.policy_id
    assert serving.policy_id == (second if verdict.promote else first).policy_id


def test_a_word_said_otherwise_makes_exactly_its_descendants_stale(loop: PreferenceLoop) -> None:
    assert loop.stale() == set()
    (pair, *_) = loop.clips(1).pairs
    loop.say(1, "tie", [pair])
    assert report_preference_versions(loop.instance, loop.store) == 1
    assert loop.stale() == {(name, "001") for name in LEARNED}
    # Trained anew, since the reward is another; the control is not, whatever was said.
    control = PreferencePaths(_paths(loop, 1)).control.policy / "merged" / "model.safetensors"
    before = control.read_bytes()
    result = succeeded(loop.run("preference_learning", 1, OPEN))
    assert made(result, "preference_labels")["comparisons"] == 11
    assert made(result, "reach_control")["resumed at rollout"] == 2
    assert control.read_bytes() == before
    assert loop.stale() == set()


def test_clips_that_people_have_compared_are_not_replaced(loop: PreferenceLoop) -> None:
    hashes = {name: facts.content_hash for name, facts in loop.clips(1).clips.items()}
    succeeded(loop.run("preference_clips", 1, OPEN))
    result = loop.run("preference_clips", 1, OPEN, "clips.episodes=5")
    assert _failure(result).startswith("people have made 3 comparisons of iteration 001 whose clips")
    assert {name: facts.content_hash for name, facts in loop.clips(1).clips.items()} == hashes


def test_clips_that_are_lost_are_made_again_and_what_was_said_of_them_counts(loop: PreferenceLoop) -> None:
    folder = _paths(loop, 0).clips
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    shutil.rmtree(folder)
    assert "6 comparisons of iteration 000" in _failure(loop.run("preference_clips", 0, OPEN, "clips.steps=4"))
    assert not folder.exists()
    succeeded(loop.run("preference_clips", 0, OPEN))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_is_said_while_the_arm_acts_is_not_lost(loop: PreferenceLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.open(2)
    succeeded(loop.run("preference_clips", 2, OPEN))
    hashes = {facts.content_hash for facts in loop.clips(2).clips.values()}

    def acts(*arguments: Any, **keywords: Any) -> Any:
        loop.say(2, "left", loop.clips(2).pairs[:1])
        return made_of(*arguments, **keywords)

    made_of = reach_queries.reach_queries
    monkeypatch.setattr(reach_queries, "reach_queries", acts)
    assert "1 comparisons of iteration 002" in _failure(loop.run("preference_clips", 2, OPEN, "clips.episodes=5"))
    assert {facts.content_hash for facts in loop.clips(2).clips.values()} == hashes
    # Where nobody has said that a clip is better, there is nothing to learn from: other clips may be asked.
    loop.say(2, "tie", loop.clips(2).pairs[:1])
    monkeypatch.undo()
    succeeded(loop.run("preference_clips", 2, OPEN, "clips.episodes=5"))
    assert {facts.content_hash for facts in loop.clips(2).clips.values()} != hashes
    succeeded(loop.run("preference_clips", 2, OPEN))


def test_another_reward_asks_other_questions_where_nobody_has_answered(loop: PreferenceLoop) -> None:
    before = loop.clips(2).facts.made["reward"]
    model = PreferencePaths(_paths(loop, 1)).reward / "model"
    extra = model / "note.txt"
    extra.write_text("as if it were learned anew")
    succeeded(loop.run("preference_clips", 2, OPEN))
    assert loop.clips(2).facts.made["reward"] != before
    extra.unlink()
    succeeded(loop.run("preference_clips", 2, OPEN))
    assert loop.clips(2).facts.made["reward"] == before


def test_too_little_said_names_what_is_missing(loop: PreferenceLoop) -> None:
    loop.open(2)
    succeeded(loop.run("preference_clips", 2, OPEN))
    pairs = loop.clips(2).pairs
    loop.say(2, "left", pairs[:1])
    result = loop.run("preference_learning", 2, OPEN)
    assert _failure(result).startswith("iteration 002 has 1 of 4 comparisons: 3 are missing")
    assert not (_paths(loop, 2).samples / "preferences.jsonl").exists()
    only = ["preference_labels"]
    succeeded(loop.run("preference_learning", 2, OPEN, "labels.every=1", only=only))


def test_a_clip_set_that_is_gone_is_named_and_nothing_is_lost(loop: PreferenceLoop) -> None:
    folder = _paths(loop, 0).clips
    aside = folder.with_name("aside")
    folder.rename(aside)
    result = loop.run("preference_learning", 2, OPEN, "labels.every=1", only=["preference_labels"])
    assert _failure(result).startswith("6 comparisons are of the clips of iteration 000, and there are no clips in")
    aside.rename(folder)
    result = succeeded(loop.run("preference_learning", 2, OPEN, "labels.every=1", only=["preference_labels"]))
    assert made(result, "preference_labels")["comparisons"] == 12


def test_a_reward_that_says_the_same_of_all_stops_the_iteration(
    loop: PreferenceLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hitl_ops.training import reward, reward_training

    def flat(*arguments: Any) -> Any:
        trained = learned(*arguments)
        trained.model.reward_scale.zero_()
        return trained

    learned = reward.train_reward
    monkeypatch.setattr(reward_training, "train_reward", flat)
    result = loop.run("preference_learning", 2, OPEN, "labels.every=1", "reward.seed=9")
    assert not result.success
    (failed,) = [
        one for one in result.get_asset_check_evaluations() if not one.passed and one.severity.value == "ERROR"
    ]
    assert failed.check_name == "reward_is_not_constant"
    assert "002" not in loop.instance.get_materialized_partitions(dg.AssetKey("reach_policy"))


def test_a_policy_may_begin_anew_and_without_a_control(loop: PreferenceLoop) -> None:
    cold = (OPEN, "labels.every=1", "loop.warm_start=false", "control.enabled=false")
    result = succeeded(loop.run("preference_learning", 2, *cold))
    assert made(result, "reach_control") == {"control": "left out (control.enabled)"}
    assert curve_of(loop.store, 2)[-1].control is None
    assert read_card(_paths(loop, 2).policy).parent == ""
