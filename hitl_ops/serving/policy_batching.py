"""Observations of several robots, one pass of the policy: gathered, asked off the event loop, told apart again.

A pass costs much the same for one robot as for eight, so robots that ask at the same time share one. While a pass runs,
further observations wait and make up the next. Before it begins, it may pay to wait a moment for robots that are about
to ask: each robot's pause between its answer and its next question tells when it is due. A robot that is alone, or
whose fellows are busy carrying out their chunks, is never made to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, check_actions, check_observation
from hitl_ops.serving.robot_policy import RobotPolicy

_WAIT_SHARE = 0.5
"""Share of a pass that may be waited for others: more, and waiting costs more than the passes it saves."""


@dataclass(frozen=True)
class ServedPolicy:
    """A policy and whose it is.

    Attributes:
        policy_id: as on its card.
        policy: what is asked.
        program: the program that made it; "" where none did.
        iteration: the iteration that made it; None where none did.
    """

    policy_id: str
    policy: RobotPolicy
    program: str = ""
    iteration: int | None = None


@dataclass(frozen=True)
class Chosen:
    """What came of one observation.

    Attributes:
        actions: the chunk, float32 [horizon, dim].
        served: the policy that chose it.
        infer_ms: how long the pass took.
        queue_ms: how long the observation waited for it.
        together: observations in the pass.
    """

    actions: Float32
    served: ServedPolicy
    infer_ms: float
    queue_ms: float
    together: int


@dataclass
class _Waiting:
    client: int
    observation: dict[str, Any]
    arrived: float
    answer: asyncio.Future[Chosen]


@dataclass
class _Habit:
    """When a robot was last answered, and how long it paused before it asked again the last time."""

    answered: float
    pause: float | None = None


class PolicyBatcher:
    """Asks a policy for several robots at once.

    Args:
        served: the policy at first.
        max_batch: observations in a pass at most.
        gather_ms: how long an observation waits at most for robots that are due.
    """

    def __init__(self, served: ServedPolicy, *, max_batch: int = 16, gather_ms: float = 15.0) -> None:
        self.served = served
        """The policy of the next pass; may be replaced at any time, from the event loop's thread."""
        self.passes = 0
        self.answers = 0
        self.failures = 0
        self.largest_batch = 0
        self._max_batch = max_batch
        self._gather_s = gather_ms / 1000
        self._waiting: deque[_Waiting] = deque()
        self._in_pass: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._habits: dict[int, _Habit] = {}
        self._free_since = 0.0
        self._pass_s = 0.0
        # One thread: libraries keep pools of their own by thread, and policies are asked one pass at a time.
        self._thread = ThreadPoolExecutor(1, "infer")

    async def infer(self, client: int, observation: dict[str, Any]) -> Chosen:
        """Have a chunk chosen.

        Args:
            client: whose observation it is; numbers a robot for as long as it is connected.
            observation: as :meth:`~hitl_ops.serving.robot_policy.RobotPolicy.infer` takes it.

        Raises:
            UserError: the observation is not one of the policy's robot, or the policy failed or chose what cannot be
                carried out.
        """
        now = time.perf_counter()
        if (habit := self._habits.get(client)) is not None:
            habit.pause = now - habit.answered
        waiting = _Waiting(client, observation, now, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        try:
            chosen = await waiting.answer
        finally:
            if waiting.answer.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiting)
            self._habits.setdefault(client, _Habit(0.0)).answered = time.perf_counter()
        return chosen

    def forget(self, client: int) -> None:
        """A robot has gone; nobody waits for it any more."""
        self._habits.pop(client, None)

    async def run(self) -> None:
        """Answer until cancelled; what waits then is not answered any more."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._gather()
                served = self.served
                most = min(self._max_batch, served.policy.max_batch)
                together = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
                if not together:
                    continue
                self._in_pass = together
                asked = [waiting.observation for waiting in together]
                begun = time.perf_counter()
                outcomes = await loop.run_in_executor(self._thread, _choose, served.policy, asked)
                self._free_since = time.perf_counter()
                self._pass_s = self._free_since - begun
                self.passes += 1
                self.largest_batch = max(self.largest_batch, len(together))
                for waiting, outcome in zip(together, outcomes, strict=True):
                    self._tell(waiting, outcome, served, begun)
                self._in_pass = []
        finally:
            for waiting in (*self._in_pass, *self._waiting):
                waiting.answer.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _tell(self, waiting: _Waiting, outcome: _Outcome, served: ServedPolicy, begun: float) -> None:
        if isinstance(outcome.result, UserError):
            self.failures += 1
        else:
            self.answers += 1
        if waiting.answer.done():  # the robot has gone meanwhile
            return
        if isinstance(outcome.result, UserError):
            waiting.answer.set_exception(outcome.result)
            return
        queue_ms = (begun - waiting.arrived) * 1000
        waiting.answer.set_result(Chosen(outcome.result, served, outcome.infer_ms, queue_ms, outcome.together))

    # --- gathering ----------------------------------------------------------------------------------------

    async def _gather(self) -> None:
        """Come back when a pass is worth its while."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        patience = min(self._gather_s, _WAIT_SHARE * self._pass_s)
        until = max(self._waiting[0].arrived, self._free_since) + patience
        most = min(self._max_batch, self.served.policy.max_batch)
        while len(self._waiting) < most and (left := until - time.perf_counter()) > 0 and self._somebody_is_due(left):
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _somebody_is_due(self, within: float) -> bool:
        """Whether a robot that is not waiting yet will ask within so many seconds, by its own pace."""
        now = time.perf_counter()
        here = {waiting.client for waiting in self._waiting}
        return any(
            habit.pause is not None and -self._gather_s < habit.answered + habit.pause - now < within
            for client, habit in self._habits.items()
            if client not in here
        )


