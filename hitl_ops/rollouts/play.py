"""One episode from start to end: planners decide, the household carries out, every decision is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hitl_ops.contracts.decision import DISTURBED, Decision, EpisodeHeader, EpisodeResult, Role
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import Observation, Planner, Reply
from hitl_ops.worlds.household.prompts import AgentView, PromptStyle
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.world import Finished, HouseholdWorld

_UNTIL_SOMETHING_ENDS = 1 << 40
_ENDS_NOTHING = ("Wait[]", "Done[]")


@dataclass
class PlayedEpisode:
    """Everything a trace holds."""

    header: EpisodeHeader
    decisions: list[Decision]
    result: EpisodeResult


def play_episode(
    episode: Episode,
    planners: Mapping[int, Planner],
    *,
    style: PromptStyle = "incremental",
    decision_limit: int = 50,
    keep_world_graph: bool = True,
    disturbance: float = 0.0,
    scene: Scene | None = None,
) -> PlayedEpisode:
    """Play one episode to its end.

    Args:
        episode: the task.
        planners: who decides for each agent; one object may serve both.
        style: the prompts' dialect.
        decision_limit: decisions each agent may make (PARTNR: 50).
        keep_world_graph: keep what the agent knew with every decision.
        disturbance: probability that an agent does something at random instead of what its planner would choose.
            Such decisions carry ``stats["disturbed"]`` and never become samples; the planner's next ones show how
            to go on from there (noise injection, Laskey et al. 2017, arXiv 1703.09327).
        scene: what the home is played in; by default the kinematic one.

    Returns:
        Header, decisions in the order they were made, and the result.

    Raises:
        UserError: the episode's scene is missing, or a planner cannot go on.
        SceneLost: the scene's process ended.
    """
    return _Play(episode, planners, style, decision_limit, keep_world_graph, disturbance, scene).run()


class _Play:
    def __init__(
        self,
        episode: Episode,
        planners: Mapping[int, Planner],
        style: PromptStyle,
        decision_limit: int,
        keep_world_graph: bool,
        disturbance: float,
        scene: Scene | None,
    ) -> None:
        self.episode = episode
        self.planners = planners
        self.limit = decision_limit
        self.keep_world_graph = keep_world_graph
        self.disturbance = disturbance
        self.luck = random.Random(f"disturbance of {episode.episode_id}")
        self.world = HouseholdWorld(episode, scene=scene)
        self.views = {agent: AgentView(self.world, agent, style) for agent in planners}
        self.decisions: list[Decision] = []
        self.open: dict[int, Decision] = {}
        self.count = dict.fromkeys(planners, 0)
        self.ended_by: str = "done"
        self.roles: dict[int, Role] = {agent: view.role for agent, view in self.views.items()}
        for planner in {id(planner): planner for planner in planners.values()}.values():
            planner.start(episode, self.world)

    def run(self) -> PlayedEpisode:
        started = time.perf_counter()
        world = self.world
        while not world.over:
            idle = [agent for agent in self.planners if not world.busy(agent) and not world.done[agent]]
            spent = [agent for agent in idle if self.count[agent] >= self.limit]
            for agent in spent:
                # An agent without decisions left stands still; the other goes on.
                world.done[agent] = True
                self.ended_by = "decision_limit"
            if world.over:
                break
            self._decide([agent for agent in idle if agent not in spent])
            self._take_in(world.advance(_UNTIL_SOMETHING_ENDS))
        if not all(world.done):
            self.ended_by = "step_limit"
        result = EpisodeResult(
            percent_complete=world.percent_complete,
            success=world.success,
            sim_steps=world.step,
            replans=self.count,
            runtime_s=time.perf_counter() - started,
            ended_by=self.ended_by,
            explanation="; ".join(world.evaluation.missing()),
            state_hash=world.facts.digest(),
        )
        header = EpisodeHeader(
            episode_id=self.episode.episode_id,
            scene_id=self.episode.scene_id,
            task_type=self.episode.task_type,
            split=self.episode.split,
            instruction=self.episode.instruction,
            seed=self.episode.seed,
            roles=self.roles,
            policies={agent: planner.policy_id for agent, planner in self.planners.items()},
            world=world.name,
            **world.scene.played_scene.in_header(),
        )
        return PlayedEpisode(header, self.decisions, result)

    def _decide(self, agents: list[int]) -> None:
        observations = {agent: self.views[agent].observe() for agent in agents}
        replies = self._ask(observations)
        for agent in agents:
            observation, reply = observations[agent], replies[agent]
            decision = Decision(
                index=len(self.decisions),
                agent=agent,
                role=observation.role,
                policy_id=self.planners[agent].policy_id,
                sim_step=self.world.step,
                prompt=observation.prompt,
                admissible=observation.admissible,
                reply=reply.text,
                action=reply.action,
                latency_ms=reply.latency_ms,
                world_graph=self.world.state.knowledge[agent].graph() if self.keep_world_graph else {},
                stats=reply.stats,
            )
            self.decisions.append(decision)
            self.open[agent] = decision
            self.count[agent] += 1
            self.world.start(agent, reply.action)

    def _ask(self, observations: dict[int, Observation]) -> dict[int, Reply]:
        """Ask each agent's planner; a planner of both that can decide jointly is asked once."""
        replies: dict[int, Reply] = {}
        by_planner: dict[int, list[int]] = {}
        for agent, observation in observations.items():
            if self.disturbance and self.luck.random() < self.disturbance:
                action = self.luck.choice([a for a in observation.admissible if a not in _ENDS_NOTHING])
                replies[agent] = Reply(text=action, action=action, stats={DISTURBED: 1.0})
            else:
                by_planner.setdefault(id(self.planners[agent]), []).append(agent)
        for agents in by_planner.values():
            planner: Any = self.planners[agents[0]]
            if getattr(planner, "plans_jointly", False):
                replies.update(planner.decide_joint({agent: observations[agent] for agent in agents}))
            else:
                for agent in agents:
                    replies[agent] = planner.decide(observations[agent])
        return replies

    def _take_in(self, finished: list[Finished]) -> None:
        for ended in finished:
            for view in self.views.values():
                view.finished(ended)
            decision = self.open.pop(ended.agent, None)
            if decision is not None:
                decision.response = ended.response
                decision.end_step = ended.end_step
        for ended in finished:
            for decision in reversed(self.decisions):
                if decision.agent == ended.agent:
                    decision.percent_complete = self.world.percent_complete
                    break
