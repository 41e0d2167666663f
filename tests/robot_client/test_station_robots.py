"""The adapters: what each makes of its robot, and what it says when that is not there."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.station_hdf5 import read_station_episode, read_station_facts
from robot_client.people import SimulatedPerson
from robot_client.robots import unitree_h1
from robot_client.robots.robot import Robot, RobotFault, make_robot
from robot_client.robots.simulated import SimulatedRobot
from robot_client.station_config import StationConfig
from tests.support.openpi_server import metadata, openpi_server
from tests.support.station_recordings import record
from tests.support.station_recordings import robot as waving_robot
from tests.support.station_runs import StationRun, station_config


def never() -> bool:
    return False


def config_of(tmp_path: Path, adapter: str, *, cameras: tuple[Any, ...] = (), **options: Any) -> StationConfig:
    return station_config(
        tmp_path,
        1,
        robot={"adapter": adapter, "options": options},
        cameras=cameras,  # type: ignore[arg-type]
        control={"frequency_hz": 50},
    )


def until(found: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- replay ---------------------------------------------------------------------------------------------------------


def test_replay_perceives_what_was_recorded_and_who_had_it_in_hand(tmp_path: Path) -> None:
    camera = {"name": "cam_high", "height": 48, "width": 64}
    file = record(tmp_path / "e.hdf5", 12, spec=waving_robot("cam_high"), intervened=slice(3, 5))
    robot = make_robot(config_of(tmp_path, "replay", cameras=(camera,), episode=str(file), lockstep=True))
    recorded = read_station_episode(file)
    robot.reset(0, never)
    for frame in range(15):
        seen = robot.observe()
        at = min(frame, 11)
        np.testing.assert_array_equal(seen.reading.position, recorded.qpos[at])
        assert seen.reading.time == pytest.approx(frame / 50)
        assert seen.frames["cam_high"].picture.shape == (48, 64, 3)
        if 3 <= at < 5:
            assert seen.taken_over is not None
            np.testing.assert_array_equal(seen.taken_over, recorded.action[at])
        else:
            assert seen.taken_over is None
        robot.command(np.zeros(14, np.float32))
    with pytest.raises(UserError, match="has no camera 'cam_low' of 48x64: it has cam_high 48x64"):
        make_robot(config_of(tmp_path, "replay", cameras=({**camera, "name": "cam_low"},), episode=str(file)))


# --- bimanual -------------------------------------------------------------------------------------------------------

CAMERA = {"name": "cam_high", "height": 24, "width": 32}


@pytest.fixture
def arms(tmp_path: Path) -> Iterator[SimulatedRobot]:
    robot = make_robot(config_of(tmp_path, "bimanual", cameras=(CAMERA,), world={"renderer": "pybullet"}))
    assert isinstance(robot, SimulatedRobot)
    yield robot
    robot.close()


@pytest.mark.slow
@pytest.mark.integration
def test_the_simulated_arms_move_hold_soften_and_come_back_after_a_kill(arms: SimulatedRobot) -> None:
    arms.reset(3, never)
    seen = arms.observe()
    assert seen.frames["cam_high"].picture.shape == (24, 32, 3)
    assert seen.frames["cam_high"].picture.std() > 1
    # With cameras, what only a simulator knows is not for the policy.
    assert seen.reading.environment_state is None
    assert arms.spec.environment_state_names == ()
    target = seen.reading.position.copy()
    target[0] += 0.3
    for _ in range(40):
        arms.command(target)
        time.sleep(0.02)
    assert arms.observe().reading.position[0] == pytest.approx(target[0], abs=0.05)
    arms.hold()
    held = arms.observe().reading.position
    time.sleep(0.3)
    np.testing.assert_allclose(arms.observe().reading.position, held, atol=0.02)
    arms.damp()
    assert arms.success() is False
    process = arms._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RobotFault, match="the robot's process has gone"):
        until(lambda: arms.observe() is None)
    arms.reset(4, never)
    assert arms.observe().reading.position.shape == (14,)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(find_spec("gym_aloha") is None, reason="gym-aloha is not installed (extra 'aloha')")
def test_the_adapters_name_is_the_worlds(tmp_path: Path) -> None:
    camera = {"name": "angle", "height": 24, "width": 32}
    options = {"lockstep": True, "world": {"task": "insertion", "shadows": False}}
    arms = make_robot(config_of(tmp_path, "aloha", cameras=(camera,), **options))
    try:
        arms.reset(3, never)
        seen = arms.observe()
        assert arms.spec.name == "aloha" and seen.frames["angle"].picture.shape == (24, 32, 3)
        arms.command(seen.reading.position)
        assert arms.observe().reading.time == pytest.approx(0.02) and arms.success() is False
    finally:
        arms.close()


@pytest.mark.slow
@pytest.mark.integration
def test_a_whole_epoch_in_lockstep_with_the_simulated_arms(tmp_path: Path) -> None:
    with openpi_server(metadata("base", 0)) as server:
        config = station_config(
            tmp_path,
            server.port,
            robot={"adapter": "bimanual", "options": {"lockstep": True}, "seed": 5},
            control={"frequency_hz": 50},
        )
        robot = make_robot(config)
        try:
            run = StationRun(config, robot, SimulatedPerson(2, patience_s=1.0))
            assert run.run() == 0
        finally:
            robot.close()
    facts = [read_station_facts(file) for file in run.episodes]
    assert [(fact.verdict, fact.success, fact.sim) for fact in facts] == [("bad", False, True)] * 2
    first, second = (read_station_episode(file) for file in run.episodes)
    assert first.environment_state is not None
    assert second.environment_state is not None
    # Other seeds, other scenes.
    assert not np.array_equal(first.environment_state[0], second.environment_state[0])
    np.testing.assert_allclose(np.diff(first.timestamp), 0.02, atol=1e-6)


# --- Unitree H1-2, its SDK stood in for --------------------------------------------------------------------------


class StandIn:
    """A body whose arms follow what is published, behind modules with the SDK's names."""

    def __init__(self) -> None:
        self.position = np.linspace(-0.5, 0.5, 35)
        self.published: list[tuple[np.ndarray, float, float]] = []
        self.silent = False
        self.closing = threading.Event()
        motors = [types.SimpleNamespace(mode=0, q=0.0, dq=0.0, tau=0.0, kp=0.0, kd=0.0) for _ in range(35)]
        self.message = types.SimpleNamespace(mode_pr=1, mode_machine=0, motor_cmd=motors, crc=0)
        self.topics: list[str] = []
        self.initialised: tuple[Any, ...] = ()

    def modules(self) -> dict[str, types.ModuleType]:
        body = self

        class Publisher:
            def __init__(self, topic: str, _kind: object) -> None:
                body.topics.append(topic)

            def Init(self) -> None:
                pass

            def Write(self, message: Any) -> None:
                arm = np.array([message.motor_cmd[motor].q for motor in range(13, 27)])
                body.published.append((arm, message.motor_cmd[27].q, message.motor_cmd[13].kp))
                body.position[13:27] = arm

            def Close(self) -> None:
                body.closing.set()

        class Subscriber(Publisher):
            def Init(self, handler: Callable[[Any], None] | None = None, _length: int = 0) -> None:  # type: ignore[override]
                assert handler is not None
                self.handler = handler
                threading.Thread(target=self.talk, daemon=True).start()

            def talk(self) -> None:
                while not body.closing.is_set():
                    if not body.silent:
                        states = [types.SimpleNamespace(q=q, dq=0.0, tau_est=0.5) for q in body.position]
                        self.handler(types.SimpleNamespace(motor_state=states, mode_machine=6))
                    time.sleep(0.002)

        def initialise(*arguments: Any) -> None:
            body.initialised = arguments

        channel = types.ModuleType("channel")
        channel.ChannelPublisher, channel.ChannelSubscriber = Publisher, Subscriber  # type: ignore[attr-defined]
        channel.ChannelFactoryInitialize = initialise  # type: ignore[attr-defined]
        default = types.ModuleType("default")
        default.unitree_hg_msg_dds__LowCmd_ = lambda: body.message  # type: ignore[attr-defined]
        messages = types.ModuleType("dds_")
        messages.LowCmd_, messages.LowState_ = object, object  # type: ignore[attr-defined]
        crc = types.ModuleType("crc")
        crc.CRC = lambda: types.SimpleNamespace(Crc=lambda message: 7)  # type: ignore[attr-defined]
        base = "unitree_sdk2py"
        return {
            f"{base}.core.channel": channel,
            f"{base}.idl.default": default,
            f"{base}.idl.unitree_hg.msg.dds_": messages,
            f"{base}.utils.crc": crc,
        }


