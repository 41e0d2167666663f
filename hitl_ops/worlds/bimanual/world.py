"""Lift the lid off the bowl: two arms of seven joints under PyBullet, 50 actions a second.

Everything that succeeds or fails does so physically: the arms are driven by motors of limited force, the lid is held by
friction between fingers and knob alone, the bowl slides and tips when it is pushed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import CameraSpec, Float32, Picture, RobotReading, RobotSpec, check_action
from hitl_ops.worlds.bimanual import geometry
from hitl_ops.worlds.bimanual.bodies import load_bodies
from hitl_ops.worlds.bimanual.episode_setup import EpisodeSetup
from hitl_ops.worlds.bimanual.kinematics import home_pose
from hitl_ops.worlds.bimanual.views import Poses
from hitl_ops.worlds.quiet_physics import connect_quietly, quiet_pybullet

if TYPE_CHECKING:
    from hitl_ops.worlds.bimanual.pictures import StationPictures

TASK = "Lift the lid off the bowl"
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
ENVIRONMENT_STATE = (
    "lid_x",
    "lid_y",
    "lid_z",
    "lid_yaw_sin",
    "lid_yaw_cos",
    "bowl_x",
    "bowl_y",
    "bowl_yaw_sin",
    "bowl_yaw_cos",
    "lid_lift",
)
LIFT_HEIGHT = 0.08
"""How far above the rim the lid must be held, metres."""
HOLD_SECONDS = 0.5
"""For how long."""
BOWL_LEEWAY = 0.05
"""A bowl moved farther than this, metres, has been pushed away: the episode has failed."""
BOWL_UPRIGHT = math.cos(math.radians(20.0))
TIME_LIMIT = 6.0

_SUBSTEPS = 4
_ARM_JOINTS = 6
_JOINT_NAMES = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
_MOTOR_FORCES = (40.0, 60.0, 40.0, 15.0, 15.0, 10.0)
_FINGER_FORCE = 7.0
_MOTOR_GAIN = 0.25
_BRAKE = 0.4
"""Share of a joint's speed that its motor takes away in a step of the physics while the arms are let go."""
_ARM_SPEED = 3.5
"""A joint's target moves no faster than this, radians a second: servos have a limit too."""
_GRIPPER_SPEED = 4.0
"""The same for grippers, shares of their opening a second."""


class BimanualConfig(StrictConfig):
    """What of the station is there and how finely it is seen."""

    cameras: tuple[str, ...] = Field(default=CAMERAS, description="Which of the four cameras there are.")
    height: int = Field(default=224, ge=8, le=2048, description="Rows of every picture, pixels.")
    width: int = Field(default=224, ge=8, le=2048, description="Columns of every picture, pixels.")
    renderer: Literal["auto", "opengl", "pybullet"] = Field(
        default="auto", description="What draws: auto takes OpenGL where the machine has it."
    )
    smooth_edges: bool = Field(
        default=False, description="Whether OpenGL draws four samples a pixel: finer, and three times the time."
    )


