"""The same validation episodes by the same oracle in every scene: the same decisions, the same scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest

from hitl_ops.contracts.decision import EpisodeResult
from hitl_ops.contracts.episode import Episode
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import KeptScenes
from hitl_ops.worlds.household.episode_generator import generate_candidate
from hitl_ops.worlds.household.scene import Route, Scene
from tests.support.habitat_environment import scenes_of

EPISODES = 50
SAME_LENGTH = 0.02


class Measured:
    """A scene that adds up the ways it was asked for; everything else is the scene's own."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.metres = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._scene, name)

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> Route | None:
        route = self._scene.route(start, target)
        self.metres += route.lengths[-1] if route is not None else 0.0
        return route


@dataclass
class Played:
    decisions: list[tuple[int, str, str]]
    steps: list[int]
    result: EpisodeResult
    metres: float


@cache
def episodes() -> list[Episode]:
    made = []
    index = 0
    while len(made) < EPISODES:
        episode = generate_candidate("val", index, 0)
        if episode is not None:
            made.append(episode)
        index += 1
    return made


def played(config: SceneConfig) -> list[Played]:
    scenes = KeptScenes(config)
    found = []
    try:
        for episode in episodes():
            scene = Measured(scenes.scene(episode.scene_id))
            oracle = Oracle("partial")
            one = play_episode(episode, {0: oracle, 1: oracle}, scene=scene)  # type: ignore[arg-type]  # __getattr__ gives the rest
            found.append(
                Played(
                    [(decision.agent, decision.action, decision.response) for decision in one.decisions],
                    [decision.sim_step for decision in one.decisions],
                    one.result,
                    scene.metres,
                )
            )
    finally:
        scenes.close()
    return found


@cache
def in_this_process() -> list[Played]:
    return played(SceneConfig())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["socket", "habitat"])
def test_the_oracle_decides_and_scores_the_same(kind: str) -> None:
    there, here = played(scenes_of(kind)), in_this_process()
    assert len(here) == len(there) == EPISODES
    assert sum(one.result.success for one in here) > EPISODES / 2, "failures prove little"
    for episode, one, other in zip(episodes(), here, there, strict=True):
        assert one.decisions == other.decisions, episode.episode_id
        assert one.result.success == other.result.success, episode.episode_id
        assert one.result.percent_complete == other.result.percent_complete, episode.episode_id
        assert other.metres == pytest.approx(one.metres, rel=SAME_LENGTH), episode.episode_id
        if kind == "socket":
            # Nothing but the socket lies between: to the step, and to the last bit.
            assert one.steps == other.steps and one.metres == other.metres
            assert one.result.state_hash == other.result.state_hash and one.result.sim_steps == other.result.sim_steps
    walked = sum(one.metres for one in here)
    print(
        f"{EPISODES} episodes, {sum(len(one.decisions) for one in here)} decisions, {walked:.0f} m; {kind}: "
        f"{sum(one.metres for one in there):.0f} m"
    )