@pytest.fixture
def body(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    for name, module in stand_in.modules().items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            parent = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, parent, sys.modules.get(parent) or types.ModuleType(parent))
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


@pytest.mark.slow
def test_the_h1s_arms_are_moved_slowly_held_let_go_and_given_back(
    tmp_path: Path, body: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unitree_h1, "_WEIGHT_S", 0.1)
    robot = make_robot(config_of(tmp_path, "unitree_h1", network_interface="eth7", joint_speed=2.0, reset_s=0.4))
    try:
        assert body.initialised == (0, "eth7")
        assert body.topics == ["rt/arm_sdk", "rt/lowstate"]
        seen = robot.observe()
        np.testing.assert_allclose(seen.reading.position, np.linspace(-0.5, 0.5, 35)[13:27], rtol=1e-6)
        assert (seen.reading.effort == 0.5).all()
        # Before the first command the arms stay the robot's own.
        until(lambda: len(body.published) > 3)
        assert body.published[-1][1] == 0.0
        robot.reset(0, never)
        assert np.abs(robot.observe().reading.position).max() < 0.15
        assert body.published[-1][1] == pytest.approx(1.0)
        assert body.message.mode_machine == 6
        count = len(body.published)
        robot.command(np.full(14, 3.0, np.float32))
        until(lambda: len(body.published) > count + 30)
        arms = np.array([arm for arm, _, _ in body.published[count:]])
        # 250 times a second, no joint faster than 2 rad/s.
        assert np.abs(np.diff(arms, axis=0)).max() <= 2.0 / 250 + 1e-5
        robot.hold()
        time.sleep(0.02)
        held = body.position[13:27].copy()
        time.sleep(0.05)
        np.testing.assert_allclose(body.position[13:27], held, atol=0.02)
        robot.damp()
        until(lambda: body.published[-1][2] == 0.0)
        body.silent = True
        with pytest.raises(RobotFault, match="the H1-2 has said nothing for"):
            until(lambda: robot.observe() is None)
        body.silent = False
    finally:
        robot.close()
    assert body.published[-1][1] == 0.0
    robot.close()


