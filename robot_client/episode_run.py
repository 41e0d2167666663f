"""One episode: the loop that observes, asks, acts and records at the robot's pace, and holds when anything is wrong."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hitl_ops.contracts.advantage_prompt import advantage_prompt
from hitl_ops.contracts.chunk_broker import ChunkBroker
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture, check_action, check_actions, check_picture, policy_observation
from hitl_ops.records.station_episode import StationEpisodeWriter
from robot_client.pacing import Jitter, Lockstep, Pace
from robot_client.policy_connection import PolicyConnection
from robot_client.robots.robot import Robot, RobotFault, Seen
from robot_client.station_config import StationConfig

_SHOWN_TICKS = 250
_EVERY = 10
_LOCKSTEP_WAIT_S = 0.05


@dataclass
class EpisodeProgress:
    """How an episode goes; read by the screen meanwhile.

    Attributes:
        frames: recorded.
        seconds: robot time since the first recorded frame.
        chunks: chunks of actions received.
        latency_ms: of the last one.
        server_ms: what the server said the last one took.
        late_steps: actions of the last one that had passed when it came.
        waits: how often the robot held because no action was there.
        holding: why it holds now; empty while it moves.
        jitter: of the last seconds.
        policies: who chose the actions, in order; usually one.
    """

    frames: int = 0
    seconds: float = 0.0
    chunks: int = 0
    latency_ms: float = 0.0
    server_ms: float | None = None
    late_steps: int = 0
    waits: int = 0
    holding: str = ""
    jitter: Jitter = field(default_factory=Jitter)
    policies: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EpisodeEnd:
    """How an episode ended.

    Attributes:
        kind: a person or the time limit stopped it; something went wrong; or the emergency exit was taken.
        reason: in words.
    """

    kind: Literal["stopped", "aborted", "emergency"]
    reason: str


class EpisodeRun:
    """Runs the policy on the robot until somebody stops it or something is wrong; then the robot holds.

    Frames are recorded for actions that were carried out: while the robot waits for a chunk it holds, and nothing is
    recorded, so that nobody learns to wait.

    Args:
        config: the station's.
        robot: in its starting pose.
        policy: whom to ask.
        recorder: takes the frames.
        stop_wanted: whether whoever is at the keys wants to stop; called every tick, with the seconds so far.
        emergency: whether the emergency exit was taken.
    """

    def __init__(
        self,
        config: StationConfig,
        robot: Robot,
        policy: PolicyConnection,
        recorder: StationEpisodeWriter,
        *,
        stop_wanted: Callable[[float], bool],
        emergency: Callable[[], bool],
    ) -> None:
        control = config.control
        self.progress = EpisodeProgress()
        self._control = control
        self._robot = robot
        self._policy = policy
        self._recorder = recorder
        self._stop_wanted = stop_wanted
        self._emergency = emergency
        self._prompt = advantage_prompt(config.task.description, good=True)
        self._broker = ChunkBroker(chunk_steps=control.chunk_steps, blend_steps=control.blend_steps)
        self._pace: Pace | Lockstep = Lockstep() if robot.lockstep else Pace(control.frequency_hz)
        self._ticks = 0
        self._began: float | None = None
        self._target: Float32 | None = None
        self._asked_at = 0.0
        self._lost_since: float | None = None

    @property
    def jitter(self) -> Jitter:
        """How late this episode's ticks were."""
        return self._pace.jitter()

    def run(self) -> EpisodeEnd:
        """Run the episode; returns once the robot holds."""
        self._policy.forget()
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()  # a collection in mid-episode would cost a tick
        try:
            while True:
                self._pace.wait()
                end = self._tick()
                if end is not None:
                    return end
        except UserError as error:
            return EpisodeEnd("aborted", str(error))
        finally:
            if collecting:
                gc.enable()
            self._policy.forget()
            self._hold("")
            self.progress.jitter = self._pace.jitter(_SHOWN_TICKS)

    def _tick(self) -> EpisodeEnd | None:
        if self._emergency():
            return EpisodeEnd("emergency", "emergency stop")
        if self._stop_wanted(self.progress.seconds):
            return EpisodeEnd("stopped", "stopped by the person at the station")
        if self.progress.seconds >= self._control.longest_episode_s:
            return EpisodeEnd("stopped", f"stopped after {self._control.longest_episode_s:g} s")
        seen = self._robot.observe()
        pictures = self._checked(seen)
        self._ticks += 1
        if self._ticks % _EVERY == 0:
            self.progress.jitter = self._pace.jitter(_SHOWN_TICKS)
        if seen.taken_over is not None:
            # What was planned no longer starts where the robot is.
            self._broker.reset()
            self._policy.forget()
            action = check_action(seen.taken_over, self._robot.spec.dim, source="the person who took over")
        else:
            self._hear()
            self._ask(seen, pictures)
            planned = self._broker.next_action()
            if planned is None:
                self._wait_for_policy()
                return None
            action = planned
            self._refuse_jump(action, seen)
        self._act(seen, pictures, action)
        return None

    def _checked(self, seen: Seen) -> dict[str, Picture]:
        """The pictures of a sound observation.

        Raises:
            UserError: a sensor or a camera does not do what it should.
        """
        dim = self._robot.spec.dim
        position = seen.reading.position
        if position.shape != (dim,) or not np.isfinite(position).all():
            raise RobotFault("the joint sensors give no sound position", "check the robot; it holds meanwhile")
        pictures = {}
        for camera in self._robot.spec.cameras:
            frame = seen.frames.get(camera.name)
            if frame is None or frame.age_s > self._control.camera_timeout_s:
                age = "has given no picture" if frame is None else f"gave its last picture {frame.age_s:.1f} s ago"
                raise RobotFault(f"camera '{camera.name}' {age}", "check its cable and its process")
            pictures[camera.name] = check_picture(frame.picture, camera)
        return pictures

    def _hear(self, wait_s: float = 0.0) -> None:
        """Take in what the policy has answered.

        Raises:
            UserError: it refused, or its actions cannot be carried out.
        """
        answer = self._policy.answer(wait_s)
        if answer is None:
            return
        if answer.lost:
            self._broker.give_up()
            # A network that has gone silent is noticed late: nothing has come since the question.
            self._lost_since = self._lost_since or self._asked_at
            return
        if answer.error:
            raise UserError(answer.error, "the robot holds")
        actions = check_actions(answer.actions, self._robot.spec.dim)
        self._lost_since = None
        progress = self.progress
        progress.late_steps = self._broker.receive(actions)
        progress.chunks += 1
        progress.latency_ms, progress.server_ms = answer.latency_ms, answer.server_ms
        if answer.policy_id and answer.policy_id not in progress.policies:
            progress.policies.append(answer.policy_id)

    def _ask(self, seen: Seen, pictures: dict[str, Picture]) -> None:
        if not self._broker.wants_chunk():
            return
        if not self._policy.link.connected:
            self._lost_since = self._lost_since or time.monotonic()
            return
        self._policy.ask(policy_observation(seen.reading, pictures, self._prompt))
        self._asked_at = time.monotonic()
        self._broker.asked()
        # Where time stands still, the answer comes within the tick, always: the same again gives the same.
        while self._robot.lockstep and self._broker.waiting and not self._emergency():
            self._hear(_LOCKSTEP_WAIT_S)

    def _wait_for_policy(self) -> None:
        """Hold while there is no action.

        Raises:
            UserError: the server has been away for too long.
        """
        lost = self._lost_since
        why = "waiting for the policy" if lost is None else "connection lost, trying again"
        self._hold(why)
        if lost is not None and time.monotonic() - lost > self._control.lost_after_s:
            raise UserError(f"connection lost ({self._policy.link.error or 'no reply'})", "the robot holds")
        if self._robot.lockstep:
            time.sleep(_LOCKSTEP_WAIT_S)  # nothing else slows a robot down whose time stands still

    def _refuse_jump(self, action: Float32, seen: Seen) -> None:
        limit = self._control.largest_step
        if limit is None:
            return
        step = np.abs(action - (seen.reading.position if self._target is None else self._target))
        step[list(self._robot.spec.gripper_indices)] = 0
        worst = int(step.argmax())
        if step[worst] > limit:
            joint = self._robot.spec.joint_names[worst]
            raise UserError(
                f"the policy moves {joint} by {step[worst]:.2f} in one action, {limit:g} is allowed",
                "check the checkpoint, or raise control.largest_step",
            )

    def _act(self, seen: Seen, pictures: dict[str, Picture], action: Float32) -> None:
        self._robot.command(action)
        self._target = action
        progress = self.progress
        progress.holding = ""
        reading = seen.reading
        now = reading.time if self._robot.lockstep else time.perf_counter()
        if self._began is None:
            self._began = now
        self._recorder.add(
            reading.position,
            reading.velocity,
            reading.effort,
            action,
            pictures,
            now - self._began,
            seen.taken_over is not None,
            environment_state=reading.environment_state,
        )
        progress.frames += 1
        progress.seconds = now - self._began

    def _hold(self, why: str) -> None:
        """Have the robot hold; a robot that cannot be told any more is left to its own watch-dog."""
        if why and self.progress.holding:
            self.progress.holding = why
            return
        if why and self.progress.frames:
            self.progress.waits += 1
        self.progress.holding = why or "holding position"
        self._target = None
        try:
            self._robot.hold()
        except RobotFault:
            if why:
                raise
