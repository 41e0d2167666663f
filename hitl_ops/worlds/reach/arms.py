"""Several arms in one physics, each at a task of its own: one process, one call of the solver for all of them.

They stand far apart and touch nothing but their own floor, so that each moves as it would alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.quiet_physics import connect_quietly, quiet_pybullet
from hitl_ops.worlds.reach.config import PHYSICS_HZ, ReachConfig
from hitl_ops.worlds.reach.kinematics import JOINT_LIMITS, JOINTS, end_effector, reachable

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_APART_M = 4.0
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one control step of all arms came to; a row an arm, before any of them begins anew.

    Attributes:
        observations: [N, D] float32.
        rewards: [N] float64, minus the distance to the target in m.
        distances: [N] m.
        reached: [N], whether the flange is at the target.
        cut_off: [N], whether the episode's time is up.
    """

    observations: Float32
    rewards: Float64
    distances: Float64
    reached: npt.NDArray[np.bool_]
    cut_off: npt.NDArray[np.bool_]


class ReachArms:
    """N arms with a target each. Nothing begins anew by itself: see :meth:`begin`.

    An arm's episode depends on its seed alone, not on how many arms there are or what the others do.

    Args:
        count: arms, N.
        config: the world's.

    Raises:
        UserError: PyBullet is missing, or the configuration leaves no reachable target.
    """

    def __init__(self, count: int, config: ReachConfig) -> None:
        pybullet = quiet_pybullet()
        import pybullet_data  # comes with it

        self.count = count
        self.config = config
        self._bullet: Any = pybullet
        self._client = connect_quietly(pybullet)
        here = {"physicsClientId": self._client}
        pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), **here)
        pybullet.setGravity(0, 0, -9.8, **here)
        pybullet.setTimeStep(1 / PHYSICS_HZ, **here)
        pybullet.loadURDF("plane.urdf", **here)
        side = math.ceil(math.sqrt(count))
        self._arms = [
            pybullet.loadURDF(
                "kuka_iiwa/model.urdf",
                [_APART_M * (number % side), _APART_M * (number // side), 0],
                useFixedBase=True,
                **here,
            )
            for number in range(count)
        ]
        self._substeps = PHYSICS_HZ // config.control_hz
        self._joints: Float64 = np.zeros((count, JOINTS))
        self._speeds: Float64 = np.zeros((count, JOINTS))
        self.targets: Float64 = np.zeros((count, 3))
        self._hands: Float64 = np.zeros((count, 3))
        self._taken = np.zeros(count, dtype=np.int64)

    def begin(self, arms: Sequence[int], seeds: Sequence[int]) -> Float32:
        """Let some arms begin an episode each: a target is drawn, the joints are put to their start, at rest.

        Args:
            arms: which.
            seeds: of each one's episode.

        Returns:
            [len(arms), D]: what they observe first.

        Raises:
            UserError: the configuration leaves no reachable target.
        """
        for arm, seed in zip(arms, seeds, strict=True):
            rng = np.random.default_rng(seed)
            self.targets[arm] = self._target(rng)
            spread = self.config.start_spread
            start = rng.uniform(-spread, spread, JOINTS) if spread else np.zeros(JOINTS)
            body = self._arms[arm]
            for joint in range(JOINTS):
                self._bullet.resetJointState(body, joint, start[joint], 0.0, physicsClientId=self._client)
            # A motor keeps what it was last told, across episodes too.
            self._tell(arm, start)
            self._joints[arm], self._speeds[arm] = start, 0.0
            self._taken[arm] = 0
        chosen = list(arms)
        self._hands[chosen] = end_effector(self._joints[chosen])
        return self._observe()[chosen]

    def _target(self, rng: np.random.Generator) -> Float64:
        config = self.config
        low, high = np.array([config.target_x, config.target_y, config.target_z]).T
        for _ in range(_DRAWS):
            point = rng.uniform(low, high)
            if reachable(point[None])[0]:
                return np.asarray(point)
        raise UserError(
            "no target in the workspace can be reached",
            "set target_x, target_y and target_z to places 0.38 to 0.9 m from the shoulder, at (0, 0, 0.36)",
        )

    def _tell(self, arm: int, joints: Float64) -> None:
        # The plural call knows no highest speed.
        for joint in range(JOINTS):
            self._bullet.setJointMotorControl2(
                self._arms[arm],
                joint,
                self._bullet.POSITION_CONTROL,
                targetPosition=joints[joint],
                force=self.config.force,
                maxVelocity=self.config.max_speed,
                physicsClientId=self._client,
            )

    def step(self, actions: npt.NDArray[np.floating]) -> Stepped:
        """One control step of every arm.

        Args:
            actions: [N, 7], where each joint is to go, as a share of its limit; values beyond -1 to 1 are clipped.
        """
        wanted = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0) * JOINT_LIMITS
        for arm in range(self.count):
            self._tell(arm, wanted[arm])
        for _ in range(self._substeps):
            self._bullet.stepSimulation(physicsClientId=self._client)
        for arm, body in enumerate(self._arms):
            states = self._bullet.getJointStates(body, range(JOINTS), physicsClientId=self._client)
            for joint, state in enumerate(states):
                self._joints[arm, joint] = state[0]
                self._speeds[arm, joint] = state[1]
        self._hands = end_effector(self._joints)
        self._taken += 1
        distances = self.distances()
        return Stepped(
            observations=self._observe(),
            rewards=-distances,
            distances=distances,
            reached=distances < self.config.success_m,
            cut_off=self._taken >= self.config.max_steps,
        )

    def distances(self) -> Float64:
        """How far every hand is from its target now, [N] m."""
        return np.asarray(np.linalg.norm(self._hands - self.targets, axis=1))

    def _observe(self) -> Float32:
        parts = [self._joints, self._speeds, self.targets]
        if self.config.end_effector:
            parts.append(self._hands)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def close(self) -> None:
        """Give the physics back; a second time does nothing."""
        if self._client >= 0:
            self._bullet.disconnect(physicsClientId=self._client)
            self._client = -1
