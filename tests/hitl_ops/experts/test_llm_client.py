"""The client against a real HTTP server: faults survived, mistakes named, budget kept, nothing asked twice."""

from __future__ import annotations

import concurrent.futures
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.llm_client import LLMClient, LLMClientConfig
from hitl_ops.experts.llm_ledger import BudgetConfig, BudgetExhausted, LLMLedger
from tests.support.openai_server import Drop, OpenAIServer, Raw, Say, Slow, Status

ASK = [{"role": "user", "content": "one two three"}]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda messages: "hello there") as running:
        yield running


def config_for(server: OpenAIServer, **changes: Any) -> LLMClientConfig:
    settings: dict[str, Any] = {
        "base_url": server.base_url,
        "api_key_env": "",
        "model": server.model,
        "backoff_initial_s": 0.001,
        "max_retries": 3,
        **changes,
    }
    return parse_config(LLMClientConfig, settings, source="test")


def in_own_process(config: LLMClientConfig, folder: Path, code: str) -> subprocess.Popen[str]:
    """Run ``code`` in a process of its own, as one of several rollout processes: ``client`` and ``ask`` are given."""
    head = (
        "import concurrent.futures, sys\n"
        "from pathlib import Path\n"
        "from hitl_ops.experts.llm_client import LLMClient, LLMClientConfig\n"
        "client = LLMClient(LLMClientConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "ask = [{'role': 'user', 'content': 'one two three'}]\n"
    )
    command = [sys.executable, "-c", head + code, config.model_dump_json(), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


# --- faults that pass ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Status(429), Status(429)], id="429"),
        pytest.param([Status(500), Status(503)], id="5xx"),
        pytest.param([Drop(midway=True)], id="connection reset in mid-body"),
        pytest.param([Drop(midway=False)], id="connection reset before the answer"),
        pytest.param([Raw("{not json"), Raw("<html>busy</html>", "text/html")], id="no JSON"),
        pytest.param([Raw("[]"), Raw('{"choices": []}'), Raw('{"choices": null}')], id="no completion"),
    ],
)
def test_passing_faults_are_survived(server: OpenAIServer, tmp_path: Path, faults: list[Any]) -> None:
    server.script = list(faults)
    client = LLMClient(config_for(server), tmp_path)
    assert client.complete(ASK).text == "hello there"
    assert len(server.received) == len(faults) + 1
    usage = client.usage()
    assert (usage.requests, usage.retries) == (1, len(faults))


@pytest.mark.slow
def test_retry_after_is_honoured_by_all_threads(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Status(429, headers={"Retry-After": "0.4"})]
    client = LLMClient(config_for(server, concurrency=1), tmp_path)
    client.complete(ASK)
    first, second = server.received
    assert second.at - first.at >= 0.4
    # In milliseconds and as a date long past as well.
    server.script = [
        Status(503, headers={"retry-after-ms": "300"}),
        Status(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ]
    client.complete(ASK, attempt=1)
    assert server.received[3].at - server.received[2].at >= 0.3


@pytest.mark.slow
def test_waits_double_with_jitter(server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("hitl_ops.experts.llm_client.time.sleep", waits.append)
    server.script = [Status(500)] * 5
    LLMClient(config_for(server, backoff_initial_s=1.0, backoff_max_s=4.0, max_retries=5), tmp_path).complete(ASK)
    backoffs = [wait for wait in waits if wait >= 0.5]
    assert len(backoffs) == 5
    for wait, ceiling in zip(backoffs, [1, 2, 4, 4, 4], strict=True):
        assert ceiling / 2 <= wait <= ceiling
    assert len({wait / ceiling for wait, ceiling in zip(backoffs, [1, 2, 4, 4, 4], strict=True)}) == 5


def test_an_empty_answer_is_an_answer(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Say(""), Say(None), Raw('{"choices": [{"message": {}}]}'), Raw('{"choices": ["?"]}')]
    client = LLMClient(config_for(server), tmp_path)
    assert [client.complete(ASK, attempt=attempt).text for attempt in range(4)] == ["", "", "", ""]
    assert client.usage().retries == 0


def test_half_a_character_is_replaced(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Raw('{"choices": [{"message": {"content": "go \\ud800 on"}}]}')]
    assert LLMClient(config_for(server), tmp_path).complete(ASK).text == "go ? on"


# --- faults that stay ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(Status(429, "slow down"), "keeps answering 429: slow down", id="429"),
        pytest.param(Status(500), "keeps answering 500", id="500"),
        pytest.param(Drop(), "broke the connection", id="reset"),
        pytest.param(Raw("<html>", "text/html"), "sends no JSON", id="html"),
        pytest.param(
            Raw('{"error": {"message": "no GPU"}}'), "no chat completion for model .*no GPU", id="error in 200"
        ),
    ],
)
def test_lasting_faults_end_in_one_line(server: OpenAIServer, tmp_path: Path, fault: Any, says: str) -> None:
    server.script = [fault] * 10
    client = LLMClient(config_for(server, max_retries=2), tmp_path)
    with pytest.raises(UserError, match=says) as told:
        client.complete(ASK)
    assert server.base_url in told.value.what
    assert "(3 tries)" in told.value.what
    assert told.value.remedy
    assert len(server.received) == 3


