"""Traces of two policies on the same episodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.records.traces import trace_path, write_trace

Play = Callable[..., Path]


def play(
    folder: Path,
    episode_id: str,
    *,
    percent: float = 1.0,
    steps: int = 1000,
    latencies: tuple[float, ...] = (1.0, 2.0),
    partner_latencies: tuple[float, ...] = (),
    task_type: str = "spatial",
    split: str = "val",
    scene_id: str = "home_1",
    instruction: str = "Bring the mug to the table.",
    **result: Any,
) -> Path:
    """Write a trace in which agent 0 (ai) and agent 1 (human) decided with the given latencies."""
    turns = [(0, "ai", latency) for latency in latencies] + [(1, "human", latency) for latency in partner_latencies]
    decisions = [
        Decision(
            index=index,
            agent=agent,
            role=role,  # type: ignore[arg-type]
            policy_id="p",
            sim_step=index,
            prompt="Next Agent_Action:<act>",
            admissible=["Wait[]"],
            reply="Wait[]",
            action="Wait[]",
            response="Successful execution!",
            latency_ms=latency,
        )
        for index, (agent, role, latency) in enumerate(turns)
    ]
    values: dict[str, Any] = {
        "percent_complete": percent,
        "success": percent == 1.0,
        "sim_steps": steps,
        "replans": {0: len(latencies), 1: len(partner_latencies)},
        "runtime_s": 0.5,
        "ended_by": "done",
    }
    header = EpisodeHeader(
        episode_id=episode_id,
        scene_id=scene_id,
        task_type=task_type,
        split=split,
        instruction=instruction,
        seed=1,
        roles={0: "ai", 1: "human"},
        policies={0: "p", 1: "human:x"},
    )
    path = trace_path(folder, episode_id)
    write_trace(path, header, decisions, EpisodeResult(**(values | result)))
    return path


@pytest.fixture(name="play")
def play_fixture() -> Play:
    return play
