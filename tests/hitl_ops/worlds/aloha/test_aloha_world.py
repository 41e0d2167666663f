"""gym-aloha's tasks as a world of ours: the same as theirs to the last pixel, and clear about what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.aloha.kinematics import SIDES, AlohaKinematics, Side, hand_angles, hand_turn
from hitl_ops.worlds.aloha.world import AlohaConfig, AlohaWorld

pytest.importorskip("gym_aloha", reason="gym-aloha is not installed (extra 'aloha')")


@pytest.fixture(scope="module")
def world() -> Iterator[AlohaWorld]:
    with AlohaWorld(AlohaConfig(cameras=())) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(("task", "theirs"), [("transfer_cube", "AlohaTransferCube"), ("insertion", "AlohaInsertion")])
def test_it_is_gym_alohas_own_environment_to_the_last_pixel(task: str, theirs: str) -> None:
    import gymnasium

    with AlohaWorld(AlohaConfig(task=task)) as world:
        import gym_aloha  # noqa: F401 - registers its environments; after ours, which settles what draws

        env = gymnasium.make(f"gym_aloha/{theirs}-v0", obs_type="pixels_agent_pos", disable_env_checker=True)
        theirs_seen, _ = env.reset(seed=7)
        ours = world.reset(7)
        random, action = np.random.default_rng(0), world.home.copy()
        for tick in range(4):
            assert np.array_equal(ours.position, theirs_seen["agent_pos"].astype(np.float32))
            if tick in (0, 3):
                assert np.array_equal(world.images()["top"], theirs_seen["pixels"]["top"])
            action = action + random.normal(0, 0.05, 14).astype(np.float32)
            theirs_seen, *_ = env.step(action.astype(np.float64))
            ours = world.tick(action)
    env.close()


def test_the_cube_stands_where_the_seed_puts_it_and_is_seen_there() -> None:
    with AlohaWorld(AlohaConfig(shadows=False, height=120, width=160)) as world:
        for seed in (1, 4, 2**40):
            around = world.reset(seed).environment_state
            assert around is not None
            x, y = (float(value) for value in around[:2])
            assert 0.0 <= x <= 0.2 and 0.4 <= y <= 0.6
            red, green, _ = (world.images()["top"][..., channel].astype(int) for channel in range(3))
            rows, columns = np.nonzero((red > 90) & (red > 2 * green))
            # The camera is above (0, 0.6), 0.75 m over the cube, and opens 78 degrees; y runs up the picture.
            scale = 60 / (0.75 * np.tan(np.radians(39)))
            assert columns.mean() == pytest.approx(80 + scale * x, abs=2)
            assert rows.mean() == pytest.approx(60 - scale * (y - 0.6), abs=2)


def test_the_best_that_was_reached_says_why_it_failed(world: AlohaWorld) -> None:
    world.reset(0)
    assert world.failure == "the cube was not touched by the right hand"
    assert world._gym is not None
    for reward, says in ((1, "not lifted"), (2, "not handed over"), (0, "not handed over"), (3, "on the table only")):
        world._gym.rules.get_reward = lambda _, reward=reward: reward
        world.tick(world.home)
        assert says in world.failure and not world.success()
    world._gym.rules.get_reward = lambda _: 4
    world.tick(world.home)
    assert world.success() and world.failure == ""
    del world._gym.rules.get_reward
    world.reset(0)
    assert not world.success()


def test_a_simulation_that_comes_apart_is_a_failed_episode_and_the_next_is_as_ever(world: AlohaWorld) -> None:
    first = world.reset(3)
    assert world._gym is not None
    world._gym.physics.data.qvel[0] = 1e30
    reading = world.tick(world.home)
    assert world.failure == "the simulation came apart" and np.isfinite(reading.position).all()
    again = world.reset(3)
    assert np.array_equal(first.position, again.position) and "apart" not in world.failure


@pytest.mark.parametrize("side", SIDES)
def test_joints_bring_the_hand_where_it_is_to_be(side: Side) -> None:
    arms = AlohaKinematics()
    yaw, inward = (0.0, 1.0) if side == "left" else (np.pi, -1.0)
    home = np.array((0, -0.96, 1.16, 0, -0.3, 0))
    for place in ((-0.05 * inward, 0.45, 0.02), (-0.15 * inward, 0.58, 0.10), (0.0, 0.5, 0.25)):
        turn = hand_turn(yaw + 0.1, 1.2, -0.2)
        joints = arms.joints(side, place, turn, home)
        reached, turned = arms.hand(side, joints)
        assert np.allclose(reached, place, atol=1e-4) and np.allclose(turned, turn, atol=1e-3)
    assert np.allclose(hand_angles(hand_turn(0.3, 1.2, -0.2)), (0.3, 1.2, -0.2))
    # What is out of reach is pointed at, within the joints' limits.
    far = arms.joints(side, (0.0, 0.5, 2.0), hand_turn(yaw, 0.0, 0.0), home)
    assert np.isfinite(far).all() and arms.hand(side, far)[0][2] > 0.4


def test_without_gym_aloha_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "gym_aloha"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gym_aloha", None)
    with pytest.raises(UserError, match="needs gym-aloha") as caught:
        AlohaWorld()
    assert "flywheel-hitl[aloha]" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says", "plays"),
    [
        ({"MUJOCO_GL": "disable"}, "MuJoCo cannot draw with MUJOCO_GL=disable", True),
        ({"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "glx"}, "MuJoCo cannot draw with MUJOCO_GL=egl", False),
    ],
)
def test_where_nothing_can_be_drawn_it_says_so_twice_too(settings: dict[str, str], says: str, plays: bool) -> None:
    script = """
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.aloha.world import AlohaWorld
for _ in range(2):
    try:
        with AlohaWorld() as world:
            print(world.tick(world.home).position.shape)
            world.images()
    except UserError as error:
        print(error)
"""
    environment = {**os.environ, **settings}
    if "PYOPENGL_PLATFORM" not in settings:
        environment.pop("PYOPENGL_PLATFORM", None)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(says) == 2
    assert ("(14,)" in done.stdout) == plays
