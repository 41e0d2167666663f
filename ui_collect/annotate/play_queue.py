"""Which plays of an iteration there are to look at, in the order in which a correction would teach most."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.traces import read_trace_header, trace_path
from hitl_ops.rollouts.session_closing import TRACE_FOLDER
from hitl_ops.samples.annotation_queue import QUEUE_FILE, QueuedPlay, read_annotation_queue

if TYPE_CHECKING:
    from pathlib import Path

    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import EpisodePlay

logger = logging.getLogger(__name__)

_ITERATIONS = 4
_INSTRUCTIONS = 20_000
NOT_RANKED = "finished after the plays were put in order"


@dataclass(frozen=True)
class Candidate:
    """A play there is to look at.

    Attributes:
        play: as the label store has it.
        instruction: what was to be done.
        ranked: why it is worth a look; None for one that is not in the order yet.
    """

    play: EpisodePlay
    instruction: str
    ranked: QueuedPlay | None


class PlayQueue:
    """Reads the order that was made, and puts what was finished since behind it. Calls block; from any thread.

    Args:
        store: where everything lies.
        labels: the label store.
    """

    def __init__(self, store: Store, labels: LabelStore) -> None:
        self._store = store
        self._labels = labels
        self._lock = threading.Lock()
        self._orders: OrderedDict[Path, tuple[tuple[int, int], dict[str, QueuedPlay]]] = OrderedDict()
        self._instructions: OrderedDict[str, str] = OrderedDict()

    def order(self, program: str, iteration: int) -> dict[str, QueuedPlay]:
        """The order as it was made last, most promising first; empty before that."""
        sessions = self._store.iteration(program, iteration).sessions
        file = sessions / QUEUE_FILE
        try:
            status = file.stat()
        except OSError:
            return {}
        version = status.st_mtime_ns, status.st_size
        with self._lock:
            known, order = self._orders.get(file, (None, {}))
            if known != version:
                try:
                    order = {queued.play_id: queued for queued in read_annotation_queue(sessions)}
                except UserError as error:
                    logger.error("the order of plays cannot be read: %s", error)
                    order = {}
                self._orders[file] = version, order
                if len(self._orders) > _ITERATIONS:
                    self._orders.popitem(last=False)
            return order

    def candidates(self, program: str, iteration: int) -> list[Candidate]:
        """All plays there are to look at: in their order, then the others, failed ones first.

        Plays that left no record, or a damaged one, are not among them.

        Raises:
            LabelStoreUnavailable: the label store does not answer.
        """
        plays = {play.id: play for play in self._labels.finished_plays(program, iteration)}
        order = self.order(program, iteration)
        others = sorted((play for play in plays.values() if play.id not in order), key=lambda play: bool(play.success))
        sessions = self._store.iteration(program, iteration).sessions
        found = []
        for play in [*(plays[play_id] for play_id in order if play_id in plays), *others]:
            instruction = self._instruction(play, sessions)
            if instruction is not None:
                found.append(Candidate(play, instruction, order.get(play.id)))
        return found

    def _instruction(self, play: EpisodePlay, sessions: Path) -> str | None:
        """What was to be done in a play; None where its record cannot be read."""
        with self._lock:
            known = self._instructions.get(play.id)
        if known is not None:
            return known
        trace = trace_path(sessions / play.session_id / TRACE_FOLDER, play.id)
        if not trace.exists():
            return None  # it ended before it began, or its record is still being written
        try:
            header = read_trace_header(trace)
        except UserError as error:
            logger.warning("play %s is left out of the queue: %s", play.id, error)
            return None
        with self._lock:
            self._instructions[play.id] = header.instruction
            if len(self._instructions) > _INSTRUCTIONS:
                self._instructions.popitem(last=False)
        return header.instruction
