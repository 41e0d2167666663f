"""Playing one episode of a simulated robot as fast as the physics goes, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.robot import Float32, RobotReading, RobotWorld


@dataclass(slots=True)
class RobotEpisode:
    """One episode, frame by frame: frame t is what was read, and the action chosen on reading it.

    Attributes:
        seed: the episode's.
        success: the world's verdict.
        position: joint positions, [T, dim] float32.
        velocity: joint velocities, [T, dim] float32.
        effort: motor efforts, [T, dim] float32.
        action: joint targets, [T, dim] float32.
        time: seconds, [T] float64.
        environment_state: what the world told beyond the joints, [T, n] float32; None where it tells nothing.
    """

    seed: int
    success: bool
    position: Float32
    velocity: Float32
    effort: Float32
    action: Float32
    time: npt.NDArray[np.float64]
    environment_state: Float32 | None


def play_robot_episode(
    world: RobotWorld,
    seed: int,
    act: Callable[[RobotReading], Float32],
    *,
    each_frame: Callable[[RobotReading, Float32], None] | None = None,
    stop_after_success: bool = True,
) -> RobotEpisode:
    """Play the episode of a seed until it has succeeded or its time is over.

    Args:
        world: where to play.
        seed: the episode's.
        act: chooses the next action from a reading, [dim] float32.
        each_frame: is shown each reading with the action chosen, before the action is carried out (for pictures).
        stop_after_success: end at once when the episode has succeeded; otherwise the whole time is played.

    Raises:
        UserError: ``act`` gave what is no action.
    """
    reading = world.reset(seed)
    readings: list[RobotReading] = []
    actions: list[Float32] = []
    for _ in range(round(world.time_limit * world.spec.frequency_hz)):
        action = act(reading)
        if each_frame is not None:
            each_frame(reading, action)
        readings.append(reading)
        actions.append(action)
        reading = world.tick(action)
        if stop_after_success and world.success():
            break
    around = [reading.environment_state for reading in readings if reading.environment_state is not None]
    return RobotEpisode(
        seed=seed,
        success=world.success(),
        position=np.stack([reading.position for reading in readings]),
        velocity=np.stack([reading.velocity for reading in readings]),
        effort=np.stack([reading.effort for reading in readings]),
        action=np.stack(actions).astype(np.float32),
        time=np.array([reading.time for reading in readings]),
        environment_state=np.stack(around) if around else None,
    )
