"""What is taken from gym-aloha: its models, its grippers' scale, its placing of objects and its reward.

Its own environment draws three cameras in every step and places objects through a global variable, so the physics is
stepped without it; what comes out is the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError

TaskName = Literal["transfer_cube", "insertion"]
BEST_REWARD = 4
"""The reward of a task that is done."""


@dataclass(frozen=True, slots=True)
class GymTask:
    """One of gym-aloha's tasks, loaded.

    Attributes:
        name: which.
        physics: the model with its state, a ``dm_control.mujoco.Physics``.
        rules: gym-aloha's task: how an action drives the motors, and the reward.
        start: the arms' sixteen joints at an episode's beginning, two for each gripper.
    """

    name: TaskName
    physics: Any
    rules: Any
    start: npt.NDArray[np.float64]

    def begin(self, seed: int) -> None:
        """Arms at their starting pose, objects where ``reset(seed=seed)`` of gym-aloha's environment puts them."""
        from gym_aloha.utils import sample_box_pose, sample_insertion_pose

        limited = seed % 2**32  # what NumPy's older generators take
        if self.name == "transfer_cube":
            places = sample_box_pose(limited)
        else:
            places = np.concatenate(sample_insertion_pose(limited))
        with self.physics.reset_context():
            self.physics.data.qpos[:16] = self.start
            self.physics.data.qpos[16:] = places
            self.physics.data.ctrl[:] = self.start


def load_gym_task(name: TaskName) -> GymTask:
    """Load a task's model.

    Raises:
        UserError: gym-aloha is not installed, or MuJoCo does not find what it is told to draw with.
    """
    assets, start = _gym_aloha()
    from dm_control.mujoco import Physics
    from gym_aloha.tasks.sim import InsertionTask, TransferCubeTask

    rules = TransferCubeTask() if name == "transfer_cube" else InsertionTask()
    physics = Physics.from_xml_path(str(assets / f"bimanual_viperx_{name}.xml"))
    return GymTask(name, physics, rules, start)


def load_arms() -> Any:
    """The arms' model alone, a ``mujoco.MjModel``, for reckoning where hands are.

    Raises:
        UserError: as :func:`load_gym_task`.
    """
    assets, _ = _gym_aloha()
    import mujoco

    return mujoco.MjModel.from_xml_path(str(assets / "bimanual_viperx_transfer_cube.xml"))


def _gym_aloha() -> tuple[Path, npt.NDArray[np.float64]]:
    """Where gym-aloha's models lie, and its starting pose."""
    # MuJoCo and dm_control look once, when they are imported, for what to draw with; a station has no screen.
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import dm_control.mujoco  # noqa: F401 - looks for what to draw with
        from gym_aloha.constants import ASSETS_DIR, START_ARM_POSE
    except ModuleNotFoundError as error:
        raise UserError(
            f"the aloha world needs gym-aloha (no module '{error.name}')", "pip install 'flywheel-hitl[aloha]'"
        ) from None
    except (ImportError, AttributeError, RuntimeError) as error:  # PyOpenGL without libEGL raises AttributeError
        raise UserError(
            f"MuJoCo cannot draw with MUJOCO_GL={os.environ['MUJOCO_GL']}: {' '.join(str(error).split())}",
            "install libegl1 and libgl1-mesa-dri, or set MUJOCO_GL=disable to go without pictures",
        ) from None
    return Path(ASSETS_DIR), np.array(START_ARM_POSE, dtype=np.float64)
