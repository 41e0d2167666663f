"""A policy server in a process of its own: ``python -m benchmarks.policy_serving.server_process (ours|reference) MS``.

Prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Literal, Self

import uvloop

from benchmarks.policy_serving.blocking_reference_server import serve_blocking
from benchmarks.policy_serving.sleep_policy import SleepPolicy
from hitl_ops.serving.freed_memory import keep_freed_memory
from hitl_ops.serving.policy_batching import ServedPolicy
from hitl_ops.serving.policy_server import PolicyServer
from hitl_ops.serving.policy_server_config import PolicyServerConfig

Side = Literal["ours", "reference"]


class ServerProcess:
    """A server for the length of a block.

    Args:
        side: whose.
        pass_ms: how long a pass of its policy takes.
    """

    def __init__(self, side: Side, pass_ms: float) -> None:
        self.url = ""
        self._words = [sys.executable, "-m", "benchmarks.policy_serving.server_process", side, str(pass_ms)]

    def __enter__(self) -> Self:
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert self._process.stdout is not None
        self.url = f"ws://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


async def _serve(side: str, policy: SleepPolicy) -> None:
    if side == "ours":
        config = PolicyServerConfig(port=0, visualiser_port=None)
        async with PolicyServer(ServedPolicy("sleep", policy), config=config).running() as server:
            await _until_told(server.sockets[0].getsockname()[1])
    else:
        async with await serve_blocking(policy) as server:
            await _until_told(server.sockets[0].getsockname()[1])


async def _until_told(port: int) -> None:
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], SleepPolicy(float(sys.argv[2]))))
