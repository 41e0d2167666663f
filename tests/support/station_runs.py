"""A station in this process: the toy arms, a policy server in recorded bytes, and somebody made up at the keys."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hitl_ops.records.station_hdf5 import list_station_episodes
from robot_client.emergency import EmergencyExit
from robot_client.people import Person, Situation
from robot_client.policy_connection import PolicyConnection
from robot_client.recordings import Recordings
from robot_client.robots.robot import Robot
from robot_client.screens import PlainScreen
from robot_client.states import State
from robot_client.station import Station, StationParts
from robot_client.station_config import StationConfig
from robot_client.sync.sending import StayHere, Sync

Keys = Callable[[Situation], list[str]]


def station_config(folder: Path, port: int, **sections: dict[str, Any]) -> StationConfig:
    """A configuration that keeps everything below ``folder``."""
    values: dict[str, dict[str, Any]] = {
        "task": {"name": "lift_lid", "description": "Lift the lid off the bowl"},
        "policy_server": {"host": "127.0.0.1", "port": port, "poll_interval_s": 0.05, "reply_timeout_s": 1.0},
        "data": {"save_dir": folder / "recordings", "retry_s": 0.1},
        "control": {"lost_after_s": 0.2, "frequency_hz": 200},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return StationConfig.model_validate(values)


class Pressing:
    """Presses what a script says for each state; nothing where it says nothing.

    Args:
        script: state → the keys, or what chooses them.
    """

    def __init__(self, script: dict[State, list[str] | Keys]) -> None:
        self.script = script
        self.seen: list[State] = []

    def keys(self, situation: Situation) -> list[str]:
        if not self.seen or self.seen[-1] is not situation.state:
            self.seen.append(situation.state)
        keys = self.script.get(situation.state, [])
        return keys(situation) if callable(keys) else list(keys)


class StationRun:
    """A station and what is left of its run.

    Args:
        config: the station's.
        robot: which.
        person: who presses the keys.
        sync: how episodes are sent.
    """

    def __init__(self, config: StationConfig, robot: Robot, person: Person, *, sync: Sync | None = None) -> None:
        self.config = config
        self.emergency = EmergencyExit()
        self._robot, self._person, self._sync = robot, person, sync or StayHere()
        self._output = io.StringIO()
        self.station: Station | None = None

    def run(self, *, epochs: int = 1, **options: Any) -> int:
        """Run it; returns the exit code."""
        recordings = Recordings(self.config.data, self.config.task)
        policy = PolicyConnection(self.config.policy_server)
        try:
            parts = StationParts(
                self._robot, policy, recordings, self._sync, self._person, PlainScreen(self._output), self.emergency
            )
            self.station = Station(self.config, parts, epochs=epochs, **options)
            return self.station.run()
        finally:
            policy.close()
            recordings.close()

    def leaving(self, _situation: Situation) -> list[str]:
        """Keys of somebody who leaves at once."""
        self.emergency.take()
        return []

    @property
    def said(self) -> str:
        """Everything that was shown."""
        return self._output.getvalue()

    @property
    def episodes(self) -> list[Path]:
        """The finished recordings."""
        return list_station_episodes(self.config.data.save_dir)


def written_config(folder: Path, port: int, **sections: dict[str, Any]) -> Path:
    """The same kind of configuration as a file, for a client in a process of its own; its arms are the toy ones."""
    values: dict[str, dict[str, Any]] = {
        "task": {"name": "lift_lid", "description": "Lift the lid off the bowl"},
        "policy": {"config_name": "pi0_fast_h1", "base_checkpoint": "checkpoints/pi0_fast_h1/pretrained/999"},
        "training": {"max_epochs": 2, "save_interval": 200, "keep_period": 100, "labeling_mode": "human_labeling"},
        "policy_server": {"host": "localhost", "port": port, "poll_interval_s": 0.1},
        "data": {"save_dir": str(folder / "data"), "rsync": {"enabled": False, "target": "user@server:~/data"}},
        "robot": {
            "adapter": "tests.support.toy_arms:make_robot",
            "options": {"journal": str(folder / "calls.txt")},
        },
        "cameras": [{"name": "cam_high", "height": 24, "width": 32}],  # type: ignore[dict-item]
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    file = folder / "training_config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file
