"""A scripted episode, recorded as the rollout runner records one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.records.traces import trace_path, write_trace

OK = "Successful execution!"
# action, response, percent complete at its end
STEPS: list[tuple[str, str, float]] = [
    ("Explore[kitchen_1]", OK, 0.0),
    ("FindObjectTool[mug]", OK, 0.0),
    ("Pick[mug_1]", "Unexpected failure! - Failed to pick! Not close enough to the object.", 0.0),
    ("Navigate[mug_1]", OK, 0.0),
    ("Pick[mug_1]", OK, 0.0),
    ("Place[mug_1, on, table_1, None, None]", OK, 0.5),
    ("Clean[mug_1]", OK, 1.0),
    ("Navigate[sink_1]", OK, 1.0),
    ("Done[]", "", 1.0),
]


def record(
    folder: Path,
    episode_id: str,
    *,
    steps: list[tuple[str, str, float]] = STEPS,
    agents: tuple[int, ...] = (0,),
    roles: dict[int, Any] | None = None,
    task_type: str = "spatial",
    split: str = "train",
    scene_id: str = "home_1",
    seed: int = 7,
    final_percent: float | None = None,
    result: dict[str, Any] | None = None,
) -> Path:
    """Write the trace of an episode in which each agent takes ``steps``, one after the other, in lockstep."""
    roles = roles or dict.fromkeys(agents, "ai")
    history = {agent: f"Task: {episode_id}\nNext Agent_Action:<act>" for agent in agents}
    decisions = []
    for turn, (action, response, percent) in enumerate(steps):
        for agent in agents:
            decisions.append(
                Decision(
                    index=len(decisions),
                    agent=agent,
                    role=roles[agent],
                    policy_id=f"oracle:{agent}",
                    sim_step=100 * turn,
                    end_step=100 * turn + 100,
                    prompt=history[agent],
                    admissible=[action, "Wait[]"],
                    reply=action,
                    action=action,
                    response=response,
                    percent_complete=percent,
                    latency_ms=1.5,
                )
            )
            history[agent] += f"{action}<end_act>\nAction Result: {response}\nNext Agent_Action:<act>"
    percent = steps[-1][2] if final_percent is None else final_percent
    values: dict[str, Any] = {
        "percent_complete": percent,
        "success": percent == 1.0,
        "sim_steps": 100 * len(steps),
        "replans": dict.fromkeys(agents, len(steps)),
        "runtime_s": 0.1,
        "ended_by": "done",
    }
    header = EpisodeHeader(
        episode_id=episode_id,
        scene_id=scene_id,
        task_type=task_type,
        split=split,
        instruction="Bring the clean mug to the table.",
        seed=seed,
        roles=roles,
        policies={agent: f"oracle:{agent}" for agent in agents},
    )
    path = trace_path(folder, episode_id)
    write_trace(path, header, decisions, EpisodeResult(**(values | (result or {}))))
    return path


@pytest.fixture
def record_trace() -> Callable[..., Path]:
    return record
