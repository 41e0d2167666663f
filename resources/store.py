"""The store's root, as the resource assets ask for paths."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from hitl_ops.contracts.store import IterationPaths, Store


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
