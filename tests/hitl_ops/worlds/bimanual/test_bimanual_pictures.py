"""What the station's cameras see, checked against where things are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Picture
from hitl_ops.experts.scripted_arms import ScriptedArms
from hitl_ops.worlds.bimanual.views import VIEWS, projection_matrix, view_matrix
from hitl_ops.worlds.bimanual.world import CAMERAS, BimanualConfig, BimanualWorld

HEIGHT, WIDTH = 72, 96


@pytest.fixture(params=["opengl", "pybullet"])
def world(request: pytest.FixtureRequest) -> Iterator[BimanualWorld]:
    with BimanualWorld(BimanualConfig(height=HEIGHT, width=WIDTH, renderer=request.param)) as made:
        yield made


def pixel(world: BimanualWorld, camera: str, point: tuple[float, float, float]) -> tuple[int, int]:
    """Row and column where a point is seen."""
    view = VIEWS[camera]
    matrix = projection_matrix(view, HEIGHT, WIDTH) @ view_matrix(view, world.link_poses())
    x, y, _, w = matrix @ np.array((*point, 1.0))
    return int((1 - y / w) / 2 * HEIGHT), int((x / w + 1) / 2 * WIDTH)


def reddish(picture: Picture) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Where the lid is seen; nothing else at the station is as red."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (red > 90) & (red > 2.2 * green) & (red > 2.2 * blue)


@pytest.mark.parametrize("seed", [1, 4])
def test_the_lid_is_seen_where_it_is(world: BimanualWorld, seed: int) -> None:
    around = world.reset(seed).environment_state
    assert around is not None
    x, y, z = (float(value) for value in around[:3])
    for camera, picture in world.images(("cam_high", "cam_low")).items():
        assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
        rows, columns = np.nonzero(reddish(picture))
        row, column = pixel(world, camera, (x, y, z))
        assert abs(rows.mean() - row) < 3 and abs(columns.mean() - column) < 3, camera


def test_a_hands_camera_goes_with_the_hand(world: BimanualWorld) -> None:
    expert = ScriptedArms()
    expert.start(2)
    reading = world.reset(2)
    at_home = reddish(world.images(("cam_right_wrist",))["cam_right_wrist"]).sum()
    for _ in range(60):
        reading = world.tick(expert.act(reading))
    above = reddish(world.images(("cam_right_wrist",))["cam_right_wrist"]).sum()
    assert above > at_home + 150


def test_both_ways_of_drawing_show_the_same() -> None:
    pictures = []
    for renderer in ("opengl", "pybullet"):
        with BimanualWorld(BimanualConfig(height=HEIGHT, width=WIDTH, renderer=renderer)) as world:
            world.reset(3)
            pictures.append(world.images())
    for camera in CAMERAS:
        one, other = (reddish(picture[camera]) for picture in pictures)
        assert one.sum() == pytest.approx(other.sum(), rel=0.2, abs=12), camera


def test_cameras_sizes_and_edges_are_those_asked_for() -> None:
    plain = BimanualConfig(cameras=("cam_low",), height=40, width=64, renderer="opengl")
    with BimanualWorld(plain) as world, BimanualWorld(plain.replace(smooth_edges=True)) as smooth:
        assert world.spec.camera_names == ("cam_low",) and list(world.images()) == ["cam_low"]
        assert world.images()["cam_low"].shape == (40, 64, 3)
        assert world.images(size=(24, 32))["cam_low"].shape == (24, 32, 3)
        assert world.images(()) == {}
        few, many = (len(np.unique(each.images()["cam_low"].reshape(-1, 3), axis=0)) for each in (world, smooth))
        assert many > few
        with pytest.raises(UserError, match="no camera 'cam_high'"):
            world.images(("cam_high",))
    with pytest.raises(UserError, match="no camera 'cam_top'"):
        BimanualWorld(BimanualConfig(cameras=("cam_top",)))
