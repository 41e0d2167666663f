"""The station's physics: what moves it, what it tells, when it has succeeded, and when it is lost."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArms
from hitl_ops.worlds.bimanual import geometry
from hitl_ops.worlds.bimanual.episode_setup import EpisodeSetup
from hitl_ops.worlds.bimanual.kinematics import arm_joints, hand_place
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld

GRIPPERS = [6, 13]


@pytest.fixture(scope="module")
def world() -> Iterator[BimanualWorld]:
    with BimanualWorld(BimanualConfig(cameras=())) as made:
        yield made


def right_hand(world: BimanualWorld, place: tuple[float, float, float], opening: float) -> Float32:
    """The left arm at home, the right hand at a place."""
    action = world.home.copy()
    action[7:] = [*arm_joints("right", place, 0.0), opening]
    return action


def play(world: BimanualWorld, seed: int, ticks: int) -> list[RobotReading]:
    expert = ScriptedArms()
    expert.start(seed)
    readings = [world.reset(seed)]
    for _ in range(ticks):
        readings.append(world.tick(expert.act(readings[-1])))
    return readings


def test_episodes_differ_within_their_ranges() -> None:
    setups = [EpisodeSetup.of_seed(seed) for seed in range(200)]
    for name, low, high in (("bowl_x", 0.33, 0.41), ("bowl_y", -0.05, 0.05), ("lid_mass", 0.12, 0.30)):
        values = np.array([getattr(setup, name) for setup in setups])
        assert values.min() >= low and values.max() <= high
        assert values.min() < low + 0.1 * (high - low) and values.max() > high - 0.1 * (high - low)
    assert EpisodeSetup.of_seed(7) == setups[7]


@settings(max_examples=30)
@given(
    st.sampled_from(geometry.SIDES),
    st.floats(0.20, 0.42),
    st.floats(-0.12, 0.12),
    st.floats(0.02, 0.24),
    st.floats(-0.6, 0.6),
)
def test_joints_bring_the_hand_where_it_is_to_be(
    side: geometry.Side, x: float, y: float, z: float, angle: float
) -> None:
    joints = np.array(arm_joints(side, (x, y, z), angle), dtype=np.float32)
    assert np.allclose(hand_place(side, joints), (x, y, z), atol=1e-5)
    for joint, (low, high) in zip(joints, geometry.ARM_LIMITS, strict=True):
        assert low <= joint <= high


def test_the_physics_puts_the_fingertips_where_the_closed_form_says(world: BimanualWorld) -> None:
    world.reset(0)
    action = world.home.copy()
    action[[3, 10]] = 0.7, -0.5  # the forearms rolled too
    for _ in range(60):
        reading = world.tick(action)
    for side, first in zip(geometry.SIDES, (0, 7), strict=True):
        hand = np.array(hand_place(side, reading.position[first : first + 6]))
        fingers = np.mean([place for place, _ in world.link_poses()[side][7:9]], axis=0)
        # The grasp point is on the fingers, beyond where they begin.
        assert math.isclose(
            float(np.linalg.norm(hand - fingers)), geometry.GRASP_POINT - geometry.HAND_BODY, abs_tol=2e-3
        )


def test_a_lid_held_high_for_half_a_second_is_success_and_not_before(world: BimanualWorld) -> None:
    readings = play(world, 3, 0)
    expert = ScriptedArms()
    expert.start(3)
    held = 0
    while not world.success():
        assert readings[-1].time < world.time_limit and world.failure
        readings.append(world.tick(expert.act(readings[-1])))
        around = readings[-1].environment_state
        assert around is not None
        held = held + 1 if around[-1] >= 0.08 else 0
    assert held == 25 and world.failure == "" and not world.lost
    # Let go: what has succeeded stays so.
    for _ in range(50):
        reading = world.tick(world.home)
    assert world.success() and reading.environment_state is not None and reading.environment_state[-1] < 0.02


def test_without_a_grasp_the_lid_stays(world: BimanualWorld) -> None:
    first = world.reset(1)
    for _ in range(100):
        reading = world.tick(world.home)
    assert world.failure == "the lid was not lifted"
    assert np.allclose(reading.environment_state, first.environment_state, atol=2e-3)
    assert np.allclose(reading.position, world.home, atol=1e-3)


def test_a_bowl_that_is_pushed_away_is_lost_for_good(world: BimanualWorld) -> None:
    setup = EpisodeSetup.of_seed(2)
    reading = world.reset(2)
    for step in range(120):
        across = -0.20 + 0.30 * min(1.0, step / 80)
        reading = world.tick(right_hand(world, (setup.bowl_x, across, 0.04), 0.0))
    assert world.lost and world.failure in ("the bowl was pushed away", "the bowl was tipped")
    assert not world.success()
    for _ in range(60):
        reading = world.tick(world.home)
    assert world.lost and reading.time == pytest.approx(3.6)


def test_targets_are_approached_at_a_motors_speed_and_stop_at_the_limits(world: BimanualWorld) -> None:
    before = world.reset(0).position
    far = np.full(14, 100.0, dtype=np.float32)
    after = world.tick(far).position
    assert 0 < np.abs(after - before).max() <= 0.1
    for _ in range(200):
        reading = world.tick(far)
    upper = [high for _, high in geometry.ARM_LIMITS]
    assert (reading.position[[0, 1, 2, 3, 4, 5]] <= np.array(upper) + 0.02).all()
    assert reading.position[GRIPPERS].max() <= 1.05
