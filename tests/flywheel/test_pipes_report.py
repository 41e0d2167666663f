"""What Dagster hears of a training in several processes: one voice, whoever does the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_param

from hitl_ops.contracts.sample import Sample
from hitl_ops.samples.parquet import write_samples

# What Dagster's context injector writes; nothing of it is read here.
CONTEXT = {
    name: None
    for name in (
        "asset_keys",
        "code_version_by_asset_key",
        "provenance_by_asset_key",
        "partition_key",
        "partition_key_range",
        "partition_time_window",
        "job_name",
    )
} | {"run_id": "a-run", "retry_number": 0, "extras": {}}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Eight one-decision episodes."""
    file = tmp_path / "samples.parquet"
    rows = [
        Sample(
            sample_id=f"{number}/0/distilled",
            episode_id=str(number),
            split="train",
            scene_id="home",
            task_type="spatial",
            step=0,
            agent=0,
            source="distilled",
            iteration=0,
            prompt=f"Task: Bring mug_{number} to the desk.\nNext Agent_Action:<act>",
            completion=f"Navigate[mug_{number}]<end_act>",
            weight=1.0,
            policy_id="oracle",
            trace=f"{number}.jsonl.gz",
        )
        for number in range(8)
    ]
    write_samples(file, rows, prompt_style="incremental")
    return file


class Listening:
    """A ``flywheel train`` started as Dagster starts it, and what it says through Pipes."""

    def __init__(self, folder: Path, samples: Path, *words: str) -> None:
        self._file = folder / "messages"
        self._file.touch()
        command = ("train", "--preset", "tiny_ci", "--no-track", "--samples", str(samples), "--processes", "2")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flywheel", *command, "--out", str(folder / "policy"), *words],
            env={
                **os.environ,
                DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param({"data": CONTEXT}),
                DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({"path": str(self._file)}),
            },
            stdin=subprocess.PIPE,  # held open, as by a starter that lives
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def messages(self) -> list[dict[str, Any]]:
        """Whole messages so far."""
        return [json.loads(line) for line in self._file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def payloads(self) -> list[dict[str, Any]]:
        """Our own messages so far."""
        return [
            message["params"]["payload"] for message in self.messages() if message["method"] == "report_custom_message"
        ]

    def counts(self) -> Counter[str]:
        """How often Dagster's own messages were sent."""
        return Counter(message["method"] for message in self.messages())

    def end(self) -> str:
        """Wait for the end; returns what was printed as errors."""
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.process.wait()
        return said


@pytest.mark.slow
def test_a_mistake_before_the_start_is_told_once(tmp_path: Path, samples: Path) -> None:
    training = Listening(tmp_path, samples, "--set", "lerning_rate=1")
    said = training.end()
    assert training.process.returncode == 2, said
    assert training.counts() == {"opened": 1, "report_custom_message": 1, "closed": 1}
    (payload,) = training.payloads()
    assert "did you mean 'learning_rate'" in payload["mistake"]["remedy"] + payload["mistake"]["what"]


@pytest.mark.slow
@pytest.mark.integration
def test_one_process_reports_for_all(tmp_path: Path, samples: Path) -> None:
    training = Listening(tmp_path, samples)
    said = training.end()
    assert training.process.returncode == 0, said
    counts = training.counts()
    assert (counts["opened"], counts["closed"]) == (1, 1)
    assert not [message for message in training.messages() if message["method"] == "closed" and message["params"]]
    (summary,) = [payload["summary"] for payload in training.payloads() if "summary" in payload]
    assert summary["finished"] and summary["steps"] == 2
    last = [payload["progress"] for payload in training.payloads() if "progress" in payload][-1]
    assert (last["done"], last["total"]) == (2, 2)


@pytest.mark.slow
@pytest.mark.integration
def test_an_interrupted_one_takes_the_others_along(tmp_path: Path, samples: Path) -> None:
    training = Listening(tmp_path, samples, "--max-steps", "1000000")
    deadline = time.monotonic() + 240
    while not training.payloads():
        assert training.process.poll() is None and time.monotonic() < deadline, training.messages()
        time.sleep(0.1)
    training.process.send_signal(signal.SIGINT)
    said = training.end()
    assert training.process.returncode == 130, said
    assert "interrupted" in said and "defect" not in said
    assert (training.counts()["opened"], training.counts()["closed"]) == (1, 1)
    assert not [payload for payload in training.payloads() if "summary" in payload]
