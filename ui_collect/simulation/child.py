"""One child process of the web server: started, talked to over a socket pair, started anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from hitl_ops.serving.wire import MessageBuffer, WireError, pack

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_LASTED_S = 10.0
"""A child that lasted this long is started anew at once; one that did not, after a growing pause."""
_SEND_BUFFER = 2**20
_LEAVE_WITHIN_S = 2.0


class _Messages(asyncio.Protocol):
    """Cuts what a child sends into messages."""

    def __init__(self, heard: Callable[[Any], None]) -> None:
        self._heard = heard
        self._buffer = MessageBuffer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports derive from nothing

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._buffer.feed(data)
        except WireError as error:
            logger.error("a child process sends what is no message: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        for message in messages:
            self._heard(message)


class Child:
    """Keeps one child process running.

    Args:
        name: for logs.
        arguments: after the interpreter's name, e.g. ``["-m", "package.module", "--option"]``; ``--parent`` and, with
            a link, ``--link`` are added.
        heard: takes each message the child sends; None for a child that is not talked to.
        renewed: told each time the child had ended by itself and has been started anew, knowing nothing.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        heard: Callable[[Any], None] | None = None,
        renewed: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._heard = heard
        self._renewed = renewed
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stopping = False
        self.restarts = 0
        """How often it was started anew."""

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and keep it running until :meth:`stop`."""
        await self._spawn()
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    def send(self, message: Any) -> None:
        """Send a message; one that was sent before the child was started anew is lost, see ``renewed``."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(message))

    @property
    def unsent(self) -> int:
        """Bytes it has not read yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def stop(self, *, patience_s: float) -> None:
        """End it: what was sent before is still read; killed where it takes longer than ``patience_s``."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            if self._heard is not None:
                self.send({"op": "stop"})
            else:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            try:
                await asyncio.wait_for(process.wait(), patience_s)
            except TimeoutError:
                logger.warning("%s does not end by itself and is ended", self.name)
                await _end(process)
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        if self._transport is not None:
            self._transport.close()

    async def _spawn(self) -> None:
        command = [*self._arguments, "--parent", str(os.getpid())]
        theirs: socket.socket | None = None
        if self._heard is not None:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            command += ["--link", str(theirs.fileno())]
            heard = self._heard
            self._transport, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Messages(heard), sock=ours
            )
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                pass_fds=[theirs.fileno()] if theirs is not None else [],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self._environment},
                # Ctrl+C is for the web server alone; it tells its children.
                start_new_session=True,
            )
        finally:
            if theirs is not None:
                theirs.close()

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            assert self._process is not None
            started = time.monotonic()
            code = await self._process.wait()
            if self._stopping:
                return
            logger.error("%s has ended (%s) and is started anew", self.name, _said(code))
            if self._transport is not None:
                self._transport.close()
            short = time.monotonic() - started < _LASTED_S
            pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S) if short else 0.0
            await asyncio.sleep(pause)
            while not await self._spawned():
                await asyncio.sleep(_LONGEST_PAUSE_S)
            self.restarts += 1
            if self._renewed is not None:
                self._renewed()

    async def _spawned(self) -> bool:
        try:
            await self._spawn()
        except OSError as error:
            logger.error("%s cannot be started: %s", self.name, error)
            return False
        return True


def _said(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to leave what it does as it is; kill it where it does not even hear that."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _LEAVE_WITHIN_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
