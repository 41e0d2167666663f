"""The simulated robot's process: real sockets, real time, and what it does when nobody drives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArms
from hitl_ops.serving.robot_link import RobotLink, RobotProcess
from hitl_ops.serving.wire import WireError
from hitl_ops.worlds.aloha.world import AlohaConfig, AlohaWorld
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld

pytestmark = pytest.mark.integration

SMALL = ("height=16", "width=24")
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def stepped() -> Iterator[RobotProcess]:
    with RobotProcess(["--lockstep", *SMALL]) as process:
        yield process


@pytest.fixture(scope="module")
def living() -> Iterator[RobotProcess]:
    with RobotProcess(["cameras=[cam_high]", *SMALL]) as process:
        yield process


def until_mode(link: RobotLink, mode: str) -> dict[str, int]:
    deadline = time.monotonic() + PATIENCE_S
    while (status := link.status())["mode"] != mode:
        assert time.monotonic() < deadline, status
        time.sleep(0.005)
    return status


def raised(link: RobotLink) -> Float32:
    """Joint targets away from the starting pose, hands still open."""
    action = link.home.copy()
    action[[1, 8]] -= 0.6
    return action


def test_in_lockstep_an_episode_is_that_of_the_world_itself(stepped: RobotProcess) -> None:
    def play(reading: RobotReading) -> Iterator[Float32]:
        expert = ScriptedArms()
        expert.start(3)
        action = expert.act(reading)
        while True:
            reading = yield action
            action = expert.act(reading)

    link = stepped.link()
    with BimanualWorld(BimanualConfig(height=16, width=24)) as world:
        assert link.lockstep and link.spec == world.spec and link.task == world.task
        assert np.array_equal(link.home, world.home)
        here, there = world.reset(3), link.reset(3)
        acts = play(here)
        action = next(acts)
        assert link.outcome() == (False, "the lid was not lifted")
        while not world.success():
            here = world.tick(action)
            there, images = link.command(action)
            assert np.array_equal(here.position, there.position) and here.time == there.time and not images
            assert here.environment_state is not None and there.environment_state is not None
            assert np.array_equal(here.environment_state, there.environment_state)
            action = acts.send(here)
        assert link.outcome() == (True, "")
        _, images = link.observe(None)
        assert list(images) == list(world.spec.camera_names)
        assert all(np.array_equal(images[name], picture) for name, picture in world.images().items())
        _, images = link.command(action, cameras=("cam_low",), size=(8, 32))
        assert {name: image.shape for name, image in images.items()} == {"cam_low": (8, 32, 3)}
    link.close()


def test_what_it_cannot_do_is_refused_and_it_goes_on(stepped: RobotProcess) -> None:
    link = stepped.link()
    link.reset(0)
    link.command(raised(link))
    with pytest.raises(UserError, match="nan at joint 2"):
        bad = link.home.copy()
        bad[2] = np.nan
        link.command(bad)
    assert link.status()["mode"] == "holding"
    for wrong, says in (
        (lambda: link.command(link.home[:7]), r"\(7,\), not \(14,\)"),
        (lambda: link.reset(-1), "seed"),
        (lambda: link.observe(("cam_top",)), "cam_top"),
        (lambda: link.observe(None, (4, 4)), "size"),
        (lambda: link._ask("dance"), "does not know 'dance'"),
    ):
        with pytest.raises(UserError, match=says):
            wrong()
    assert link.observe(())[0].time == pytest.approx(0.02)
    link.close()


def test_its_time_goes_on_by_itself(living: RobotProcess) -> None:
    link = living.link()
    before, began = link.status()["ticks"], time.monotonic()
    time.sleep(0.5)
    ticks, seconds = link.status()["ticks"] - before, time.monotonic() - began
    assert seconds * 25 <= ticks <= seconds * 50 + 3  # a machine that is busy elsewhere loses some
    link.close()


def test_without_commands_it_holds(living: RobotProcess) -> None:
    link = living.link()
    start = link.reset(0)
    holds = link.status()["watchdog_holds"]
    for _ in range(10):
        _, images = link.command(raised(link), cameras=None)
        assert images["cam_high"].shape == (16, 24, 3)
        time.sleep(0.02)
    assert until_mode(link, "holding")["watchdog_holds"] > holds
    time.sleep(0.2)
    held = link.observe(())[0]
    time.sleep(0.2)
    later = link.observe(())[0]
    assert np.abs(held.position - start.position).max() > 0.05
    assert np.allclose(held.position, later.position, atol=5e-3) and later.time > held.time
    # It follows again as soon as it is told.
    deadline = time.monotonic() + PATIENCE_S
    while np.abs(link.command(link.home)[0].position - link.home).max() > 0.05:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    link.close()


def test_it_holds_when_the_one_who_drives_goes(stepped: RobotProcess) -> None:
    # In lockstep, where no time passes: it is the end of the connection that makes it hold.
    watcher, driver, other = stepped.link(), stepped.link(), stepped.link()
    watcher.reset(0)
    other.command(raised(driver))
    driver.command(raised(driver))
    other.close()
    time.sleep(0.1)
    assert watcher.status()["mode"] == "following"
    driver.close()
    until_mode(watcher, "holding")
    watcher.close()


def test_let_go_it_sinks_until_it_is_held(living: RobotProcess) -> None:
    link = living.link()
    high = link.reset(0).position
    link.damp()
    assert link.status()["mode"] == "damped"
    deadline = time.monotonic() + PATIENCE_S
    while np.abs(link.observe(())[0].position - high)[:6].max() < 0.1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    link.hold()
    assert link.status()["mode"] == "holding"
    time.sleep(0.2)
    held = link.observe(())[0].position
    time.sleep(0.2)
    assert np.allclose(link.observe(())[0].position[:6], held[:6], atol=0.01)
    link.close()


def test_it_ends_when_told_and_with_whoever_started_it() -> None:
    with RobotProcess([*SMALL]) as process:
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        while process.path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(WireError):
            process.link()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from hitl_ops.serving.robot_link import RobotProcess;"
            "p = RobotProcess(); print(p.path, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    path = parent.stdout.readline().strip()
    link = RobotLink(path)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with pytest.raises(WireError, match="gone"):
        for _ in range(2000):
            link.status()
            time.sleep(0.01)


def test_what_hinders_it_from_starting_is_said() -> None:
    with pytest.raises(UserError, match="camera 'cam_top'"):
        RobotProcess(["cameras=[cam_top]"])
    with pytest.raises(UserError, match="unknown config key 'colour'"):
        RobotProcess(["colour=red"])


@pytest.mark.skipif(find_spec("gym_aloha") is None, reason="gym-aloha is not installed (extra 'aloha')")
def test_another_world_is_driven_the_same_way() -> None:
    options = ["task=insertion", "cameras=[top]", "shadows=false", *SMALL]
    with RobotProcess(["--lockstep", "--world", "aloha", *options]) as process:
        link = process.link()
        with AlohaWorld(AlohaConfig(task="insertion", cameras=("top",), shadows=False, height=16, width=24)) as world:
            assert link.spec == world.spec and link.task == world.task == "Insert the peg into the socket"
            here, there = world.reset(1), link.reset(1)
            for _ in range(3):
                assert np.array_equal(here.position, there.position)
                here = world.tick(raised(link))
                there, images = link.command(raised(link), cameras=("top",))
            assert np.array_equal(images["top"], world.images()["top"])
            assert link.outcome() == (False, "peg and socket were not both touched")
        link.close()
