"""gym-aloha's transfer cube and insertion behind our contract: two arms of ALOHA under MuJoCo, 50 actions a second.

Physics, actions, grippers' scale, where objects stand for a seed, and what counts as done are gym-aloha's, so that
results can be laid beside those of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import CameraSpec, Float32, Picture, RobotReading, RobotSpec, check_action
from hitl_ops.worlds.aloha.gym_tasks import BEST_REWARD, GymTask, TaskName, load_gym_task

if TYPE_CHECKING:
    from hitl_ops.worlds.aloha.pictures import MujocoPictures

TASKS: dict[TaskName, str] = {
    "transfer_cube": "Pick up the cube with the right arm and transfer it to the left arm",
    "insertion": "Insert the peg into the socket",
}
CAMERAS = ("top", "angle", "front_close", "left_pillar", "right_pillar", "left_wrist", "right_wrist")
TIME_LIMIT = 8.0
"""400 steps, as ACT's authors and LeRobot play both tasks."""

_OBJECTS: dict[TaskName, tuple[str, ...]] = {"transfer_cube": ("cube",), "insertion": ("peg", "socket")}
_FAILURES: dict[TaskName, tuple[str, ...]] = {
    "transfer_cube": (
        "the cube was not touched by the right hand",
        "the cube was not lifted",
        "the cube was not handed over",
        "the left hand had the cube on the table only",
    ),
    "insertion": (
        "peg and socket were not both touched",
        "peg and socket were not both lifted",
        "the peg did not reach the socket",
        "the peg did not go in",
    ),
}
_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
_POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
_SUBSTEPS = 10


class AlohaConfig(StrictConfig):
    """Which task, and how it is seen."""

    task: TaskName = Field(default="transfer_cube", description="Which of gym-aloha's tasks.")
    cameras: tuple[str, ...] = Field(default=("top",), description="Which of the model's cameras there are.")
    height: int = Field(default=480, ge=8, le=2048, description="Rows of every picture, pixels.")
    width: int = Field(default=640, ge=8, le=2048, description="Columns of every picture, pixels.")
    shadows: bool = Field(
        default=True, description="Shadows and smooth edges, as gym-aloha draws them; without, a ninth of the time."
    )


class AlohaWorld:
    """Two arms at a table; see :class:`hitl_ops.contracts.robot.RobotWorld`.

    Nothing is drawn until pictures are asked for. ``environment_state`` is gym-aloha's: for each object its place in
    metres and its turn as a quaternion, w first.

    Args:
        config: the task, cameras and their sizes.

    Raises:
        UserError: gym-aloha is not installed, a camera does not exist, or MuJoCo finds nothing to draw with.
    """

    time_limit = TIME_LIMIT

    def __init__(self, config: AlohaConfig | None = None) -> None:
        self._config = config = config or AlohaConfig()
        unknown = [name for name in config.cameras if name not in CAMERAS]
        if unknown:
            raise UserError(f"the aloha world has no camera '{unknown[0]}'", f"there are {', '.join(CAMERAS)}")
        self.task = TASKS[config.task]
        self.spec = RobotSpec(
            name="aloha",
            joint_names=tuple(f"{side}_{name}" for side in ("left", "right") for name in _JOINTS),
            cameras=tuple(CameraSpec(name=name, height=config.height, width=config.width) for name in config.cameras),
            environment_state_names=tuple(f"{thing}_{part}" for thing in _OBJECTS[config.task] for part in _POSE),
        )
        self._gym: GymTask | None = load_gym_task(config.task)
        self._drawing: MujocoPictures | None = None
        self.home: Float32 = self.reset(0).position

    def reset(self, seed: int) -> RobotReading:
        """Begin the episode of this seed: the arms at home, the objects just above the table."""
        self._opened().begin(seed)
        self._ticks = 0
        self._best_reward = 0
        self._failure = ""
        return self._read()

    def tick(self, action: npt.ArrayLike) -> RobotReading:
        """Drive the joints towards ``action`` for 1/50 s; targets beyond a motor's range stop at its end.

        Raises:
            UserError: the action has another shape or dtype, or is not finite.
        """
        wanted = check_action(action, self.spec.dim).astype(np.float64)
        gym = self._opened()
        gym.rules.before_step(wanted, gym.physics)
        self._step(_SUBSTEPS)
        return self._judged()

    def tick_damped(self) -> RobotReading:
        """Let the arms go for 1/50 s: only their joints' friction brakes."""
        data = self._opened().physics.data
        for _ in range(_SUBSTEPS):
            data.ctrl[:] = data.qpos[:16]
            self._step(1)
        return self._judged()

    def success(self) -> bool:
        """Whether gym-aloha's reward was ever 4: the cube in the left hand off the table, or the peg at the pin."""
        return self._best_reward == BEST_REWARD

    @property
    def failure(self) -> str:
        """Why the episode has not succeeded so far; empty once it has."""
        if self.success():
            return ""
        return self._failure or _FAILURES[self._config.task][self._best_reward]

    def images(self, names: tuple[str, ...] | None = None, size: tuple[int, int] | None = None) -> dict[str, Picture]:
        """Pictures of the present moment; see :meth:`RobotWorld.images`.

        Raises:
            UserError: there is no camera of such a name, or MuJoCo cannot draw here.
        """
        cameras = {camera.name: camera for camera in self.spec.cameras}
        wanted = self.spec.camera_names if names is None else names
        for name in wanted:
            if name not in cameras:
                raise UserError(f"there is no camera '{name}'", f"there are {', '.join(cameras) or 'none'}")
        if not wanted:
            return {}
        physics, fine = self._opened().physics, self._config.shadows
        if self._drawing is None:
            from hitl_ops.worlds.aloha.pictures import MujocoPictures

            self._drawing = MujocoPictures(physics.model.ptr, shadows=fine, smooth_edges=fine)
        return {
            name: self._drawing.draw(physics.data.ptr, name, *(size or (cameras[name].height, cameras[name].width)))
            for name in wanted
        }

    def close(self) -> None:
        """Give back the physics and the drawing; closing twice is harmless."""
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None
        if self._gym is not None:
            self._gym.physics.free()
            self._gym = None

    def __enter__(self) -> AlohaWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> GymTask:
        if self._gym is None:
            raise RuntimeError("the world is closed")
        return self._gym

    def _step(self, substeps: int) -> None:
        """Move the physics on; where it comes apart, the episode is lost and what is read is its model's rest."""
        from dm_control.rl.control import PhysicsError

        try:
            self._opened().physics.step(substeps)
        except PhysicsError:
            self._failure = "the simulation came apart"

    def _judged(self) -> RobotReading:
        """Count the tick and keep the best reward."""
        self._ticks += 1
        if not self._failure:
            gym = self._opened()
            self._best_reward = max(self._best_reward, gym.rules.get_reward(gym.physics))
        return self._read()

    def _read(self) -> RobotReading:
        gym = self._opened()
        physics, rules = gym.physics, gym.rules
        motors = physics.data.qfrc_actuator
        # A gripper's two fingers are pushed opposite ways.
        effort = [*motors[:6], motors[6] - motors[7], *motors[8:14], motors[14] - motors[15]]
        return RobotReading(
            rules.get_qpos(physics).astype(np.float32),
            rules.get_qvel(physics).astype(np.float32),
            np.array(effort, dtype=np.float32),
            self._ticks / self.spec.frequency_hz,
            rules.get_env_state(physics).astype(np.float32),
        )
