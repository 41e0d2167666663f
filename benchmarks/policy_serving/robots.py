"""Robots that ask a policy server, as openpi's client does: pack, send, wait, unpack."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_blocking

from hitl_ops.serving.openpi_codec import pack, unpack

_CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


@dataclass(frozen=True)
class Crowd:
    """How many robots were answered.

    Attributes:
        answers_per_s: of all together.
        times_ms: of each answer, from packing the observation to the unpacked chunk.
    """

    answers_per_s: float
    times_ms: list[float]


def aloha_observation(height: int, width: int) -> dict[str, Any]:
    """Joints, four pictures and a task, as ALOHA's environment sends them."""
    draw = np.random.default_rng(0)
    return {
        "state": np.zeros(14, np.float32),
        "images": {name: draw.integers(0, 256, (3, height, width), np.uint8) for name in _CAMERAS},
        "prompt": "Lift the lid off the bowl",
    }


def overheads_ms(url: str, observation: dict[str, Any], questions: int) -> list[float]:
    """What each answer took beyond the pass itself, ms: packing, the way there and back, serving, unpacking."""
    overheads = []
    with connect_blocking(url, compression=None, max_size=None) as socket:
        socket.recv()
        for number in range(questions + questions // 10):
            begun = time.perf_counter()
            socket.send(pack(observation))
            reply = unpack(_bytes(socket.recv()))
            took_ms = (time.perf_counter() - begun) * 1000
            if number >= questions // 10:
                overheads.append(took_ms - reply["policy_timing"]["infer_ms"])
    return overheads


async def crowd(url: str, observation: dict[str, Any], robots: int, seconds: float) -> Crowd:
    """Let several robots ask, each again as soon as it is answered."""
    times_ms: list[float] = []
    begins = time.perf_counter() + 0.5
    ends = begins + seconds

    async def robot() -> None:
        async with connect(url, compression=None, max_size=None) as socket:
            await socket.recv()
            while (begun := time.perf_counter()) < ends:
                await socket.send(pack(observation))
                unpack(_bytes(await socket.recv()))
                if begins <= begun and (now := time.perf_counter()) < ends:
                    times_ms.append((now - begun) * 1000)

    await asyncio.gather(*(robot() for _ in range(robots)))
    return Crowd(len(times_ms) / seconds, times_ms)


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise RuntimeError(f"the server refused an observation: {message}")
    return message
