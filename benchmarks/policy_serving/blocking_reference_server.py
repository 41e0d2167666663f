"""A policy server as simple as can be: each observation is inferred on the event loop, one after another.

It speaks the same protocol with the same codec, so that what differs is how inference is scheduled.
"""

from __future__ import annotations

import time

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from hitl_ops.models.robot_policy import RobotPolicy
from hitl_ops.serving.openpi_codec import pack, unpack


async def serve_blocking(policy: RobotPolicy) -> Server:
    """Begin to serve on a free port of this machine."""

    async def handle(connection: ServerConnection) -> None:
        await connection.send(pack({}))
        try:
            while True:
                observation = unpack(await connection.recv())
                begun = time.perf_counter()
                (actions,) = policy.infer([observation])
                timing = {"infer_ms": (time.perf_counter() - begun) * 1000}
                await connection.send(pack({"actions": actions, "policy_timing": timing, "server_timing": timing}))
        except ConnectionClosed:
            return

    return await serve(handle, "127.0.0.1", 0, compression=None, max_size=None)
