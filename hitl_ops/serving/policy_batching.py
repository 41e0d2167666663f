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
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, check_actions, check_observation
from hitl_ops.models.robot_policy import RobotPolicy

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

    answered: float = 0.0
    pause: float | None = None


@dataclass(frozen=True)
class _Pass:
    served: ServedPolicy
    together: list[_Waiting]
    begun: float


class PolicyBatcher:
    """Asks a policy for several robots at once. All methods are called from the event loop's thread.

    Args:
        served: the policy at first.
        max_batch: observations in a pass at most.
        gather_ms: how long an observation waits at most for robots that are due.
    """

    def __init__(self, served: ServedPolicy, *, max_batch: int = 16, gather_ms: float = 15.0) -> None:
        self.served = served
        """The policy of the next pass; may be replaced at any time."""
        self.passes = 0
        self.answers = 0
        self.failures = 0
        self.largest_batch = 0
        self._max_batch = max_batch
        self._gather_s = gather_ms / 1000
        self._waiting: deque[_Waiting] = deque()
        self._running: _Pass | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._habits: dict[int, _Habit] = {}
        self._free_since = 0.0
        self._pass_s = 0.0
        # One thread, straight from queue to policy: an executor would wake each side once more for every pass. It does
        # not keep the process alive where a pass never ends.
        self._passes: SimpleQueue[tuple[asyncio.AbstractEventLoop, _Pass] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="infer", daemon=True)
        self._thread.start()

    async def infer(self, client: int, observation: dict[str, Any]) -> Chosen:
        """Have a chunk chosen.

        Args:
            client: whose observation it is; numbers a robot for as long as it is connected.
            observation: as :meth:`~hitl_ops.models.robot_policy.RobotPolicy.infer` takes it.

        Raises:
            UserError: the observation is not one of the policy's robot, or the policy failed or chose what cannot be
                carried out.
        """
        now = time.perf_counter()
        if (habit := self._habits.get(client)) is not None and habit.answered:
            habit.pause = now - habit.answered
        self._habits.setdefault(client, _Habit())
        waiting = _Waiting(client, observation, now, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._consider()
        try:
            return await waiting.answer
        finally:
            if waiting.answer.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(waiting)

    def forget(self, client: int) -> None:
        """A robot has gone; nobody waits for it any more."""
        self._habits.pop(client, None)

    def close(self) -> None:
        """End; what waits is not answered any more, and a pass that runs is not waited for."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in (*(self._running.together if self._running else ()), *self._waiting):
            waiting.answer.cancel()
        self._passes.put(None)

    # --- when a pass begins -------------------------------------------------------------------------------

    def _consider(self) -> None:
        """Begin a pass if none runs and it is worth its while now; if not now, then later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None or not self._waiting:
            return
        patience = min(self._gather_s, _WAIT_SHARE * self._pass_s)
        left = max(self._waiting[0].arrived, self._free_since) + patience - time.perf_counter()
        most = min(self._max_batch, self.served.policy.max_batch)
        loop = asyncio.get_running_loop()
        if len(self._waiting) < most and left > 0 and self._somebody_is_due(left):
            self._timer = loop.call_later(left, self._consider)
            return
        together = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
        self._running = _Pass(self.served, together, time.perf_counter())
        self._passes.put((loop, self._running))

    def _somebody_is_due(self, within: float) -> bool:
        """Whether a robot that is not waiting yet will ask within so many seconds, by its own pace."""
        now = time.perf_counter()
        here = {waiting.client for waiting in self._waiting}
        return any(
            habit.pause is not None and -self._gather_s < habit.answered + habit.pause - now < within
            for client, habit in self._habits.items()
            if client not in here
        )

    # --- the thread of the passes -------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._passes.get()) is not None:
            loop, asked = job
            outcomes = _choose(asked.served.policy, [waiting.observation for waiting in asked.together])
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(self._tell, asked, outcomes)

    # --- and back -----------------------------------------------------------------------------------------

    def _tell(self, asked: _Pass, outcomes: list[_Outcome]) -> None:
        self._running = None
        self._free_since = time.perf_counter()
        self._pass_s = self._free_since - asked.begun
        self.passes += 1
        self.largest_batch = max(self.largest_batch, len(asked.together))
        for waiting, outcome in zip(asked.together, outcomes, strict=True):
            # Before the next pass is considered, which they may be about to ask for.
            if (habit := self._habits.get(waiting.client)) is not None:
                habit.answered = self._free_since
            failed = isinstance(outcome.result, UserError)
            self.failures += failed
            self.answers += not failed
            if waiting.answer.done():  # the robot has gone meanwhile
                continue
            if isinstance(outcome.result, UserError):
                waiting.answer.set_exception(outcome.result)
                continue
            queue_ms = (asked.begun - waiting.arrived) * 1000
            chosen = Chosen(outcome.result, asked.served, outcome.infer_ms, queue_ms, outcome.together)
            waiting.answer.set_result(chosen)
        self._consider()


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
    except Exception as error:  # whatever a client has thought up, the thread goes on
        return _Outcome(UserError(f"the observation cannot be read ({type(error).__name__})", "check its keys"))
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
