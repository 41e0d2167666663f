"""A simulated robot as a process of its own: ``python -m hitl_ops.serving.robot_process --socket PATH``.

To a station it is what a real robot is: its time goes on by itself at 50 Hz, it follows the newest command, and when
none comes for a fifth of a second, or the connection ends, it holds still. In lockstep (``--lockstep``) its time moves
only with commands instead, as fast as they come: for tests and for collecting without a person.

Messages are those of ``wire``, a map each, one answer to each question:

==============================  =============================================================================
``{"do": "spec"}``              ``spec`` (of :class:`RobotSpec`), ``task``, ``home``, ``time_limit``, ``lockstep``
``reset``, ``seed``             a reading; the episode of this seed begins, the robot holds its starting pose
``observe``, ``cameras``,       a reading and ``images``: camera → [height, width, RGB bytes];
``size``                        ``cameras`` is a list, or null for all; ``size`` [height, width], or null
``command``, ``action``,        the same, after the action (float32 bytes) was taken over; one that cannot be
``cameras``, ``size``           carried out is refused, and the robot holds
``hold``, ``damp``              ``mode``
``status``                      ``mode``, ``ticks``, ``late_ticks``, ``watchdog_holds``
``outcome``                     ``success``, ``failure``: the world's truth
``shut_down``                   an empty map; the process ends
==============================  =============================================================================

A reading is ``position``, ``velocity``, ``effort``, ``environment_state`` (float32 bytes, or null) and ``time``.
A refusal is ``{"refused": what, "remedy": …}``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hitl_ops.contracts.config import apply_overrides
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, check_action
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.wire import Link, WireError
from hitl_ops.worlds.robot_worlds import ROBOT_WORLDS, SoftWorld, make_robot_world, robot_world_config

COMMAND_SECONDS = 0.2
"""A robot that follows holds when it has had no command for this long."""
_MOST_CATCHING_UP = 10
"""A process that was kept waiting makes up for this many ticks at most; the rest never happened."""
_MOST_CONNECTIONS = 8


class RobotStation:
    """A world behind a socket, in real time or in lockstep.

    Args:
        world: the robot.
        lockstep: whether time moves only with commands.
        speed: how many simulated seconds a second of real time is.
    """

    def __init__(self, world: SoftWorld, *, lockstep: bool = False, speed: float = 1.0) -> None:
        self._world = world
        self._lockstep = lockstep
        self._step = 1 / (world.spec.frequency_hz * speed)
        self._patience = COMMAND_SECONDS / speed
        self._selector = selectors.DefaultSelector()
        self._commander: Link | None = None
        self._commanded_at = 0.0
        self._stop = False
        self.mode = "holding"
        self.ticks = 0
        self.late_ticks = 0
        self.watchdog_holds = 0
        self._reading = world.reset(0)
        self._action: Float32 = world.home.copy()
        self._answers: dict[str, Callable[[Link, dict[str, Any]], dict[str, Any]]] = {
            "spec": self._tell_spec,
            "reset": self._reset,
            "observe": self._observe,
            "command": self._command,
            "hold": self._hold_asked,
            "damp": self._damp,
            "status": self._status,
            "outcome": self._outcome,
            "shut_down": self._shut_down,
        }

    def stop(self, *_: object) -> None:
        """End :meth:`serve` soon; also a signal handler."""
        self._stop = True

    def serve(self, path: Path) -> None:
        """Answer at a Unix socket until :meth:`stop`.

        Raises:
            UserError: the socket cannot be made there.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Under its name only when it listens: whoever sees it can connect.
        temporary = path.with_name(f"{path.name}~")
        try:
            temporary.unlink(missing_ok=True)
            listener.bind(str(temporary))
            listener.listen()
            os.replace(temporary, path)
        except OSError as error:
            listener.close()
            raise UserError(f"cannot listen at '{path}': {error.strerror or error}", "name a short path") from None
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        try:
            self._loop(listener)
        finally:
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]  # sockets and links
            self._selector.close()
            path.unlink(missing_ok=True)

    def _loop(self, listener: socket.socket) -> None:
        due = time.monotonic() + self._step
        while not self._stop:
            # In lockstep nothing is due; a look now and then sees the signal to stop.
            wait = 0.25 if self._lockstep else max(0.0, due - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is listener:
                    self._accept(listener)
                else:
                    assert isinstance(key.fileobj, Link)
                    self._serve_link(key.fileobj)
            if self._lockstep:
                continue
            caught_up = 0
            while (now := time.monotonic()) >= due:
                if caught_up == _MOST_CATCHING_UP:
                    due = now + self._step
                    break
                self._tick(now)
                self.late_ticks += now - due > self._step
                caught_up += 1
                due += self._step

    def _tick(self, now: float) -> None:
        """One control step of real time."""
        if self.mode == "following" and now - self._commanded_at > self._patience:
            self.watchdog_holds += 1
            self._hold()
        self._advance()

    def _advance(self) -> None:
        self._reading = self._world.tick_damped() if self.mode == "damped" else self._world.tick(self._action)
        self.ticks += 1

    def _hold(self) -> None:
        """Stay: arms where they are, grippers as they were told, or what they carry would fall."""
        if self.mode == "holding":
            return
        action = self._reading.position.copy()
        grippers = list(self._world.spec.gripper_indices)
        action[grippers] = self._action[grippers]
        self._action = action
        self.mode = "holding"

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            if len(self._selector.get_map()) > _MOST_CONNECTIONS:
                connection.close()
                return
            self._selector.register(Link(connection), selectors.EVENT_READ)

    def _serve_link(self, link: Link) -> None:
        """Answer what came in; a connection that breaks is let go, and if it commanded, the robot holds."""
        try:
            link.flush()
            for message in link.receive():
                link.send(self._answer(link, message))
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.unsent else 0)
            self._selector.modify(link, events)
        except WireError:
            self._selector.unregister(link)
            link.close()
            if link is self._commander:
                self._commander = None
                self._hold()

    def _answer(self, link: Link, message: Any) -> dict[str, Any]:
        try:
            what = message.get("do") if isinstance(message, dict) else None
            answer = self._answers.get(what) if isinstance(what, str) else None
            if answer is None:
                raise UserError(f"the robot does not know '{what}'", f"it knows {', '.join(self._answers)}")
            return answer(link, message)
        except UserError as error:
            return {"refused": error.what, "remedy": error.remedy}

    def _tell_spec(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        return {
            "spec": self._world.spec.model_dump(mode="json"),
            "task": self._world.task,
            "home": self._world.home.tobytes(),
            "time_limit": self._world.time_limit,
            "lockstep": self._lockstep,
        }

    def _reset(self, _: Link, message: dict[str, Any]) -> dict[str, Any]:
        seed = message.get("seed")
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seed {seed!r} is no seed", "send a whole number from 0 on")
        self._reading = self._world.reset(seed)
        self._action = self._world.home.copy()
        self.mode = "holding"
        return self._perceived((), None)

    def _observe(self, _: Link, message: dict[str, Any]) -> dict[str, Any]:
        return self._perceived(*_wanted(message))

    def _command(self, link: Link, message: dict[str, Any]) -> dict[str, Any]:
        wanted = _wanted(message)
        try:
            data = message.get("action")
            if not isinstance(data, bytes) or len(data) % 4:
                raise UserError("the action is no float32 bytes", f"send {self._world.spec.dim} of them")
            action = check_action(np.frombuffer(data, dtype=np.float32), self._world.spec.dim, source="the client")
        except UserError:
            self._hold()
            raise
        self._action = action
        self._commander, self._commanded_at = link, time.monotonic()
        self.mode = "following"
        if self._lockstep:
            self._advance()
        return self._perceived(*wanted)

    def _hold_asked(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        self._hold()
        return {"mode": self.mode}

    def _damp(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        self.mode = "damped"
        return {"mode": self.mode}

    def _status(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "ticks": self.ticks,
            "late_ticks": self.late_ticks,
            "watchdog_holds": self.watchdog_holds,
        }

    def _outcome(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        return {"success": self._world.success(), "failure": self._world.failure}

    def _shut_down(self, _: Link, __: dict[str, Any]) -> dict[str, Any]:
        self.stop()
        return {}

    def _perceived(self, cameras: tuple[str, ...] | None, size: tuple[int, int] | None) -> dict[str, Any]:
        reading = self._reading
        around = reading.environment_state
        pictures = self._world.images(cameras, size)
        return {
            "position": reading.position.tobytes(),
            "velocity": reading.velocity.tobytes(),
            "effort": reading.effort.tobytes(),
            "environment_state": None if around is None else around.tobytes(),
            "time": reading.time,
            "images": {name: [*image.shape[:2], image.tobytes()] for name, image in pictures.items()},
        }


def _wanted(message: dict[str, Any]) -> tuple[tuple[str, ...] | None, tuple[int, int] | None]:
    """The cameras and the size a message asks for.

    Raises:
        UserError: they are of another form.
    """
    cameras, size = message.get("cameras", ()), message.get("size")
    if cameras is not None and not (
        isinstance(cameras, list | tuple) and all(isinstance(name, str) for name in cameras)
    ):
        raise UserError("'cameras' is no list of names", "send a list, or null for all")
    if size is not None and not (
        isinstance(size, list | tuple)
        and len(size) == 2
        and all(isinstance(side, int) and 8 <= side <= 2048 for side in size)
    ):
        raise UserError(f"size {size!r} cannot be drawn", "send [height, width] from 8 to 2048, or null")
    return None if cameras is None else tuple(cameras), None if size is None else (size[0], size[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Be a robot until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m hitl_ops.serving.robot_process")
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen at")
    parser.add_argument("--world", choices=ROBOT_WORLDS, default="bimanual", help="which robot")
    parser.add_argument("--lockstep", action="store_true", help="time moves only with commands")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds in a second of real time")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    parser.add_argument("overrides", nargs="*", help="the world's configuration, as key=value")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    try:
        if not 0.01 <= given.speed <= 100:
            raise UserError(f"speed {given.speed:g} is out of range", "take 0.01 to 100")
        config = apply_overrides(robot_world_config(given.world, {}), given.overrides)
        with contextlib.closing(make_robot_world(given.world, config.model_dump())) as world:
            world.images()  # the first take longest: before anyone waits for them
            station = RobotStation(world, lockstep=given.lockstep, speed=given.speed)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, station.stop)
            station.serve(given.socket)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