def test_a_station_without_the_sdk_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the unitree_h1 adapter needs Unitree's SDK"):
        make_robot(config_of(tmp_path, "unitree_h1"))


def test_an_emergency_on_the_way_to_the_starting_pose_stops_the_arms(tmp_path: Path, body: StandIn) -> None:
    pose = [1.0] * 14
    robot = make_robot(config_of(tmp_path, "unitree_h1", starting_pose=pose, reset_s=5.0))
    try:
        began = time.monotonic()
        robot.reset(0, lambda: time.monotonic() - began > 0.2)
        assert time.monotonic() - began < 2
        stopped_at = body.position[13:27].copy()
        assert stopped_at.max() < 0.9
        time.sleep(0.1)
        np.testing.assert_allclose(body.position[13:27], stopped_at, atol=0.05)
    finally:
        robot.close()


# --- LeRobot --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_robot_of_lerobots_is_driven_through_its_own_class(tmp_path: Path) -> None:
    pytest.importorskip("lerobot.robots", reason="LeRobot is not installed here")
    from tests.support.paperarms import ASKED as asked

    own = {"port": "/dev/paper", "calibration_dir": str(tmp_path / "calibration")}
    config = config_of(
        tmp_path,
        "lerobot",
        cameras=(CAMERA,),
        type="paper_arms",
        config=own,
        reset_s=0.2,
        modules=["tests.support.paperarms"],
    )
    robot: Robot = make_robot(config)
    try:
        assert robot.spec.joint_names == ("left_shoulder", "left_gripper", "right_shoulder", "right_gripper")
        assert robot.spec.gripper_indices == (1, 3)
        np.testing.assert_array_equal(robot.observe().reading.position, [10, 10, 10, 10])
        assert robot.observe().frames["cam_high"].picture.shape == (24, 32, 3)
        robot.command(np.array([50, 60, 70, 80], np.float32))
        until(lambda: bool((robot.observe().reading.position == [50, 60, 70, 80]).all()))
        robot.reset(0, never)
        np.testing.assert_allclose(robot.observe().reading.position, 10, atol=5)
        robot.damp()
        until(lambda: asked[-1] == "limp")
        robot.hold()
        until(lambda: asked[-1] == "stiff")
        robot._device.unplugged = True  # type: ignore[attr-defined]
        with pytest.raises(RobotFault, match="gives no reading \\(ConnectionError: no status packet\\)"):
            until(lambda: robot.observe() is None)
    finally:
        robot.close()
    assert asked[0] == "connect False"
    assert asked[-1] == "disconnect"
    with pytest.raises(UserError, match="LeRobot has no robot 'nobody'"):
        make_robot(config_of(tmp_path, "lerobot", type="nobody"))
