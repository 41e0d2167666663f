"""A file that has its room on disk before it is written.

HDF5 ends the whole process, by a segmentation fault, where a disk fills while it writes (h5py 3.16, HDF5 2.0). A robot
must not lose its client to that: room is asked for first, and where there is none, HDF5 never begins.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Self


class ReservedFile(io.FileIO):
    """A file for h5py to write to, with room for all of it.

    Args:
        path: the file to make.
        size: how much room; what is not used is given back on leaving.

    Raises:
        OSError: on entering, where there is no room.
    """

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, "w+b")
        self._room = size
        self._end = 0

    def __enter__(self) -> Self:
        try:
            os.posix_fallocate(self.fileno(), 0, self._room)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        super().truncate(self._end)
        self.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As in a file that ends where it has been written to."""
        return super().seek(self._end + offset) if whence == os.SEEK_END else super().seek(offset, whence)

    def write(self, content: Any) -> int:
        """All of it, where a plain file may write less."""
        left = memoryview(content)
        length = left.nbytes
        while left:
            left = left[super().write(left) :]
        self._end = max(self._end, self.tell())
        return length

    def truncate(self, size: int | None = None) -> int:
        """Note where HDF5 says the file ends; the room stays until it is closed."""
        self._end = max(self._end, size or 0)
        return self._end
