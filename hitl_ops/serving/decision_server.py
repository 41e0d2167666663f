"""The process that decides for every partner: one policy, many sessions, over a Unix socket.

Requests that arrive within a few milliseconds are taken together. On a processor they are decided one after another,
each going on from what is kept of its session's last prompt, and answered at once; on an accelerator, where a pass
over many costs little more than over one, in one batch. A newer policy is loaded beside the one that serves and takes
its place between two batches; if it cannot be loaded, the old one stays and the status says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig
from hitl_ops.serving.child_process import resident_mb
from hitl_ops.serving.decision_messages import (
    REQUEST_BYTES,
    SERVER_REQUESTS,
    DecisionMade,
    DecisionRefused,
    DecisionRequest,
    ForgetRequest,
    ServerStatus,
)
from hitl_ops.serving.policy_source import FoundPolicy, PolicySource
from hitl_ops.serving.serving_config import ServingConfig
from hitl_ops.serving.wire import MessageBuffer, WireError, pack

_CHUNK = 2**16
_ANSWERS_UNREAD = 4 * 2**20


@dataclass
class _Waiting:
    """A request and the way back."""

    request: DecisionRequest
    answer: Callable[[Any], None]
    arrived: float


@dataclass
class _Figures:
    decisions: int = 0
    refusals: int = 0
    swaps: int = 0
    largest_batch: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=1000))


class DecisionServer:
    """Answers requests with the newest policy of a source.

    Args:
        source: where policies come from.
        config: how decisions are made.
    """

    def __init__(self, source: PolicySource, config: ServingConfig | None = None) -> None:
        self.config = config or ServingConfig()
        self._source = source
        self._policy: PlannerLM | None = None
        self._error = "starting"
        self._refused: FoundPolicy | None = None
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._in_work = 0
        self._figures = _Figures()
        # Torch keeps its thread pools by thread: one that decides, one that loads.
        self._deciding = ThreadPoolExecutor(1, "decide", self._set_threads)
        self._loading = ThreadPoolExecutor(1, "load", self._set_threads)
        self._to_forget: set[str] = set()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def _set_threads(self) -> None:
        import torch

        torch.set_num_threads(self.config.threads)

    async def serve(self, path: Path, stop: asyncio.Event) -> None:
        """Listen on a Unix socket until ``stop`` is set.

        Raises:
            UserError: the socket cannot be made.
        """
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        try:
            server = await asyncio.start_unix_server(self._connection, path)
        except OSError as error:
            raise UserError(f"socket '{path}' cannot be made ({error.strerror})", "choose a shorter path") from None
        os.chmod(path, 0o600)
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._work())]
        try:
            stopped = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            for writer in self._connections.values():
                writer.close()
            await asyncio.gather(*tasks, *self._connections, return_exceptions=True)
            self._deciding.shutdown(wait=True, cancel_futures=True)
            self._loading.shutdown(wait=False, cancel_futures=True)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    # --- policies -----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Look for a newer policy again and again, and take it over."""
        while True:
            await asyncio.get_running_loop().run_in_executor(self._loading, self._look)
            await asyncio.sleep(self.config.poll_s)

    def _look(self) -> None:
        found: FoundPolicy | None = None
        try:
            found = self._source.newest()
            current = self._policy
            if current is not None and current.policy_id == found.policy_id:
                self._error, self._refused = "", None
                return
            if found == self._refused:
                return
            self._take_over(found)
        except UserError as error:
            self._error, self._refused = str(error), found
        except Exception as error:  # weights can be broken in more ways than can be named
            self._error = f"policy '{found.folder if found else ''}' cannot be loaded: {type(error).__name__}: {error}"
            self._refused = found

    def _take_over(self, found: FoundPolicy) -> None:
        config = PlannerLMConfig(
            decode=self.config.decode, device=self.config.device, kept_prefixes=self.config.kept_prefixes
        )
        policy = PlannerLM.load(found.folder, config)
        # The first pass is slow and tells whether the weights work at all.
        policy.decide(Observation(agent=0, role="ai", instruction="", prompt="<act>", admissible=["Wait[]", "Done[]"]))
        policy.forget(lambda _: True)
        # The policy there is from the beginning is no news: whoever started this has named it.
        news = self._policy is not None or bool(self._error)
        self._policy, self._error, self._refused = policy, "", None
        self._figures.swaps += 1
        if news:
            print(f"decisions: {policy.policy_id} serves ({self._source})", file=sys.stderr, flush=True)

    # --- deciding -----------------------------------------------------------------------------------------

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                if len(self._waiting) < self.config.most_together:
                    await asyncio.sleep(self.config.gather_ms / 1000)
            policy = self._policy
            together = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.config.most_together))]
            together = [asked for asked in together if self._may_be_decided(asked, policy)]
            if not together or policy is None:
                continue
            self._in_work = len(together)
            self._figures.largest_batch = max(self._figures.largest_batch, len(together))
            forgotten, self._to_forget = self._to_forget, set()

            def answer(asked: _Waiting, message: Any) -> None:
                loop.call_soon_threadsafe(self._answer, asked, message)

            await loop.run_in_executor(self._deciding, self._decide, policy, together, forgotten, answer)

    def _may_be_decided(self, asked: _Waiting, policy: PlannerLM | None) -> bool:
        if policy is None:
            reason, lasting = f"no policy serves: {self._error}", False
        elif policy.prompt_style != asked.request.style:
            reason = (
                f"policy {policy.policy_id} reads '{policy.prompt_style}' prompts, not '{asked.request.style}' ones"
            )
            lasting = True
        else:
            return True
        self._refuse(asked, reason, lasting=lasting)
        return False

    def _decide(
        self,
        policy: PlannerLM,
        together: Sequence[_Waiting],
        forgotten: set[str],
        answer: Callable[[_Waiting, Any], None],
    ) -> None:
        """In the deciding thread: one answer for each request, whatever happens."""
        if forgotten:
            policy.forget(lambda key: isinstance(key, tuple) and key[0] in forgotten)
        batching = self.config.batching
        if batching == "always" or (batching == "auto" and policy.device != "cpu" and len(together) > 1):
            try:
                replies = policy.decide_batch([_observation(asked.request) for asked in together])
            except Exception:
                # One prompt that is too long must not cost the others their answers.
                self._decide_singly(policy, together, answer)
                return
            for asked, reply in zip(together, replies, strict=True):
                answer(asked, _made(asked, policy.policy_id, reply.action, reply.text, reply.stats))
        else:
            self._decide_singly(policy, together, answer)

    @staticmethod
    def _decide_singly(
        policy: PlannerLM, together: Iterable[_Waiting], answer: Callable[[_Waiting, Any], None]
    ) -> None:
        for asked in together:
            request = asked.request
            try:
                reply = policy.decide(_observation(request), key=(request.session, request.agent))
            except UserError as error:
                answer(asked, DecisionRefused(id=request.id, reason=str(error), lasting=True))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                answer(asked, DecisionRefused(id=request.id, reason=reason[:1000], lasting=False))
            else:
                answer(asked, _made(asked, policy.policy_id, reply.action, reply.text, reply.stats))

    def _answer(self, asked: _Waiting, message: DecisionMade | DecisionRefused) -> None:
        self._in_work -= 1
        if isinstance(message, DecisionMade):
            self._figures.decisions += 1
            self._figures.latencies_ms.append(message.latency_ms)
        else:
            self._figures.refusals += 1
        asked.answer(message.model_dump())

    def _refuse(self, asked: _Waiting, reason: str, *, lasting: bool) -> None:
        self._figures.refusals += 1
        asked.answer(DecisionRefused(id=asked.request.id, reason=reason, lasting=lasting).model_dump())

    # --- connections --------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(message: Any) -> None:
            if writer.is_closing():
                return
            if writer.transport.get_write_buffer_size() > _ANSWERS_UNREAD:
                writer.close()
                return
            writer.write(pack(message))

        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        buffer = MessageBuffer(REQUEST_BYTES)
        try:
            while data := await reader.read(_CHUNK):
                for message in buffer.feed(data):
                    self._take(message, answer)
        except (WireError, ValidationError, ConnectionError) as error:
            print(f"decisions: a connection is closed ({_one_line(error)})", file=sys.stderr, flush=True)
        finally:
            del self._connections[task]
            writer.close()

    def _take(self, message: Any, answer: Callable[[Any], None]) -> None:
        try:
            request = SERVER_REQUESTS.validate_python(message)
        except ValidationError as error:
            number = message.get("id") if isinstance(message, dict) else None
            if not isinstance(number, int) or not 0 <= number < 2**63:
                raise
            # One request that is out of bounds must not cost the others on this connection theirs.
            self._figures.refusals += 1
            answer(DecisionRefused(id=number, reason=_one_line(error), lasting=True).model_dump())
            return
        if isinstance(request, DecisionRequest):
            asked = _Waiting(request, answer, time.perf_counter())
            if len(self._waiting) >= self.config.most_waiting:
                self._refuse(asked, f"{len(self._waiting)} requests are waiting", lasting=False)
                return
            self._waiting.append(asked)
            self._arrived.set()
        elif isinstance(request, ForgetRequest):
            self._to_forget.add(request.session)
        else:
            answer(self.status().model_dump())

    def status(self) -> ServerStatus:
        """How the server does."""
        latencies = sorted(self._figures.latencies_ms) or [0.0]
        policy = self._policy
        return ServerStatus(
            policy_id=policy.policy_id if policy else "",
            prompt_style=policy.prompt_style if policy else "",
            source=str(self._source),
            error=self._error,
            swaps=self._figures.swaps,
            decisions=self._figures.decisions,
            refusals=self._figures.refusals,
            waiting=len(self._waiting) + self._in_work,
            largest_batch=self._figures.largest_batch,
            latency_ms_p50=latencies[len(latencies) // 2],
            latency_ms_p99=latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
            memory_mb=resident_mb(),
        )


def _observation(request: DecisionRequest) -> Observation:
    return Observation(
        agent=request.agent, role="ai", instruction="", prompt=request.prompt, admissible=request.admissible
    )


def _made(asked: _Waiting, policy_id: str, action: str, reply: str, stats: dict[str, float]) -> DecisionMade:
    return DecisionMade(
        id=asked.request.id,
        action=action,
        reply=reply,
        policy_id=policy_id,
        latency_ms=(time.perf_counter() - asked.arrived) * 1000,
        stats=stats,
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"field '{'.'.join(map(str, first['loc']))}': {first['msg']}"
    return str(error)
