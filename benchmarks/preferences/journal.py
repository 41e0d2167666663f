"""What a run has come to, a JSON line after every helping of comparisons; only a whole run has the file's own name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.evaluation.reach_evaluation import ReachEvaluationConfig, play_targets
from hitl_ops.rollouts.reach_clips import ReachActing
from hitl_ops.worlds.reach.config import ReachConfig


class Journal:
    """Writes a run's lines; a context manager, which gives the file its name when nothing went wrong.

    Args:
        out: the file.
        made: the run's settings; the first line holds them.
    """

    def __init__(self, out: Path, made: StrictConfig) -> None:
        self._out = out
        self._part = out.with_suffix(".part")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("w", encoding="utf-8")
        self._began = time.perf_counter()
        self._write({"made": made.model_dump(mode="json")})

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._out)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def examine(
        self, policy: ReachActing, world: ReachConfig, evaluation: ReachEvaluationConfig, comparisons: int, steps: int
    ) -> float:
        """Score a policy, and write it down; returns the share of targets that it reached.

        Args:
            policy: who acts.
            world: where.
            evaluation: on which targets.
            comparisons: that it took so far.
            steps: of the world that it took so far, the examination's left out.
        """
        seeds = list(range(evaluation.seed, evaluation.seed + evaluation.targets))
        began = time.perf_counter()
        played = play_targets(policy, world, seeds, evaluation.arms)
        self._began += time.perf_counter() - began
        self._write(
            {
                "comparisons": comparisons,
                "steps": steps,
                "success": float(played.reached.mean()),
                "held": float(played.held.mean()),
                "nearest_m": float(sorted(played.nearest)[len(seeds) // 2]),
                "seconds": round(time.perf_counter() - self._began, 1),
            }
        )
        return float(played.reached.mean())


def finished(out: Path, made: StrictConfig) -> list[dict[str, Any]] | None:
    """A whole run's lines; None where there is none, or one of other settings."""
    try:
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return None
    return lines[1:] if lines and lines[0] == {"made": made.model_dump(mode="json")} else None
