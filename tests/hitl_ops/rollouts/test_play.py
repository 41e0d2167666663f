"""Episodes played from start to end: what is logged, and how they end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from hitl_ops.contracts.action import parse_action
from hitl_ops.contracts.episode import Episode, variation_of
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.household.episode_generator import HOMES, generate_candidate


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [generate_episode("train", index) for index in range(0, 4)]


@dataclass
class Stubborn:
    """Always the same action."""

    action: str
    policy_id: str = "stubborn"

    def start(self, episode: Episode, world: object) -> None:
        pass

    def decide(self, observation: Observation) -> Reply:
        return Reply(text=self.action, action=self.action, latency_ms=1.0)


@pytest.mark.parametrize("observability", ["full", "partial"])
def test_the_oracle_completes_every_type(episodes: list[Episode], observability: str) -> None:
    assert len({episode.task_type for episode in episodes}) == 4
    for episode in episodes:
        oracle = Oracle(observability)  # type: ignore[arg-type]
        played = play_episode(episode, {0: oracle, 1: oracle})
        assert played.result.success, played.result.explanation
        assert played.result.ended_by == "done"
        for decision in played.decisions:
            assert decision.action in decision.admissible
            assert decision.prompt.endswith("Next Agent_Action:<act>")
            assert decision.response
            assert decision.end_step > decision.sim_step
            parse_action(decision.action)


def test_the_same_episode_plays_the_same_twice(episodes: list[Episode]) -> None:
    first, second = (play_episode(episodes[1], {0: o, 1: o}) for o in (Oracle("partial"), Oracle("partial")))
    assert first.result.state_hash == second.result.state_hash
    assert [d.prompt for d in first.decisions] == [d.prompt for d in second.decisions]


def test_prompts_with_their_completions_are_prefixes(episodes: list[Episode]) -> None:
    for episode in episodes:
        oracle = Oracle("partial")
        played = play_episode(episode, {0: oracle, 1: oracle})
        for agent in (0, 1):
            mine = [d for d in played.decisions if d.agent == agent]
            for before, after in itertools.pairwise(mine):
                assert after.prompt.startswith(f"{before.prompt}{before.action}<end_act>\n")


def test_the_snapshot_dialect_shows_the_world_anew(episodes: list[Episode]) -> None:
    oracle = Oracle("partial")
    played = play_episode(episodes[0], {0: oracle, 1: oracle}, style="snapshot")
    last = played.decisions[-1].prompt
    assert played.result.success
    assert last.count("Objects:") == 1
    assert "held by the agent" in "".join(d.prompt for d in played.decisions)


def test_decisions_are_limited(episodes: list[Episode]) -> None:
    waiting = Stubborn("Explore[kitchen_1]")
    played = play_episode(episodes[0], {0: waiting, 1: waiting}, decision_limit=3)
    assert played.result.ended_by == "decision_limit"
    assert played.result.replans == {0: 3, 1: 3}
    assert not played.result.success
    assert played.result.explanation


def test_steps_are_limited(episodes: list[Episode]) -> None:
    waiting = Stubborn("Wait[]")
    played = play_episode(episodes[0], {0: waiting, 1: waiting}, decision_limit=1000)
    assert played.result.ended_by == "step_limit"
    assert played.result.sim_steps == 20_000


def test_a_variation_is_the_same_task_in_other_words(episodes: list[Episode]) -> None:
    for episode in episodes:
        varied = variation_of(episode, 3)
        assert varied.episode_id == f"{episode.episode_id}~3"
        assert varied.evaluation_propositions == episode.evaluation_propositions
        assert varied.info["flywheel"]["spawns"] != episode.info["flywheel"]["spawns"]
        oracle = Oracle("partial")
        assert play_episode(varied, {0: oracle, 1: oracle}).result.success
    with pytest.raises(UserError, match="no variation 99"):
        variation_of(episodes[0], 99)


@pytest.mark.slow
def test_no_home_or_seed_is_shared_between_splits() -> None:
    seeds: dict[str, set[int]] = {}
    homes: dict[str, set[str]] = {}
    for split, count in HOMES.items():
        for index in range(2 * count):
            episode = generate_candidate(split, index)
            if episode is not None:
                seeds.setdefault(split, set()).add(episode.seed)
                homes.setdefault(split, set()).add(episode.scene_id)
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not seeds[one] & seeds[other]
        assert not homes[one] & homes[other]


def test_disturbed_decisions_are_marked_and_recovered_from(episodes: list[Episode]) -> None:
    oracle = Oracle("partial")
    played = play_episode(episodes[1], {0: oracle, 1: oracle}, disturbance=0.3)
    disturbed = [d for d in played.decisions if d.stats.get("disturbed")]
    assert disturbed
    assert len(disturbed) < len(played.decisions)
    assert all(d.action in d.admissible for d in disturbed)
    assert played.result.success, played.result.explanation
