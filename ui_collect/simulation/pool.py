"""All processes that play, seen from the web server's event loop: simulation workers, inference, records.

Whoever dies is started anew. Plays of a worker that died are opened again from their logs, and what their people did
since the last durable event is sent again; its numbers tell the worker what it has taken in already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.store import Store
from hitl_ops.serving.decision_messages import ServerStatus
from hitl_ops.serving.serving_config import ServingConfig
from hitl_ops.worlds.habitat.config import SceneConfig
from ui_collect.simulation.child import Child
from ui_collect.simulation.messages import (
    Act,
    ClientOp,
    Close,
    ClosePlayRecord,
    EndSession,
    EventKind,
    Finish,
    Input,
    Join,
    Leave,
    OpenPlay,
    Override,
    PlayEvent,
    Skip,
    WorkerStats,
)
from ui_collect.simulation.runtime_folder import make_runtime_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

_UNSAVED = 512
_STOP_WORKERS_S, _STOP_OTHERS_S = 15.0, 5.0
_RESTARTS = 5
"""A play whose worker died this often while it was open is suspected, and given up."""
_RECORD_TRIES = 3
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class PoolSettings(StrictConfig):
    """Which processes play, and with what."""

    root: Path = Field(description="the store's root")
    workers: int = Field(default=0, ge=0, le=256, description="simulation processes; 0: cores less one, at least one")
    policy: str = Field(
        default="serving",
        description="what the inference process serves: an alias (candidate, serving, previous), a policy's folder, "
        "or none",
    )
    program: str = Field(default="planner", description="whose alias")
    serving: ServingConfig = Field(default_factory=ServingConfig)
    scene: SceneConfig = Field(default=SceneConfig(), description="what homes are played in")

    @property
    def processes(self) -> int:
        """How many workers that makes."""
        return self.workers or max(1, (os.cpu_count() or 1) - 1)


class PoolStats(BaseModel):
    """How the processes do."""

    model_config = ConfigDict(extra="forbid")

    plays: int = Field(description="plays not over yet")
    workers: list[WorkerStats | None] = Field(description="as each said last; None before it has")
    worker_restarts: int
    inference: ServerStatus | None = Field(description="as the workers heard last; None while it is away, or none is")
    inference_restarts: int
    processes: dict[str, int | None] = Field(description="process ids by name; None while being started anew")


@dataclass
class _Worker:
    child: Child
    plays: dict[str, _Play] = field(default_factory=dict)
    stats: WorkerStats | None = None


@dataclass
class _Play:
    asked: OpenPlay
    worker: _Worker
    unsaved: dict[int, ClientOp] = field(default_factory=dict)
    closing: Close | None = None
    restarts: int = 0


@dataclass
class _Record:
    asked: ClosePlayRecord | EndSession
    tries: int = 1


class SimulationPool:
    """Runs the processes and passes messages on.

    Args:
        settings: which processes.
        on_events: called in the event loop with everything a process has said at once.
    """

    def __init__(self, settings: PoolSettings, on_events: Callable[[list[PlayEvent]], None]) -> None:
        self.settings = settings
        self._on_events = on_events
        self._folder: Path | None = None
        self._workers: list[_Worker] = []
        self._inference: Child | None = None
        self._records: Child | None = None
        self._plays: dict[str, _Play] = {}
        self._to_record: dict[str, _Record] = {}
        self._inference_status: ServerStatus | None = None

    async def start(self) -> None:
        """Start all processes; plays may be opened as soon as this returns.

        Raises:
            OSError: a process or the folder of their sockets cannot be made.
        """
        folder = self._folder = make_runtime_folder()
        root = str(Store.at(self.settings.root).root)
        decisions = folder / "decisions.sock"
        scene = ["--scene", self.settings.scene.model_dump_json()]
        if self.settings.policy != "none":
            self._inference = Child("inference", self._inference_arguments(decisions, root))
            await self._inference.start()
        for number in range(self.settings.processes):
            worker = _Worker(
                Child(
                    f"worker {number}",
                    ["-m", "ui_collect.simulation.worker", "--decisions", str(decisions), "--root", root, *scene],
                    heard=partial(self._heard, number),
                    renewed=partial(self._reopen, number),
                    environment=_ONE_THREAD,
                )
            )
            self._workers.append(worker)
            await worker.child.start()
        self._records = Child(
            "records",
            ["-m", "ui_collect.simulation.records", "--root", root, *scene],
            heard=self._recorded,
            renewed=self._record_again,
            environment=_ONE_THREAD,
        )
        await self._records.start()

    def _inference_arguments(self, socket: Path, root: str) -> list[str]:
        settings = self.settings
        source = (
            ["--alias", settings.policy, "--program", settings.program, "--root", root]
            if settings.policy in ("candidate", "serving", "previous")
            else ["--policy", str(Path(settings.policy).expanduser().resolve())]
        )
        config = settings.serving.model_dump_json()
        return ["-m", "hitl_ops.serving", "--socket", str(socket), "--nice", "5", "--config", config, *source]

    async def stop(self) -> None:
        """Pause all plays, make their logs durable and end all processes."""
        await asyncio.gather(*(worker.child.stop(patience_s=_STOP_WORKERS_S) for worker in self._workers))
        others = [child for child in (self._inference, self._records) if child is not None]
        await asyncio.gather(*(child.stop(patience_s=_STOP_OTHERS_S) for child in others))
        if self._folder is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._folder)

    # --- asking -------------------------------------------------------------------------------------------

    def send(self, message: OpenPlay | ClientOp | Join | Leave | Close | EndSession) -> None:
        """Pass a message on to where it belongs; never waits, answers come as events.

        ``OpenPlay`` goes to the worker with the fewest plays and is answered by ``opened``, or by ``over`` where the
        log says that the play is over, or by an ``error`` with ``cannot_open``. Messages for a play that is not open,
        or is over, are passed over.
        """
        if isinstance(message, EndSession):
            self._record(message.session_id, message)
            return
        if isinstance(message, OpenPlay):
            self._open(message)
            return
        play = self._plays.get(message.play_id)
        if play is None:
            return
        if isinstance(message, Close):
            play.closing = message
        elif isinstance(message, Input | Act | Override | Skip | Finish):
            self._keep(play, message)
        play.worker.child.send(message.model_dump())

    def _open(self, asked: OpenPlay) -> None:
        if asked.play_id in self._plays:
            return
        worker = min(self._workers, key=lambda candidate: len(candidate.plays))
        play = _Play(asked, worker)
        self._plays[asked.play_id] = worker.plays[asked.play_id] = play
        worker.child.send(asked.model_dump())

    @staticmethod
    def _keep(play: _Play, op: ClientOp) -> None:
        """Keep what is not durable yet; of the keys held down, only the last says anything."""
        if isinstance(op, Input):
            earlier = [seq for seq, kept in play.unsaved.items() if isinstance(kept, Input)]
            for seq in earlier:
                del play.unsaved[seq]
        play.unsaved[op.seq] = op
        if len(play.unsaved) > _UNSAVED:
            del play.unsaved[next(iter(play.unsaved))]

    def stats(self) -> PoolStats:
        """How the processes do."""
        children = [worker.child for worker in self._workers]
        children += [child for child in (self._inference, self._records) if child is not None]
        return PoolStats(
            plays=len(self._plays),
            workers=[worker.stats for worker in self._workers],
            worker_restarts=sum(worker.child.restarts for worker in self._workers),
            inference=self._inference_status,
            inference_restarts=self._inference.restarts if self._inference is not None else 0,
            processes={child.name: child.pid for child in children},
        )

    # --- hearing ------------------------------------------------------------------------------------------

    def _heard(self, number: int, message: Sequence[Any]) -> None:
        events = []
        for play_id, kind, payload in message:
            if kind == "stats":
                self._take_stats(number, payload)
                continue
            play = self._plays.get(play_id)
            if play is not None:
                self._take(play, kind, payload)
            events.append(PlayEvent(play_id, kind, payload))
        if events:
            self._tell(events)

    def _take(self, play: _Play, kind: str, payload: Any) -> None:
        if kind == "saved":
            for seq in [seq for seq in play.unsaved if seq <= payload["seq"]]:
                del play.unsaved[seq]
        elif kind == "over":
            self._drop(play)
            asked = play.asked
            self._record(
                asked.play_id,
                ClosePlayRecord(
                    play_id=asked.play_id,
                    session_id=asked.session_id,
                    program=asked.program,
                    iteration=asked.iteration,
                ),
            )
        elif kind == "error" and payload["code"] in ("cannot_open", "broken"):
            self._drop(play)

    def _drop(self, play: _Play) -> None:
        self._plays.pop(play.asked.play_id, None)
        play.worker.plays.pop(play.asked.play_id, None)

    def _take_stats(self, number: int, payload: dict[str, Any]) -> None:
        inference = payload.pop("inference")
        if number == 0:
            self._inference_status = ServerStatus.model_validate(inference) if inference is not None else None
        self._workers[number].stats = WorkerStats.model_validate(payload)

    def _tell(self, events: list[PlayEvent]) -> None:
        try:
            self._on_events(events)
        except Exception:
            # Whoever listens must not cut off what is still to be heard.
            logger.exception("events could not be taken in")

    def _reopen(self, number: int) -> None:
        """A worker died: its plays go on from their logs."""
        worker = self._workers[number]
        worker.stats = None
        for play in list(worker.plays.values()):
            play.restarts += 1
            play_id = play.asked.play_id
            if play.restarts > _RESTARTS:
                self._drop(play)
                broken = {"code": "broken", "message": "This play ended its worker several times and is given up."}
                self._tell([PlayEvent(play_id, "error", broken)])
                continue
            worker.child.send(play.asked.model_copy(update={"resume": True}).model_dump())
            for _, op in sorted(play.unsaved.items()):
                worker.child.send(op.model_dump())
            if play.closing is not None:
                worker.child.send(play.closing.model_dump())

    # --- records ------------------------------------------------------------------------------------------

    def _record(self, name: str, asked: ClosePlayRecord | EndSession) -> None:
        self._to_record[name] = _Record(asked)
        if self._records is not None:
            self._records.send(asked.model_dump())

    def _recorded(self, message: Sequence[Any]) -> None:
        events = [PlayEvent(*event) for event in message]
        for event in events:
            self._to_record.pop(event.play_id, None)
        self._tell(events)

    def _record_again(self) -> None:
        """The process that keeps records died, perhaps of the first thing it was asked for."""
        assert self._records is not None
        for name, record in list(self._to_record.items()):
            record.tries += 1
            if record.tries > _RECORD_TRIES:
                del self._to_record[name]
                kind: EventKind = "closed" if isinstance(record.asked, ClosePlayRecord) else "session_closed"
                error = "writing the record ended its process several times"
                self._tell([PlayEvent(name, kind, {"record": "", "error": error})])
            else:
                self._records.send(record.asked.model_dump())
