"""The simulated pair of arms: a process of its own, driven over its socket as a real robot would be."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture, RobotReading, RobotSpec
from hitl_ops.serving.robot_link import RobotLink, RobotProcess
from hitl_ops.serving.wire import WireError
from robot_client.robots.robot import CameraFrame, RobotFault, Seen, Stopped, robot_options
from robot_client.station_config import StationConfig

_LOOK_S = 0.1
"""So often is a simulation in real time asked whether the task is done."""
_LOOK_COMMANDS = 5
ResultT = TypeVar("ResultT")


class SimulatedOptions(StrictConfig):
    """What the adapter takes."""

    world: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Further settings of the simulated world, such as renderer, or aloha's task."
    )
    lockstep: bool = Field(default=False, description="Time moves only with commands, as fast as they come.")
    picture_hz: float = Field(default=25.0, gt=0, description="Pictures a second in real time; lockstep draws each.")
    environment_state: bool | None = Field(
        default=None, description="Tell the policy what the world knows; by default only where no camera is used."
    )


class SimulatedRobot:
    """The simulated arms.

    Args:
        config: the station's.
        options: the adapter's.

    Raises:
        UserError: the process does not start.
    """

    simulated = True

    def __init__(self, config: StationConfig, options: SimulatedOptions) -> None:
        self.lockstep = options.lockstep
        self._options = options
        self._cameras = tuple(camera.name for camera in config.cameras)
        told = options.environment_state
        self._told = not self._cameras if told is None else told
        self._arguments = _arguments(config, options)
        self._process: RobotProcess | None = None
        self._link: RobotLink | None = None
        self._start()
        spec = self._linked().spec
        if spec.frequency_hz != config.control.frequency_hz:
            self.close()
            raise UserError(
                f"the simulated arms take {spec.frequency_hz:g} actions a second, not {config.control.frequency_hz:g}",
                f"set control.frequency_hz to {spec.frequency_hz:g}",
            )
        self.spec: RobotSpec = spec if self._told else spec.replace(environment_state_names=())
        self._forget()

    def _start(self) -> None:
        self._stop()
        self._process = RobotProcess(self._arguments)
        self._link = self._process.link()

    def _stop(self) -> None:
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.close()
        self._link = self._process = None

    def _forget(self) -> None:
        self._frames: dict[str, CameraFrame] = {}
        self._drawn = 0.0
        self._next: tuple[RobotReading, dict[str, Picture]] | None = None
        self._done = False
        self._looked = 0.0
        self._commands = 0

    def _linked(self) -> RobotLink:
        if self._link is None:
            raise RobotFault("the simulated robot is not running", "start the episode again")
        return self._link

    def _asked(self, question: Callable[[RobotLink], ResultT]) -> ResultT:
        """Ask the process.

        Raises:
            RobotFault: it has gone.
        """
        try:
            return question(self._linked())
        except WireError as error:
            self._stop()
            raise RobotFault(str(error), "the next reset starts it anew") from None

    def reset(self, seed: int, stopped: Stopped) -> None:
        """Set the scene of this seed; a process that has gone is started anew."""
        if self._link is None:
            try:
                self._start()
            except WireError as error:
                raise RobotFault(str(error), "start the episode again") from None
        self._asked(lambda link: link.reset(seed))
        self._forget()

    def observe(self) -> Seen:
        """The present moment; pictures as often as they are drawn."""
        now = time.monotonic()
        if self._next is None:
            # Half a tick of grace, or a picture that is due now would come a whole tick late.
            due = self.lockstep or now - self._drawn >= 1 / self._options.picture_hz - 0.5 / self.spec.frequency_hz
            wanted = self._cameras if due else ()
            self._next = self._asked(lambda link: link.observe(wanted))
        reading, pictures = self._next
        self._next = None
        if pictures:
            self._drawn = now
            self._frames = {name: CameraFrame(picture) for name, picture in pictures.items()}
        age = 0.0 if self.lockstep else now - self._drawn
        frames = {name: CameraFrame(frame.picture, age) for name, frame in self._frames.items()}
        return Seen(reading if self._told else _without_environment(reading), frames)

    def command(self, action: Float32) -> None:
        """Go there; in lockstep a tick passes."""
        self._commands += 1
        if self.lockstep:
            self._next = self._asked(lambda link: link.command(action, cameras=self._cameras))
        else:
            self._asked(lambda link: link.command(action))

    def hold(self) -> None:
        """Stay, stiff."""
        if self._link is not None:
            self._asked(lambda link: link.hold())

    def damp(self) -> None:
        """Let go softly."""
        self._asked(lambda link: link.damp())

    def success(self) -> bool | None:
        """The world's truth; asked now and then only, because it costs an exchange."""
        if self._done or self._link is None:
            return self._done
        now = time.monotonic()
        due = self._commands % _LOOK_COMMANDS == 0 if self.lockstep else now - self._looked >= _LOOK_S
        if due:
            self._looked = now
            self._done = self._asked(lambda link: link.outcome())[0]
        return self._done

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(RobotFault):
            self.hold()
        self._stop()


def _without_environment(reading: RobotReading) -> RobotReading:
    return RobotReading(reading.position, reading.velocity, reading.effort, reading.time)


def _arguments(config: StationConfig, options: SimulatedOptions) -> list[str]:
    """What the process is started with.

    Raises:
        UserError: the cameras differ in size, which this world's never do.
    """
    sizes = {(camera.height, camera.width) for camera in config.cameras}
    if len(sizes) > 1:
        raise UserError("the simulated arms' cameras have one size", "give all cameras the same height and width")
    names = ", ".join(camera.name for camera in config.cameras)
    words = ["--world", config.robot.adapter, f"cameras=[{names}]"]
    if sizes:
        height, width = sizes.pop()
        words += [f"height={height}", f"width={width}"]
    words += [f"{key}={value}" for key, value in options.world.items()]
    return [*(["--lockstep"] if options.lockstep else []), *words]


def make_robot(config: StationConfig) -> SimulatedRobot:
    """The simulated arms as the configuration wants them.

    Raises:
        UserError: an option is wrong, or the process does not start.
    """
    try:
        return SimulatedRobot(config, robot_options(config, SimulatedOptions))
    except WireError as error:
        raise RobotFault(str(error), "try again") from None
