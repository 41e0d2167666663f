"""Whatever goes wrong in an episode: the robot holds, one line says why, and the data so far is kept as aborted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.records import station_episode
from hitl_ops.records.station_hdf5 import read_station_episode, read_station_facts
from robot_client.people import Situation
from robot_client.robots.guarded import GuardedRobot
from robot_client.robots.robot import Robot, Seen
from robot_client.states import State
from tests.support.openpi_server import OpenpiServer, metadata, openpi_server, reply
from tests.support.station_runs import Pressing, StationRun, station_config
from tests.support.toy_arms import ToyArms

pytestmark = pytest.mark.integration

CAMERAS = [{"name": "cam_high", "height": 16, "width": 24}]


@pytest.fixture
def server() -> Iterator[OpenpiServer]:
    with openpi_server(metadata("base", 0)) as running:
        yield running


def after_frames(robot: ToyArms, frames: int, do: Callable[[], None]) -> Callable[[Situation], list[str]]:
    """Does something once in EXECUTING, when so many actions were carried out; never presses s."""
    done = []

    def keys(_situation: Situation) -> list[str]:
        if len(robot.commands) >= frames and not done:
            done.append(True)
            do()
        return []

    return keys


def run_until_it_breaks(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, do: Callable[[], None], *, driven: Robot | None = None
) -> StationRun:
    """Start an episode, break something after 30 actions, and leave by the emergency exit afterwards."""
    config = station_config(tmp_path, server.port, cameras=CAMERAS)  # type: ignore[arg-type]
    person = Pressing({State.READY: ["y"], State.EXECUTING: after_frames(robot, 30, do)})
    run = StationRun(config, driven or robot, person)
    person.script[State.DECIDING] = run.leaving
    assert run.run() == 130
    return run


@pytest.fixture
def robot() -> ToyArms:
    from hitl_ops.contracts.robot import CameraSpec

    return ToyArms((CameraSpec(name="cam_high", height=16, width=24),), frequency_hz=200)


def say(server: OpenpiServer, answer: bytes | str) -> Callable[[], None]:
    def change() -> None:
        server.answer = lambda _observation: answer

    return change


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (reply(float("nan")), "actions from the policy hold nan at step 0, joint 0"),
        (reply(joints=12), "actions from the policy have shape (50, 12), not (H, 14)"),
        (reply(horizon=0), "actions from the policy have shape (0, 14)"),
        ("the GPU is on fire", "the policy server says: the GPU is on fire"),
    ],
)
def test_actions_that_cannot_be_carried_out(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, answer: bytes | str, wrong: str
) -> None:
    run = run_until_it_breaks(tmp_path, server, robot, say(server, answer))
    kept_as_aborted(run, robot, wrong)
    assert np.isfinite(robot.commands).all()


def kept_as_aborted(run: StationRun, robot: ToyArms, wrong: str) -> None:
    (path,) = run.episodes
    facts = read_station_facts(path)
    assert facts.status == "aborted"
    assert wrong in facts.reason
    assert f"! robot holds: {facts.reason}" in run.said
    assert robot.calls[-1] == "hold"
    assert read_station_episode(path).frames == len(robot.commands) >= 30


@pytest.mark.parametrize(
    ("what", "how", "wrong"),
    [
        ("camera", "dead", "camera 'cam_high' gave its last picture 9.0 s ago"),
        ("camera", "missing", "camera 'cam_high' has given no picture"),
        ("camera", "float", "pictures of camera 'cam_high' have dtype float32"),
        ("joints", "nan", "the joint sensors give no sound position"),
        ("robot", "gone", "the robot does not answer"),
    ],
)
def test_sensors_that_fail(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, what: str, how: str, wrong: str
) -> None:
    run = run_until_it_breaks(tmp_path, server, robot, lambda: robot.wrong.update({what: how}))
    kept_as_aborted(run, robot, wrong)


def test_an_adapter_that_breaks_is_one_line_too(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken() -> Seen:
        raise OSError("the bus\nis silent")

    guarded = GuardedRobot(robot, "my_lab.arms:Arms")
    run = run_until_it_breaks(
        tmp_path, server, robot, lambda: monkeypatch.setattr(robot, "observe", mistaken), driven=guarded
    )
    kept_as_aborted(
        run, robot, "robot adapter 'my_lab.arms:Arms' failed (OSError: the bus is silent): see test_station"
    )


def test_a_jump_that_is_too_large(tmp_path: Path, server: OpenpiServer, robot: ToyArms) -> None:
    config = station_config(
        tmp_path,
        server.port,
        cameras=CAMERAS,  # type: ignore[arg-type]
        control={"largest_step": 0.5, "blend_steps": 0},
    )
    person = Pressing({State.READY: ["y"], State.EXECUTING: after_frames(robot, 30, say(server, reply(0.9)))})
    run = StationRun(config, robot, person)
    person.script[State.DECIDING] = run.leaving
    assert run.run() == 130
    kept_as_aborted(run, robot, "the policy moves joint_0 by 0.90 in one action, 0.5 is allowed")
    assert np.abs(robot.commands).max() == 0.0


def test_a_lost_server_makes_the_robot_hold_and_then_ends_the_episode(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms
) -> None:
    run = run_until_it_breaks(tmp_path, server, robot, server.stop)
    kept_as_aborted(run, robot, "connection lost")


@pytest.mark.slow
def test_a_short_cut_makes_the_robot_hold_and_the_episode_goes_on(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms
) -> None:
    config = station_config(tmp_path, server.port, control={"lost_after_s": 5.0})
    state = {"cut": False}

    def keys(situation: Situation) -> list[str]:
        if len(robot.commands) >= 30 and not state["cut"]:
            state["cut"] = True
            server.delay_s = 0.6
            server.cut()
        # The robot held while nothing came, and then went on for a while.
        return ["s"] if len(robot.commands) >= 150 else []

    person = Pressing({State.READY: ["y"], State.EXECUTING: keys, State.LABELING: ["g", "r"], State.DECIDING: ["n"]})
    run = StationRun(config, robot, person)
    assert run.run() == 0
    (path,) = run.episodes
    assert read_station_facts(path).status == "complete"
    assert robot.calls[:6] == ["reset", "hold", "command", "hold", "command", "hold"]
    assert server.connections >= 2
    episode = read_station_episode(path)
    # Nobody learns to wait: the gap shows in the time, not in frames.
    assert np.diff(episode.timestamp).max() > 0.3
    assert episode.frames == len(robot.commands)


def test_a_full_disk_holds_the_robot_and_the_episode_is_saved_once_there_is_room(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.pwrite
    full = {"disk": False}

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if full["disk"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, data, offset)

    monkeypatch.setattr(station_episode.os, "pwrite", pwrite)
    config = station_config(tmp_path, server.port)
    person = Pressing({State.READY: ["y"], State.EXECUTING: after_frames(robot, 30, lambda: full.update(disk=True))})
    run = StationRun(config, robot, person)
    waited = run.emergency.wait

    def wait(seconds: float) -> bool:
        full["disk"] = False  # somebody makes room while the client waits
        return waited(min(seconds, 0.01))

    monkeypatch.setattr(run.emergency, "wait", wait)
    person.script[State.DECIDING] = run.leaving
    assert run.run() == 130
    (path,) = run.episodes
    assert "disk full" in read_station_facts(path).reason
    assert "the data is kept, and it is tried again" in run.said
    assert robot.calls[-1] == "hold"
    assert read_station_episode(path).frames >= 30


def test_the_emergency_exit_saves_the_running_episode(tmp_path: Path, server: OpenpiServer, robot: ToyArms) -> None:
    run = StationRun(station_config(tmp_path, server.port), robot, person := Pressing({State.READY: ["y"]}))
    person.script[State.EXECUTING] = after_frames(robot, 30, run.emergency.take)
    assert run.run() == 130
    (path,) = run.episodes
    assert read_station_facts(path).reason == "emergency stop"
    assert robot.calls[-1] == "hold"


@pytest.mark.parametrize(("pressed", "verdict"), [([], None), (["b"], "bad")])
def test_the_emergency_exit_before_the_label_keeps_the_whole_episode_for_a_later_one(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms, pressed: list[str], verdict: str | None
) -> None:
    def stop(_situation: Situation) -> list[str]:
        return ["s"] if len(robot.commands) >= 10 else []

    run = StationRun(
        station_config(tmp_path, server.port), robot, person := Pressing({State.READY: ["y"], State.EXECUTING: stop})
    )
    calls = []

    def leave(_situation: Situation) -> list[str]:
        calls.append(1)
        if len(calls) > 1:
            run.emergency.take()
        return pressed

    person.script[State.LABELING] = leave
    assert run.run() == 130
    facts = read_station_facts(run.episodes[0])
    assert (facts.status, facts.verdict) == ("complete", verdict)


def test_a_missing_label_is_asked_for_while_the_robot_holds(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms
) -> None:
    def stop(_situation: Situation) -> list[str]:
        return ["s"] if len(robot.commands) >= 10 else []

    pressed = iter((["r"], ["d"], ["g"], ["r"]))
    person = Pressing(
        {
            State.READY: ["y"],
            State.EXECUTING: stop,
            State.LABELING: lambda _situation: next(pressed),
            State.DECIDING: ["n"],
        }
    )
    run = StationRun(station_config(tmp_path, server.port), robot, person)
    assert run.run() == 0
    assert run.said.count("label the episode first: g (good) or b (bad); the robot holds") == 2
    assert State.DAMPING not in person.seen
    assert read_station_facts(run.episodes[0]).verdict == "good"


def test_a_person_who_takes_over_is_recorded_and_the_policy_is_asked_anew(
    tmp_path: Path, server: OpenpiServer, robot: ToyArms
) -> None:
    def keys(_situation: Situation) -> list[str]:
        count = len(robot.commands)
        robot.wrong["person"] = "has it" if 20 <= count < 40 else ""
        return ["s"] if count >= 60 else []

    person = Pressing({State.READY: ["y"], State.EXECUTING: keys, State.LABELING: ["g", "r"], State.DECIDING: ["n"]})
    run = StationRun(station_config(tmp_path, server.port), robot, person)
    assert run.run() == 0
    episode = read_station_episode(run.episodes[0])
    assert episode.intervention.nonzero()[0].tolist() == list(range(20, 40))
    assert (episode.action[20:40] == 7).all()
    assert (episode.action[40:] == 0).all()


def test_what_was_pressed_while_waiting_starts_nothing(tmp_path: Path, server: OpenpiServer, robot: ToyArms) -> None:
    typed = [["y"]]  # typed ahead, while there was no policy yet

    def keys(situation: Situation) -> list[str]:
        if situation.state is State.READY and not typed:
            run.emergency.take()
        return typed.pop() if typed else []

    run = StationRun(station_config(tmp_path, server.port), robot, Pressing({State.WAITING: keys, State.READY: keys}))
    assert run.run() == 130
    assert robot.calls == ["hold"]
