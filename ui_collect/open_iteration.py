"""Which iteration people who come in play for: the loop opens the next one while the server runs."""

from __future__ import annotations

from hitl_ops.contracts.store import Store
from ui_collect.invitation_links import PROGRAM
from ui_collect.settings import CollectSettings


class OpenIteration:
    """Looks for iterations that were opened since the server started.

    Args:
        store: where iterations are kept.
        settings: the server's; without ``follow`` nothing is looked for.
    """

    def __init__(self, store: Store, settings: CollectSettings) -> None:
        self._store = store
        self._settings = settings
        self._at_start = store.newest_iteration(PROGRAM)

    def later(self) -> int | None:
        """The newest iteration, where it was opened since the server started; reads a folder."""
        newest = self._store.newest_iteration(PROGRAM) if self._settings.follow else 0
        return newest if newest > max(self._at_start, self._settings.iteration) else None

    def now(self) -> int:
        """The iteration that is collected for; reads a folder."""
        later = self.later()
        return self._settings.iteration if later is None else later
