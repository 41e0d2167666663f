"""The clip sets that are compared: the newest iteration's, read anew whenever another set stands in its place."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.store import Store
from hitl_ops.records.clips import CLIPS_FILE, PAIRS_FILE, STEPS_FILE, ClipSet, open_clip_set
from hitl_ops.records.unshown_clips import note_pairs_not_shown, pairs_not_shown
from ui_collect.compare.settings import CompareSettings

logger = logging.getLogger(__name__)

_SETS = 6
_MAKING = "2"
"""In every stamp: raised when films are made otherwise, so that older ones are not shown."""
_FilesSeen = tuple[tuple[int, int, int] | None, ...]


@dataclass(eq=False)
class ServedClips:
    """One set, as it was when it was read.

    Attributes:
        iteration: its turn.
        clip_set: what it says.
        broken: clips that cannot be shown.
        noted: pairs that are noted as such: those of broken clips, and those an earlier server left out, which are
            tried again.
    """

    iteration: int
    clip_set: ClipSet
    broken: set[str] = field(default_factory=set)
    noted: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _noting: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def stamps(self) -> dict[str, str]:
        """What each clip's film goes by."""
        return {
            name: hashlib.sha256(f"{_MAKING} {facts.model_dump_json()}".encode()).hexdigest()[:32]
            for name, facts in self.clip_set.clips.items()
        }

    @cached_property
    def clips_by_stamp(self) -> dict[str, str]:
        """The clip of each film."""
        return {stamp: name for name, stamp in self.stamps.items()}

    def cannot_be_shown(self, clip: str) -> None:
        """Leave out a clip's pairs, and note it for whoever waits for their answers. Blocks."""
        self.broken.add(clip)
        pairs = [pair for pair, bad in self.left_out().items() if bad == clip]
        logger.error("clip '%s' cannot be shown, left out: pair %s", clip, ", pair ".join(pairs) or "none")
        with self._noting:
            self._note(self.noted | dict.fromkeys(pairs, f"clip '{clip}' cannot be shown"))

    def can_be_shown(self, clip: str) -> None:
        """Take back what an earlier server noted of pairs, now that their clips have films. Blocks."""
        if not self.noted or clip in self._seen:
            return
        pairs = self.clip_set.pairs_by_id
        with self._noting:
            self._seen.add(clip)
            hidden = {name for name in self.noted if not {pairs[name].left, pairs[name].right} <= self._seen}
            self._note({name: why for name, why in self.noted.items() if name in hidden})

    def _note(self, noted: dict[str, str]) -> None:
        if noted == self.noted:
            return
        self.noted = noted
        try:
            note_pairs_not_shown(self.clip_set, noted)
        except CannotWrite as error:
            logger.error("which pairs cannot be shown is not noted: %s", error)

    def left_out(self) -> dict[str, str]:
        """Pairs that cannot be asked, and of each the clip that is the reason."""
        found = {}
        for pair in self.clip_set.pairs if self.broken else ():
            bad = next((clip for clip in (pair.left, pair.right) if clip in self.broken), None)
            if bad is not None:
                found[pair.pair_id] = bad
        return found


class ClipShelf:
    """Finds sets. Calls block; from any thread.

    Args:
        store: where iterations are kept.
        settings: the server's.
        folder: the set that is compared, where one is named; by default the program's newest.
    """

    def __init__(self, store: Store, settings: CompareSettings, folder: Path | None = None) -> None:
        self._store, self._settings, self._folder = store, settings, folder
        self._lock = threading.Lock()
        self._read: OrderedDict[Path, tuple[_FilesSeen, ServedClips | None]] = OrderedDict()

    @property
    def place(self) -> str:
        """Where sets are looked for, for the terminal."""
        return str(self._folder or self._store.root / self._settings.program)

    def now(self) -> ServedClips | None:
        """The set that is asked now; None where there is none yet.

        Raises:
            UserError: the newest cannot be read.
        """
        if self._folder is not None:
            return self._open(self._folder, self._settings.only_iteration or 0)
        only = self._settings.only_iteration
        numbers = [only] if only is not None else self._iterations()
        for number in numbers:
            found = self._open(self._of(number), number)
            if found is not None:
                return found
        return None

    def at(self, iteration: int) -> ServedClips | None:
        """The set of an iteration, which may be an earlier one; None where there is none.

        Raises:
            UserError: it cannot be read.
        """
        if self._folder is not None:
            served = self.now()
            return served if served is not None and served.iteration == iteration else None
        return self._open(self._of(iteration), iteration)

    def of_film(self, stamp: str) -> tuple[ServedClips, str] | None:
        """The set and the clip that a film is of; None where no set that was read lately has it."""
        with self._lock:
            for _, served in reversed(self._read.values()):
                if served is not None and stamp in served.clips_by_stamp:
                    return served, served.clips_by_stamp[stamp]
        return None

    def _of(self, iteration: int) -> Path:
        return self._store.iteration(self._settings.program, iteration).clips

    def _iterations(self) -> list[int]:
        """Those that may have clips, the newest first."""
        found = (self._store.root / self._settings.program).glob("[0-9][0-9][0-9]*")
        return sorted((int(folder.name) for folder in found if folder.name.isdecimal()), reverse=True)

    def _open(self, folder: Path, iteration: int) -> ServedClips | None:
        seen = tuple(_seen(folder / name) for name in (CLIPS_FILE, PAIRS_FILE, STEPS_FILE))
        with self._lock:
            known = self._read.get(folder)
            if known is not None and known[0] == seen:
                self._read.move_to_end(folder)
                if known[1] is None:
                    raise UserError(f"the clip set in '{folder}' cannot be read", "make it anew with `flywheel clips`")
                return known[1]
            if seen[0] is None:
                return None
            try:
                clip_set = open_clip_set(folder)
                served = ServedClips(iteration, clip_set, noted=_noted(clip_set))
            except UserError as error:
                logger.error("iteration %03d cannot be compared: %s", iteration, error)
                self._keep(folder, seen, None)
                raise
            self._keep(folder, seen, served)
            return served

    def _keep(self, folder: Path, seen: _FilesSeen, served: ServedClips | None) -> None:
        self._read[folder] = seen, served
        self._read.move_to_end(folder)
        while len(self._read) > _SETS:
            self._read.popitem(last=False)


def _noted(clip_set: ClipSet) -> dict[str, str]:
    """What an earlier server noted; what cannot be read is written anew."""
    try:
        found = pairs_not_shown(clip_set)
    except UserError as error:
        logger.error("%s", error)
        return {}
    return {name: why for name, why in found.items() if name in clip_set.pairs_by_id}


def _seen(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None  # reading the set says what is wrong
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
