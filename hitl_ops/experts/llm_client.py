"""Asks an OpenAI-compatible endpoint: bounded, patient with its faults, within a budget, never twice the same."""

from __future__ import annotations

import email.utils
import json
import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.llm_cache import LLMAnswer, LLMCache, cache_key
from hitl_ops.experts.llm_ledger import BudgetConfig, LLMLedger, LLMUsage
from hitl_ops.experts.request_slots import RequestSlots

if TYPE_CHECKING:
    import openai

Message = dict[str, str]

# A server that listens accepts at once, however busy it is.
CONNECT_TIMEOUT_S = 10.0


class LLMClientConfig(StrictConfig):
    """An endpoint and how it is treated. The defaults suit a paid endpoint shared with others."""

    base_url: str = Field(
        default="https://api.openai.com/v1",
        pattern=r"^https?://",
        description="the endpoint, up to and without /chat/completions: OpenAI, vLLM, Together, transformers serve, …",
    )
    api_key_env: str = Field(
        default="OPENAI_API_KEY",
        description="environment variable that holds the key; empty where the endpoint asks for none",
    )
    model: str = Field(min_length=1, description="the model's name, as the endpoint knows it")
    max_tokens: int = Field(
        default=400, gt=0, description="tokens an answer may have; a thought and a call take 60 to 150, chatter more"
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens",
        description="what the endpoint calls that; OpenAI's reasoning models want max_completion_tokens",
    )
    send_stop: bool = Field(
        default=True, description="send stop sequences; off for models that refuse them (OpenAI's reasoning models)"
    )
    send_temperature: bool = Field(
        default=True, description="send the temperature; off for models that refuse it (OpenAI's reasoning models)"
    )
    seed: int | None = Field(default=None, description="sampling seed to send, where the endpoint knows one")
    timeout_s: float = Field(
        default=120.0, gt=0, description="seconds without a byte until a request counts as lost; a busy 70B takes 60"
    )
    concurrency: int = Field(
        default=8,
        gt=0,
        le=512,
        description="requests under way at once, over all threads and processes of a rollout; small accounts are "
        "throttled beyond about this many",
    )
    max_retries: int = Field(
        default=6, ge=0, description="times a request is sent again; with the waits below that bridges a minute"
    )
    backoff_initial_s: float = Field(default=0.5, ge=0, description="wait before the first retry; doubles each time")
    backoff_max_s: float = Field(default=30.0, ge=0, description="longest wait we choose ourselves")
    retry_after_max_s: float = Field(
        default=300.0,
        ge=0,
        description="longest wait an endpoint may ask for; more than that is a used-up quota, and the run ends",
    )
    cache: bool = Field(default=True, description="keep answers, so that a rerun asks nothing twice")
    budget: BudgetConfig = Field(default_factory=BudgetConfig, description="limits and prices")


@dataclass(frozen=True)
class _Fault:
    """One request that brought no answer and may be sent again."""

    what: str
    remedy: str
    wait_s: float | None = None
    billable: bool = False


