"""Passes that several robots share: who gets which answer, who waits for whom, and what a bad one costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import RobotSpec
from hitl_ops.models.robot_policy import HoldPolicy, joints_only, load_robot_policy
from hitl_ops.serving.policy_batching import Chosen, PolicyBatcher
from tests.support.robot_policies import CHOOSES_NAN, RAISES, WRONG_SHAPE, WatchedPolicy, arms, observation, served

ResultT = TypeVar("ResultT")


def with_batcher(
    policy: WatchedPolicy, work: Callable[[PolicyBatcher], Awaitable[ResultT]], *, max_batch: int = 16
) -> ResultT:
    async def main() -> ResultT:
        batcher = PolicyBatcher(served(policy), max_batch=max_batch)
        try:
            return await work(batcher)
        finally:
            policy.free.set()
            batcher.close()

    return asyncio.run(main())


async def entered(policy: WatchedPolicy) -> None:
    """Wait until a pass has begun."""
    assert await asyncio.to_thread(policy.entered.wait, 60)
    policy.entered.clear()


@pytest.mark.parametrize(("own", "servers"), [(64, 5), (5, 64)])
def test_those_who_wait_share_passes_and_each_gets_its_own_answer(own: int, servers: int) -> None:
    policy = WatchedPolicy(max_batch=own)

    async def work(batcher: PolicyBatcher) -> list[Chosen]:
        policy.free.clear()
        asked = [asyncio.create_task(batcher.infer(0, observation(0)))]
        await entered(policy)
        asked += [asyncio.create_task(batcher.infer(number, observation(number))) for number in range(1, 13)]
        await asyncio.sleep(0)
        policy.free.set()
        return await asyncio.gather(*asked)

    chosen = with_batcher(policy, work, max_batch=servers)
    assert policy.passes == [[0], [1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]
    for number, one in enumerate(chosen):
        assert one.actions.shape == (50, 14) and one.actions.dtype == np.float32
        assert np.array_equal(one.actions[:, 7], number + np.arange(50))
    assert [one.together for one in chosen] == [1, *[5] * 10, 2, 2]


def test_robots_in_step_go_on_sharing_passes_and_one_alone_does_not_wait() -> None:
    policy = WatchedPolicy(seconds=0.02)

    async def robot(batcher: PolicyBatcher, number: int, questions: int) -> None:
        await asyncio.sleep(0.002 * number)
        for _ in range(questions):
            await batcher.infer(number, observation(number))

    async def work(batcher: PolicyBatcher) -> None:
        await asyncio.gather(*(robot(batcher, number, 10) for number in range(8)))
        # The others have not gone, but they are long overdue.
        await asyncio.sleep(0.1)
        before = len(policy.passes)
        await robot(batcher, 1, 5)
        assert policy.passes[before:] == [[1]] * 5

    with_batcher(policy, work)
    # The first finds nobody else there. If it were never waited for after that, it and the others would take turns.
    assert policy.passes[0] == [0] and len(policy.passes) - 5 <= 15


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (observation(RAISES), r"the policy failed \(RuntimeError: the weights are odd\)"),
        (observation(CHOOSES_NAN), "hold nan at step 3, joint 2"),
        (observation(WRONG_SHAPE), r"have shape \(50, 13\), not \(H, 14\)"),
        (observation(0, joints_only(7)), r"'state' of the observation has shape \(7,\), not \(14,\)"),
        (observation(float("nan")), "'state' of the observation is not finite"),
        ({"prompt": "Lift the lid"}, "no 'state'"),
    ],
)
def test_one_bad_observation_costs_no_other_robot_its_answer(bad: dict[str, object], reason: str) -> None:
    policy = WatchedPolicy()

    async def work(batcher: PolicyBatcher) -> list[Chosen | BaseException]:
        policy.free.clear()
        first = asyncio.create_task(batcher.infer(0, observation(0)))
        await entered(policy)
        asked = [asyncio.create_task(batcher.infer(1, observation(1)))]
        asked.append(asyncio.create_task(batcher.infer(2, bad)))
        asked.append(asyncio.create_task(batcher.infer(3, observation(3))))
        await asyncio.sleep(0)
        policy.free.set()
        await first
        return await asyncio.gather(*asked, return_exceptions=True)

    one, refused, three = with_batcher(policy, work)
    assert isinstance(one, Chosen) and one.actions[0, 0] == 1
    assert isinstance(three, Chosen) and three.actions[0, 0] == 3
    assert isinstance(refused, UserError)
    with pytest.raises(UserError, match=reason):
        raise refused


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (None, "camera 'cam_low' gives no picture"),
        (np.zeros((3, 16, 16), np.float32), "have dtype float32"),
        (np.zeros((16, 16, 3), np.uint8), r"have shape \(16, 16, 3\), not \(3, 16, 16\)"),
    ],
)
def test_pictures_are_those_of_the_policys_robot(camera: np.ndarray | None, reason: str) -> None:
    spec: RobotSpec = arms()
    seen = observation(1, spec)
    seen["images"]["cam_low"] = camera
    with pytest.raises(UserError, match=reason):
        with_batcher(WatchedPolicy(spec), lambda batcher: batcher.infer(1, seen))


def test_nobody_is_asked_for_who_has_gone() -> None:
    policy = WatchedPolicy()

    async def work(batcher: PolicyBatcher) -> None:
        policy.free.clear()
        first = asyncio.create_task(batcher.infer(0, observation(0)))
        await entered(policy)
        gone = asyncio.create_task(batcher.infer(1, observation(1)))
        stays = asyncio.create_task(batcher.infer(2, observation(2)))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()
        await asyncio.sleep(0)
        policy.free.set()
        assert (await stays).actions[0, 0] == 2

    with_batcher(policy, work)
    assert policy.passes == [[0], [2]]


def test_another_policy_takes_over_between_two_passes() -> None:
    policy, newer = WatchedPolicy(), WatchedPolicy()

    async def work(batcher: PolicyBatcher) -> list[str]:
        policy.free.clear()
        first = asyncio.create_task(batcher.infer(0, observation(0)))
        await entered(policy)
        second = asyncio.create_task(batcher.infer(1, observation(1)))
        await asyncio.sleep(0)
        batcher.served = served(newer, "newer")
        policy.free.set()
        return [(await first).served.policy_id, (await second).served.policy_id]

    assert with_batcher(policy, work) == ["watched", "newer"]
    assert (policy.passes, newer.passes) == ([[0]], [[1]])


def test_a_policy_that_forgets_a_robot_answers_none() -> None:
    class Forgetful(WatchedPolicy):
        def infer(self, observations: object) -> list[np.ndarray]:
            return []

    with pytest.raises(UserError, match="0 chunks for 1 robots"):
        with_batcher(Forgetful(), lambda batcher: batcher.infer(1, observation(1)))


def test_hold_holds_and_is_found_again_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    HoldPolicy(arms(horizon=20)).save(folder)
    policy = load_robot_policy(folder)
    assert policy.spec == arms(horizon=20)
    (chunk,) = policy.infer([observation(0.25, policy.spec)])
    assert chunk.shape == (20, 14) and (chunk == np.float32(0.25)).all()
    (folder / "merged" / "config.json").write_text('{"type": "pi9000"}')
    with pytest.raises(UserError, match="of the kind 'pi9000', which no robot can be served with"):
        load_robot_policy(folder)
    (folder / "merged" / "config.json").write_text('{"type": "hold", "spec": {"name": "x", "joint_names": [3]}}')
    with pytest.raises(UserError, match=r"damaged at 'spec\.joint_names\.0'"):
        load_robot_policy(folder)
    with pytest.raises(UserError, match="does not exist"):
        load_robot_policy(folder / "nowhere")