def test_a_slow_endpoint_times_out(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Slow(1.0)]
    client = LLMClient(config_for(server, timeout_s=0.2), tmp_path)
    assert client.complete(ASK).text == "hello there"
    server.script = [Slow(1.0)]
    client = LLMClient(config_for(server, timeout_s=0.2, max_retries=0, cache=False), tmp_path)
    with pytest.raises(UserError, match=r"did not answer within 0.2 s \(1 try\)"):
        client.complete(ASK)


def test_an_unreachable_endpoint_is_named_at_once(server: OpenAIServer, tmp_path: Path) -> None:
    config = config_for(server, max_retries=50, backoff_initial_s=10.0)  # would wait for minutes
    server.close()
    with pytest.raises(UserError, match="cannot be reached") as told:
        LLMClient(config, tmp_path).complete(ASK)
    assert config.base_url in told.value.what
    assert "start the server" in told.value.remedy
    assert LLMClient(config, tmp_path).usage().unsettled_tokens == 0


def test_an_endpoint_that_restarts_is_waited_for(tmp_path: Path) -> None:
    first = OpenAIServer(lambda messages: "before")
    client = LLMClient(config_for(first, max_retries=40, backoff_initial_s=0.05, backoff_max_s=0.05), tmp_path)
    client.complete(ASK)
    first.close()
    client._connection.close()  # type: ignore[union-attr]  # the kept-alive connection would outlive the listener
    client._connection = None
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.complete, ASK, attempt=1)
        while client.usage().retries == 0:
            assert not waiting.done()
        with OpenAIServer(lambda messages: "after", port=first.port):
            assert waiting.result().text == "after"


