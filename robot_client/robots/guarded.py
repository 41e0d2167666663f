"""Round an adapter of somebody's own: whatever it raises is a fault of the robot, which is held for it."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotSpec
from robot_client.foreign_text import shown
from robot_client.robots.robot import Robot, RobotFault, Seen, Stopped


class GuardedRobot:
    """A robot whose every exception is a :class:`RobotFault` that says where it came from.

    Args:
        robot: the adapter's.
        adapter: what the configuration calls it.
    """

    def __init__(self, robot: Robot, adapter: str) -> None:
        self._robot = robot
        self._adapter = adapter

    @property
    def spec(self) -> RobotSpec:
        """See :class:`Robot`."""
        return self._robot.spec

    @property
    def simulated(self) -> bool:
        """See :class:`Robot`."""
        return self._robot.simulated

    @property
    def lockstep(self) -> bool:
        """See :class:`Robot`."""
        return self._robot.lockstep

    def reset(self, seed: int, stopped: Stopped) -> None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            self._robot.reset(seed, stopped)

    def observe(self) -> Seen:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            return self._robot.observe()

    def command(self, action: Float32) -> None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            self._robot.command(action)

    def hold(self) -> None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            self._robot.hold()

    def damp(self) -> None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            self._robot.damp()

    def success(self) -> bool | None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            return self._robot.success()

    def close(self) -> None:
        """See :class:`Robot`."""
        with mistakes_named(self._adapter):
            self._robot.close()


@contextlib.contextmanager
def mistakes_named(adapter: str) -> Iterator[None]:
    """Whatever goes wrong inside as one line with the place in the adapter's code.

    Raises:
        RobotFault: in place of any exception that is no message for a user already.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise RobotFault(
            f"robot adapter '{adapter}' failed ({shown(what)})", f"see {Path(place.filename).name}, line {place.lineno}"
        ) from error
