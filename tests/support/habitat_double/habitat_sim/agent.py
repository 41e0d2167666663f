"""habitat_sim.agent: what an agent is configured with, and its node (agent/agent.py)."""

from __future__ import annotations

import numpy as np
from magnum import Quaternion, Vector3


class AgentConfiguration:
    """What an agent carries."""

    __slots__ = ("action_space", "body_type", "height", "radius", "sensor_specifications")

    def __init__(self) -> None:
        self.height, self.radius, self.body_type = 1.5, 0.1, "cylinder"
        self.sensor_specifications: list = []
        self.action_space: dict = {}


class SceneNode:
    """Where something is."""

    __slots__ = ("_place", "_turn")

    def __init__(self) -> None:
        self.reset_transformation()

    def reset_transformation(self) -> None:
        """Back to the origin."""
        self._place, self._turn = np.zeros(3), np.eye(3)

    def translate(self, vector: Vector3) -> None:
        """Move."""
        if not isinstance(vector, Vector3):
            raise TypeError("translate(): incompatible function arguments")
        self._place = self._place + np.array((vector.x, vector.y, vector.z))

    @property
    def rotation(self) -> None:
        """Its turn; only ever set."""
        raise AttributeError("rotation")

    @rotation.setter
    def rotation(self, turn: Quaternion) -> None:
        if not isinstance(turn, Quaternion):
            raise TypeError("rotation takes a Quaternion")
        self._turn = np.array(turn.to_rows())


class Agent:
    """A node with sensors."""

    __slots__ = ("agent_config", "scene_node")

    def __init__(self, config: AgentConfiguration) -> None:
        self.agent_config = config
        self.scene_node = SceneNode()
