"""Memory that is given back is taken again in the next moment: have it kept."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**28
_PIECE_BYTES = 2**25  # the most the C library takes for an answer


def keep_freed_memory() -> None:
    """Have the C library keep what this process frees, up to 256 MB, for its own next use; glibc only.

    Otherwise every message with pictures takes fresh pages from the kernel and gives them back at once: an observation
    of four pictures of 224×224 costs a client 2.0 ms of processor time with that, and 0.7 ms without.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _PIECE_BYTES)
        set_option(_TRIM_THRESHOLD, _KEPT_BYTES)
