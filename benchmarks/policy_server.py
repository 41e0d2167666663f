"""What serving a robot's policy costs, and what sharing passes gains, beside a server that infers on its event loop.

Both servers speak openpi's protocol with the same codec on the same kind of event loop, in a process of their own, with
a policy whose pass takes some milliseconds whatever the number of robots. Servers and robots keep the memory they
free, as ``flywheel serve`` and the station client do. Overhead is what an answer takes beyond the
pass, seen from a robot that is alone: packing, loopback, serving, unpacking. The two are measured in turn; a figure is
the median of five rounds. Run ``python -m benchmarks.policy_server`` for the rows as JSON.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from typing import Any, get_args

from pydantic import Field

from benchmarks.collection.rows import row
from benchmarks.policy_serving.robots import aloha_observation, crowd, overheads_ms
from benchmarks.policy_serving.server_process import ServerProcess, Side
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.serving.freed_memory import keep_freed_memory

OVERHEAD_MS, THROUGHPUT_RATIO = 2.0, 4.0
SENT, WHOLE = (224, 224), (480, 640)
"""Pictures as openpi's ALOHA example sends them, and as the cameras take them."""


class Settings(StrictConfig):
    """What is measured, and for how long."""

    rounds: int = Field(default=5, ge=1, description="rounds; five or more for figures to be told")
    questions: int = Field(default=200, ge=10, description="of the robot that is alone, each round and picture size")
    alone_pass_ms: float = Field(default=5.0, ge=0, description="a pass where the overhead is measured")
    robots: int = Field(default=8, ge=1, description="robots at once")
    pass_ms: float = Field(default=50.0, gt=0, description="a pass where they share it")
    seconds: float = Field(default=5.0, gt=0, description="how long they ask, each round")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench policy-server``."""
    settings = settings or Settings()
    keep_freed_memory()
    figures: dict[tuple[str, Side], list[float]] = {}

    def note(name: str, side: Side, value: float) -> None:
        figures.setdefault((name, side), []).append(value)

    for number in range(settings.rounds):
        for side in get_args(Side):
            with ServerProcess(side, settings.alone_pass_ms) as server:
                for size in (SENT, WHOLE):
                    took = overheads_ms(server.url, aloha_observation(*size), settings.questions)
                    note(f"{size} p50", side, statistics.median(took))
                    note(f"{size} p95", side, _p95(took))
            with ServerProcess(side, settings.pass_ms) as server:
                many = asyncio.run(crowd(server.url, aloha_observation(*SENT), settings.robots, settings.seconds))
                note("throughput", side, many.answers_per_s)
                note("time p95", side, _p95(many.times_ms))
        print(f"round {number + 1} of {settings.rounds} done", file=sys.stderr, flush=True)

    def both(name: str) -> tuple[float, float]:
        return statistics.median(figures[name, "ours"]), statistics.median(figures[name, "reference"])

    people = f"{settings.robots} robots, pass of {settings.pass_ms:g} ms"
    pictures = {size: f"4 pictures of {size[0]}×{size[1]}" for size in (SENT, WHOLE)}
    return [
        row(f"overhead over bare inference, p50, {pictures[SENT]}", "ms", *both(f"{SENT} p50"), limit=OVERHEAD_MS),
        row(f"overhead over bare inference, p95, {pictures[SENT]}", "ms", *both(f"{SENT} p95")),
        row(f"overhead over bare inference, p50, {pictures[WHOLE]}", "ms", *both(f"{WHOLE} p50")),
        row(f"chunks a second, {people}", "1/s", *both("throughput"), target=THROUGHPUT_RATIO, at_least=True),
        row(f"time of a chunk, p95, {people}", "ms", *both("time p95")),
    ]


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))] if values else float("nan")


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
