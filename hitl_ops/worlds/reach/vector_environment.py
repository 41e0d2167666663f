"""Many arms in one process, as Stable-Baselines3 trains on them. Imported only where it is trained: it brings torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from hitl_ops.worlds.reach.arms import Float32, ReachArms
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.environment import reach_spaces


class StepReward(Protocol):
    """Says what steps are worth, many at once."""

    def __call__(self, observations: Float32, actions: Float32) -> npt.NDArray[np.floating]:
        """What was worth doing there: observations [N, D] before, actions [N, A], both as in clips → [N]."""


class ReachVecEnv(VecEnv):
    """N arms stepped together; each begins anew by itself when its episode is over.

    Args:
        count: arms, N.
        config: the world's settings.
        seed: decides every episode of every arm.
        reward: what steps are worth; by default the world's own reward. The world's own stays in ``info``.
    """

    def __init__(self, count: int, config: ReachConfig, seed: int, reward: StepReward | None = None) -> None:
        super().__init__(count, *reach_spaces(config))
        self.config = config
        self.reward = reward
        self._arms = ReachArms(count, config)
        self._random = np.random.default_rng(seed)
        self._actions: Float32 = np.zeros((count, 7), dtype=np.float32)
        self._last: Float32 = np.zeros((count, config.observation_size), dtype=np.float32)
        self._returns = np.zeros(count)
        self._lengths = np.zeros(count, dtype=np.int64)
        self._ever = np.zeros(count, dtype=np.bool_)
        self._paid: list[float] = []

    def mean_paid(self) -> float:
        """Mean of what steps were worth since this was asked last; 0 where there were none."""
        paid, self._paid = self._paid, []
        return float(np.mean(paid)) if paid else 0.0

    def reset(self) -> VecEnvObs:
        """Begin an episode with every arm; observations [N, D]."""
        return self._begin(range(self.num_envs)).copy()

    def begin_anew(self, seed: int) -> None:
        """Let ``seed`` decide every episode from the next reset on."""
        self._random = np.random.default_rng(seed)

    def _begin(self, arms: Sequence[int]) -> Float32:
        chosen = list(arms)
        seeds = [int(seed) for seed in self._random.integers(2**62, size=len(chosen))]
        self._last[chosen] = self._arms.begin(chosen, seeds)
        self._returns[chosen] = 0.0
        self._lengths[chosen] = 0
        self._ever[chosen] = False
        return self._last

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Note what to do; done in :meth:`step_wait`."""
        self._actions = np.asarray(actions, dtype=np.float32)

    def step_wait(self) -> VecEnvStepReturn:
        """One control step of every arm; see :class:`stable_baselines3.common.vec_env.VecEnv`."""
        stepped = self._arms.step(self._actions)
        paid = stepped.rewards if self.reward is None else self.reward(self._last, self._actions)
        self._paid.append(float(np.mean(paid)))
        ended = stepped.reached & self.config.end_on_success
        over = ended | stepped.cut_off
        self._returns += stepped.rewards
        self._lengths += 1
        self._ever |= stepped.reached
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._last = stepped.observations
        finished = np.flatnonzero(over)
        for arm in finished:
            infos[arm] = {
                "terminal_observation": stepped.observations[arm].copy(),
                "TimeLimit.truncated": bool(stepped.cut_off[arm] and not ended[arm]),
                "is_success": bool(self._ever[arm]),
                "episode": {"r": float(self._returns[arm]), "l": int(self._lengths[arm]), "t": 0.0},
            }
        if len(finished):
            self._begin([int(arm) for arm in finished])
        return self._last.copy(), np.asarray(paid, dtype=np.float32), over, infos

    def close(self) -> None:
        """Give the physics back."""
        self._arms.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The same attribute for every arm."""
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute for all arms."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Not offered: the arms have no methods of their own."""
        raise NotImplementedError(f"an arm has no method '{method_name}'")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """No arm is wrapped; it counts its episodes itself."""
        return [False for _ in self._get_indices(indices)]

    def _get_indices(self, indices: VecEnvIndices) -> Iterable[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else indices
