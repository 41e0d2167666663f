"""Where films lie once they are made: a folder that may be deleted, and never grows beyond its bound."""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_bytes
from hitl_ops.contracts.store import Store
from hitl_ops.labels.tokens import is_id
from ui_collect.annotate.reviewed_play import ReviewedPlay

logger = logging.getLogger(__name__)

# In the names, so that what an older version made is made anew instead of misread.
_FILM_SUFFIX, _PLAY_SUFFIX = ".film-1.gz", ".play-1.json.gz"


@dataclass(frozen=True)
class FilmCache:
    """Films and the plays they are of, compressed.

    Attributes:
        folder: where.
        most_bytes: what all of them may come to; the ones not looked at longest go first.
    """

    folder: Path
    most_bytes: int

    @classmethod
    def of(cls, store: Store, most_mb: int) -> FilmCache:
        """The cache of a store."""
        return cls(store.cache / "films", most_mb * 2**20)

    def _files(self, play_id: str) -> tuple[Path, Path]:
        if not is_id(play_id):
            raise ValueError(f"{play_id!r} is no play's id")
        return self.folder / f"{play_id}{_FILM_SUFFIX}", self.folder / f"{play_id}{_PLAY_SUFFIX}"

    def keep(self, play: ReviewedPlay, film: bytes) -> None:
        """Put a play and its film there, and let go what is too much.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        film_file, play_file = self._files(play.play_id)
        publish_bytes(film_file, gzip.compress(film, compresslevel=6, mtime=0))
        # The play last: whoever finds it finds the film.
        publish_bytes(play_file, gzip.compress(play.model_dump_json().encode(), compresslevel=6, mtime=0))
        let_go_of_oldest(self.folder, self.most_bytes, spared=play.play_id)

    def holds(self, play_id: str) -> bool:
        """Whether a play and its film are there; they then stay for a while."""
        try:
            for file in self._files(play_id):
                os.utime(file)
        except FileNotFoundError:
            return False
        return True

    def film(self, play_id: str) -> bytes:
        """A film, gzip-compressed.

        Raises:
            FileNotFoundError: it is not there, or not any more.
        """
        return self._files(play_id)[0].read_bytes()

    def play(self, play_id: str) -> ReviewedPlay:
        """A play; one that is damaged is thrown away, with its film, to be made anew.

        Raises:
            FileNotFoundError: it is not there, or not any more.
        """
        files = self._files(play_id)
        content = files[1].read_bytes()
        try:
            return ReviewedPlay.model_validate_json(gzip.decompress(content))
        except (OSError, EOFError, zlib.error, ValueError) as error:
            logger.error("'%s' is damaged and made anew: %s", files[1], str(error).splitlines()[0])
            for file in files:
                file.unlink(missing_ok=True)
            raise FileNotFoundError(files[1]) from None


def let_go_of_oldest(folder: Path, most_bytes: int, spared: str) -> None:
    """Remove files of a folder, those not looked at longest first, until the rest comes to ``most_bytes``.

    Args:
        folder: whose files; those being written are left alone.
        most_bytes: what may stay.
        spared: files whose names begin so stay in any case.
    """
    files = []
    for file in folder.iterdir():
        if TEMPORARY_MARK not in file.name:
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                files.append((status.st_mtime_ns, file, status.st_size))
    total = sum(size for _, _, size in files)
    for _, file, size in sorted(files):
        if total <= most_bytes:
            return
        if not file.name.startswith(spared):
            file.unlink(missing_ok=True)
            total -= size
