"""Keeps a robot's policy the newest its source names: opened beside the one that serves, changed between two passes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hitl_ops.contracts.advantage_prompt import advantage_prompt
from hitl_ops.contracts.errors import UserError
from hitl_ops.models.planner_lm import CARD_FILE, read_card
from hitl_ops.models.robot_policy import RobotPolicy, load_robot_policy
from hitl_ops.serving.policy_batching import ServedPolicy
from hitl_ops.serving.policy_source import FoundPolicy, PolicySource

_LOOK_AGAIN_S = 2.0


class PolicyFollower:
    """Finds the policy that is to serve, and opens it.

    Args:
        source: where policies come from.
        load: opens a policy's folder.
    """

    def __init__(self, source: PolicySource, load: Callable[[Path], RobotPolicy] = load_robot_policy) -> None:
        self.source = source
        self.error = ""
        """Why there is no newer policy; empty if all is well."""
        self._load = load
        self._refused: FoundPolicy | None = None

    def first(self, *, wait: bool = False) -> ServedPolicy:
        """The policy to begin with.

        Args:
            wait: wait for it where there is none yet.

        Raises:
            UserError: there is none, or it cannot be opened.
        """
        told = ""
        while True:
            try:
                return self._open(self.source.newest())
            except UserError as error:
                if not wait:
                    raise
                if str(error) != told:
                    told = str(error)
                    print(f"waiting: {told}", flush=True)
                time.sleep(_LOOK_AGAIN_S)

    async def follow(self, current: ServedPolicy, take_over: Callable[[ServedPolicy], None], poll_s: float) -> None:
        """Look for a newer policy again and again, until cancelled; one that cannot be opened changes nothing.

        Args:
            current: what serves.
            take_over: called on the event loop with each newer policy.
            poll_s: seconds between two looks.
        """
        loop = asyncio.get_running_loop()
        # A thread of its own: opening weights takes seconds in which robots go on being answered.
        thread = ThreadPoolExecutor(1, "load")
        try:
            while True:
                newer = await loop.run_in_executor(thread, self._newer, current.policy_id)
                if newer is not None:
                    take_over(newer)
                    current = newer
                    print(f"policy {newer.policy_id} serves ({self.source})", file=sys.stderr, flush=True)
                await asyncio.sleep(poll_s)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _newer(self, policy_id: str) -> ServedPolicy | None:
        found: FoundPolicy | None = None
        before = self.error
        try:
            found = self.source.newest()
            if found.policy_id == policy_id:
                self.error, self._refused = "", None
                return None
            if found == self._refused:
                return None
            newer = self._open(found)
        except Exception as error:  # whatever it is, it must not end the looking
            self.error = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._refused = found
        else:
            self.error, self._refused = "", None
            return newer
        if self.error != before:
            print(f"no newer policy: {self.error}", file=sys.stderr, flush=True)
        return None

    def _open(self, found: FoundPolicy) -> ServedPolicy:
        try:
            policy = self._load(found.folder)
            # The first pass is slow, and tells whether the weights work at all.
            policy.infer([made_up_observation(policy)])
        except UserError:
            raise
        except Exception as error:  # weights can be broken in more ways than can be named
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"policy '{found.folder}' cannot be opened ({reason})", "train it again") from error
        if not (found.folder / CARD_FILE).is_file():
            return ServedPolicy(found.policy_id, policy)
        card = read_card(found.folder)
        return ServedPolicy(found.policy_id, policy, card.program, card.iteration)


class OnePolicySource:
    """A policy that is there already and stays.

    Args:
        policy_id: its name.
    """

    def __init__(self, policy_id: str) -> None:
        self._found = FoundPolicy(policy_id, Path(policy_id))

    def __str__(self) -> str:
        return f"policy {self._found.policy_id}"

    def newest(self) -> FoundPolicy:
        """See :class:`~hitl_ops.serving.policy_source.PolicySource`."""
        return self._found


def made_up_observation(policy: RobotPolicy) -> dict[str, object]:
    """An observation of the policy's robot at rest in the dark."""
    spec = policy.spec
    observation: dict[str, object] = {
        "state": np.zeros(spec.dim, np.float32),
        "images": {camera.name: np.zeros((3, camera.height, camera.width), np.uint8) for camera in spec.cameras},
        "prompt": advantage_prompt(str(policy.metadata.get("task", "rest")), good=True),
    }
    if spec.environment_state_names:
        observation["environment_state"] = np.zeros(len(spec.environment_state_names), np.float32)
    return observation
