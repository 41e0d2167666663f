"""What every simulated robot keeps to, each of its tasks; see ``hitl_ops.contracts.robot.RobotWorld``."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArmsConfig
from hitl_ops.experts.scripted_robots import scripted_expert
from hitl_ops.worlds.robot_worlds import ROBOT_WORLDS, SoftWorld, make_robot_world, robot_world_config

needs_gym_aloha = pytest.mark.skipif(
    importlib.util.find_spec("gym_aloha") is None, reason="gym-aloha is not installed (extra 'aloha')"
)
HEIGHT, WIDTH = 24, 32


@dataclass(frozen=True)
class Case:
    """A world with one of its tasks.

    Attributes:
        name: the world.
        options: the task.
        contact: ticks in which the scripted expert has closed its hands about something.
        cameras: two of its cameras.
    """

    name: str
    options: dict[str, Any]
    contact: int
    cameras: tuple[str, str]


CASES = [
    pytest.param(Case("bimanual", {}, 110, ("cam_high", "cam_right_wrist")), id="bimanual"),
    pytest.param(
        Case("aloha", {"task": "transfer_cube"}, 130, ("top", "angle")), id="aloha-transfer", marks=needs_gym_aloha
    ),
    pytest.param(
        Case("aloha", {"task": "insertion"}, 130, ("top", "angle")), id="aloha-insertion", marks=needs_gym_aloha
    ),
]


def made(case: Case, **options: Any) -> SoftWorld:
    return make_robot_world(case.name, {"cameras": (), **case.options, **options})


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def world(case: Case) -> Iterator[SoftWorld]:
    with contextlib.closing(made(case)) as one:
        yield one


def play(case: Case, world: SoftWorld, seed: int, ticks: int) -> bytes:
    """Every number read in an episode of the scripted expert."""
    expert = scripted_expert(case.name, ScriptedArmsConfig(jitter=0.003))
    expert.start(seed)
    reading = world.reset(seed)
    read = [reading]
    for _ in range(ticks):
        reading = world.tick(expert.act(reading))
        read.append(reading)
    return b"".join(numbers(each) for each in read)


def numbers(reading: RobotReading) -> bytes:
    assert reading.environment_state is not None
    return b"".join(
        part.tobytes() for part in (reading.position, reading.velocity, reading.effort, reading.environment_state)
    )


def test_what_is_read_has_the_form_the_robot_promises(world: SoftWorld) -> None:
    spec = world.spec
    reading = world.reset(0)
    for _ in range(2):
        for part in (reading.position, reading.velocity, reading.effort):
            assert part.shape == (spec.dim,) == (14,) and part.dtype == np.float32 and np.isfinite(part).all()
        around = reading.environment_state
        assert around is not None and around.shape == (len(spec.environment_state_names),)
        assert around.dtype == np.float32
        assert (reading.position[list(spec.gripper_indices)] >= -0.01).all()
        assert (reading.position[list(spec.gripper_indices)] <= 1.01).all()
        reading = world.tick(world.home)
    assert reading.time == pytest.approx(2 / spec.frequency_hz)
    assert world.home.shape == (14,) and world.home.dtype == np.float32
    assert world.task and not world.task.endswith(".") and "," not in world.task
    assert world.time_limit > 5


def test_an_episode_is_the_same_to_the_last_bit_whatever_was_played_before(case: Case, world: SoftWorld) -> None:
    first = play(case, world, 5, case.contact)  # through the grasp: contacts are where chance would get in
    np.random.seed(1)  # what the process has drawn elsewhere does not count
    play(case, world, 6, 20)
    assert play(case, world, 5, case.contact) == first
    with contextlib.closing(made(case)) as other:
        assert play(case, other, 5, case.contact) == first
    assert play(case, world, 6, 0) != first[: len(play(case, world, 6, 0))]


def test_pictures_change_nothing_in_the_physics_and_are_of_the_size_asked_for(case: Case) -> None:
    with contextlib.closing(made(case, cameras=case.cameras, height=HEIGHT, width=WIDTH)) as world:

        def seen(looking: bool) -> bytes:
            reading = world.reset(2)
            for tick in range(6):
                if looking and tick % 3 == 0:
                    world.images(case.cameras[:1], (16, 16))
                reading = world.tick(world.home)
            return numbers(reading)

        assert seen(looking=True) == seen(looking=False)
        assert world.spec.camera_names == case.cameras
        pictures = world.images()
        assert list(pictures) == list(case.cameras)
        for picture in pictures.values():
            assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
            assert picture.flags.c_contiguous and picture.std() > 5
        assert world.images(case.cameras[:1], (40, 16))[case.cameras[0]].shape == (40, 16, 3)
        # A smaller one after a larger one is the same as before.
        again = world.images()
        assert all(np.array_equal(pictures[name], again[name]) for name in case.cameras)
        assert world.images(()) == {}
        with pytest.raises(UserError, match="no camera 'elsewhere'"):
            world.images(("elsewhere",))


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (np.full(14, np.nan, np.float32), "nan"),
        (np.zeros(13, np.float32), r"\(13,\), not \(14,\)"),
        (np.zeros(14, np.int64), "int64"),
    ],
)
def test_an_action_that_is_none_moves_nothing(
    world: SoftWorld, action: np.ndarray[tuple[int], np.dtype[np.generic]], says: str
) -> None:
    world.reset(0)
    with pytest.raises(UserError, match=says):
        world.tick(action)
    assert world.tick(world.home).time == pytest.approx(0.02)


def test_targets_beyond_a_joints_limits_stop_at_them(world: SoftWorld) -> None:
    world.reset(0)
    for _ in range(60):
        reading = world.tick(np.full(14, 100.0, dtype=np.float32))
    assert np.isfinite(reading.position).all() and np.abs(reading.position).max() < 4
    assert reading.position[[6, 13]].max() <= 1.05


def test_arms_that_are_let_go_sink_and_stay_where_they_are_when_held_again(world: SoftWorld) -> None:
    start = world.reset(0).position
    for _ in range(50):
        reading = world.tick_damped()
    held = reading.position.copy()
    assert np.abs(held - start)[:6].max() > 0.05
    assert reading.time == pytest.approx(1.0)
    for _ in range(25):
        reading = world.tick(held)
    assert np.allclose(reading.position[:6], held[:6], atol=0.03)


def test_success_is_earned_stays_and_ends_with_the_next_episode(case: Case, world: SoftWorld) -> None:
    expert = scripted_expert(case.name)
    expert.start(3)
    reading = world.reset(3)
    nothing_yet = world.failure
    while not world.success():
        assert reading.time < world.time_limit and world.failure
        reading = world.tick(expert.act(reading))
    assert reading.time > 2 and world.failure == ""
    for _ in range(30):
        world.tick(world.home)
    assert world.success()
    world.reset(3)
    assert not world.success() and world.failure == nothing_yet


def test_a_closed_world_is_closed(case: Case) -> None:
    world = made(case)
    world.close()
    world.close()
    with pytest.raises(RuntimeError, match="closed"):
        world.tick(world.home)
    with pytest.raises(RuntimeError, match="closed"):
        world.reset(0)


@pytest.mark.parametrize("name", ROBOT_WORLDS)
def test_options_are_checked_before_anything_is_made(name: str) -> None:
    with pytest.raises(UserError, match=f"options of world '{name}': unknown config key 'hight'"):
        robot_world_config(name, {"hight": 3})
    with pytest.raises(UserError, match="no camera 'elsewhere'"):
        make_robot_world(name, {"cameras": ["elsewhere"]})
    with pytest.raises(UserError, match="no robot world 'kitchen'"):
        make_robot_world("kitchen")
