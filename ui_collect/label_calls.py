"""The label store from the event loop: every call goes to a thread, because a database may make its caller wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from hitl_ops.labels.label_store import LabelStore

_THREADS = 4
ResultT = TypeVar("ResultT")


class LabelCalls:
    """Runs calls of a label store, and other short waits, in a few threads of its own.

    Args:
        store: the label store; use it through :meth:`run` only.
    """

    def __init__(self, store: LabelStore) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="labels")

    async def run(self, call: Callable[..., ResultT], *args: Any, **keywords: Any) -> ResultT:
        """Run ``call`` in a thread; what it raises is raised here.

        Args:
            call: usually a method of :attr:`store`.
            args: its arguments.
            keywords: its keyword arguments.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **keywords))

    def close(self) -> None:
        """Finish what runs, then close the store."""
        self._threads.shutdown(wait=True)
        self.store.close()
