"""The arm's world: right geometry, reachable targets, and an episode that depends on its seed alone."""

from __future__ import annotations

import numpy as np
import pybullet
import pybullet_data
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.reach.arms import ReachArms
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.environment import ReachEnv
from hitl_ops.worlds.reach.kinematics import (
    FARTHEST,
    JOINT_LIMITS,
    JOINTS,
    NEAREST,
    SHOULDER,
    end_effector,
    link_frames,
    reachable,
)

SHORT = ReachConfig(max_steps=6)


@pytest.fixture(scope="module")
def robot():
    client = pybullet.connect(pybullet.DIRECT)
    pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=client)
    body = pybullet.loadURDF("kuka_iiwa/model.urdf", useFixedBase=True, physicsClientId=client)
    yield client, body
    pybullet.disconnect(client)


def put(robot, joints):
    client, body = robot
    for joint, angle in enumerate(joints):
        pybullet.resetJointState(body, joint, angle, physicsClientId=client)
    return [
        pybullet.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=client) for link in range(JOINTS)
    ]


def test_limits_are_the_models_own_joint_by_joint(robot):
    client, body = robot
    infos = [pybullet.getJointInfo(body, joint, physicsClientId=client) for joint in range(JOINTS)]
    assert np.allclose([info[9] for info in infos], JOINT_LIMITS)
    assert np.allclose([info[8] for info in infos], -JOINT_LIMITS)
    assert len(set(np.round(JOINT_LIMITS, 3))) == 3  # they do differ


def test_kinematics_agree_with_the_simulator_at_every_link(robot):
    rng = np.random.default_rng(0)
    angles = rng.uniform(-JOINT_LIMITS, JOINT_LIMITS, (30, JOINTS))
    frames = link_frames(angles)
    for row, joints in enumerate(angles):
        states = put(robot, joints)
        assert np.allclose([state[4] for state in states], frames[row, 1:, :3, 3], atol=1e-5)
        turns = [np.reshape(pybullet.getMatrixFromQuaternion(state[5]), (3, 3)) for state in states]
        assert np.allclose(turns, frames[row, 1:, :3, :3], atol=1e-5)


def test_the_end_effector_is_the_flange_not_a_centre_of_mass(robot):
    angles = np.random.default_rng(1).uniform(-1, 1, (5, JOINTS))
    hands = end_effector(angles)
    for row, joints in enumerate(angles):
        last = put(robot, joints)[6]
        assert np.allclose(hands[row], last[4], atol=1e-5)
        assert np.linalg.norm(hands[row] - np.array(last[0])) > 0.015


@given(st.lists(st.floats(-1, 1), min_size=JOINTS, max_size=JOINTS))
@settings(max_examples=50, deadline=None)
def test_no_joints_bring_the_hand_beyond_the_bounds(shares):
    hand = end_effector(np.array([shares]) * JOINT_LIMITS)[0]
    assert NEAREST - 1e-3 <= np.linalg.norm(hand - SHOULDER) <= FARTHEST + 1e-9


def nearest_by_inverse_kinematics(targets, tries=8, steps=60):
    """How near the hand gets to each target by damped least squares from several starts, [N] m."""
    wanted = np.repeat(targets, tries, axis=0)
    joints = np.random.default_rng(2).uniform(-0.8, 0.8, (len(wanted), JOINTS)) * JOINT_LIMITS
    for _ in range(steps):
        hands = end_effector(joints)
        slopes = np.stack(
            [(end_effector(joints + 1e-5 * np.eye(JOINTS)[joint]) - hands) / 1e-5 for joint in range(JOINTS)], axis=2
        )
        damped = slopes @ slopes.transpose(0, 2, 1) + 1e-4 * np.eye(3)
        step = slopes.transpose(0, 2, 1) @ np.linalg.solve(damped, (wanted - hands)[:, :, None])
        joints = np.clip(joints + np.clip(step[:, :, 0], -0.4, 0.4), -JOINT_LIMITS, JOINT_LIMITS)
    return np.linalg.norm(end_effector(joints) - wanted, axis=1).reshape(-1, tries).min(axis=1)


@pytest.mark.slow
def test_every_target_that_is_drawn_can_be_reached():
    arms = ReachArms(1, ReachConfig())
    low, high = np.array([arms.config.target_x, arms.config.target_y, arms.config.target_z]).T
    drawn = []
    for seed in range(80):
        arms.begin([0], [seed])
        drawn.append(arms.targets[0].copy())
    arms.close()
    targets = np.array(drawn)
    assert ((low <= targets) & (targets <= high)).all()
    missed = nearest_by_inverse_kinematics(targets)
    assert missed.max() < 0.005, targets[missed.argmax()]


def test_the_workspace_holds_targets_nobody_can_reach():
    corners = np.array([[0.8, 0.3, 0.7], [0.8, -0.3, 0.7], [0.2, 0.0, 0.36]])
    assert not reachable(corners).any()


