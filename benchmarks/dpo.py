"""A step of DPO beside the form with two models: memory, time, and that both say the same.

The reference keeps a frozen copy of the model and runs four forward passes a step: both models over the better answers
and over the worse ones, each with the picture and the prompt anew, logits at every place. Ours keeps one model, knows
what it found of the answers as the phase began, and runs the prompt of a pair once for both answers. Same agent, same
pairs, same batches, same optimizer, single precision.

Every run is a process of its own; the two sides alternate, and a figure is the median of the rounds. Times are of the
processor, of one thread: other work on the machine does not count; the clock's stand beside them. A run's first step
is left out. What our side computes of a pair once, as the phase's reference, is charged to the step: in full for a pair
that is used once, in parts where it is used several times.

Memory is what the kernel counted at the most as resident (VmHWM, set back once everything is imported), less what the
process held before it built the model: weights, copies, optimizer, activations. It is measured in runs of two steps in
which the C library gives every freed tensor back at once (MALLOC_MMAP_THRESHOLD_), so that resident is what is held.
By default it keeps pieces that it cannot use again, on both sides and to no rule; that figure stands beside it, too.

Run ``python -m benchmarks.dpo`` for the rows as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.agent_training.side import SIDES, Run, RunSettings, Side
from hitl_ops.contracts.errors import UserError

MEMORY_RATIO, TIME_RATIO = 0.6, 0.75
SAME_LOSS = 1e-4
"""Largest difference of a step's loss, nats, between the two sides."""
REFERENCE = "two models, four forward passes"


class Settings(RunSettings):
    """What is measured."""

    rounds: int = Field(default=5, ge=1, description="runs of each side; five or more for figures to be told")
    uses: int = Field(default=5, ge=1, description="how often a pair is trained on, in the row that shares its cost")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench dpo``.

    Raises:
        UserError: a run failed, or the machine does not count a process's memory.
    """
    settings = settings or Settings()
    timed: dict[Side, list[Run]] = {side: [] for side in SIDES}
    weighed: dict[Side, list[Run]] = {side: [] for side in SIDES}
    for number in range(settings.rounds):
        for side in SIDES:
            timed[side].append(run_process(side, settings))
            weighed[side].append(run_process(side, settings.replace(steps=2), give_back=True))
        print(f"round {number + 1} of {settings.rounds} done", file=sys.stderr, flush=True)
    ours, theirs = timed["ours"], timed["reference"]
    told = f"{ours[0].parameters / 1e6:.0f} M parameters, {settings.pairs} pairs of {ours[0].prompt_tokens:.0f} tokens"
    steps = _median(run.step_s for run in ours)
    asked = _median(run.reference_s for run in ours)
    two = _median(run.step_s for run in theirs)
    clock = [_median(run.wall_s for run in side) for side in (ours, theirs)]
    held = [_median(run.model_mib for run in weighed[side]) for side in SIDES]
    default = [_median(run.model_mib for run in timed[side]) for side in SIDES]
    whole = [_median(run.process_mib for run in timed[side]) for side in SIDES]
    apart = max(abs(a - b) for a, b in zip(ours[0].losses, theirs[0].losses, strict=True))
    often = steps + asked / settings.uses
    return [
        row(f"peak memory of model and step, {told}", "MiB", *held, MEMORY_RATIO),
        row("the same, freed memory kept as the C library does by default", "MiB", *default),
        row("peak memory of the whole process, by default", "MiB", *whole),
        row(
            "processor time per step, a pair's reference charged in full (used once)",
            "s",
            steps + asked,
            two,
            TIME_RATIO,
        ),
        row(
            f"processor time per step, a pair's reference charged by a share (used {settings.uses} times)",
            "s",
            often,
            two,
        ),
        row("processor time per step, references known", "s", steps, two),
        row("processor time of the references of a step's pairs", "s", asked),
        row("time per step by the clock, references known", "s", *clock),
        {
            **row(f"largest difference of a step's loss, {len(ours[0].losses)} steps", "nats", apart),
            "target": SAME_LOSS,
            "holds": apart <= SAME_LOSS,
        },
    ]


def run_process(side: Side, settings: RunSettings, *, give_back: bool = False) -> Run:
    """A run in a process of its own.

    Args:
        side: whose.
        settings: of the run.
        give_back: whether the C library is to give freed tensors back to the machine at once.

    Raises:
        UserError: it failed.
    """
    told = RunSettings(**settings.model_dump(include=set(RunSettings.model_fields))).model_dump_json()
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.agent_training.side", side, told],
        cwd=root,
        env=os.environ | ({"MALLOC_MMAP_THRESHOLD_": str(2**17)} if give_back else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UserError(f"a run of '{side}' failed: {last[0]}", "lower pairs or language_layers if memory ran out")
    return Run.model_validate_json(done.stdout.splitlines()[-1])


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def row(
    metric: str, unit: str, ours: float, reference: float | None = None, target: float | None = None
) -> dict[str, Any]:
    """One line of the result; ``holds`` is about the ratio."""
    ratio = ours / reference if reference else None
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 7),
        "reference": None if reference is None else round(reference, 7),
        "reference_name": None if reference is None else REFERENCE,
        "ratio": None if ratio is None else round(ratio, 4),
        "target": target,
        "holds": None if target is None or ratio is None else ratio <= target,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
