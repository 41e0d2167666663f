"""What every process that makes films for a web server does: it is told what to make, and answers what became of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.contracts.store import Store
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.wire import MessageBuffer, WireError, pack
from ui_collect.background_films import Outcome
from ui_collect.simulation.messages import Stop
from ui_collect.station.video_cache import Made, VideoCache

_CHUNK = 2**16
_NICE = 5
_STOP = Stop().op
AskedT = TypeVar("AskedT", bound=BaseModel)


def kept_film(cache: VideoCache, stamp: str, write: Callable[[Path], None]) -> tuple[Outcome, str]:
    """Make a film unless the cache has it, and keep it.

    Args:
        cache: where it goes.
        stamp: names it.
        write: publishes it at a path.

    Returns:
        What became of it, and why.
    """
    if cache.holds(stamp):
        return "made", ""
    try:
        write(cache.file(stamp))
        cache.trim(spared=stamp)
    except (OSError, CannotWrite) as error:
        return "unwritten", str(error)
    except UserError as error:
        return "damaged", str(error)
    except Exception as error:
        traceback.print_exc()
        return "damaged", f"{type(error).__name__}: {error}"
    return "made", ""


def film_words(module: str, store: Store, made: Made, most_mb: int) -> list[str]:
    """How such a process is started: the words behind ``python``."""
    return ["-m", module, "--root", str(store.root), "--make", made, "--cache-mb", str(most_mb)]


def run_film_process(
    arguments: Sequence[str] | None,
    asked: type[AskedT],
    make: Callable[[AskedT, VideoCache], tuple[Outcome, str]],
    stamp: Callable[[AskedT], str],
) -> int:
    """Make what is asked for, one after another at a low priority, until the web server says stop or goes away.

    Args:
        arguments: the command line, by default the process's.
        asked: what it is told, a message with ``op``.
        make: makes it; returns what became of it, and why.
        stamp: what the answer is known by.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=make.__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the web server")
    parser.add_argument("--root", type=Path, required=True, help="the store's root")
    parser.add_argument("--cache-mb", type=int, required=True, help="megabytes of them to keep")
    parser.add_argument("--make", choices=get_args(Made), required=True, help="what to make")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    os.nice(_NICE)
    # Ended in the middle of a file, it takes its temporary with it; what a kill left behind goes now.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cache = VideoCache.of(Store.at(given.root), given.make, given.cache_mb)
    sweep_temporaries(cache.folder)
    connection, buffer = socket.socket(fileno=given.link), MessageBuffer()
    with contextlib.suppress(OSError, WireError):
        while data := connection.recv(_CHUNK):
            for message in buffer.feed(data):
                if message.get("op") == _STOP:
                    return 0
                one = asked.model_validate(message)
                connection.sendall(pack([stamp(one), *make(one, cache)]))
    return 0