def test_a_workspace_without_reachable_targets_is_one_clear_line():
    arms = ReachArms(1, ReachConfig(target_x=(2.0, 3.0)))
    with pytest.raises(UserError, match="no target in the workspace can be reached"):
        arms.begin([0], [0])
    arms.close()


def test_an_arm_moves_alone_as_among_many_whatever_the_others_do():
    rng = np.random.default_rng(3)
    actions = rng.uniform(-1, 1, (SHORT.max_steps, 4, JOINTS))
    many, alone = ReachArms(4, SHORT), ReachArms(1, SHORT)
    first = many.begin(range(4), [5, 6, 7, 8])
    assert np.array_equal(first[2], alone.begin([0], [7])[0])
    for row in actions:
        among, single = many.step(row), alone.step(row[2:3])
        assert np.array_equal(among.observations[2], single.observations[0])
        assert among.rewards[2] == single.rewards[0]
    many.close(), alone.close()


def test_an_episode_begins_at_rest_and_repeats_exactly_after_another_one():
    arms = ReachArms(1, SHORT)
    actions = np.random.default_rng(4).uniform(-1, 1, (SHORT.max_steps, 1, JOINTS))

    def play(seed):
        seen = [arms.begin([0], [seed])]
        return np.concatenate(seen + [arms.step(row).observations for row in actions])

    once = play(11)
    assert not once[0, :14].any()  # angles at zero, and no speed left over from an episode before
    other = play(12)
    again = play(11)
    assert np.array_equal(once, again)
    assert not np.array_equal(once[:, 14:17], other[:, 14:17])
    arms.close()


def test_observations_are_angles_then_speeds_then_target_then_hand():
    arms = ReachArms(1, SHORT)
    arms.begin([0], [0])
    before = arms.step(np.full((1, JOINTS), 0.3)).observations[0]
    after = arms.step(np.full((1, JOINTS), 0.3)).observations[0]
    moved = (after[:7] - before[:7]) * SHORT.control_hz
    assert np.allclose(moved, (before[7:14] + after[7:14]) / 2, atol=0.25)
    assert (np.sign(after[7:14]) == np.sign(moved)).all()
    assert np.allclose(after[14:17], arms.targets[0])
    assert np.allclose(after[17:20], end_effector(after[None, :7])[0], atol=1e-6)
    arms.close()


def test_joints_keep_their_limits_and_their_highest_speed():
    config = ReachConfig(max_steps=40, max_speed=1.5)
    arms = ReachArms(2, config)
    arms.begin([0, 1], [0, 1])
    for _ in range(config.max_steps):
        seen = arms.step(np.array([[1.0] * 7, [-5.0] * 7])).observations
        assert (np.abs(seen[:, :7]) <= JOINT_LIMITS + 0.02).all()
        assert (np.abs(seen[:, 7:14]) <= 1.5 * 1.05).all()
    arms.begin([0, 1], [0, 1])
    for _ in range(config.max_steps):
        seen = arms.step(np.array([[0.3] * 7, [-0.3] * 7])).observations
    assert np.allclose(seen[0, :7], 0.3 * JOINT_LIMITS, atol=0.03)  # an action is a share of each joint's own limit
    arms.close()


def test_the_environment_is_one_as_gymnasium_has_them():
    env = ReachEnv(SHORT)
    check_env(env, skip_render_check=True)
    env.close()


def test_time_runs_out_as_truncation_and_reaching_ends_as_termination():
    env = ReachEnv(SHORT)
    env.reset(options={"episode": 1})
    ends = [env.step(np.zeros(JOINTS, dtype=np.float32))[2:4] for _ in range(SHORT.max_steps)]
    assert ends == [(False, False)] * (SHORT.max_steps - 1) + [(False, True)]
    env.close()
    # Straight up at the start: a target just there is reached at once.
    near = ReachConfig(max_steps=6, target_x=(0.0, 0.0), target_y=(0.0, 0.0), target_z=(1.22, 1.22))
    env = ReachEnv(near)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.zeros(JOINTS, dtype=np.float32))
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    assert reward == -info["distance"] and info["distance"] < 0.05
    env.close()


@pytest.mark.parametrize(("told", "size"), [(True, 20), (False, 17)])
def test_the_hand_can_be_left_out_of_observations(told, size):
    env = ReachEnv(ReachConfig(max_steps=2, end_effector=told))
    assert env.observation_space.shape == (size,) == env.reset(seed=0)[0].shape
    env.close()


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [("control_hz", 7, "divide"), ("target_x", (0.8, 0.2), "target_x"), ("max_speed", 0, "max_speed")],
)
def test_what_cannot_be_is_refused(field, value, word):
    with pytest.raises(ValueError, match=word):
        ReachConfig(**{field: value})
