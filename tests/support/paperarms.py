"""A robot class in LeRobot's own form, registered with it as somebody's plugin would be; it is made of paper."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

JOINTS = [f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "gripper")]
ASKED: list[str] = []
"""What it was asked, in order."""


@RobotConfig.register_subclass("paper_arms")
@dataclasses.dataclass(kw_only=True)
class PaperArmsConfig(RobotConfig):
    """Its configuration."""

    port: str
    disable_torque_on_disconnect: bool = True


class Bus:
    """Its motors."""

    def disable_torque(self) -> None:
        ASKED.append("limp")

    def enable_torque(self) -> None:
        ASKED.append("stiff")


class PaperArms(Robot):
    """The robot."""

    config_class = PaperArmsConfig
    name = "paper_arms"

    def __init__(self, config: PaperArmsConfig) -> None:
        super().__init__(config)
        assert config.port == "/dev/paper"
        assert not config.disable_torque_on_disconnect
        self.bus = Bus()
        self.position = dict.fromkeys(JOINTS, 10.0)
        self.unplugged = False

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "cam_high": (24, 32, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{joint}.pos": float for joint in JOINTS}

    @property
    def is_connected(self) -> bool:
        return True

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        ASKED.append(f"connect {calibrate}")

    def calibrate(self) -> None:
        raise AssertionError

    def configure(self) -> None:
        raise AssertionError

    def get_observation(self) -> dict[str, Any]:
        if self.unplugged:
            raise ConnectionError("no status packet")
        positions = {f"{joint}.pos": value for joint, value in self.position.items()}
        return {**positions, "cam_high": np.full((24, 32, 3), 9, np.uint8)}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.position = {key.removesuffix(".pos"): value for key, value in action.items()}
        return action

    def disconnect(self) -> None:
        ASKED.append("disconnect")
