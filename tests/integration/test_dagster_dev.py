"""`flywheel up` for real: the pages answer, a run launched from them does its work, and Ctrl+C leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from hitl_ops.contracts.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

LAUNCH = """
mutation Launch($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
EVENTS = """
query Events($run: ID!) {
  logsForRun(runId: $run) {
    ... on EventConnection {
      events {
        __typename
        ... on MaterializationEvent { assetKey { path } partition }
        ... on AssetCheckEvaluationEvent { evaluation { checkName success severity } }
        ... on ExecutionStepFailureEvent { stepKey error { message } failureMetadata { description } }
        ... on MessageEvent { message }
      }
    }
  }
}
"""
ADD_PARTITION = """
mutation {
  addDynamicPartition(
    repositorySelector: {repositoryLocationName: "flywheel", repositoryName: "__repository__"}
    partitionsDefName: "planner_iterations"
    partitionKey: "000"
  ) { __typename }
}
"""


@dataclass
class Pages:
    """What `flywheel up` serves."""

    port: int
    mlflow_port: int
    games_port: int
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, port: int, path: str) -> str:
        """The body of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return answer.read().decode()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What Dagster's GraphQL answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]

    def until(self, condition: Any, within_s: float) -> Any:
        """The first truthy answer of ``condition``; fails with the log where there is none in time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if found := condition():
                    return found
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.5)
        raise AssertionError(self.log.read_text()[-4000:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    """`flywheel up` on free ports, in a store of its own."""
    port, mlflow_port, games_port, log = _free_port(), _free_port(), _free_port(), tmp_path / "up.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flywheel", "up", "--port", str(port)),
                *("--mlflow-port", str(mlflow_port), "--collect-port", str(_free_port())),
                *("--station-port", str(_free_port())),
                *("--compare-port", str(_free_port())),
                *("--games-port", str(games_port)),
            ],
            env={**os.environ, "FLYWHEEL_HOME": str(tmp_path / "store"), "TQDM_DISABLE": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Pages(port, mlflow_port, games_port, tmp_path / "store", process, log)
        finally:
            left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.wait()
            for child in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def test_a_run_from_the_pages_does_its_work_and_nothing_is_left_behind(pages: Pages) -> None:
    pages.until(lambda: pages.get(pages.port, "server_info"), within_s=180)
    pages.until(
        lambda: all(
            entry["loadStatus"] == "LOADED"
            for entry in pages.ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")[
                "workspaceOrError"
            ]["locationEntries"]
        ),
        within_s=120,
    )
    assert pages.ask(ADD_PARTITION)["addDynamicPartition"]["__typename"] == "DuplicateDynamicPartitionError"

    launched = pages.ask(
        LAUNCH,
        execution={
            "selector": {
                "repositoryLocationName": "flywheel",
                "repositoryName": "__repository__",
                "pipelineName": "planner_iteration_0",
            },
            "runConfigData": {"resources": {"preset": {"config": {"name": "tiny_ci"}}}},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "000"}]},
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]
    status = pages.until(
        lambda: next(
            iter(
                {
                    pages.ask("query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }", run=run)[
                        "runOrError"
                    ]["status"]
                }
                & {"SUCCESS", "FAILURE", "CANCELED"}
            ),
            None,
        ),
        within_s=600,
    )
    events = pages.ask(EVENTS, run=run)["logsForRun"]["events"]
    failures = [event for event in events if event["__typename"] == "ExecutionStepFailureEvent"]
    assert status == "SUCCESS", failures

    made = {event["assetKey"]["path"][0]: event["partition"] for event in events if "assetKey" in event}
    assert made == {
        "household_episodes": None,
        "teacher_rollouts": "000",
        "distilled_samples": "000",
        "training_mix": "000",
        "planner_adapter": "000",
        "planner_policy": "000",
        "planner_evaluation": "000",
        "planner_promotion": "000",
    }
    verdicts = {
        event["evaluation"]["checkName"]: event["evaluation"]["success"] for event in events if "evaluation" in event
    }
    # Two steps of training teach nothing: the gate says so, and the loss may fall or not.
    assert verdicts.pop("evaluation_gate") is False
    verdicts.pop("training_learned")
    assert len(verdicts) == 13 and all(verdicts.values()), verdicts

    iteration = Store.at(pages.root).iteration("planner", 0)
    assert len(list((iteration.rollouts / "teacher" / "traces").glob("*.jsonl.gz"))) == 8
    for file in ("samples/distilled.parquet", "policy/card.json", "policy/merged/model.safetensors"):
        assert (iteration.base / file).is_file(), file
    summary = json.loads((iteration.evaluation / "summary.json").read_text())
    assert {"teacher.success", "student.success", "student_over_teacher", "decisions_latency_ms"} <= summary.keys()
    assert summary["teacher.success"] == 1.0
    assert (iteration.evaluation / "report.html").is_file()
    assert {file.name for file in (iteration.evaluation / "videos").iterdir()} == {
        "best.mp4",
        "median.mp4",
        "worst.mp4",
    }

    # The training's run, with the evaluation's figures, is on the other page.
    pages.until(lambda: pages.get(pages.mlflow_port, "health"), within_s=120)
    recorded = json.loads((iteration.policy / "mlflow_run.json").read_text())["run_id"]
    body = pages.get(pages.mlflow_port, f"api/2.0/mlflow/runs/get?run_id={recorded}")
    figures = {metric["key"] for metric in json.loads(body)["run"]["data"]["metrics"]}
    assert {"loss", "teacher.success", "student.success"} <= figures

    assert "<html" in pages.until(lambda: pages.get(pages.games_port, "games"), within_s=60)

    everything = psutil.Process(pages.process.pid).children(recursive=True)
    assert len(everything) > 3
    pages.process.send_signal(signal.SIGINT)
    assert pages.process.wait(timeout=90) == 0
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert not alive, [child.cmdline() for child in alive]
