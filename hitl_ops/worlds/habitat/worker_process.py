"""Starts the worker of a scene, keeps its last words, and ends it."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

import hitl_ops
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat import worker
from hitl_ops.worlds.habitat.config import HabitatConfig
from hitl_ops.worlds.habitat.messages import PROTOCOL, ConnectionLost, Hello, Questions, RefusedQuestion
from hitl_ops.worlds.household.scene import SceneLost

_WORDS, _WORD_BYTES = 20, 500
_SAID_BYTES = 65_536
_PATH_BYTES = 100  # a socket's path may have 103 (macOS) or 107 (Linux)
_MISSED_HEARTBEATS = 6
_END_WITHIN_S = 5.0
# What our environment says to its Python is not meant for another one.
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


class WorkerProcess:
    """One worker, started and greeted.

    Args:
        config: what to start.

    Attributes:
        interpreter: the Python it runs on.
        hello: who it says it is.
        questions: the way to ask it.

    Raises:
        UserError: its interpreter is missing, or it does not start.
        SceneLost: somebody killed it meanwhile.
    """

    def __init__(self, config: HabitatConfig) -> None:
        interpreter = _found(config.interpreter)
        self._words: deque[str] = deque(maxlen=_WORDS)
        self._killed = False
        self.interpreter = interpreter
        folder = tempfile.mkdtemp(prefix=f"flywheel-scene-{os.getpid()}-") if hasattr(socket, "AF_UNIX") else ""
        place = os.path.join(folder, "scene.sock") if folder else ""
        if len(os.fsencode(place)) > _PATH_BYTES:
            place = ""  # a port of this machine then; the token keeps others out
        try:
            self._process = self._start(interpreter, place, config)
            self._listener = threading.Thread(target=self._listen, name="scene's last words", daemon=True)
            self._listener.start()
            try:
                self.questions, self.hello = self._greet(config)
            except BaseException:
                self.end(patience_s=0.0)
                raise
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def _start(self, interpreter: str, place: str, config: HabitatConfig) -> subprocess.Popen[bytes]:
        command = [interpreter, worker.__file__, "--backend", config.backend, "--gpu", str(config.gpu)]
        command += ["--silence", str(_MISSED_HEARTBEATS * config.heartbeat_s)]
        command += ["--socket", place] if place else []
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        if config.backend != "habitat":
            # A backend of Flywheel's own is found where this process finds it.
            environment["PYTHONPATH"] = os.pathsep.join(
                [str(Path(next(iter(hitl_ops.__path__))).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
            )
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                # Ctrl+C is for those who ask it; it ends with them.
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(
                f"the scene's worker cannot be started with '{interpreter}' ({error.strerror})",
                "set scene.habitat.python to a Python interpreter",
            ) from None

    def _greet(self, config: HabitatConfig) -> tuple[Questions, Hello]:
        until = time.monotonic() + config.start_within_s
        token = secrets.token_hex(32)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{token}\n".encode())
            process.stdin.flush()
        address = self._address(process.stdout, until)
        try:
            connection = _connect(address)
            questions = Questions(connection, config.answer_within_s)
            hello = questions.ask(Hello, "hello", protocol=PROTOCOL, token=token)
        except (OSError, ConnectionLost) as error:
            raise self._not_started(str(error)) from None
        except RefusedQuestion as error:
            raise UserError(f"the scene's worker cannot be used: {error.what}", error.remedy) from None
        return questions, hello

    def _address(self, output: IO[bytes], until: float) -> str:
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise self._not_started("it does not get ready in time")
                data = os.read(output.fileno(), 4096)
                if not data:
                    raise self._not_started("")
                said += data
                if len(said) > _SAID_BYTES:
                    break
        word, _, address = said.decode(errors="replace").strip().partition(" ")
        if word != "ready" or not address:
            raise self._not_started("it says something else than where it listens")
        return address

    def _not_started(self, why: str) -> UserError:
        error = self.not_opened(why, "could not be started", "look at the environment of scene.habitat.python")
        lacks = next((name for name in ("msgpack", "numpy") if f"No module named '{name}'" in error.what), "")
        if lacks:
            return UserError(error.what, f"`{self.interpreter} -m pip install {lacks}`")
        return error

    def not_opened(self, why: str, what: str, remedy: str) -> UserError:
        """What to say of one that ended before its scene was open.

        Args:
            why: see :meth:`ended`.
            what: what became of it.
            remedy: what to do where it ends like that every time.

        Returns:
            ``SceneLost`` where somebody killed it, for then another try is worth it.
        """
        words = f"the scene's worker (pid {self.pid}) {what}: {self.ended(why)}"
        if -(self._process.returncode or 0) in (signal.SIGKILL, signal.SIGTERM) and not self._killed:
            return SceneLost(words, "try again")
        return UserError(words, remedy)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError, OSError):  # closed meanwhile
            while line := self._process.stderr.readline(_WORD_BYTES):
                if text := line.decode(errors="replace").strip():
                    self._words.append(text)

    # --- the end ------------------------------------------------------------------------------------------

    def ended(self, why: str) -> str:
        """How it ended, with its last words; a worker that still runs is ended first.

        Args:
            why: what was noticed of it; empty where its end is all there is.
        """
        code = self._ended_by_itself(1.0)
        if code is None:
            self.end(patience_s=0.0)
            return " ".join([why or "it closed the connection", *self._last_words()])
        if code < 0:
            with contextlib.suppress(ValueError):
                return " ".join([signal.Signals(-code).name, *self._last_words()])
        return " ".join([f"exit code {code}", *self._last_words()])

    def _ended_by_itself(self, patience_s: float) -> int | None:
        try:
            return self._process.wait(max(0.0, patience_s))
        except subprocess.TimeoutExpired:
            return None

    def _last_words(self) -> list[str]:
        self._listener.join(timeout=0.5)
        return [f"«{self._words[-1]}»"] if self._words else []

    def end(self, patience_s: float = _END_WITHIN_S) -> None:
        """End it: it ends by itself once the connection and its input are closed, and is killed where it does not."""
        if hasattr(self, "questions"):
            self.questions.close()
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        if self._ended_by_itself(patience_s) is None:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        process.stdout.close()
        self._listener.join(timeout=1.0)
        process.stderr.close()


def _found(interpreter: str) -> str:
    """Where an interpreter is.

    Raises:
        UserError: it is nowhere, or is no program.
    """
    found = shutil.which(interpreter)
    if found is not None:
        return found
    if os.path.isdir(interpreter):
        raise UserError(
            f"'{interpreter}' is a folder, no interpreter",
            "set scene.habitat.python to the python in it, such as bin/python of an environment",
        )
    if os.path.exists(interpreter):
        raise UserError(f"'{interpreter}' is no program", "set scene.habitat.python to a Python interpreter")
    raise UserError(f"the interpreter '{interpreter}' does not exist", "set scene.habitat.python")


def _connect(address: str) -> socket.socket:
    if address.isdecimal():
        return socket.create_connection(("127.0.0.1", int(address)))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address)
    return connection
