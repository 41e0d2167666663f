"""Seconds to label a data set by advantage, beside pandas on the same files; and how time and memory grow with it.

The data set is of version 2.1, a file an episode, 14+14 numbers a frame and three cameras. The reference does what
kai0's ``gt_label.py`` does: it reads each file whole to collect the advantages, then reads each whole once more, puts
the labels in and writes every column anew. It computes on arrays, not frame by frame, and publishes nothing safely.
Both label a copy of their own in place; afterwards labels and all other columns must be equal.

Growth is told by processor time: the wall clock of a run that writes hundreds of megabytes says more about what else
the machine does.

Run ``python -m benchmarks.label_advantage`` for the rows as JSON.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from hitl_ops.contracts.advantage_prompt import label_prompts
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.records.lerobot_layout import ACTION, STATE, DatasetInfo, arrow_schema, scalar, vector, with_automatic
from hitl_ops.samples.advantage_labels import label_advantage

IN_PLACE_AT_LEAST = 2.0
OVERLAY_AT_LEAST = 10.0
TIME_PER_FRAME_AT_MOST = 1.25
MEMORY_AT_MOST = 1.25
REFERENCE = "pandas, every file whole"
CAMERAS = ("cam_high", "hand_left", "hand_right")
TASK = "fold the cloth"
CHUNK, THRESHOLD = 50, 70.0


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    episodes: int = Field(default=200, ge=1, description="Episodes.")
    frames: int = Field(default=1000, ge=2, description="Frames of each.")
    dims: int = Field(default=14, ge=1, description="Numbers in a state and in an action.")
    growth: int = Field(default=10, ge=2, description="How many times the frames, where growth is looked at.")
    growth_rounds: int = Field(default=5, ge=1, description="Alternating runs for the growth.")


def make_dataset(root: Path, episodes: int, frames: int, dims: int) -> None:
    """Write a made-up data set of version 2.1; its videos hold no pictures."""
    names = [f"joint_{n}" for n in range(dims)]
    features = {STATE: vector(names), ACTION: vector(names), "progress": scalar("float32")}
    info = DatasetInfo(50, with_automatic(features), "made_up")
    info.total_episodes, info.total_frames, info.total_tasks = episodes, episodes * frames, 1
    schema = arrow_schema(info)
    lines = []
    for folder in ("meta", "data/chunk-000", *(f"videos/chunk-000/observation.images.{name}" for name in CAMERAS)):
        (root / folder).mkdir(parents=True)
    for n in range(episodes):
        chance = np.random.default_rng(n)
        walk = np.cumsum(chance.normal(0, 0.01, (frames, 2 * dims)), axis=0).astype(np.float32)
        gone = np.cumsum(chance.random(frames))
        columns: dict[str, npt.NDArray[Any]] = {
            STATE: walk[:, :dims],
            ACTION: walk[:, dims:],
            "progress": (gone / gone[-1]).astype(np.float32),
            "timestamp": (np.arange(frames) / 50).astype(np.float32),
            "frame_index": np.arange(frames),
            "episode_index": np.full(frames, n),
            "index": np.arange(frames) + n * frames,
            "task_index": np.zeros(frames, np.int64),
        }
        arrays = [
            pa.FixedSizeListArray.from_arrays(pa.array(columns[field.name].ravel()), type=field.type)
            if columns[field.name].ndim == 2
            else pa.array(columns[field.name], field.type)
            for field in schema
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), root / f"data/chunk-000/episode_{n:06d}.parquet")
        for name in CAMERAS:
            (root / f"videos/chunk-000/observation.images.{name}/episode_{n:06d}.mp4").write_bytes(b"no pictures")
        lines.append(json.dumps({"episode_index": n, "tasks": [TASK], "length": frames}))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": TASK}) + "\n")
    said = info.plain() | {"codebase_version": "v2.1", "chunks_size": 1_000_000}
    (root / "meta/info.json").write_text(json.dumps(said))


def label_with_pandas(root: Path) -> None:
    """Label in place, file by file, as upstream does."""
    import pandas as pd

    files = sorted(root.glob("data/chunk-*/*.parquet"))
    threshold = np.percentile(
        np.concatenate([_pandas_advantage(pd.read_parquet(file)) for file in files]).astype(np.float64),
        100 - THRESHOLD,
    )
    prompts = label_prompts(TASK, "binary")
    lines = [json.dumps({"task_index": number, "task": task}) for number, task in enumerate(prompts)]
    (root / "meta/tasks.jsonl").write_text("\n".join(lines) + "\n")
    for file in files:
        table = pd.read_parquet(file)
        table["task_index"] = (_pandas_advantage(table) >= threshold).astype(np.int32)
        table.to_parquet(file, index=False)


def _pandas_advantage(table: Any) -> npt.NDArray[np.float32]:
    progress = table["progress"].to_numpy()
    frames = len(progress)
    ahead = np.minimum(np.arange(frames) + CHUNK, frames - 1)
    advantage: npt.NDArray[np.float32] = progress[ahead] - progress
    tail = np.arange(max(frames - CHUNK, 0), frames)
    advantage[tail] = (progress[-1] - progress[tail]) / (frames - tail).astype(np.float32) * np.float32(CHUNK)
    return advantage


def _equal(ours: Path, theirs: Path) -> bool:
    """Whether both copies hold the same, but for what the reference loses of the schema."""
    for file in sorted(ours.glob("data/chunk-*/*.parquet")):
        mine, other = pq.read_table(file), pq.read_table(theirs / file.relative_to(ours))
        if any(mine.column(name).to_pylist() != other.column(name).to_pylist() for name in mine.column_names):
            return False
    return (ours / "meta/tasks.jsonl").read_text() == (theirs / "meta/tasks.jsonl").read_text()


def _grown(dataset: Path, overlay: Path | None) -> tuple[float, float]:
    """Processor seconds, and the most memory in MB, of a process of its own that labels."""
    script = (
        "import re, sys, time; from pathlib import Path;"
        "import pandas, pyarrow.parquet;"
        "from hitl_ops.samples.advantage_labels import label_advantage;"
        "started = time.process_time();"
        "label_advantage(sys.argv[1], overlay=sys.argv[2] or None);"
        "took = time.process_time() - started;"
        # Not ru_maxrss: a child begins with its parent's.
        "print(took, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
    )
    command = [sys.executable, "-c", script, str(dataset), str(overlay or "")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench label-advantage``."""
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="flywheel-label-advantage-") as name:
        folder = Path(name)
        ours, theirs, large = (folder / part for part in ("ours", "theirs", "large"))
        make_dataset(ours, settings.episodes, settings.frames, settings.dims)
        shutil.copytree(ours, theirs)
        contenders: dict[str, Callable[[], object]] = {
            "in place": lambda: label_advantage(ours),
            "pandas": lambda: label_with_pandas(theirs),
            "overlay": lambda: label_advantage(ours, overlay=folder / "overlay"),
        }
        seconds: dict[str, list[float]] = {one: [] for one in contenders}
        for counted in [False, *[True] * settings.rounds]:  # once before it counts: libraries are loaded
            for one, label in contenders.items():
                started = time.perf_counter()
                label()
                if counted:
                    seconds[one].append(time.perf_counter() - started)
        if not _equal(ours, theirs):
            raise ValueError("the labels are not those of the reference")
        make_dataset(large, settings.episodes * settings.growth, settings.frames, settings.dims)
        grown: dict[str, list[tuple[float, float]]] = {}
        for _ in range(settings.growth_rounds):
            for size, dataset in (("small", ours), ("large", large)):
                for way, overlay in (("in place", None), ("overlay", folder / f"{size}-overlay")):
                    grown.setdefault(f"{way} {size}", []).append(_grown(dataset, overlay))
    medians = {one: statistics.median(took) for one, took in seconds.items()}
    frames = settings.episodes * settings.frames
    rows = [
        _row(
            f"label {frames:,} frames, {settings.dims}+{settings.dims}, {way}",
            "s",
            medians[way],
            medians["pandas"],
            REFERENCE,
            medians["pandas"] / medians[way],
            least,
            medians["pandas"] / medians[way] >= least,
        )
        for way, least in (("in place", IN_PLACE_AT_LEAST), ("overlay", OVERLAY_AT_LEAST))
    ]
    for number, what, unit, most in (
        (0, "processor time per frame", "µs", TIME_PER_FRAME_AT_MOST),
        (1, "most memory", "MB", MEMORY_AT_MOST),
    ):
        for way in ("in place", "overlay"):
            small, big = (
                statistics.median(one[number] for one in grown[f"{way} {size}"]) for size in ("small", "large")
            )
            if unit == "µs":
                small, big = small / frames * 1e6, big / (frames * settings.growth) * 1e6
            metric = f"{what}, {settings.growth} times the frames, {way}"
            rows.append(_row(metric, unit, big, small, "the smaller data set", big / small, most, big / small <= most))
    return rows


def _row(
    metric: str,
    unit: str,
    ours: float,
    reference: float,
    reference_name: str,
    ratio: float,
    target: float,
    holds: bool,
) -> dict[str, Any]:
    """One figure, as ``flywheel bench`` takes it."""
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 3),
        "reference": round(reference, 3),
        "reference_name": reference_name,
        "ratio": round(ratio, 2),
        "target": target,
        "holds": holds,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