def test_mistakes_are_not_tried_again(server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.api_key = "right"
    monkeypatch.setenv("FLYWHEEL_TEST_KEY", "wrong")
    config = config_for(server, api_key_env="FLYWHEEL_TEST_KEY")
    with pytest.raises(UserError, match=r"refuses the key from environment variable FLYWHEEL_TEST_KEY \(status 401"):
        LLMClient(config, tmp_path).complete(ASK)
    with pytest.raises(UserError, match="asks for a key"):
        LLMClient(config_for(server), tmp_path).complete(ASK)
    monkeypatch.setenv("FLYWHEEL_TEST_KEY", "right")
    assert LLMClient(config, tmp_path).complete(ASK).text == "hello there"
    with pytest.raises(UserError, match=r"does not serve model 'gpt-9' .*The model `gpt-9` does not exist"):
        LLMClient(config.replace(model="gpt-9"), tmp_path).complete(ASK)
    with pytest.raises(UserError, match="status 404"):
        LLMClient(config.replace(base_url=server.base_url + "/wrong"), tmp_path).complete(ASK)
    server.script = [Status(400, "maximum context length is 8192 tokens")]
    with pytest.raises(UserError, match=r"refuses the request .*maximum context length"):
        LLMClient(config, tmp_path).complete(ASK, attempt=1)
    server.script = [Status(429, "You exceeded your current quota", "insufficient_quota")]
    with pytest.raises(UserError, match="no credit left"):
        LLMClient(config, tmp_path).complete(ASK, attempt=2)
    server.script = [Status(429, headers={"Retry-After": "86400"})]
    with pytest.raises(UserError, match="asks to wait 86400 s"):
        LLMClient(config, tmp_path).complete(ASK, attempt=3)
    assert len(server.received) == 8
    usage = LLMClient(config, tmp_path).usage()
    assert (usage.requests, usage.retries, usage.unsettled_tokens) == (1, 0, 0)


def test_a_missing_key_is_named(server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_TEST_KEY", raising=False)
    with pytest.raises(UserError, match="environment variable FLYWHEEL_TEST_KEY is not set") as told:
        LLMClient(config_for(server, api_key_env="FLYWHEEL_TEST_KEY"), tmp_path)
    assert "export FLYWHEEL_TEST_KEY=" in told.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="config key 'base_url' is invalid"):
        parse_config(LLMClientConfig, {"base_url": "localhost:8000/v1", "model": "m"}, source="test")


# --- what is sent -------------------------------------------------------------------------------------------------


def test_every_option_changes_what_is_sent(server: OpenAIServer, tmp_path: Path) -> None:
    LLMClient(config_for(server, max_tokens=7), tmp_path).complete(ASK, temperature=0.4, stop=["END"])
    assert server.received[-1].payload == {
        "model": "test-model",
        "messages": ASK,
        "max_tokens": 7,
        "temperature": 0.4,
        "stop": ["END"],
    }
    plain = {"max_tokens_field": "max_completion_tokens", "send_stop": False, "send_temperature": False, "seed": 5}
    LLMClient(config_for(server, max_tokens=7, **plain), tmp_path).complete(ASK, temperature=0.4, stop=["END"])
    assert server.received[-1].payload == {
        "model": "test-model",
        "messages": ASK,
        "max_completion_tokens": 7,
        "seed": 5,
    }


# --- concurrency --------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_threads_and_processes_together_stay_within_the_bound(tmp_path: Path) -> None:
    with OpenAIServer(lambda messages: "hello", delay_s=0.05) as server:
        config = config_for(server, concurrency=3)
        code = (
            "with concurrent.futures.ThreadPoolExecutor(6) as pool:\n"
            "    for future in [pool.submit(client.complete, ask, attempt=n) for n in range({0}, {0} + 12)]:\n"
            "        future.result()\n"
        )
        workers = [in_own_process(config, tmp_path, code.format(start)) for start in (0, 12)]
        assert [(worker.communicate()[1], worker.returncode) for worker in workers] == [("", 0), ("", 0)]
        assert len(server.received) == 24
        assert server.peak == 3
        assert LLMClient(config, tmp_path).usage().requests == 24


# --- cache --------------------------------------------------------------------------------------------------------


def test_a_rerun_asks_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    config = config_for(server)
    first = LLMClient(config, tmp_path).complete(ASK)
    again = LLMClient(config, tmp_path).complete(ASK)
    assert len(server.received) == 1
    assert again == first.model_copy(update={"cached": True})
    assert again.latency_ms == first.latency_ms > 0
    usage = LLMClient(config, tmp_path).usage()
    assert (usage.requests, usage.cached) == (1, 1)


def test_another_question_is_another_entry(server: OpenAIServer, tmp_path: Path) -> None:
    config = config_for(server)
    client = LLMClient(config, tmp_path)
    client.complete(ASK)
    client.complete(ASK, attempt=1)
    client.complete(ASK, temperature=0.5)
    client.complete(ASK, stop=["x"])
    client.complete([*ASK, {"role": "assistant", "content": "four"}])
    LLMClient(config.replace(max_tokens=9), tmp_path).complete(ASK)
    LLMClient(config.replace(base_url=server.base_url + "/"), tmp_path).complete(ASK)
    assert len(server.received) == 7
    # Without a cache each asking is a request; with one shared between rollouts, none is.
    LLMClient(config.replace(cache=False), tmp_path).complete(ASK)
    assert len(server.received) == 8
    LLMClient(config, tmp_path / "one", tmp_path / "shared").complete(ASK)
    LLMClient(config, tmp_path / "two", tmp_path / "shared").complete(ASK)
    assert len(server.received) == 9
    assert LLMClient(config, tmp_path / "two").usage().requests == 0


def test_failures_are_not_cached(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Status(500)]
    config = config_for(server, max_retries=0)
    with pytest.raises(UserError):
        LLMClient(config, tmp_path).complete(ASK)
    assert LLMClient(config, tmp_path).complete(ASK).text == "hello there"


def test_a_damaged_cache_is_named(server: OpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"this is no database, " * 100)
    with pytest.raises(UserError, match=r"answers\.sqlite' is damaged") as told:
        LLMClient(config_for(server), tmp_path).complete(ASK)
    assert "delete it" in told.value.remedy
    assert server.received == []


@pytest.mark.slow
def test_a_full_disk_is_named(server: OpenAIServer, tmp_path: Path) -> None:
    client = LLMClient(config_for(server), tmp_path)
    client.complete(ASK)
    # SQLite itself then reports SQLITE_FULL, as it does on a disk without space.
    with client._cache._database.reading() as connection:  # type: ignore[union-attr]
        connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(UserError, match=r"disk full while writing '.*answers\.sqlite'"):
        for attempt in range(1, 50):
            client.complete(ASK, attempt=attempt)
    assert LLMClient(client.config, tmp_path).complete(ASK).cached


# --- budget -------------------------------------------------------------------------------------------------------


def test_costs_are_counted_as_billed(server: OpenAIServer, tmp_path: Path) -> None:
    budget = {"prompt_price": 2.0, "completion_price": 10.0}
    client = LLMClient(config_for(server, budget=budget), tmp_path)
    client.complete(ASK)  # three words in, two out
    usage = client.usage()
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 2)
    assert usage.money == pytest.approx((3 * 2 + 2 * 10) / 1e6)
    assert (usage.unsettled_tokens, usage.unsettled_money) == (0, 0)
    server.script = [Say("one two three", usage=False)]
    answer = client.complete(ASK, attempt=1)  # the endpoint does not say, so it is estimated
    assert answer.prompt_tokens > 3 and answer.completion_tokens > 3


