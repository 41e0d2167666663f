"""Frames a second from a station's recordings to a LeRobot data set, beside LeRobot's own writer.

Both read the same HDF5 episodes and write the same features to the same disk, statistics included; ours also writes
norm_stats.json and syncs every file. Runs alternate. Without pictures, and with one 480×640 camera recorded as JPEG:
there LeRobot encodes with its default (PNG, then AV1), and, for a look at what the codec costs, with our settings.

Memory is the largest a process of its own held while it converted some episodes, and ten times as many.
The result is opened in LeRobot, and what it finds is compared, in tests/hitl_ops/records/test_lerobot_dataset.py.

Run ``python -m benchmarks.convert`` for the rows as JSON.
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

from pydantic import Field

from benchmarks.conversion.recordings import made_up_episode
from benchmarks.conversion.stock_writer import write_with_lerobot
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.records.station_hdf5 import list_station_episodes
from hitl_ops.records.video_encoding import VideoSettings
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset

STATE_RATIO = 40.0
VIDEO_RATIO = 3.0
MEMORY_RATIO = 1.1
LEROBOT = "LeRobot 0.6's writer"


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    episodes: int = Field(default=20, ge=1, description="Episodes without pictures.")
    frames: int = Field(default=500, ge=2, description="Frames of each of them.")
    video_episodes: int = Field(default=4, ge=1, description="Episodes with a camera.")
    video_frames: int = Field(default=100, ge=2, description="Frames of each of them.")
    memory_episodes: int = Field(
        default=300,
        ge=1,
        description="Episodes whose memory is compared with ten times as many; a file of the data set holds 256.",
    )
    height: int = Field(default=480, ge=16, description="Rows of a picture.")
    width: int = Field(default=640, ge=16, description="Columns of a picture.")


def _ours(recordings: Path, out: Path, video: VideoSettings | None = None) -> int:
    config = StationDatasetConfig() if video is None else StationDatasetConfig(video=video)
    return build_station_dataset(recordings, out, config).frames


def _rates(contenders: dict[str, Callable[[Path], int]], rounds: int) -> dict[str, float]:
    """Median frames a second of each, one after another in each round."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, convert in contenders.items():
            with tempfile.TemporaryDirectory(prefix="flywheel-convert-") as folder:
                started = time.perf_counter()
                frames = convert(Path(folder) / "set")
                rates[name].append(frames / (time.perf_counter() - started))
    return {name: statistics.median(one) for name, one in rates.items()}


def _row(metric: str, unit: str, ours: float, reference: float, name: str, target: float | None) -> dict[str, Any]:
    ratio = ours / reference
    holds = None if target is None else ratio <= target if unit == "MB" else ratio >= target
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 1),
        "reference": round(reference, 1),
        "reference_name": name,
        "ratio": round(ratio, 2),
        "target": target,
        "holds": holds,
    }


def memory_mb(recordings: Path) -> float:
    """The most memory a process held that converted a folder."""
    script = (
        "import re, sys, tempfile; from pathlib import Path;"
        "from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset as build;"
        "folder = tempfile.TemporaryDirectory();"
        "build(sys.argv[1], Path(folder.name) / 'set', StationDatasetConfig(workers=1));"
        # Not ru_maxrss: a child begins with its parent's.
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script, recordings], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench convert``."""
    settings = settings or Settings()
    size = settings.height, settings.width
    with tempfile.TemporaryDirectory(prefix="flywheel-recordings-") as folder:
        state, video, many = (Path(folder) / name for name in ("state", "video", "many"))
        for n in range(settings.episodes):
            made_up_episode(state / f"episode_{n}.hdf5", settings.frames, n)
        for n in range(settings.video_episodes):
            made_up_episode(video / f"episode_{n}.hdf5", settings.video_frames, n, size)
        states, videos = list_station_episodes(state), list_station_episodes(video)
        # Once before it counts: libraries are loaded, files are in the cache.
        for convert in (_ours, lambda files, out: write_with_lerobot(list_station_episodes(files)[:1], out)):
            convert(state, Path(folder) / "warm")
            shutil.rmtree(Path(folder) / "warm")
        numbers = _rates(
            {"ours": lambda out: _ours(state, out), "stock": lambda out: write_with_lerobot(states, out)},
            settings.rounds,
        )
        pictures = _rates(
            {
                "ours": lambda out: _ours(video, out),
                "stock": lambda out: write_with_lerobot(videos, out),
                "same codec": lambda out: write_with_lerobot(videos, out, VideoSettings()),
            },
            settings.rounds,
        )
        few, ten = settings.memory_episodes, 10 * settings.memory_episodes
        memory = []
        for count in (few, ten):
            for n in range(len(memory) * few, count):
                made_up_episode(many / f"episode_{n}.hdf5", settings.frames, n)
            memory.append(memory_mb(many))
    camera = f"one {settings.height}×{settings.width} camera"
    return [
        _row("frames per second, no pictures", "1/s", numbers["ours"], numbers["stock"], LEROBOT, STATE_RATIO),
        _row(f"frames per second, {camera}", "1/s", pictures["ours"], pictures["stock"], LEROBOT, VIDEO_RATIO),
        _row(
            f"frames per second, {camera}, same codec",
            "1/s",
            pictures["ours"],
            pictures["same codec"],
            f"{LEROBOT}, h264 as ours",
            None,
        ),
        _row(f"memory, {ten} episodes", "MB", memory[1], memory[0], f"ours, {few} episodes", MEMORY_RATIO),
    ]


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
