"""The world `reach` as a Gymnasium environment: one arm, one target."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from hitl_ops.worlds.reach.arms import Float32, ReachArms
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.kinematics import JOINTS


def reach_spaces(config: ReachConfig) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Spaces of observations and of actions."""
    observations = gymnasium.spaces.Box(-np.inf, np.inf, (config.observation_size,), dtype=np.float32)
    return observations, gymnasium.spaces.Box(-1.0, 1.0, (JOINTS,), dtype=np.float32)


class ReachEnv(gymnasium.Env[Any, Any]):
    """A seven-joint arm brings its flange to a target.

    Observations: joint angles (7, rad), joint speeds (7, rad/s), target (3, m) and, unless left out, the flange's place
    (3, m). Actions: seven joint positions as shares of each joint's limit. Reward: minus the distance to the target in
    m. ``info`` has ``distance`` and ``is_success``. The first ``reset(seed=…)`` decides every episode that follows.

    Args:
        config: the world's settings.

    Raises:
        UserError: PyBullet is missing.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(self, config: ReachConfig | None = None) -> None:
        self.config = config or ReachConfig()
        self.observation_space, self.action_space = reach_spaces(self.config)
        self._arms = ReachArms(1, self.config)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Begin an episode; ``options={"episode": n}`` begins the very episode of that seed."""
        super().reset(seed=seed)
        episode = (options or {}).get("episode")
        chosen = int(self.np_random.integers(2**62)) if episode is None else int(episode)
        return self._arms.begin([0], [chosen])[0], {}

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """One control step; see :class:`gymnasium.Env`."""
        done = self._arms.step(np.asarray(action)[None])
        reached, cut_off = bool(done.reached[0]), bool(done.cut_off[0])
        terminated = reached and self.config.end_on_success
        info = {"distance": float(done.distances[0]), "is_success": reached}
        return done.observations[0], float(done.rewards[0]), terminated, cut_off and not terminated, info

    def close(self) -> None:
        """Give the physics back."""
        self._arms.close()
