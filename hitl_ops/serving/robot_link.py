"""The other end of a simulated robot's process: starting it, and asking it, one question at a time.

Light enough for a station: NumPy, msgpack and pydantic. What is asked and answered is in ``robot_process``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture, RobotReading, RobotSpec
from hitl_ops.serving.wire import MessageBuffer, WireError, pack

_START_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_END_SECONDS = 15.0
_CHUNK = 2**20


class RobotLink:
    """A connection to a robot's process; used by one thread.

    Args:
        path: the process's Unix socket.
        patience_s: how long an answer may take.

    Attributes:
        spec: the robot.
        task: its task in natural language.
        home: its starting pose, [dim] float32.
        time_limit: seconds after which an episode that has not succeeded counts as failed.
        lockstep: whether its time moves only with commands.

    Raises:
        WireError: nobody listens there.
    """

    def __init__(self, path: str | Path, *, patience_s: float = _ANSWER_SECONDS) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_s)
        self._incoming = MessageBuffer()
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise WireError(f"no robot listens at '{path}' ({error.strerror or error})") from None
        about = self._ask("spec")
        self.spec = RobotSpec.model_validate(about["spec"])
        self.task: str = about["task"]
        self.home: Float32 = _vector(about["home"])
        self.time_limit: float = about["time_limit"]
        self.lockstep: bool = about["lockstep"]

    def reset(self, seed: int) -> RobotReading:
        """Begin the episode of this seed; the robot holds its starting pose."""
        return _reading(self._ask("reset", seed=seed))

    def observe(
        self, cameras: Sequence[str] | None = None, size: tuple[int, int] | None = None
    ) -> tuple[RobotReading, dict[str, Picture]]:
        """What the sensors say now, and pictures.

        Args:
            cameras: which; all where None, none where empty.
            size: (height, width) of the pictures; each camera's own where None.
        """
        answer = self._ask("observe", cameras=None if cameras is None else list(cameras), size=size)
        return _reading(answer), _pictures(answer)

    def command(
        self, action: Float32, *, cameras: Sequence[str] | None = (), size: tuple[int, int] | None = None
    ) -> tuple[RobotReading, dict[str, Picture]]:
        """Go towards joint targets; what it perceives thereafter comes back in the same exchange.

        In lockstep the world has moved on by one step in between.

        Args:
            action: absolute joint targets, [dim].
            cameras: pictures wanted, as in :meth:`observe`; by default none.
            size: their size.

        Raises:
            UserError: the action cannot be carried out; the robot holds.
        """
        data = np.asarray(action, dtype=np.float32).tobytes()
        answer = self._ask("command", action=data, cameras=None if cameras is None else list(cameras), size=size)
        return _reading(answer), _pictures(answer)

    def hold(self) -> None:
        """Stay where it is, stiff."""
        self._ask("hold")

    def damp(self) -> None:
        """Let go softly until :meth:`hold`."""
        self._ask("damp")

    def status(self) -> dict[str, Any]:
        """How it is: ``mode`` (following, holding or damped), ``ticks``, ``late_ticks``, ``watchdog_holds``."""
        return self._ask("status")

    def outcome(self) -> tuple[bool, str]:
        """Whether the episode has succeeded, and if not, why not."""
        answer = self._ask("outcome")
        return answer["success"], answer["failure"]

    def shut_down(self) -> None:
        """End the robot's process, and the connection."""
        with contextlib.suppress(WireError):
            self._ask("shut_down")
        self.close()

    def close(self) -> None:
        """End the connection; the robot holds. Twice is harmless."""
        self._socket.close()

    def _ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """One question, one answer.

        Raises:
            UserError: the robot refuses.
            WireError: it has gone, or does not answer in time.
        """
        try:
            self._socket.sendall(pack({"do": what, **arguments}))
            while True:
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise WireError("the robot's process has gone")
                messages = self._incoming.feed(data)
                if messages:
                    break
        except TimeoutError:
            # A late answer would be taken for the next question's.
            self.close()
            raise WireError(f"the robot's process does not answer ('{what}')") from None
        except OSError as error:
            raise WireError(f"the robot's process has gone ({error.strerror or error})") from None
        answer: dict[str, Any] = messages[0]
        if "refused" in answer:
            raise UserError(answer["refused"], answer["remedy"])
        return answer


class RobotProcess:
    """A robot's process, started here; a context manager that ends it.

    It ends with this process too, in whatever way that ends; start it from a thread that lasts.

    Args:
        arguments: further arguments of ``python -m hitl_ops.serving.robot_process``.

    Attributes:
        path: its socket.

    Raises:
        UserError: it does not start; the line it left is named.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        # Not in some deep folder: a Unix socket's path has to be short.
        self._folder = Path(tempfile.mkdtemp(prefix="flywheel-robot-"))
        self.path = self._folder / "s"
        self._log = self._folder / "log"
        module = [sys.executable, "-m", "hitl_ops.serving.robot_process"]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*module, "--socket", str(self.path), "--parent", str(os.getpid()), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl+C at the station is for the station: the robot holds until it is told to end.
                    start_new_session=True,
                )
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def link(self) -> RobotLink:
        """A connection to it."""
        return RobotLink(self.path)

    def close(self) -> None:
        """End it; twice is harmless."""
        process: subprocess.Popen[bytes] | None = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.path.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise UserError("the robot's process does not start", lines[-1] if lines else "it says nothing")
            time.sleep(0.01)

    def __enter__(self) -> RobotProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _vector(data: bytes) -> Float32:
    return np.frombuffer(data, dtype=np.float32)


def _reading(answer: dict[str, Any]) -> RobotReading:
    around = answer["environment_state"]
    return RobotReading(
        position=_vector(answer["position"]),
        velocity=_vector(answer["velocity"]),
        effort=_vector(answer["effort"]),
        time=answer["time"],
        environment_state=None if around is None else _vector(around),
    )


def _pictures(answer: dict[str, Any]) -> dict[str, Picture]:
    return {
        name: np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
        for name, (height, width, data) in answer["images"].items()
    }
