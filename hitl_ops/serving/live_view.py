"""What the robots connected to a policy server see and are told just now: bounded, and cheap to keep."""

from __future__ import annotations

import base64
import io
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hitl_ops.contracts.robot import Float32, Picture, RobotSpec
from hitl_ops.serving.policy_batching import Chosen

LATENCIES_KEPT = 120
_CAMERAS_SHOWN = 6
_PICTURE_WIDTH = 320
_PICTURE_PIXELS = 4096**2
_PROMPT_SHOWN = 300


@dataclass(frozen=True)
class Latency:
    """Where the time of one answer went, ms.

    Attributes:
        total: from the observation's arrival to the answer's departure.
        queue: of it, waiting for a pass.
        infer: of it, the pass.
        together: robots that shared the pass.
    """

    total: float
    queue: float
    infer: float
    together: int


@dataclass
class RobotView:
    """One connected robot, as it was at its last question.

    Attributes:
        number: numbers it since the server's start.
        address: where it connects from.
        since: when it connected, seconds since the epoch.
        answers: chunks it was given.
        prompt: what its policy was asked with.
        spec: the policy's robot.
        policy_id: who chose the last chunk.
        state: joint positions, float [dim].
        actions: the chunk, float32 [horizon, dim].
        images: camera → picture as it came, uint8 CHW or HWC.
        at: when it was answered, seconds since the epoch.
        latencies: of the last answers.
    """

    number: int
    address: str
    since: float
    answers: int = 0
    prompt: str = ""
    spec: RobotSpec | None = None
    policy_id: str = ""
    state: Float32 | None = None
    actions: Float32 | None = None
    images: dict[str, Picture] = field(default_factory=dict)
    at: float = 0.0
    latencies: deque[Latency] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    encoded: tuple[int, dict[str, str]] = (0, {})
    """Its pictures as data URLs, and at which answer they were made."""


class LiveView:
    """The robots connected now. Everything is called from the event loop's thread."""

    def __init__(self) -> None:
        self.robots: dict[int, RobotView] = {}

    def joined(self, number: int, address: str) -> None:
        """A robot has connected."""
        self.robots[number] = RobotView(number, address, time.time())

    def left(self, number: int) -> None:
        """A robot has gone."""
        self.robots.pop(number, None)

    def answered(self, number: int, observation: Mapping[str, Any], chosen: Chosen, total_ms: float) -> None:
        """A robot was given a chunk; keeps references only, so the observation must not change any more."""
        robot = self.robots[number]
        images = observation.get("images")
        robot.answers += 1
        robot.prompt = str(observation.get("prompt", ""))[:_PROMPT_SHOWN]
        robot.spec = chosen.served.policy.spec
        robot.policy_id = chosen.served.policy_id
        robot.state = np.asarray(observation["state"], np.float32)
        robot.actions = chosen.actions
        robot.images = _pictures(images) if isinstance(images, Mapping) else {}
        robot.at = time.time()
        robot.latencies.append(Latency(total_ms, chosen.queue_ms, chosen.infer_ms, chosen.together))


def told(robot: RobotView) -> dict[str, Any]:
    """A robot as plain data, its pictures as JPEG data URLs. Takes some milliseconds: not for the event loop."""
    spec, state, actions = robot.spec, robot.state, robot.actions
    return {
        "number": robot.number,
        "address": robot.address,
        "since": robot.since,
        "answers": robot.answers,
        "prompt": robot.prompt,
        "policy_id": robot.policy_id,
        "joints": list(spec.joint_names) if spec else [],
        "frequency_hz": spec.frequency_hz if spec else 0.0,
        "at": robot.at,
        "state": [] if state is None else np.round(state, 4).tolist(),
        "actions": [] if actions is None else np.round(actions, 4).tolist(),
        "cameras": _encoded(robot),
        "latencies": [
            [round(one.total, 2), round(one.queue, 2), round(one.infer, 2), one.together]
            for one in tuple(robot.latencies)
        ],
    }


def _encoded(robot: RobotView) -> dict[str, str]:
    """Its pictures as data URLs; made once, however many pages are open."""
    answers, images = robot.answers, robot.images
    if robot.encoded[0] != answers:
        robot.encoded = (answers, {name: _data_url(picture) for name, picture in images.items()})
    return robot.encoded[1]


def _pictures(images: Mapping[Any, Any]) -> dict[str, Picture]:
    """Of what a robot calls its pictures, those that are; of the rest nothing can be shown."""
    shown: dict[str, Picture] = {}
    for name, picture in images.items():
        if (
            isinstance(name, str)
            and isinstance(picture, np.ndarray)
            and picture.dtype == np.uint8
            and picture.ndim == 3
            and 3 in (picture.shape[0], picture.shape[2])
            and 0 < picture.size <= 3 * _PICTURE_PIXELS
        ):
            shown[name[:60]] = picture
        if len(shown) == _CAMERAS_SHOWN:
            break
    return shown


def _data_url(picture: Picture) -> str:
    from PIL import Image

    pixels = picture if picture.shape[2] == 3 else picture.transpose(1, 2, 0)
    # Every so manyeth pixel: quicker than to average, and good enough to see what a camera sees.
    step = max(1, pixels.shape[1] // _PICTURE_WIDTH)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).save(buffer, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
