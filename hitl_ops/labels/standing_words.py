"""What people have said of pairs, kept in memory: of the label store only what is new is read."""

from __future__ import annotations

import threading

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import Preference, preference


class StandingWords:
    """Everybody's last word on each pair of a program. Calls block; from any thread.

    Args:
        labels: the label store.
        program: whose.
    """

    def __init__(self, labels: LabelStore, program: str) -> None:
        self._labels, self._program = labels, program
        self._lock = threading.Lock()
        self._seen = 0
        self._words: dict[str, Preference] = {}

    def all(self) -> list[Preference]:
        """Words that stand, whoever kept them, in the order in which they were acknowledged.

        Raises:
            LabelStoreUnavailable: the label store does not answer.
        """
        with self._lock:
            new = self._labels.labels("preference", program=self._program, after_id=self._seen, superseded=True)
            for label in new:
                self._seen = label.id
                # Said anew it goes to the end, as it does in the store.
                self._words.pop(label.target, None)
                word = preference(label)
                if word is not None and word.said.choice is not None:
                    self._words[label.target] = word
            return list(self._words.values())
