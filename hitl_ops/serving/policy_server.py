"""Serves a robot's policy with openpi's protocol: any client of openpi's can drive it, and none makes another wait.

A client connects with a WebSocket, is told the policy's metadata, and from then on is answered a chunk of actions for
each observation, all in MessagePack (:mod:`hitl_ops.serving.openpi_codec`). Inference runs in a thread of its own, one
pass for all who ask (:mod:`hitl_ops.serving.policy_batching`). The policy is always asked with ``Advantage=True``,
whatever the client's prompt says of it. What cannot be answered is told in one line of text; then the connection is
closed with 1011.

``GET /health`` and ``/healthz`` answer ``OK``; ``GET /status`` says in JSON who serves and how.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import http
import itertools
import json
import sys
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from hitl_ops.contracts.advantage_prompt import advantage_prompt, split_advantage
from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.live_view import LiveView
from hitl_ops.serving.openpi_codec import pack, unpack
from hitl_ops.serving.policy_batching import PolicyBatcher, ServedPolicy
from hitl_ops.serving.policy_follower import PolicyFollower
from hitl_ops.serving.policy_server_config import PolicyServerConfig

_QUEUED = 2
"""Observations of one client that are read before they are answered: a client that does not wait is made to."""
_CLOSE_WITHIN_S = 2.0
_LATENCIES_KEPT = 1000
_SCHEME = "Api-Key "


class PolicyServer:
    """Answers observations with the newest policy of a source.

    Args:
        served: the policy at first.
        follower: finds newer ones; None where the policy stays.
        config: how it is served.
        api_key: what clients must send as ``Authorization: Api-Key …``; "" for none.
        epoch: says which iteration is being collected for: a newer one than the policy's, where that was not followed
            by a better. Asked for every connection, so it must be quick.
    """

    def __init__(
        self,
        served: ServedPolicy,
        follower: PolicyFollower | None = None,
        config: PolicyServerConfig | None = None,
        *,
        api_key: str = "",
        epoch: Callable[[], int] | None = None,
    ) -> None:
        self.config = config or PolicyServerConfig()
        self.view = LiveView()
        self.port = 0
        """Where it listens, once it does."""
        self._follower = follower
        self._key = api_key.encode()
        self._epoch = epoch
        self._batcher = PolicyBatcher(served, max_batch=self.config.max_batch, gather_ms=self.config.gather_ms)
        self._numbers = itertools.count(1)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_KEPT)
        self._started = time.time()
        self._changes = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Serve for the length of a block; then say goodbye to whoever is connected.

        Raises:
            UserError: the address cannot be listened on.
        """
        config = self.config
        beside: list[asyncio.Task[None]] = []
        if self._follower is not None:
            following = self._follower.follow(self._batcher.served, self._take_over, config.poll_s)
            beside.append(asyncio.create_task(following))
        try:
            try:
                server = await serve(
                    self._client,
                    config.host,
                    config.port,
                    process_request=self._request,
                    origins=[None],  # no page of another site may ask through a browser of this machine
                    compression=None,
                    max_size=config.max_message_bytes,
                    max_queue=_QUEUED,
                    close_timeout=_CLOSE_WITHIN_S,
                    server_header=None,
                )
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise UserError(
                    f"cannot listen on {config.host}, port {config.port} ({reason})",
                    "choose others with --host and --port",
                ) from None
            self.port = next(iter(server.sockets)).getsockname()[1]
            try:
                yield server
            finally:
                server.close(reason="the policy server stops")
                # Whoever waits for a pass is told goodbye now, not when it is over.
                self._batcher.close()
                await server.wait_closed()
        finally:
            self._batcher.close()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _take_over(self, served: ServedPolicy) -> None:
        self._batcher.served = served
        self._changes += 1

    # --- before a connection ------------------------------------------------------------------------------

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no WebSocket, refuse whom there is no room for or who has no key."""
        path = request.path.partition("?")[0]
        if path in ("/health", "/healthz"):
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._key and not self._knows_the_key(request):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "send Authorization: Api-Key <key>\n")
        if path == "/status":
            if request.headers.get_all("Origin"):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "not for pages\n")
            answer = connection.respond(http.HTTPStatus.OK, json.dumps(self.status()) + "\n")
            del answer.headers["Content-Type"]
            answer.headers["Content-Type"] = "application/json"
            return answer
        if len(self.view.robots) >= self.config.max_clients:
            text = f"{len(self.view.robots)} clients are connected, no more are taken\n"
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, text)
        return None

    def _knows_the_key(self, request: Request) -> bool:
        given = request.headers.get_all("Authorization")
        if len(given) != 1 or not given[0].startswith(_SCHEME):
            return False
        return hmac.compare_digest(given[0].removeprefix(_SCHEME).strip().encode(), self._key)

    # --- a connection -------------------------------------------------------------------------------------

    async def _client(self, connection: ServerConnection) -> None:
        number = next(self._numbers)
        self.view.joined(number, _address(connection))
        try:
            await connection.send(pack(self.metadata()))
            previous_ms: float | None = None
            while True:
                begun = time.perf_counter()
                message = await connection.recv()
                await connection.send(await self._answer(number, message, previous_ms))
                # As openpi counts it: with the wait for the observation.
                previous_ms = (time.perf_counter() - begun) * 1000
        except ConnectionClosed:
            return
        except UserError as error:
            await _refuse(connection, str(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            await _refuse(connection, f"the server failed ({type(error).__name__}): see its log")
        finally:
            self._batcher.forget(number)
            self.view.left(number)

    async def _answer(self, number: int, message: str | bytes, previous_ms: float | None) -> bytes:
        """The reply to an observation.

        Raises:
            UserError: it cannot be answered.
        """
        arrived = time.perf_counter()
        if isinstance(message, str):
            raise UserError("a text came", "send observations as binary messages")
        observation = self._conditioned(unpack(message, limit=self.config.max_message_bytes))
        chosen = await self._batcher.infer(number, observation)
        timing = {"infer_ms": (time.perf_counter() - arrived) * 1000, "queue_ms": chosen.queue_ms}
        if previous_ms is not None:
            timing["prev_total_ms"] = previous_ms
        reply = pack(
            {
                "actions": chosen.actions,
                "policy_timing": {"infer_ms": chosen.infer_ms},
                "server_timing": timing,
                "policy_id": chosen.served.policy_id,
            }
        )
        total_ms = (time.perf_counter() - arrived) * 1000
        self._latencies.append(total_ms)
        self.view.answered(number, observation, chosen, total_ms)
        return reply

    def _conditioned(self, observation: Any) -> dict[str, Any]:
        """The observation, its prompt ending with ``Advantage=True``.

        Raises:
            UserError: it is no map, or there is no task to ask the policy with.
        """
        if not isinstance(observation, dict):
            raise UserError(f"the observation is {type(observation).__name__}, no map", "send state, images and prompt")
        prompt = observation.get("prompt", "")
        if not isinstance(prompt, str):
            raise UserError("'prompt' of the observation is no text", "send the task in words")
        task = split_advantage(prompt)[0] or self.config.default_prompt
        task = task or str(self._batcher.served.policy.metadata.get("task", ""))
        if not task:
            raise UserError("the observation has no 'prompt'", "send the task, or start with --default-prompt")
        return {**observation, "prompt": advantage_prompt(task, good=True)}

    # --- what is told of it -------------------------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """What a client is told when it connects: the policy, its robot, and what the policy says of itself."""
        served = self._batcher.served
        spec = served.policy.spec
        return {
            **served.policy.metadata,
            "policy_id": served.policy_id,
            "program": served.program,
            "iteration": served.iteration,
            **({} if self._epoch is None else {"epoch": self._epoch()}),
            "robot": spec.name,
            "joint_names": list(spec.joint_names),
            "cameras": {camera.name: [camera.height, camera.width] for camera in spec.cameras},
            "gripper_indices": list(spec.gripper_indices),
            "frequency_hz": spec.frequency_hz,
            "action_horizon": spec.action_horizon,
        }

    def status(self) -> dict[str, Any]:
        """Who serves, and how the server does."""
        served, batcher = self._batcher.served, self._batcher
        latencies = sorted(self._latencies) or [0.0]
        return {
            "policy_id": served.policy_id,
            "program": served.program,
            "iteration": served.iteration,
            "task": str(served.policy.metadata.get("task", "")),
            "asked_with": str(served.policy.metadata.get("prompt", "")),
            "source": str(self._follower.source) if self._follower is not None else "",
            "error": self._follower.error if self._follower is not None else "",
            "changes": self._changes,
            "up_s": round(time.time() - self._started, 1),
            "clients": len(self.view.robots),
            "max_clients": self.config.max_clients,
            "answers": batcher.answers,
            "failures": batcher.failures,
            "passes": batcher.passes,
            "largest_batch": batcher.largest_batch,
            "latency_ms_p50": round(latencies[len(latencies) // 2], 2),
            "latency_ms_p95": round(latencies[min(len(latencies) - 1, int(len(latencies) * 0.95))], 2),
        }


async def _refuse(connection: ServerConnection, line: str) -> None:
    """Say in one line what is wrong, and close."""
    with contextlib.suppress(ConnectionClosed):
        await connection.send(" ".join(line.split()))
        await connection.close(CloseCode.INTERNAL_ERROR, "see the text before this")


def _address(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
