"""A pair of arms that goes where it is told at once, and can be broken while it runs: for tests of the station."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from hitl_ops.contracts.robot import CameraSpec, RobotReading, RobotSpec
from robot_client.robots.robot import CameraFrame, RobotFault, Seen, Stopped
from robot_client.station_config import StationConfig


class ToyArms:
    """Fourteen joints without mass.

    Args:
        cameras: what it sees with.
        lockstep: whether its time stands still between two commands.
        journal: a file that every call is noted in.
        faults: a file; what is in it is wrong with the robot: ``{"camera": "dead"}``, ``{"joints": "nan"}``, …
        done_after: commands after which the task is done.
    """

    simulated = True

    def __init__(
        self,
        cameras: tuple[CameraSpec, ...] = (),
        *,
        lockstep: bool = False,
        journal: Path | None = None,
        faults: Path | None = None,
        done_after: int = 10**9,
        frequency_hz: float = 50.0,
    ) -> None:
        self.spec = RobotSpec(
            name="toy",
            joint_names=tuple(f"joint_{number}" for number in range(14)),
            cameras=cameras,
            frequency_hz=frequency_hz,
        )
        self.lockstep = lockstep
        self.calls: list[str] = []
        self.wrong: dict[str, str] = {}
        self.commands: list[np.ndarray] = []
        self.seeds: list[int] = []
        self._journal = journal
        self._faults = faults
        self._done_after = done_after
        self._position = np.zeros(14, np.float32)
        self._since_reset = 0
        self._began = time.monotonic()

    def _note(self, call: str) -> None:
        if not self.calls or self.calls[-1] != call:
            self.calls.append(call)
            if self._journal is not None:
                with self._journal.open("a") as file:
                    file.write(call + "\n")

    def _trouble(self, what: str) -> str:
        if self._faults is not None and self._faults.is_file():
            self.wrong = json.loads(self._faults.read_text() or "{}")
        return self.wrong.get(what, "")

    def reset(self, seed: int, stopped: Stopped) -> None:
        self._note("reset")
        self.seeds.append(seed)
        self._position = np.zeros(14, np.float32)
        self._since_reset = 0
        self._began = time.monotonic()

    def observe(self) -> Seen:
        if self._trouble("robot") == "gone":
            raise RobotFault("the robot does not answer", "switch it on")
        position = self._position.copy()
        if self._trouble("joints") == "nan":
            position[3] = np.nan
        still = np.zeros(14, np.float32)
        now = self._since_reset / self.spec.frequency_hz if self.lockstep else time.monotonic() - self._began
        seen = Seen(RobotReading(position, still, still, now))
        trouble = self._trouble("camera")
        for camera in self.spec.cameras:
            picture = np.full((camera.height, camera.width, 3), self._since_reset % 256, np.uint8)
            if trouble == "missing":
                continue
            seen.frames[camera.name] = CameraFrame(
                picture.astype(np.float32) if trouble == "float" else picture,  # type: ignore[arg-type]
                9.0 if trouble == "dead" else 0.0,
            )
        if self._trouble("person") == "has it":
            seen.taken_over = np.full(14, 7, np.float32)
        return seen

    def command(self, action: np.ndarray) -> None:
        self._note("command")
        self.commands.append(action.copy())
        self._position = action.astype(np.float32)
        self._since_reset += 1

    def hold(self) -> None:
        self._note("hold")

    def damp(self) -> None:
        self._note("damp")

    def success(self) -> bool | None:
        return self._since_reset >= self._done_after

    def close(self) -> None:
        self._note("close")


def make_robot(config: StationConfig) -> ToyArms:
    """For ``robot.adapter: toy_arms:make_robot``; options: journal, faults, lockstep, done_after."""
    options = config.robot.options
    return ToyArms(
        config.cameras,
        lockstep=bool(options.get("lockstep", False)),
        journal=Path(options["journal"]) if "journal" in options else None,
        faults=Path(options["faults"]) if "faults" in options else None,
        done_after=int(options.get("done_after", 10**9)),
        frequency_hz=config.control.frequency_hz,
    )
