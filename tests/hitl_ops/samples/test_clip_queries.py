"""Which pairs are asked: where the ensemble disagrees, some by lot, within tasks and across them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.clips import Clip
from hitl_ops.samples.clip_queries import QueryConfig, choose_pairs, disagreement
from tests.support.clip_sets import make_clips


def of_tasks(count: int, attempts: int) -> list[Clip]:
    """Clips of ``count`` episodes, each tried ``attempts`` times."""
    found = []
    for number, clip in enumerate(make_clips(count * attempts, steps=4)):
        facts = clip.facts.model_copy(update={"episode_id": f"reach/{number // attempts}", "start": 0})
        found.append(Clip(facts, clip.observations, clip.actions, clip.true_rewards))
    return found


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return of_tasks(20, 4)


def episodes(clips, pair):
    by = {clip.facts.clip_id: clip.facts.episode_id for clip in clips}
    return by[pair.left], by[pair.right]


@given(
    pairs=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    lot=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_every_pair_is_asked_once_and_as_many_as_were_wanted(pairs, share, lot, seed):
    clips = of_tasks(10, 4)
    worth = np.random.default_rng(seed).normal(size=(5, len(clips)))
    config = QueryConfig(pairs=pairs, of_one_task=share, random_share=lot, seed=seed)
    found = choose_pairs(clips, config, "q", lambda _: worth)
    assert len(found) == pairs
    assert len({frozenset((pair.left, pair.right)) for pair in found}) == pairs
    assert [pair.pair_id for pair in found] == [f"q-{number:04d}" for number in range(pairs)]
    assert found == choose_pairs(clips, config, "q", lambda _: worth)


def test_the_share_within_tasks_is_kept(clips):
    for share in (0.0, 0.5, 1.0):
        found = choose_pairs(clips, QueryConfig(pairs=40, of_one_task=share), "q")
        same = [one == other for one, other in (episodes(clips, pair) for pair in found)]
        assert sum(same) == round(40 * share)


def test_pairs_across_tasks_take_the_place_of_those_that_are_missing():
    single = of_tasks(12, 1)
    found = choose_pairs(single, QueryConfig(pairs=20, of_one_task=1.0), "q")
    assert len(found) == 20 and all(len(set(episodes(single, pair))) == 2 for pair in found)


def test_what_the_ensemble_disagrees_about_is_asked(clips):
    """Two members agree on all clips but ten."""
    members = np.zeros((2, len(clips)))
    doubtful = {clips[place].facts.clip_id for place in range(0, 40, 4)}
    members[0, range(0, 40, 4)] = 4.0
    members[1, range(0, 40, 4)] = -4.0
    config = QueryConfig(pairs=10, of_one_task=0.5, random_share=0.0, candidates=100)
    found = choose_pairs(clips, config, "q", lambda _: members)
    assert all({pair.left, pair.right} & doubtful for pair in found)
    assert all(pair.chosen_by == "disagreement" and (pair.disagreement or 0) > 0.4 for pair in found)
    by_lot = choose_pairs(clips, config.replace(chosen_by="random"), "q", lambda _: members)
    assert all(pair.chosen_by == "random" for pair in by_lot)
    assert sum(bool({pair.left, pair.right} & doubtful) for pair in by_lot) < 8


def test_some_are_by_lot_all_the_same_and_stand_among_the_others(clips):
    worth = np.random.default_rng(0).normal(size=(5, len(clips)))
    found = choose_pairs(clips, QueryConfig(pairs=40, random_share=0.25), "q", lambda _: worth)
    lots = [place for place, pair in enumerate(found) if pair.chosen_by == "random"]
    assert len(lots) == 10
    assert min(lots) < 10 and max(lots) > 30


def test_without_a_reward_all_are_by_lot(clips):
    found = choose_pairs(clips, QueryConfig(pairs=10), "q")
    assert all(pair.chosen_by == "random" and pair.disagreement is None for pair in found)


def test_a_clip_is_not_asked_about_over_and_over(clips):
    members = np.zeros((2, len(clips)))
    members[0, 0], members[1, 0] = 9.0, -9.0  # one clip that all pairs would be of
    found = choose_pairs(clips, QueryConfig(pairs=20, random_share=0.0, uses=2), "q", lambda _: members)
    first = clips[0].facts.clip_id
    assert sum(first in (pair.left, pair.right) for pair in found) <= 2


def test_sides_are_by_lot(clips):
    found = choose_pairs(clips, QueryConfig(pairs=60, of_one_task=0.0), "q")
    order = {clip.facts.clip_id: place for place, clip in enumerate(clips)}
    assert 15 < sum(order[pair.left] < order[pair.right] for pair in found) < 45


def test_only_comparable_pairs_are_asked_where_these_are_named(clips):
    allowed = np.array([[0, 1], [2, 3], [4, 5]])
    found = choose_pairs(clips, QueryConfig(pairs=5), "q", comparable=[allowed[:2], allowed[2:]])
    names = {frozenset(clips[place].facts.clip_id for place in pair) for pair in allowed}
    asked = [frozenset((pair.left, pair.right)) for pair in found]
    assert set(asked) == names and asked[2] == {clips[4].facts.clip_id, clips[5].facts.clip_id}, "the last group last"


def test_disagreement_is_the_deviation_of_the_chance_to_win():
    members = np.array([[0.0, 2.0], [2.0, 0.0]])
    one, other = 1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))
    assert disagreement(members, np.array([[0, 1]]))[0] == pytest.approx(np.std([one, other]))


def test_one_clip_makes_no_pair():
    with pytest.raises(UserError, match="1 clips make no pair"):
        choose_pairs(make_clips(1), QueryConfig(), "q")