class BimanualWorld:
    """One station; see :class:`hitl_ops.contracts.robot.RobotWorld`.

    Nothing is drawn until pictures are asked for: a world of states alone costs no pictures.

    Args:
        config: cameras and their sizes.

    Raises:
        UserError: PyBullet is not installed, or a camera does not exist.
    """

    task = TASK
    time_limit = TIME_LIMIT

    def __init__(self, config: BimanualConfig | None = None) -> None:
        config = config or BimanualConfig()
        unknown = [name for name in config.cameras if name not in CAMERAS]
        if unknown:
            raise UserError(f"the bimanual world has no camera '{unknown[0]}'", f"there are {', '.join(CAMERAS)}")
        self.spec = RobotSpec(
            name="bimanual",
            joint_names=tuple(f"{side}_{name}" for side in ("left", "right") for name in _JOINT_NAMES),
            cameras=tuple(CameraSpec(name=name, height=config.height, width=config.width) for name in config.cameras),
            environment_state_names=ENVIRONMENT_STATE,
        )
        self.home: Float32 = home_pose()
        self.setup = EpisodeSetup.of_seed(0)
        self._bullet = quiet_pybullet()
        self._client: int | None = connect_quietly(self._bullet)
        self._drawing: StationPictures | None = None
        self._config = config
        arms = [(*geometry.ARM_LIMITS, (0.0, 1.0))] * 2
        self._lower, self._upper = np.array([limit for arm in arms for limit in arm], dtype=np.float64).T
        step = 1 / self.spec.frequency_hz
        self._stride = np.array(([_ARM_SPEED * step] * _ARM_JOINTS + [_GRIPPER_SPEED * step]) * 2)
        self._ticks = 0
        self.reset(0)

    def reset(self, seed: int) -> RobotReading:
        """Begin the episode of this seed: the arms at home, the lid on the bowl, everything at rest."""
        bullet, client = self._bullet, self._connected()
        self.setup = setup = EpisodeSetup.of_seed(seed)
        # Built anew each time: what an earlier episode left in the solver's caches would show in the last digits.
        bullet.resetSimulation(physicsClientId=client)
        bullet.setGravity(0, 0, -9.81, physicsClientId=client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=1 / (self.spec.frequency_hz * _SUBSTEPS),
            numSolverIterations=40,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        bodies = load_bodies(bullet, client, setup)
        self._arms, self._bowl, self._lid = (bodies.left, bodies.right), bodies.bowl, bodies.lid
        self._target = self.home.astype(np.float64)
        for number, arm in enumerate(self._arms):
            joints = self.home[7 * number : 7 * number + 7].tolist()
            fingers = [joints[6] * geometry.FINGER_TRAVEL] * 2
            for joint, position in enumerate((*joints[:6], *fingers)):
                bullet.resetJointState(arm, joint, position, physicsClientId=client)
        self._command()
        for _ in range(10 * _SUBSTEPS):  # what stands comes to rest
            bullet.stepSimulation(physicsClientId=client)
        self._ticks = 0
        self._held = 0
        self._best_lift = 0.0
        self._succeeded = False
        self._failure = ""
        self._seated = 0.0
        self._read()
        self._seated, self._bowl_start = self._lift, self._bowl_place
        return self._read()

    def tick(self, action: npt.ArrayLike) -> RobotReading:
        """Drive the joints towards ``action`` for 1/50 s; targets beyond a joint's limits stop at them.

        Raises:
            UserError: the action has another shape or dtype, or is not finite.
        """
        wanted = np.minimum(np.maximum(check_action(action, self.spec.dim), self._lower), self._upper)
        target = self._target
        target += np.minimum(np.maximum(wanted - target, -self._stride), self._stride)
        self._command()
        return self._step()

    def tick_damped(self) -> RobotReading:
        """Let the arms go for 1/50 s: their motors only brake, so that they can be moved by hand and sink slowly."""
        client = self._connected()
        for arm in self._arms:
            self._bullet.setJointMotorControlArray(
                arm,
                _DRIVEN,
                self._bullet.VELOCITY_CONTROL,
                targetVelocities=[0.0] * len(_DRIVEN),
                velocityGains=[_BRAKE] * len(_DRIVEN),
                forces=_FORCES,
                physicsClientId=client,
            )
        reading = self._step()
        # Whatever is commanded next sets out from here.
        self._target = np.clip(reading.position.astype(np.float64), self._lower, self._upper)
        return reading

    def _step(self) -> RobotReading:
        step, client = self._bullet.stepSimulation, self._connected()
        for _ in range(_SUBSTEPS):
            step(physicsClientId=client)
        self._ticks += 1
        reading = self._read()
        self._judge()
        return reading

    def success(self) -> bool:
        """Whether the lid was held 8 cm above the rim for half a second while the bowl stayed where it stood."""
        return self._succeeded

    @property
    def failure(self) -> str:
        """Why the episode has not succeeded so far; empty once it has."""
        if self._succeeded:
            return ""
        if self._failure:
            return self._failure
        if self._best_lift < 0.01:
            return "the lid was not lifted"
        return "the lid was lost" if self._lift < self._best_lift - 0.01 else "the lid was not held up long enough"

    @property
    def lost(self) -> bool:
        """Whether the episode can no longer succeed: the bowl was pushed away or tipped."""
        return bool(self._failure)

    def images(self, names: tuple[str, ...] | None = None, size: tuple[int, int] | None = None) -> dict[str, Picture]:
        """Pictures of the present moment; see :meth:`RobotWorld.images`.

        Raises:
            UserError: there is no camera of such a name.
        """
        cameras = {camera.name: camera for camera in self.spec.cameras}
        wanted = self.spec.camera_names if names is None else names
        for name in wanted:
            if name not in cameras:
                raise UserError(f"there is no camera '{name}'", f"there are {', '.join(cameras) or 'none'}")
        if not wanted:
            return {}
        if self._drawing is None:
            from hitl_ops.worlds.bimanual.pictures import station_pictures

            self._drawing = station_pictures(
                self._bullet, self._connected(), self._config.renderer, self._config.smooth_edges
            )
        poses = self.link_poses()
        return {
            name: self._drawing.draw(name, poses, *(size or (cameras[name].height, cameras[name].width)))
            for name in wanted
        }

    def link_poses(self) -> Poses:
        """Where every link of every body is, root first."""
        bullet, client = self._bullet, self._connected()
        poses: Poses = {}
        for side, arm, y in (("left", self._arms[0], geometry.BASE_Y), ("right", self._arms[1], -geometry.BASE_Y)):
            states = bullet.getLinkStates(arm, _DRIVEN, computeForwardKinematics=1, physicsClientId=client)
            root = ((geometry.BASE_X, y, 0.0), (0.0, 0.0, 0.0, 1.0))
            poses[side] = [root, *((state[4], state[5]) for state in states)]
        poses["lid"] = [bullet.getBasePositionAndOrientation(self._lid, physicsClientId=client)]
        # A body's pose is that of its centre of mass; the bowl's parts are placed from its foot.
        place, turn = bullet.getBasePositionAndOrientation(self._bowl, physicsClientId=client)
        foot = (0.0, 0.0, -geometry.BOWL_MIDDLE[2])
        poses["bowl"] = [bullet.multiplyTransforms(place, turn, foot, (0, 0, 0, 1))]
        return poses

    def close(self) -> None:
        """Give back the physics and the drawing; closing twice is harmless."""
        if self._client is not None:
            self._bullet.disconnect(physicsClientId=self._client)
            self._client = None
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None

    def __enter__(self) -> BimanualWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> int:
        if self._client is None:
            raise RuntimeError("the world is closed")
        return self._client

    def _command(self) -> None:
        drive, mode, client = self._bullet.setJointMotorControlArray, self._bullet.POSITION_CONTROL, self._connected()
        target = self._target.tolist()
        for number, arm in enumerate(self._arms):
            joints = target[7 * number : 7 * number + 6]
            finger = target[7 * number + 6] * geometry.FINGER_TRAVEL
            drive(
                arm,
                _DRIVEN,
                mode,
                targetPositions=[*joints, finger, finger],
                forces=_FORCES,
                positionGains=_GAINS,
                physicsClientId=client,
            )

    def _read(self) -> RobotReading:
        bullet, client = self._bullet, self._connected()
        position, velocity, effort = [], [], []
        for arm in self._arms:
            states = bullet.getJointStates(arm, _DRIVEN, physicsClientId=client)
            for state in states[:6]:
                position.append(state[0])
                velocity.append(state[1])
                effort.append(state[3])
            first, second = states[6], states[7]
            position.append((first[0] + second[0]) / (2 * geometry.FINGER_TRAVEL))
            velocity.append((first[1] + second[1]) / (2 * geometry.FINGER_TRAVEL))
            effort.append(first[3] + second[3])
        lid, lid_turn = bullet.getBasePositionAndOrientation(self._lid, physicsClientId=client)
        bowl, bowl_turn = bullet.getBasePositionAndOrientation(self._bowl, physicsClientId=client)
        return self._sense(position, velocity, effort, lid, lid_turn, bowl, bowl_turn)

    def _sense(
        self,
        position: list[float],
        velocity: list[float],
        effort: list[float],
        lid: Any,
        lid_turn: Any,
        bowl: Any,
        bowl_turn: Any,
    ) -> RobotReading:
        """Keep what the verdict needs, and put the reading together."""
        (lid_x, lid_y, lid_z), (bowl_x, bowl_y, bowl_z) = lid, bowl
        self._bowl_place = (bowl_x, bowl_y, bowl_z)
        self._bowl_up = 1 - 2 * (bowl_turn[0] ** 2 + bowl_turn[1] ** 2)
        self._lift = lid_z - bowl_z - self._seated
        lid_sin, lid_cos = _yaw(lid_turn)
        bowl_sin, bowl_cos = _yaw(bowl_turn)
        around = (lid_x, lid_y, lid_z, lid_sin, lid_cos, bowl_x, bowl_y, bowl_sin, bowl_cos, self._lift)
        return RobotReading(
            np.array(position, dtype=np.float32),
            np.array(velocity, dtype=np.float32),
            np.array(effort, dtype=np.float32),
            self._ticks / self.spec.frequency_hz,
            np.array(around, dtype=np.float32),
        )

    def _judge(self) -> None:
        """Move the verdict on by one tick; what has succeeded or is lost stays so."""
        if self._succeeded or self._failure:
            return
        self._best_lift = max(self._best_lift, self._lift)
        if math.dist(self._bowl_place, self._bowl_start) > BOWL_LEEWAY:
            self._failure = "the bowl was pushed away"
        elif self._bowl_up < BOWL_UPRIGHT:
            self._failure = "the bowl was tipped"
        self._held = self._held + 1 if self._lift >= LIFT_HEIGHT else 0
        self._succeeded = not self._failure and self._held >= HOLD_SECONDS * self.spec.frequency_hz


_DRIVEN = list(range(8))
_FORCES = [*_MOTOR_FORCES, _FINGER_FORCE, _FINGER_FORCE]
_GAINS = [_MOTOR_GAIN] * 8


def _yaw(turn: tuple[float, float, float, float]) -> tuple[float, float]:
    """Sine and cosine of a quaternion's turn about z."""
    x, y, z, w = turn
    sine, cosine = 2 * (w * z + x * y), 1 - 2 * (y * y + z * z)
    length = math.hypot(sine, cosine) or 1.0
    return sine / length, cosine / length
