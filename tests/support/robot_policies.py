"""Policies of robots for tests: slow, broken or held up as the test wants, and they tell what they were asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.robot import CameraSpec, Float32, RobotSpec
from hitl_ops.models.planner_lm import CARD_FILE
from hitl_ops.models.robot_policy import HoldPolicy, joints_only
from hitl_ops.serving.policy_batching import ServedPolicy

RAISES, CHOOSES_NAN, WRONG_SHAPE = 100.0, 200.0, 300.0
"""First joints of a state on which :class:`WatchedPolicy` fails."""

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


def arms(horizon: int = 50, side: int = 16) -> RobotSpec:
    """A pair of arms with four small cameras."""
    return joints_only(14, horizon=horizon).replace(
        name="test arms",
        cameras=tuple(CameraSpec(name=name, height=side, width=side).model_dump() for name in CAMERAS),
    )


def observation(state: float = 0.0, spec: RobotSpec | None = None, prompt: str = "Lift the lid") -> dict[str, Any]:
    """What a robot sees whose joints all stand at ``state``."""
    spec = spec or joints_only()
    return {
        "state": np.full(spec.dim, state, np.float32),
        "images": {
            camera.name: np.full((3, camera.height, camera.width), 40 * number, np.uint8)
            for number, camera in enumerate(spec.cameras)
        },
        "prompt": prompt,
    }


class WatchedPolicy:
    """Sends every joint one further with every step of the chunk.

    Args:
        spec: the robot.
        seconds: how long a pass takes.
        max_batch: observations at once.
    """

    def __init__(self, spec: RobotSpec | None = None, *, seconds: float = 0.0, max_batch: int = 64) -> None:
        self.spec = spec or joints_only()
        self.max_batch = max_batch
        self.metadata: dict[str, Any] = {"task": "Lift the lid off the bowl"}
        self.passes: list[list[float]] = []
        self.prompts: list[str] = []
        self.free = threading.Event()
        """Passes wait until it is set."""
        self.free.set()
        self.entered = threading.Event()
        """Set whenever a pass begins."""
        self._seconds = seconds

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        self.passes.append([float(one["state"][0]) for one in observations])
        self.prompts += [one["prompt"] for one in observations]
        self.entered.set()
        self.free.wait()
        time.sleep(self._seconds)
        if RAISES in self.passes[-1]:
            raise RuntimeError("the weights\nare odd")
        return [self._chunk(one["state"]) for one in observations]

    def _chunk(self, state: Float32) -> Float32:
        steps = np.arange(self.spec.action_horizon, dtype=np.float32)[:, None]
        chunk = state[None, :] + steps
        if state[0] == CHOOSES_NAN:
            chunk[3, 2] = np.nan
        return chunk[:, :-1] if state[0] == WRONG_SHAPE else chunk


def served(policy: Any, policy_id: str = "watched") -> ServedPolicy:
    return ServedPolicy(policy_id, policy, "station", 0)


def write_hold_policy(folder: Path, *, iteration: int = 0, seed: int = 0, joints: int = 14) -> str:
    """Write a policy as a training of the station program does; returns its id."""
    HoldPolicy(joints_only(joints)).save(folder)
    card = PolicyCard(
        program="station", iteration=iteration, parent="", samples_hash=f"{seed:08x}", config={"seed": seed}
    )
    publish_json(folder / CARD_FILE, card)
    return card.policy_id