def test_the_token_budget_stops_before_it_is_exceeded(server: OpenAIServer, tmp_path: Path) -> None:
    # A request may take 14 + 8 for the prompt and 20 for the answer: 34; it really takes 5.
    config = config_for(server, max_tokens=20, budget={"max_tokens": 60})
    client = LLMClient(config, tmp_path)
    with pytest.raises(BudgetExhausted, match=r"token budget exhausted: .* of 60 tokens") as told:
        for attempt in range(100):
            client.complete(ASK, attempt=attempt)
    assert isinstance(told.value, UserError)
    assert "raise budget.max_tokens" in told.value.remedy
    spent = client.usage()
    assert len(server.received) == spent.requests == 6
    assert 60 - 34 < spent.prompt_tokens + spent.completion_tokens <= 60
    # A rerun goes on counting, and what was answered stays free.
    rerun = LLMClient(config, tmp_path)
    assert rerun.complete(ASK).cached
    with pytest.raises(BudgetExhausted):
        rerun.complete(ASK, attempt=99)
    assert len(server.received) == 6
    assert LLMClient(config.replace(budget=BudgetConfig(max_tokens=1000)), tmp_path).complete(ASK, attempt=99)


def test_the_money_budget_stops_before_it_is_exceeded(server: OpenAIServer, tmp_path: Path) -> None:
    budget = {"max_money": 0.001, "prompt_price": 10.0, "completion_price": 30.0}
    client = LLMClient(config_for(server, max_tokens=20, budget=budget), tmp_path)
    with pytest.raises(BudgetExhausted, match="money budget exhausted"):
        for attempt in range(100):
            client.complete(ASK, attempt=attempt)
    assert 0 < client.usage().money <= 0.001
    with pytest.raises(UserError, match="both prices are 0"):
        LLMClient(config_for(server, budget={"max_money": 1.0}), tmp_path)


@pytest.mark.integration
def test_processes_share_the_budget(server: OpenAIServer, tmp_path: Path) -> None:
    config = config_for(server, max_tokens=20, cache=False, budget={"max_tokens": 500})
    workers = [in_own_process(config, tmp_path, "while True: client.complete(ask)") for _ in range(2)]
    for worker in workers:
        assert worker.communicate()[1].splitlines()[-1].startswith("hitl_ops.experts.llm_ledger.BudgetExhausted: ")
    usage = LLMClient(config, tmp_path).usage()
    assert usage.requests == len(server.received)
    # Five tokens each: one process alone would have come as far, so together they may not come further.
    assert 500 - 2 * 34 < usage.prompt_tokens + usage.completion_tokens <= 500
    assert usage.unsettled_tokens == 0


@pytest.mark.integration
def test_what_a_killed_process_asked_for_stays_booked(tmp_path: Path) -> None:
    with OpenAIServer(script=[Slow(30.0)]) as server:
        config = config_for(server, max_tokens=20, concurrency=1)
        child = in_own_process(config, tmp_path, "client.complete(ask)")
        while not server.received:
            assert child.poll() is None
        child.kill()
        child.communicate()
        usage = LLMClient(config, tmp_path).usage()
        assert (usage.requests, usage.unsettled_tokens) == (0, 6 + 8 + 20)
        # Its slot is free again, although it never gave it back.
        assert LLMClient(config, tmp_path).complete(ASK).text.startswith("Thought")


def test_refused_requests_cost_nothing_and_lost_ones_may(server: OpenAIServer, tmp_path: Path) -> None:
    server.script = [Status(500), Status(429)]
    client = LLMClient(config_for(server, max_tokens=20), tmp_path)
    client.complete(ASK)
    assert client.usage().unsettled_tokens == 0
    server.script = [Drop()]
    client.complete(ASK, attempt=1)
    assert client.usage().unsettled_tokens == 6 + 8 + 20


def test_the_ledger_is_a_database_that_only_grows(tmp_path: Path) -> None:
    ledger = LLMLedger(tmp_path, BudgetConfig())
    for _ in range(3):
        ledger.settle(ledger.reserve(10, 10), 4, 5)
    ledger.release(ledger.reserve(10, 10))
    usage = ledger.usage()
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (3, 12, 15)
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert LLMLedger(tmp_path, BudgetConfig()).usage() == usage
    assert os.listdir(tmp_path)
