"""The preference program's demo at its smallest: clips, comparisons, a reward, policies; killed, it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import standing_preferences
from hitl_ops.serving.policy_alias import resolve
from tests.support.registries import with_registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_from_comparisons_to_policies_and_on_after_a_kill(tmp_path: Path) -> None:
    store = with_registry(Store.at(tmp_path / "store"))
    words = [sys.executable, "-m", "flywheel", "demo", "--program", "preference", "--preset", "tiny_ci"]
    words += ["--root", str(store.root), "--set", "annotator.people=[ada, bob]"]
    environment = {**os.environ, "COLUMNS": "80"}
    killed = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    # In the middle of the first training: people have compared, nothing is decided.
    policy = store.iteration("preference", 0).policy
    while killed.poll() is None and not (policy / "config.yaml").is_file():
        time.sleep(0.02)
    assert killed.poll() is None, killed.stdout.read().decode() if killed.stdout else ""
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    said = _said(store)
    assert len(said) == 6
    clips = store.iteration("preference", 0).clips / "steps.safetensors"
    made = clips.stat().st_mtime_ns
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert _said(store)[:6] == said and len(_said(store)) == 10, "nothing is said twice, nothing is lost"
    assert clips.stat().st_mtime_ns == made

    figures = json.loads(store.demo_figures("preference").read_text())
    turns = figures["turns"]
    assert [(one["iteration"], one["comparisons"], one["success"]["n"]) for one in turns] == [(0, 6, 4), (1, 10, 4)]
    assert all(one["control"]["n"] == 4 and one["human_seconds"] == 3 * one["comparisons"] for one in turns)
    assert (figures["comparisons"], figures["success"]) == (10, turns[-1]["success"]["mean"])
    assert figures["final_success"]["n"] == figures["final_control"]["n"] == 4
    final, scores = read_evaluation(store.root / "preference" / "final")
    assert final.policies.keys() == {"serving", "control"}
    assert set(scores["serving"]) == {f"reach_{30_000_000 + number:09d}" for number in range(4)}
    assert [one["steps"] for one in turns] == [32, 32] and [one["control_steps"] for one in turns] == [32, 64]
    assert turns[1]["policy_steps"] == 32 + (32 if turns[0]["promoted"] else 0)
    serving = resolve(store, "preference")
    assert serving is not None and serving.policy_id == figures["serving"]
    for words_told in ("targets nobody trained on", "on 4 targets nobody has looked at: ", "10 comparisons"):
        assert words_told in done.stdout, done.stdout
    assert (store.root / "preference" / "demo.png").stat().st_size > 10_000

    again = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert again.returncode == 0 and again.stderr.count("is through already") == 2, again.stderr
    other = subprocess.run(
        [*words, "--set", "annotator.errors=0.3"], capture_output=True, text=True, check=False, env=environment
    )
    assert other.returncode == 2 and "annotator.errors was 0.1, not 0.3" in other.stderr


def _said(store: Store) -> list[tuple[str, str, str | None]]:
    with closing(LabelStore.open(store.labels_url)) as labels:
        return [(w.said.pair_id, w.annotator, w.said.choice) for w in standing_preferences(labels, "preference")]