class LLMClient:
    """A client that threads may share, and whose folders processes may share.

    Args:
        config: the endpoint.
        folder: where the rollout keeps its account and its request slots.
        cache_folder: where answers are kept; by default under ``folder``. Naming one folder for several rollouts
            lets them share answers.

    Raises:
        UserError: the variable that should hold the key is not set, or a money budget has no prices.
    """

    def __init__(self, config: LLMClientConfig, folder: Path, cache_folder: Path | None = None) -> None:
        self.config = config
        self._key = _api_key(config)
        if config.budget.max_money is not None and not (config.budget.prompt_price or config.budget.completion_price):
            raise UserError(
                "budget.max_money is set but both prices are 0",
                "set budget.prompt_price and budget.completion_price (per million tokens)",
            )
        self._ledger = LLMLedger(folder, config.budget)
        self._cache = LLMCache(cache_folder or folder) if config.cache else None
        self._slots = RequestSlots(folder / "slots", config.concurrency)
        self._lock = threading.Lock()
        self._connection: openai.OpenAI | None = None
        self._process = 0
        self._answered = False
        self._quiet_until = 0.0

    def complete(
        self, messages: list[Message], *, temperature: float = 0.0, stop: list[str] | None = None, attempt: int = 0
    ) -> LLMAnswer:
        """Ask for the continuation of a conversation.

        Args:
            messages: ``{"role": …, "content": …}`` in order.
            temperature: 0 = greedy.
            stop: sequences that end the answer.
            attempt: number of the try at this question, from 0; each has its own answer in the cache.

        Returns:
            The answer; its text is empty where the endpoint sent none.

        Raises:
            BudgetExhausted: the request might exceed the budget.
            UserError: the endpoint cannot be reached, refuses the key, the model or the request, or keeps failing.
        """
        request = self._request(messages, temperature, stop)
        key = cache_key(self.config.base_url, request, attempt)
        if self._cache is not None and (known := self._cache.get(key)) is not None:
            self._ledger.count("cached")
            return known
        fault = _Fault("", "")
        for retry in range(self.config.max_retries + 1):
            if retry:
                self._ledger.count("retries")
                self._rest(fault, retry)
            outcome = self._ask(request, messages, key)
            if isinstance(outcome, LLMAnswer):
                self._answered = True
                return outcome
            fault = outcome
        tries = self.config.max_retries + 1
        raise UserError(f"{fault.what} ({tries} {'try' if tries == 1 else 'tries'})", fault.remedy)

    def usage(self) -> LLMUsage:
        """What has been asked and what it cost, over all processes and reruns that share the folder."""
        return self._ledger.usage()

    def close(self) -> None:
        """Close connections and files."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None
        self._ledger.close()
        if self._cache is not None:
            self._cache.close()

    def _request(self, messages: list[Message], temperature: float, stop: list[str] | None) -> dict[str, Any]:
        config = self.config
        request: dict[str, Any] = {
            "model": config.model,
            "messages": messages,
            config.max_tokens_field: config.max_tokens,
        }
        if config.send_temperature:
            request["temperature"] = temperature
        if config.send_stop and stop:
            request["stop"] = stop
        if config.seed is not None:
            request["seed"] = config.seed
        return request

    def _ask(self, request: dict[str, Any], messages: list[Message], key: str) -> LLMAnswer | _Fault:
        prompt_estimate = estimate_tokens(messages)
        with self._slots.one():
            self._keep_quiet()
            # Reserved only once a slot is free: those who queue hold nothing back from those who ask.
            mark = self._ledger.reserve(prompt_estimate, self.config.max_tokens)
            started = time.perf_counter()
            try:
                outcome = self._send(request)
            except UserError:
                self._ledger.release(mark)
                raise
            if isinstance(outcome, _Fault):
                # A request that was lost on the way may have been billed: what was set aside for it stays booked.
                if not outcome.billable:
                    self._ledger.release(mark)
                return outcome
            body = outcome
            latency_ms = (time.perf_counter() - started) * 1000
            text, finish_reason = _content(body)
            prompt_tokens, completion_tokens = _tokens(body, prompt_estimate, text)
            answer = LLMAnswer(
                text=text,
                finish_reason=finish_reason,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                latency_ms=latency_ms,
            )
            # First keep, then book: killed in between, the answer is not paid for a second time.
            if self._cache is not None:
                self._cache.put(key, answer)
            self._ledger.settle(mark, prompt_tokens, completion_tokens)
            return answer

    def _send(self, request: dict[str, Any]) -> dict[str, Any] | _Fault:
        """Send one request; returns the body of the answer, or a fault worth another try."""
        import openai

        url, model = self.config.base_url, self.config.model
        try:
            # The raw body: what an endpoint sends instead of a chat completion must not end in a traceback.
            raw = self._client().chat.completions.with_raw_response.create(**request)
            body = json.loads(raw.http_response.content)
        except openai.APIConnectionError as error:  # time-outs are of this class too
            cause = error.__cause__ or error
            kind = type(cause).__name__
            if kind in ("ConnectError", "ConnectTimeout"):
                remedy = "start the server, or correct base_url; it must be reachable from this machine"
                if not self._answered:
                    # Nobody has ever answered there: a wrong address is told at once, not after a minute of waiting.
                    raise UserError(f"endpoint '{url}' cannot be reached ({str(cause) or kind})", remedy) from None
                return _Fault(f"endpoint '{url}' cannot be reached any more ({str(cause) or kind})", remedy)
            if isinstance(error, openai.APITimeoutError):
                return _Fault(
                    f"endpoint '{url}' did not answer within {self.config.timeout_s:g} s",
                    "raise timeout_s, or lower concurrency",
                    billable=True,
                )
            return _Fault(
                f"endpoint '{url}' broke the connection ({str(cause) or kind})",
                "look at the server's log, then run again; what is finished is kept",
                billable=True,
            )
        except openai.APIStatusError as error:
            return self._refusal(error)
        except ValueError:
            return _Fault(
                f"endpoint '{url}' sends no JSON",
                "base_url must name the API's root; for most servers it ends in /v1",
                billable=True,
            )
        if not (isinstance(body, dict) and isinstance(body.get("choices"), list) and body["choices"]):
            detail = _error_text(body)
            return _Fault(
                f"endpoint '{url}' sends no chat completion for model '{model}'" + (f" ({detail})" if detail else ""),
                "base_url must name the API's root; for most servers it ends in /v1",
                billable=True,
            )
        return body

    def _refusal(self, error: openai.APIStatusError) -> _Fault:
        """Sort an error status: a fault to retry, or a mistake to tell.

        Raises:
            UserError: trying again cannot help.
        """
        url, model, status = self.config.base_url, self.config.model, error.status_code
        detail = _error_text(error.body) or _error_text(error.response.text)
        said = f": {detail}" if detail else ""
        if status == 429 and error.code == "insufficient_quota":
            raise UserError(f"endpoint '{url}' has no credit left for this key", "add credit, or use another key")
        if status == 429 or status in (408, 409, 425) or status >= 500:
            wait = _retry_after(error.response.headers)
            if wait is not None and wait > self.config.retry_after_max_s:
                raise UserError(
                    f"endpoint '{url}' asks to wait {wait:.0f} s (status {status})",
                    "run again after that; what is finished is kept",
                )
            return _Fault(
                f"endpoint '{url}' keeps answering {status}{said}",
                "lower concurrency, or run again later" if status == 429 else "look at the server, then run again",
                wait_s=wait,
            )
        if status in (401, 403):
            source = f"environment variable {self.config.api_key_env}" if self.config.api_key_env else "no key"
            raise UserError(
                f"endpoint '{url}' refuses the key from {source} (status {status}{said})"
                if self.config.api_key_env
                else f"endpoint '{url}' asks for a key (status {status}{said})",
                "set a valid key for this endpoint" if self.config.api_key_env else "set api_key_env",
            )
        if status == 404:
            raise UserError(
                f"endpoint '{url}' does not serve model '{model}' (status 404{said})",
                "check model and base_url; GET <base_url>/models lists what is served",
            )
        raise UserError(f"endpoint '{url}' refuses the request (status {status}{said})", "check model and its options")

    def _rest(self, fault: _Fault, retry: int) -> None:
        """Wait before sending again: as long as the endpoint asks, else doubling with jitter."""
        if fault.wait_s is not None:
            # All threads keep quiet: whoever else asks now would only be sent away as well.
            with self._lock:
                self._quiet_until = max(self._quiet_until, time.monotonic() + fault.wait_s)
        else:
            ceiling = min(self.config.backoff_max_s, self.config.backoff_initial_s * 2 ** (retry - 1))
            # Between half and all of it, so that those who failed together don't come back together.
            time.sleep(ceiling * random.uniform(0.5, 1.0))

    def _keep_quiet(self) -> None:
        while (wait := self._quiet_until - time.monotonic()) > 0:
            time.sleep(wait)

    def _client(self) -> openai.OpenAI:
        import openai

        with self._lock:
            # Connections must not cross a fork.
            if self._connection is None or self._process != os.getpid():
                self._connection = openai.OpenAI(
                    base_url=self.config.base_url,
                    api_key=self._key,
                    timeout=openai.Timeout(
                        self.config.timeout_s, connect=min(CONNECT_TIMEOUT_S, self.config.timeout_s)
                    ),
                    max_retries=0,  # ours are the only ones: bounded, counted, with one budget
                )
                self._process = os.getpid()
            return self._connection


def estimate_tokens(messages: list[Message]) -> int:
    """Tokens of a conversation, erring high: names such as ``floor_kitchen_1`` take a token every 2 to 3 bytes."""
    return sum(len(message["content"].encode("utf-8")) // 2 + 8 for message in messages)


def _api_key(config: LLMClientConfig) -> str:
    if not config.api_key_env:
        return "none"  # the openai package insists on one; servers without keys ignore it
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"environment variable {config.api_key_env} is not set",
            f"export {config.api_key_env}=<the key for {config.base_url}>, "
            "or set api_key_env to '' for a server that asks for none",
        )
    return key


def _content(body: dict[str, Any]) -> tuple[str, str]:
    """Text and finish reason of the first choice; ``""`` where they are missing or null."""
    choice = body["choices"][0]
    if not isinstance(choice, dict):
        return "", ""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):  # some servers send parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    text = content if isinstance(content, str) else ""
    # JSON may hold half a surrogate pair, which no file can.
    return text.encode("utf-8", "replace").decode("utf-8"), str(choice.get("finish_reason") or "")


def _tokens(body: dict[str, Any], prompt_estimate: int, text: str) -> tuple[int, int]:
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return (
        prompt if isinstance(prompt, int) else prompt_estimate,
        completion if isinstance(completion, int) else len(text.encode("utf-8")) // 2 + 1,
    )


def _error_text(body: object) -> str:
    """What an endpoint says went wrong, in one short line; ``""`` where it says nothing readable."""
    found = body
    while isinstance(found, dict):
        found = found.get("error") or found.get("message") or found.get("detail") or ""
    line = " ".join(found.split()) if isinstance(found, str) else ""
    return line if len(line) <= 200 else line[:199] + "…"


def _retry_after(headers: Any) -> float | None:
    """Seconds the endpoint asks to wait: ``retry-after-ms``, or ``Retry-After`` as seconds or as a date."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            try:
                return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
            except ValueError:
                continue
    return None
