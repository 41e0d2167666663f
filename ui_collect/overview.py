"""What the dashboard shows: what people gave so far, who plays now, and how the server does."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.serving.child_process import resident_mb
from ui_collect.flow import Flow
from ui_collect.limits import Gauge
from ui_collect.loop_lag import LoopLag

_DISK_EVERY_S = 30.0


class DiskUse:
    """Bytes below a folder, looked up now and then: walking thousands of files takes a while."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes = 0
        self._until = 0.0

    def figures(self) -> dict[str, int]:
        """``sessions_bytes`` used by records of people, ``free_bytes`` left on the disk; may walk the folder."""
        if time.monotonic() >= self._until:
            self._bytes = sum(_bytes_below(path) for path in self._folder.glob("*/sessions"))
            self._until = time.monotonic() + _DISK_EVERY_S
        there = self._folder if self._folder.exists() else self._folder.parent
        return {"sessions_bytes": self._bytes, "free_bytes": shutil.disk_usage(there).free}


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue  # closed or removed meanwhile
    return total


class OverviewPage:
    """Gathers the figures.

    Args:
        store: the root.
        flow: the open sessions.
        lag: the event loop's lateness.
        sockets: the live connections.
        workers: asks how the simulation workers and the inference process do.
    """

    def __init__(self, store: Store, flow: Flow, lag: LoopLag, sockets: Gauge, workers: Any) -> None:
        self._flow = flow
        self._lag = lag
        self._sockets = sockets
        self._workers = workers
        self._disk = DiskUse(store.root / "planner")
        self._started = time.monotonic()

    async def figures(self) -> dict[str, Any]:
        """Everything, as plain data.

        Raises:
            LabelStoreUnavailable: the label store does not answer.
        """
        labels = self._flow.labels
        kept = await labels.run(self._kept, labels.store)
        return {
            **kept,
            "target": self._flow.settings.target,
            "live": self._live(),
            "places": {
                "capacity": self._flow.lobby.capacity,
                "taken": self._flow.lobby.taken,
                "waiting": self._flow.lobby.waiting,
            },
            "connections": {
                "now": self._sockets.now,
                "peak": self._sockets.peak,
                "refused": self._sockets.refused,
                "limit": self._sockets.limit,
            },
            "loop_lag": self._lag.figures(),
            "workers": self._workers(),
            "memory_mb": round(resident_mb(), 1),
            "uptime_s": round(time.monotonic() - self._started),
        }

    def _kept(self, store: LabelStore) -> dict[str, Any]:
        overview = store.overview()
        return {
            "invitations": overview.invitations,
            "participants": overview.participants,
            "iterations": [
                {
                    **figures.model_dump(mode="json"),
                    "success_rate": figures.success_rate,
                    "human_minutes": round(figures.human_seconds / 60, 1),
                }
                for figures in overview.iterations
            ],
            "disk": self._disk.figures(),
        }

    def _live(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        rows = []
        for sitting in self._flow.sittings.values():
            play = sitting.play
            playing = play is not None and sitting.stage in ("episode", "tutorial")
            rows.append(
                {
                    "session": sitting.session_id,
                    "iteration": sitting.iteration,
                    "stage": sitting.stage,
                    "connected": sitting.connected,
                    "episode": play.episode.episode_id if play is not None and playing else "",
                    "attempt": play.attempt if play is not None and playing else 0,
                    "quiet_s": round(now - (sitting.last_sign if sitting.connected else sitting.away_since)),
                }
            )
        return rows