@dataclass(frozen=True)
class _Outcome:
    result: Float32 | UserError
    infer_ms: float = 0.0
    together: int = 0


def _choose(policy: RobotPolicy, observations: Sequence[dict[str, Any]]) -> list[_Outcome]:
    """In the policy's thread: one outcome for each observation, whatever happens."""
    outcomes: list[_Outcome | None] = [_misfit(policy, observation) for observation in observations]
    fit = [number for number, outcome in enumerate(outcomes) if outcome is None]
    passed = _pass(policy, [observations[number] for number in fit]) if fit else []
    if len(fit) > 1 and all(isinstance(outcome.result, UserError) for outcome in passed):
        # One observation the policy cannot cope with must not cost the other robots their answers.
        passed = [_pass(policy, [observations[number]])[0] for number in fit]
    for number, outcome in zip(fit, passed, strict=True):
        outcomes[number] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def _misfit(policy: RobotPolicy, observation: dict[str, Any]) -> _Outcome | None:
    try:
        check_observation(observation, policy.spec)
    except UserError as error:
        return _Outcome(error)
    return None


def _pass(policy: RobotPolicy, observations: list[dict[str, Any]]) -> list[_Outcome]:
    begun = time.perf_counter()
    try:
        chunks = policy.infer(observations)
    except UserError as error:
        return [_Outcome(error)] * len(observations)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return [_Outcome(UserError(f"the policy failed ({reason})", "see the server's log"))] * len(observations)
    infer_ms = (time.perf_counter() - begun) * 1000
    if len(chunks) != len(observations):
        failed = UserError(f"the policy chose {len(chunks)} chunks for {len(observations)} robots", "mend the policy")
        return [_Outcome(failed)] * len(observations)
    outcomes = []
    for chunk in chunks:
        try:
            outcomes.append(_Outcome(check_actions(chunk, policy.spec.dim), infer_ms, len(observations)))
        except UserError as error:
            outcomes.append(_Outcome(error))
    return outcomes
