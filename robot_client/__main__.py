"""The station client: ``python -m robot_client --config training_config.yaml [--start-immediately]``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.config import apply_overrides, load_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.child_process import end_with_starter
from hitl_ops.serving.freed_memory import keep_freed_memory
from robot_client.emergency import EmergencyExit
from robot_client.people import Keyboard, Person, SimulatedPerson
from robot_client.policy_connection import PolicyConnection
from robot_client.recordings import Recordings
from robot_client.robots.robot import make_robot
from robot_client.screens import PlainScreen, Screen, TerminalScreen
from robot_client.station import Station, StationParts
from robot_client.station_config import StationConfig
from robot_client.sync.sending import make_sync

_SWITCH_S = 0.0005
_PRIORITY = -10


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m robot_client", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument(
        "--start-immediately", action="store_true", help="begin with whatever policy is served, without waiting"
    )
    parser.add_argument("--epochs", type=int, help="end after so many epochs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one key; repeatable"
    )
    parser.add_argument(
        "--simulated-person",
        type=int,
        metavar="EPISODES",
        help="collect so many episodes an epoch by a simulated person who judges by the simulator's truth",
    )
    parser.add_argument("--plain", action="store_true", help="print lines instead of a panel")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a station; returns its exit code: 0 when the session is complete, 130 after an emergency exit."""
    end_with_starter()
    given = _parser().parse_args(arguments)
    try:
        config = apply_overrides(load_config(StationConfig, given.config), given.overrides).checked()
        return _run(config, given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


def _run(config: StationConfig, given: argparse.Namespace) -> int:
    # Beside the control loop there are threads that draw, encode and send: none may keep it waiting for milliseconds.
    sys.setswitchinterval(_SWITCH_S)
    keep_freed_memory()  # two cameras of 480×640 at 50 Hz: 700 page faults a second instead of 5000
    plain = given.plain or not sys.stdout.isatty()
    with contextlib.ExitStack() as stack:
        emergency = stack.enter_context(EmergencyExit())
        recordings = stack.enter_context(contextlib.closing(Recordings(config.data, config.task)))
        robot = stack.enter_context(contextlib.closing(make_robot(config)))
        if not robot.lockstep:
            # Where the system lets us: a tick must not wait for whatever else the laptop does.
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
        if given.simulated_person is not None and robot.success() is None:
            raise UserError("a simulated person needs a simulated world", "choose robot.adapter bimanual or aloha")
        policy = stack.enter_context(contextlib.closing(PolicyConnection(config.policy_server)))
        person: Person = (
            stack.enter_context(Keyboard())
            if given.simulated_person is None
            else SimulatedPerson(given.simulated_person)
        )
        shown: Screen = PlainScreen() if plain else TerminalScreen()
        screen = stack.enter_context(shown)
        parts = StationParts(robot, policy, recordings, make_sync(config.data), person, screen, emergency)
        station = Station(config, parts, start_immediately=given.start_immediately, epochs=given.epochs)
        code = station.run()
    if station.jitters:
        worst = max(station.jitters, key=lambda jitter: jitter.max)
        ticks = sum(jitter.ticks for jitter in station.jitters)
        print(f"{len(station.jitters)} episodes, {ticks} ticks; worst episode's jitter {worst}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
