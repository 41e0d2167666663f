"""Where a server gets its policy from: a folder, or whatever an alias of the registry stands for at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import read_card
from hitl_ops.serving.policy_alias import Alias, resolve


@dataclass(frozen=True)
class FoundPolicy:
    """A policy that could serve.

    Attributes:
        policy_id: as on its card.
        folder: its weights and card.
    """

    policy_id: str
    folder: Path


class PolicySource(Protocol):
    """Asked every few seconds for the policy that is to serve; takes a millisecond or so."""

    def __str__(self) -> str:
        """Where policies come from, in words."""

    def newest(self) -> FoundPolicy:
        """The policy that is to serve.

        Raises:
            UserError: there is none, or it cannot be told.
        """


class FolderSource:
    """A folder that a training wrote, or writes anew: whoever serves follows its card.

    Args:
        folder: holds ``merged/`` and ``card.json``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return f"folder {self._folder}"

    def newest(self) -> FoundPolicy:
        """See :class:`PolicySource`."""
        return FoundPolicy(read_card(self._folder).policy_id, self._folder)


class AliasSource:
    """What an alias of the registry stands for.

    Args:
        store: holds the registry.
        program: whose policy.
        alias: which one.
    """

    def __init__(self, store: Store, program: str, alias: Alias = "serving") -> None:
        self._store = store
        self._program = program
        self._alias: Alias = alias

    def __str__(self) -> str:
        return f"alias '{self._alias}' of '{self._program}'"

    def newest(self) -> FoundPolicy:
        """See :class:`PolicySource`."""
        found = resolve(self._store, self._program, self._alias)
        if found is None:
            raise UserError(
                f"no policy of '{self._program}' has the alias '{self._alias}'",
                f"promote one: flywheel promote {self._program} 000",
            )
        return FoundPolicy(found.policy_id, found.folder)
