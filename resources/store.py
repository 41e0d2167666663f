"""The store's root, as the resource assets ask for paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from hitl_ops.contracts.store import IterationPaths, Store

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore


class StoreResource(dg.ConfigurableResource):
    """Where everything is kept.

    Paths are built in :mod:`hitl_ops.contracts.store` alone; this only says which root is meant.
    """

    home: str = Field(default="", description="root folder; empty: FLYWHEEL_HOME, and ./data where that is not set")

    def open(self) -> Store:
        """The store.

        Raises:
            UserError: the root is no local path.
        """
        return Store.at(self.home) if self.home else Store.from_environment()

    def iteration(self, program: str, key: str) -> IterationPaths:
        """The folders of one iteration of ``program``; ``key`` is the partition key, ``"000"``."""
        return self.open().iteration(program, key)

    def labels(self) -> LabelStore | None:
        """The label store at ``FLYWHEEL_LABELS_URL``, by default ``labels.db`` in the root; None before it is made.

        It is whoever collects that makes it and brings it up to date. Close it after use. Its URL is no
        configuration of this resource, because Dagster's pages show configurations and it may hold a password.

        Raises:
            UserError: the URL is of no kind we know.
        """
        from hitl_ops.labels.label_store import LabelStore

        return LabelStore.open_existing(self.open().labels_url)

    @contextmanager
    def opened_labels(self) -> Iterator[LabelStore | None]:
        """The label store for the length of a block; None where nobody ever said anything.

        Raises:
            UserError: the URL is of no kind we know.
        """
        labels = self.labels()
        try:
            yield labels
        finally:
            if labels is not None:
                labels.close()
