"""The process that plays logs again for annotators: no web server's loop has the seconds that takes.

Run by the web server as ``python -m ui_collect.annotate.film_worker``; one play after another, at a low priority.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import closed_log_path, log_path, read_session_log
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.wire import MessageBuffer, WireError, pack
from ui_collect.annotate.film_cache import FilmCache
from ui_collect.annotate.reviewed_play import play_again
from ui_collect.background_films import Outcome
from ui_collect.simulation.messages import Stop

_CHUNK = 2**16
_NICE = 5
_ID = "^[0-9a-f]{16}$"


class MakeFilm(BaseModel):
    """Make a play's film, unless it is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["film"] = "film"
    play_id: str = Field(pattern=_ID)
    session_id: str = Field(pattern=_ID)
    program: str = Field(pattern="^[a-z]{1,32}$")
    iteration: int = Field(ge=0, le=999_999)


_MESSAGES: TypeAdapter[MakeFilm | Stop] = TypeAdapter(Annotated[MakeFilm | Stop, Field(discriminator="op")])


def make_film(asked: MakeFilm, store: Store, cache: FilmCache) -> tuple[Outcome, str]:
    """Make a play's film, and keep it; returns what became of it, and why."""
    if cache.holds(asked.play_id):
        return "made", ""
    try:
        folder = store.iteration(asked.program, asked.iteration).sessions / asked.session_id
        closed = closed_log_path(folder, asked.play_id)
        play, film = play_again(read_session_log(closed if closed.exists() else log_path(folder, asked.play_id)))
    except UserError as error:
        return "damaged", str(error)
    except Exception as error:
        traceback.print_exc()
        return "damaged", f"{type(error).__name__}: {error}"
    try:
        cache.keep(play, film)
    except UserError as error:
        return "unwritten", str(error)
    return "made", ""


def serve(connection: socket.socket, store: Store, cache: FilmCache) -> None:
    """Make what is asked for until told to stop, or until the web server has gone."""
    buffer = MessageBuffer()
    while data := connection.recv(_CHUNK):
        for message in buffer.feed(data):
            asked = _MESSAGES.validate_python(message)
            if isinstance(asked, Stop):
                return
            connection.sendall(pack([asked.play_id, *make_film(asked, store, cache)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make films until the web server says stop or goes away."""
    parser = argparse.ArgumentParser(prog="python -m ui_collect.annotate.film_worker", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the web server")
    parser.add_argument("--root", type=Path, required=True, help="the store's root")
    parser.add_argument("--cache-mb", type=int, required=True, help="megabytes of films to keep")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    os.nice(_NICE)
    # Ended in the middle of a file, it takes its temporary with it; what a kill left behind goes now.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    store = Store.at(given.root)
    cache = FilmCache.of(store, given.cache_mb)
    sweep_temporaries(cache.folder)
    with contextlib.suppress(OSError, WireError):
        serve(socket.socket(fileno=given.link), store, cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
