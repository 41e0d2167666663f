"""Which pairs are asked: within their group, the telling ones first, every clip as often as any other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.preference import ClipFacts
from hitl_ops.records.clips import Clip
from hitl_ops.samples.clip_pairs import ask_comparable


def clip(number: int, *, task: str = "a", episode: str = "", policy: str = "p", numbers: int | None = None) -> Clip:
    told = ClipFacts(
        clip_id=f"clip-{number}",
        kind="station",
        episode_id=episode or f"e{number}",
        start=0,
        steps=3,
        fps=10,
        task=task,
        policy_id=policy,
        content_hash=f"{number if numbers is None else numbers:064x}",
    )
    return Clip(told, np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32))


def by_task(one: ClipFacts) -> str:
    return one.task


def by_episode(one: ClipFacts) -> str:
    return one.episode_id


def by_policy(one: ClipFacts) -> str:
    return one.policy_id


CLIPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from("pq"), st.integers(0, 6)), max_size=10
)


@settings(max_examples=40, deadline=None)
@given(CLIPS, st.integers(1, 60), st.integers(0, 5))
def test_pairs_are_comparable_once_each_and_telling_first(
    told: list[tuple[str, str, str, int]], count: int, seed: int
) -> None:
    clips = [
        clip(number, task=task, episode=episode, policy=policy, numbers=numbers)
        for number, (task, episode, policy, numbers) in enumerate(told)
    ]
    facts = [one.facts for one in clips]
    known = {one.clip_id: one for one in facts}
    pairs = ask_comparable(clips, by_task, [by_episode, by_policy], count, seed, "pair")
    sides = [(known[pair.left], known[pair.right]) for pair in pairs]
    possible = {
        frozenset((one.clip_id, other.clip_id))
        for one in facts
        for other in facts
        if one.task == other.task and one.content_hash != other.content_hash
    }
    asked = [frozenset((pair.left, pair.right)) for pair in pairs]
    assert set(asked) <= possible
    assert len(asked) == len(set(asked)) == min(count, len(possible))
    assert len({pair.pair_id for pair in pairs}) == len(pairs)
    alike = [(left.episode_id == right.episode_id, left.policy_id == right.policy_id) for left, right in sides]
    assert alike == sorted(alike)
    assert pairs == ask_comparable(clips, by_task, [by_episode, by_policy], count, seed, "pair")


def test_every_clip_is_asked_about_as_often_as_any_other() -> None:
    clips = [clip(number) for number in range(20)]
    for count in (10, 20, 40):
        pairs = ask_comparable(clips, by_task, [by_episode], count, 3, "pair")
        uses = Counter(name for pair in pairs for name in (pair.left, pair.right))
        assert len(uses) >= 18 and max(uses.values()) - min(uses.values()) <= 2
    lefts = sum(pair.left < pair.right for pair in ask_comparable(clips, by_task, [by_episode], 190, 0, "pair"))
    assert lefts == pytest.approx(95, abs=25), "neither side is preferred"


def test_a_pairs_id_tells_it_from_one_of_other_clips_of_the_same_names() -> None:
    (pair,) = ask_comparable([clip(0), clip(1)], by_task, [], 5, 0, "pair")
    (again,) = ask_comparable([clip(0), clip(1, numbers=9)], by_task, [], 5, 0, "pair")
    assert {pair.left, pair.right} == {again.left, again.right}
    assert pair.pair_id != again.pair_id


def test_among_pairs_that_tell_as_much_those_are_asked_on_which_the_ensemble_disagrees() -> None:
    """Two members agree on all clips but three; a later group is asked when nothing is left of the first."""
    clips = [clip(number, policy="pq"[number % 2]) for number in range(40)]
    members = np.zeros((2, 40))
    members[0, [0, 3, 6]], members[1, [0, 3, 6]] = 5.0, -5.0
    pairs = ask_comparable(clips, by_task, [by_policy], 3, 0, "pair", lambda _: members)
    doubtful = {"clip-0", "clip-3", "clip-6"}
    assert [pair.chosen_by for pair in pairs] == ["disagreement"] * 3
    assert all({pair.left, pair.right} & doubtful and (pair.disagreement or 0) > 0.4 for pair in pairs)
    many = ask_comparable(clips, by_task, [by_policy], 500, 0, "pair", lambda _: members)
    policies = {one.facts.clip_id: one.facts.policy_id for one in clips}
    alike = [policies[pair.left] == policies[pair.right] for pair in many]
    assert alike == [False] * 400 + [True] * 100
    assert {pair.chosen_by for pair in many} == {"disagreement", "random"}


def test_a_pair_is_the_same_on_whichever_side_its_clips_are() -> None:
    clips = [clip(0), clip(1)]
    found = {pair.left: pair.pair_id for seed in range(12) for pair in ask_comparable(clips, by_task, [], 1, seed, "p")}
    assert set(found) == {"clip-0", "clip-1"} and len(set(found.values())) == 1
