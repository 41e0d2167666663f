"""Policies for tests that have been evaluated: with which episodes solved, each test says."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import summarise
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.records.traces import trace_path, write_trace
from tests.support.small_policies import write_policy


def write_evaluated(store: Store, iteration: int, *, seed: int = 0, solved: str = "1111") -> str:
    """Write an iteration's policy and its evaluation: a digit an episode, ``1`` where solved; returns its id."""
    paths = store.iteration("planner", iteration)
    policy_id = write_policy(paths.policy, iteration=iteration, seed=seed)
    write_evaluation(paths.evaluation, policy_id, solved)
    return policy_id


def write_evaluation(
    folder: Path,
    policy_id: str,
    solved: str,
    *,
    split: str = "val",
    instruction: str = "Bring the mug to the table.",
    beside: dict[str, tuple[str, str]] | None = None,
) -> None:
    """Write an evaluation out of traces, as ``flywheel evaluate`` does; two episodes to a home.

    Args:
        folder: the evaluation.
        policy_id: who is examined, under the name ``student``.
        solved: a digit an episode, ``1`` where solved.
        split: the episodes' split.
        instruction: what they ask for.
        beside: who else is examined: name → policy id, and what it solved.
    """
    examined = {"student": (policy_id, solved), **(beside or {})}
    folders = {name: folder / "rollouts" / name / "traces" for name in examined}
    for name, (played_by, digits) in examined.items():
        _write_traces(folders[name], played_by, digits, split, instruction)
    summarise(folders, folder, EvaluationConfig(primary_split=split, resamples=100))


def _write_traces(traces: Path, policy_id: str, solved: str, split: str, instruction: str) -> None:
    for number, digit in enumerate(solved):
        episode_id = f"{split}_{number:03d}"
        header = EpisodeHeader(
            episode_id=episode_id,
            scene_id=f"{split}_home_{number // 2}",
            task_type="spatial",
            split=split,
            instruction=instruction,
            seed=number,
            roles={0: "ai", 1: "ai"},
            policies={0: policy_id, 1: policy_id},
        )
        decision = Decision(
            index=0,
            agent=0,
            role="ai",
            policy_id=policy_id,
            sim_step=0,
            prompt="Next Agent_Action:<act>",
            admissible=["Wait[]"],
            reply="Wait[]",
            action="Wait[]",
            response="Successful execution!",
        )
        result = EpisodeResult(
            percent_complete=1.0 if digit == "1" else 0.5,
            success=digit == "1",
            sim_steps=100,
            replans={0: 1, 1: 0},
            runtime_s=0.1,
            ended_by="done",
        )
        write_trace(trace_path(traces, episode_id), header, [decision], result)
