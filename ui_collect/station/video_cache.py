"""Where videos of episodes lie once they are made: folders that may be deleted, and stay in their bound."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hitl_ops.contracts.store import Store
from ui_collect.annotate.film_cache import let_go_of_oldest

Made = Literal["video", "poster", "cut", "clips", "sheets"]
"""What is made: of a recording a film of its cameras, and one small picture for the list; of an episode of a data set
every frame of one camera; of a clip that is compared its film, and a sheet of its moments."""
_SUFFIX: dict[Made, str] = {"video": ".mp4", "poster": ".jpg", "cut": ".mp4", "clips": ".mp4", "sheets": ".jpg"}
_STAMP = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class VideoCache:
    """All films of a kind, or all pictures for the list.

    Attributes:
        made: which.
        folder: where.
        most_bytes: what all of them may come to; the ones not looked at longest go first.
    """

    made: Made
    folder: Path
    most_bytes: int

    @classmethod
    def of(cls, store: Store, made: Made, most_mb: int) -> VideoCache:
        """The cache of a store."""
        return cls(made, store.cache / "station" / made, most_mb * 2**20)

    def file(self, stamp: str) -> Path:
        """Where what is made of a recording lies."""
        if not _STAMP.fullmatch(stamp):
            raise ValueError(f"{stamp!r} is no recording's stamp")
        return self.folder / f"{stamp}{_SUFFIX[self.made]}"

    def holds(self, stamp: str) -> bool:
        """Whether it is there; it then stays for a while."""
        try:
            os.utime(self.file(stamp))
        except FileNotFoundError:
            return False
        return True

    def trim(self, spared: str) -> None:
        """Let go what is too much."""
        let_go_of_oldest(self.folder, self.most_bytes, spared)
