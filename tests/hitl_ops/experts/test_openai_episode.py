"""Whole episodes through the endpoint: a server whose replies are the oracle's, the world's own prompts and results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.experts.openai_llm import CentralisedOpenAIExpert, OpenAIExpertConfig, make_openai_expert
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from tests.support.openai_server import OpenAIServer


class Prompted:
    """The LLM teacher, with an oracle whispering to the server what it is to reply."""

    def __init__(self, server: OpenAIServer, mode: str, folder: Path) -> None:
        client = {"base_url": server.base_url, "api_key_env": "", "model": server.model, "cache": False}
        config = parse_config(OpenAIExpertConfig, {"client": client, "mode": mode}, source="test")
        self.server = server
        self.expert = make_openai_expert(config, folder)
        self.oracle = Oracle("full")
        self.policy_id = self.expert.policy_id
        self.plans_jointly = self.expert.plans_jointly

    def start(self, episode: Episode, world: Any) -> None:
        self.oracle.start(episode, world)
        self.expert.start(episode, world)

    def decide(self, observation: Observation) -> Reply:
        action = self.oracle.decide(observation).action
        self.server.brain = lambda messages: f"Thought: as the oracle says.\n{action}\nAssigned!"
        return self.expert.decide(observation)

    def decide_joint(self, observations: dict[int, Observation]) -> dict[int, Reply]:
        actions = {agent: self.oracle.decide(observation).action for agent, observation in observations.items()}
        lines = "\n".join(f"Agent_{agent}_Action: {action}" for agent, action in actions.items())
        self.server.brain = lambda messages: f"Thought: as the oracle says.\n{lines}\nAssigned!"
        assert isinstance(self.expert, CentralisedOpenAIExpert)
        return self.expert.decide_joint(observations)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["decentralised", "centralised"])
def test_an_episode_is_played_to_success(mode: str, tmp_path: Path) -> None:
    episode = generate_episode("train", 3)
    with OpenAIServer() as server:
        planner = Prompted(server, mode, tmp_path)
        played = play_episode(episode, {0: planner, 1: planner})
        assert played.result.success
        # Every reply was understood at the first try: what the world calls admissible survives the way through text.
        assert [decision.stats["gave_up"] for decision in played.decisions] == [0.0] * len(played.decisions)
        requests = len(server.received)
        assert sum(decision.stats["tries"] for decision in played.decisions) == requests
        assert requests < len(played.decisions) if mode == "centralised" else requests == len(played.decisions)
        # The task is told as the world words it, and every action's answer comes back in a turn of its own.
        told = [message["content"] for message in server.received[-1].messages if message["role"] == "user"]
        task = next(text for text in told if text.startswith(f"Task: {episode.instruction}\nFurniture:\n"))
        results = told[told.index(task) + 1 :]
        assert results and all("Result: " in text and "Successful execution!" in text for text in results)
