"""The form of actions and observations, and how a prompt carries an advantage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import (
    CameraSpec,
    RobotReading,
    RobotSpec,
    check_action,
    check_actions,
    check_observation,
    policy_observation,
)

NAMES = tuple(f"joint_{number}" for number in range(14))
SPEC = RobotSpec(
    name="r",
    joint_names=NAMES,
    cameras=(CameraSpec(name="cam_high", height=8, width=12),),
    environment_state_names=("lid_x", "lid_y"),
)


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros((50, 13), np.float32), r"shape \(50, 13\), not \(H, 14\)"),
        (np.zeros((0, 14), np.float32), "shape"),
        (np.zeros(14, np.float32), "shape"),
        (np.zeros((2, 14), np.int64), "dtype int64"),
        (np.full((2, 14), np.nan, np.float32), "nan at step 0, joint 0"),
        (np.full((2, 14), 1e300), "inf"),
        ([[0.0], [0.0, 1.0]], "no array"),
        (None, "dtype object"),
    ],
)
def test_actions_that_cannot_be_carried_out_are_named(actions: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_actions(actions, 14)


def test_good_actions_come_back_as_float32() -> None:
    assert check_actions(np.ones((3, 14)), 14, horizon=3).dtype == np.float32
    with pytest.raises(UserError, match=r"not \(50, 14\)"):
        check_actions(np.ones((3, 14)), 14, horizon=50)
    bad = np.zeros(14)
    bad[5] = np.inf
    with pytest.raises(UserError, match="inf at joint 5"):
        check_action(bad, 14)


def observation(**changes: Any) -> dict[str, Any]:
    zeros = np.zeros(14, np.float32)
    reading = RobotReading(zeros, zeros, zeros, 0.0, np.zeros(2, np.float32))
    return policy_observation(reading, {"cam_high": np.zeros((8, 12, 3), np.uint8)}, "Lift") | changes


def test_an_observation_is_in_channels_first_form_and_accepted() -> None:
    assert observation()["images"]["cam_high"].shape == (3, 8, 12)
    check_observation(observation(), SPEC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": np.zeros(7, np.float32)}, "'state'"),
        ({"state": np.full(14, np.nan, np.float32)}, "'state' of the observation is not finite"),
        ({"environment_state": np.zeros(3, np.float32)}, "'environment_state'"),
        ({"prompt": 3}, "'prompt'"),
        ({"images": {}}, "camera 'cam_high' gives no picture"),
        ({"images": {"cam_high": np.zeros((3, 8, 12), np.float32)}}, "dtype float32"),
        ({"images": {"cam_high": np.zeros((8, 12, 3), np.uint8)}}, r"shape \(8, 12, 3\), not \(3, 8, 12\)"),
        ({"images": 5}, "'images'"),
    ],
)
def test_an_observation_a_policy_cannot_use_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_observation(observation(**changes), SPEC)


def test_a_robot_whose_names_do_not_agree_is_refused() -> None:
    with pytest.raises(ValidationError, match="twice"):
        RobotSpec(name="r", joint_names=("a", "a"), gripper_indices=())
    with pytest.raises(ValidationError, match="gripper"):
        RobotSpec(name="r", joint_names=("a", "b"))
