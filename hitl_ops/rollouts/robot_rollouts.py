"""A policy playing episodes of simulated robots, several worlds at once, as a station's client would carry it out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hitl_ops.contracts.advantage_prompt import advantage_prompt
from hitl_ops.contracts.chunk_broker import ChunkBroker
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import RobotReading, check_actions, policy_observation
from hitl_ops.models.robot_policy import RobotPolicy
from hitl_ops.worlds.robot_worlds import SoftWorld


@dataclass(slots=True)
class RobotOutcome:
    """How one episode went.

    Attributes:
        seed: the episode's.
        success: the world's verdict.
        ticks: control steps it took.
        failure: why it failed, in words; empty where it succeeded.
        latency_ms: how long each chunk of actions took, wall time; that of a batch counts for each in it.
    """

    seed: int
    success: bool = False
    ticks: int = 0
    failure: str = ""
    latency_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Playing:
    world: SoftWorld
    broker: ChunkBroker
    outcome: RobotOutcome
    reading: RobotReading
    over: bool = False


def play_policy_episodes(
    policy: RobotPolicy,
    worlds: Sequence[SoftWorld],
    seeds: Sequence[int],
    *,
    chunk_steps: int = 25,
    blend_steps: int = 25,
    each_tick: Callable[[SoftWorld], None] | None = None,
) -> list[RobotOutcome]:
    """Play one episode in each world; the policy is asked for all that want actions at the same time.

    Args:
        policy: asked with ``Advantage=True``, as a server asks it.
        worlds: as many as ``seeds``.
        seeds: of the episodes.
        chunk_steps: actions of a chunk carried out before the next is asked for.
        blend_steps: longest overlap of two chunks that is blended.
        each_tick: shown each world after each of its ticks (for pictures).

    Raises:
        UserError: the policy is for another robot, or gives what are no actions.
    """
    for world in worlds:
        _same_robot(policy, world)
    playing = [
        _Playing(
            world, ChunkBroker(chunk_steps=chunk_steps, blend_steps=blend_steps), RobotOutcome(seed), world.reset(seed)
        )
        for world, seed in zip(worlds, seeds, strict=True)
    ]
    while left := [one for one in playing if not one.over]:
        _ask(policy, [one for one in left if one.broker.wants_chunk()])
        for one in left:
            action = one.broker.next_action()
            if action is None:  # cannot be: a chunk that was asked for has come
                raise RuntimeError("the policy gave no action")
            one.reading = one.world.tick(action)
            one.outcome.ticks += 1
            if each_tick is not None:
                each_tick(one.world)
            one.outcome.success = one.world.success()
            limit = round(one.world.time_limit * one.world.spec.frequency_hz)
            one.over = one.outcome.success or one.outcome.ticks >= limit
            if one.over:
                one.outcome.failure = one.world.failure
    return [one.outcome for one in playing]


def _ask(policy: RobotPolicy, asking: Sequence[_Playing]) -> None:
    for first in range(0, len(asking), policy.max_batch):
        group = asking[first : first + policy.max_batch]
        observations = []
        for one in group:
            images = one.world.images(policy.spec.camera_names, _size(policy)) if policy.spec.cameras else {}
            # A policy that reads its task is asked with the one it was trained for.
            prompt = advantage_prompt(str(policy.metadata.get("task") or one.world.task), good=True)
            observations.append(policy_observation(one.reading, images, prompt))
        began = time.perf_counter()
        chunks = policy.infer(observations)
        took = 1000 * (time.perf_counter() - began)
        for one, chunk in zip(group, chunks, strict=True):
            one.broker.asked()
            one.broker.receive(check_actions(chunk, one.world.spec.dim))
            one.outcome.latency_ms.append(took)


def _size(policy: RobotPolicy) -> tuple[int, int]:
    return policy.spec.cameras[0].height, policy.spec.cameras[0].width


def _same_robot(policy: RobotPolicy, world: SoftWorld) -> None:
    ours, theirs = policy.spec, world.spec
    if ours.dim != theirs.dim or ours.frequency_hz != theirs.frequency_hz:
        raise UserError(
            f"the policy is for '{ours.name}' ({ours.dim} joints at {ours.frequency_hz:g} Hz), the world has "
            f"'{theirs.name}' ({theirs.dim} at {theirs.frequency_hz:g})",
            "name a policy for this robot",
        )
    lacking = [name for name in ours.environment_state_names if name not in theirs.environment_state_names]
    lacking += [name for name in ours.camera_names if name not in theirs.camera_names]
    if lacking:
        raise UserError(f"the policy needs '{lacking[0]}', which world '{theirs.name}' does not tell", "name another")
