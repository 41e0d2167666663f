"""Pictures of the arm show where hand and ball are, whatever draws them."""

from __future__ import annotations

import functools
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.reach import opengl_pictures, pictures
from hitl_ops.worlds.reach.kinematics import end_effector
from hitl_ops.worlds.reach.pictures import Backend, ReachPictures
from hitl_ops.worlds.reach.views import VIEWS

JOINTS = np.array([0.3, 0.9, 0.0, -1.2, 0.2, 0.8, 0.0])


@functools.cache
def large(backend: Backend) -> ReachPictures:
    return ReachPictures(400, backend)


def seen(target: npt.ArrayLike, view: int, backend: Backend = "auto") -> npt.NDArray[np.int64]:
    """One view of the arm as it always stands, large."""
    return large(backend).draw(JOINTS, np.asarray(target))[:, 400 * view : 400 * (view + 1)].astype(np.int64)


def mark(picture: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Row and column of the hand's green dot; its post, which is thinner, is left out."""
    return middle((picture[..., 1] > 130) & (picture[..., 0] < 70) & (picture[..., 2] < 140), thick=4)


def is_ball(picture: npt.NDArray[np.int64], view: int, backend: Backend = "auto") -> npt.NDArray[np.bool_]:
    """What is red where without ball and post nothing is."""
    without = seen([50.0, 0.0, 0.0], view, backend)
    return (np.abs(picture - without).max(axis=2) > 8) & (picture[..., 0] > picture[..., 1] + 60)


def ball(picture: npt.NDArray[np.int64], view: int, backend: Backend = "auto") -> npt.NDArray[np.float64]:
    """Row and column of the ball; its post, which is thinner, is left out."""
    return middle(is_ball(picture, view, backend), thick=8)


def middle(mask: npt.NDArray[np.bool_], thick: int) -> npt.NDArray[np.float64]:
    """Middle of what is at least so many pixels thick."""
    core = np.lib.stride_tricks.sliding_window_view(mask, (thick, thick)).all(axis=(2, 3))
    assert core.any(), "it is not to be seen"
    found: npt.NDArray[np.float64] = np.argwhere(core).mean(axis=0) + (thick - 1) / 2
    return found


@pytest.mark.parametrize("view", range(len(VIEWS)))
@pytest.mark.parametrize("backend", ["opengl", "pybullet"])
def test_ball_and_hand_are_drawn_where_they_are(view: int, backend: Backend) -> None:
    hand = end_effector(JOINTS[None])[0]
    # At the target the dot is in the middle of the ball's outline, whatever of the ball the arm hides.
    there = seen(hand, view, backend)
    rows, columns = np.nonzero(is_ball(there, view, backend))
    across = np.ptp(columns)
    outlined = np.array([rows.min() + across / 2, columns.min() + across / 2])
    assert np.linalg.norm(outlined - mark(there)) < 2.5
    # Sideways in one of the views, upwards in the other.
    apart = []
    for times in (1, 2):
        picture = seen(hand + times * np.array([0.0, -0.15, 0.15]), view, backend)
        apart.append(float(np.linalg.norm(ball(picture, view, backend) - mark(picture))))
    assert apart[0] > across
    assert apart[1] == pytest.approx(2 * apart[0], rel=0.15)


def test_a_target_out_of_sight_is_left_out() -> None:
    nowhere = seen([0.5, 0.0, 50.0], 1)
    assert not ((nowhere[..., 0] > 200) & (nowhere[..., 1] < 40)).any()
    mark(nowhere)


def test_the_ball_is_as_large_as_what_counts_as_reached() -> None:
    place = np.array([0.5, -0.3, 0.45])
    here, there = seen(place, 1), seen(place + np.array([0.1, 0.0, 0.0]), 1)
    moved = ball(there, 1)[1] - ball(here, 1)[1]
    row = round(float(ball(here, 1)[0]))
    across = int((here[row, :, 0] > here[row, :, 1] + 60).sum())
    assert across == pytest.approx(moved, abs=4), "10 cm from edge to edge"


def test_whatever_draws_the_pictures_are_alike() -> None:
    joints, target = np.array([-0.5, 1.2, 0.4, -1.0, 0.9, 1.2, 0.3]), np.array([0.6, -0.25, 0.3])
    seen: dict[str, npt.NDArray[np.int64]] = {}
    backends: list[Backend] = ["opengl", "pybullet"]
    for backend in backends:
        with ReachPictures(160, backend) as drawing:
            assert drawing.backend == backend
            seen[backend] = drawing.draw(joints, target).astype(np.int64)
    assert seen["opengl"].shape == (160, 320, 3)
    # Light and edges differ a little, what stands where does not.
    away = np.abs(seen["opengl"] - seen["pybullet"]).max(axis=2)
    assert np.median(away) < 30 and (away > 70).mean() < 0.03


def test_without_opengl_the_arm_is_drawn_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(**_: Any) -> Any:
        raise Exception("no display")

    monkeypatch.setattr(opengl_pictures.moderngl, "create_standalone_context", refuses)
    monkeypatch.setattr(pictures, "_said", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with ReachPictures(64) as drawing:
                assert drawing.backend == "pybullet"
                assert drawing.draw(JOINTS, np.array([0.5, 0.0, 0.4])).std() > 10
    assert [record.message for record in caplog.records if "TinyRenderer" in record.message] == [
        "Pictures are drawn with PyBullet's TinyRenderer, which is slower (no OpenGL context through EGL: no display)"
    ]
    with pytest.raises(UserError, match="cannot be drawn with OpenGL"):
        ReachPictures(64, "opengl")
