"""What people say about an iteration now, read from the label store again only where something was added."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from hitl_ops.labels.opinions import Agreement, Opinions, agreement, opinions
from hitl_ops.records.traces import read_trace, trace_path
from hitl_ops.rollouts.session_closing import TRACE_FOLDER
from hitl_ops.samples.annotation_queue import policy_decisions

if TYPE_CHECKING:
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import EpisodePlay

_ITERATIONS = 4
_JUDGED = 10_000


class Standing:
    """Keeps the last look at an iteration's labels. Calls block; from any thread.

    Args:
        store: where traces lie.
        labels: the label store.
    """

    def __init__(self, store: Store, labels: LabelStore) -> None:
        self._store = store
        self._labels = labels
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], tuple[int, Opinions]] = OrderedDict()
        self._judged: OrderedDict[str, list[int]] = OrderedDict()

    def opinions(self, program: str, iteration: int) -> Opinions:
        """What people say about an iteration.

        Raises:
            LabelStoreUnavailable: the label store does not answer.
        """
        with self._lock:
            # A play that was withdrawn, or finished, changes what counts without any label.
            plays = self._labels.finished_play_counts(program).get(iteration, 0)
            before, said = self._kept.get((program, iteration), (-1, None))
            if said is None or before != plays or self._is_old(said):
                said = opinions(self._labels, program, iteration)
                self._kept[program, iteration] = plays, said
                if len(self._kept) > _ITERATIONS:
                    self._kept.popitem(last=False)
            return said

    def _is_old(self, said: Opinions) -> bool:
        return any(
            self._labels.labels(
                kind,
                program=said.program,
                iteration=said.iteration,
                after_id=said.last_label_id,
                superseded=True,
                limit=1,
            )
            for kind in ("correction", "verdict")
        )

    def agreement(self, said: Opinions, plays: dict[str, EpisodePlay]) -> Agreement:
        """How far annotators agree on the plays that several of them reviewed.

        Args:
            said: what they say.
            plays: the iteration's plays by id.

        Raises:
            UserError: the trace of one of them is damaged.
        """
        sessions = self._store.iteration(said.program, said.iteration).sessions
        judged = {}
        for play_id, play in plays.items():
            about = said.plays.get(play_id)
            if about is None or len(about.reviewers) < 2:
                continue
            with self._lock:
                known = self._judged.get(play_id)
            if known is None:
                trace = read_trace(trace_path(sessions / play.session_id / TRACE_FOLDER, play_id))
                known = [decision.index for decision in policy_decisions(trace.decisions)]
                with self._lock:
                    self._judged[play_id] = known
                    if len(self._judged) > _JUDGED:
                        self._judged.popitem(last=False)
            judged[play_id] = known
        return agreement(said, judged)
