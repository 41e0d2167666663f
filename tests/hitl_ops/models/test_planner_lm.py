from __future__ import annotations

import pytest
import torch

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation, Planner, Reply
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig

CARD = PolicyCard(
    program="planner", iteration=0, parent="tiny", samples_hash="0" * 8, config={"lr": 1e-3}, prompt_style="snapshot"
)
EPISODE = Episode(episode_id="e", scene_id="s", instruction="Bring the mug.")


def observe(turn, agent: int = 1) -> Observation:
    return Observation(agent, "ai", "Bring the mug.", turn.prompt, turn.admissible)


def beyond_the_prompt(reply: Reply) -> float:
    return reply.stats["new_tokens"] - reply.stats["prompt_tokens"]


@pytest.fixture
def policy(decisive, tmp_path):
    decisive.model.save_pretrained(tmp_path / "policy" / "merged")
    decisive.tokenizer.save_pretrained(tmp_path / "policy" / "merged")
    publish_json(tmp_path / "policy" / "card.json", CARD)
    return tmp_path / "policy"


@pytest.mark.parametrize("part", ["", "merged"])
def test_a_trained_policy_loads_and_decides(policy, decisive, play_episode, part):
    planner = PlannerLM.load(policy / part, PlannerLMConfig(device="cpu"))
    assert isinstance(planner, Planner)
    assert planner.policy_id == CARD.policy_id
    assert planner.prompt_style == "snapshot"
    in_memory = PlannerLM(decisive, "memory", PlannerLMConfig(device="cpu"))
    planner.start(EPISODE, None)
    for turn in play_episode(800):
        reply = planner.decide(observe(turn))
        assert reply.action in turn.admissible
        assert reply.text == f"{reply.action}<end_act>"
        assert reply.latency_ms > 0
        expected = in_memory.decide(observe(turn))
        assert (reply.action, reply.stats) == (expected.action, pytest.approx(expected.stats))
        assert set(reply.stats) == {"logprob", "entropy", "prompt_tokens", "new_tokens", "passes"}


def test_two_agents_keep_their_own_prompts(decisive, play_episode):
    planner = PlannerLM(decisive, "two", PlannerLMConfig(device="cpu"))
    robot, human = play_episode(801), play_episode(802)
    for turn, other in zip(robot, human, strict=True):
        replies = planner.decide(observe(turn, 0)), planner.decide(observe(other, 1))
    assert all(reply.stats["new_tokens"] < reply.stats["prompt_tokens"] / 2 for reply in replies)
    planner.start(EPISODE, None)
    assert planner.decide(observe(robot[-1], 0)).stats["new_tokens"] >= len(robot) * 10


def test_a_batch_is_answered_in_order(decisive, play_episode):
    planner = PlannerLM(decisive, "batch", PlannerLMConfig(device="cpu"))
    turns = [turn for seed in (803, 804) for turn in play_episode(seed, turns=5)]
    replies = planner.decide_batch([observe(turn) for turn in turns])
    assert [reply.action for reply in replies] == [planner.decide(observe(turn)).action for turn in turns]
    assert len({reply.latency_ms for reply in replies}) == 1
    assert planner.decide_batch([]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "shows"),
    [
        ({"decode": "score"}, lambda p, turns: beyond_the_prompt(p.decide(observe(turns[0]))) > 50),
        ({"dtype": "bfloat16"}, lambda p, turns: p._decoder.model.dtype == torch.bfloat16),
        ({"device": "meta"}, lambda p, turns: p._decoder.model.device.type == "meta"),
        ({"kept_prefixes": 1}, lambda p, turns: p._decoder.kept_prefixes == 1),
    ],
)
def test_every_field_changes_what_it_names(policy, play_episode, change, shows):
    turns = play_episode(805)
    assert shows(PlannerLM.load(policy, PlannerLMConfig(device="cpu").replace(**change)), turns)
    assert not shows(PlannerLM.load(policy, PlannerLMConfig(device="cpu")), turns)


def test_temperature_draws_and_the_seed_decides_what(decisive, play_episode):
    def actions(**config) -> list[str]:
        planner = PlannerLM(decisive, "drawn", PlannerLMConfig(device="cpu", **config))
        return [planner.decide(observe(turn)).action for turn in play_episode(806)]

    assert actions(seed=1) == actions(seed=2)
    assert actions(temperature=9.0, seed=1) == actions(temperature=9.0, seed=1)
    assert (
        len({tuple(actions()), tuple(actions(temperature=9.0, seed=1)), tuple(actions(temperature=9.0, seed=2))}) == 3
    )


def test_what_is_missing_or_damaged_is_said(policy):
    with pytest.raises(UserError, match=r"policy '.*nowhere' does not exist"):
        PlannerLM.load(policy / "nowhere")
    (policy / "card.json").write_text('{"program": "planner"')
    with pytest.raises(UserError, match=r"policy card '.*' is damaged"):
        PlannerLM.load(policy)
    (policy / "card.json").unlink()
    with pytest.raises(UserError, match=r"policy card '.*' does not exist"):
        PlannerLM.load(policy / "merged")
    with pytest.raises(UserError, match=r"device 'warp' cannot be used"):
        publish_json(policy / "card.json", CARD)
        PlannerLM.load(policy, PlannerLMConfig(device="warp"))
