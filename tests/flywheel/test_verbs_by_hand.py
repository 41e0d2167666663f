"""Once round the loop by hand: episodes, rollout, samples, train, evaluate, each as a person types it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.policy_card import PolicyCard

COMMAND = str(Path(sys.executable).with_name("flywheel"))
SETS = ("--set", "train=2", "--set", "val=2", "--set", "test=0")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("by-hand")


@pytest.fixture(scope="module")
def rollout(home: Path) -> Path:
    made = typed(home, "episodes", *SETS)
    assert made.returncode == 0, made.stderr
    folder = home / "train-rollout"
    done = typed(home, "rollout", "--split", "train", "--processes", "1", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def samples(home: Path, rollout: Path) -> Path:
    done = typed(home, "samples", str(rollout), "--text", str(home / "texts"))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def typed(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in this process: the same code, without starting an interpreter each time."""
    printed, said = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        patch.setenv("FLYWHEEL_HOME", str(home))
        patch.setenv("COLUMNS", "160")
        code = run(list(arguments))
    return subprocess.CompletedProcess(arguments, code, printed.getvalue(), said.getvalue())


def started(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as a process of its own."""
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "FLYWHEEL_HOME": str(home), "COLUMNS": "160"},
    )


def mistake(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def test_a_rollout_leaves_a_trace_an_episode_and_says_where(home: Path, rollout: Path) -> None:
    assert len(list((rollout / "traces").glob("*.jsonl.gz"))) == 2
    again = typed(home, "rollout", "--split", "train", "--out", str(rollout))
    assert again.returncode == 0
    assert "2 (0 now)" in again.stdout
    assert again.stdout.splitlines()[-1] == str(rollout)
    assert "rollout: 2/2" in again.stderr


@pytest.mark.slow
def test_another_configuration_is_refused_until_fresh(home: Path, rollout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rollout"
    first = typed(home, "rollout", "--limit", "1", "--out", str(folder))
    assert first.returncode == 0, first.stderr
    other = ("--set", "decision_limit=3", "--limit", "1", "--out", str(folder))
    assert "--fresh" in mistake(typed(home, "rollout", *other))
    done = typed(home, "rollout", *other, "--fresh")
    assert done.returncode == 0, done.stderr
    assert "1 (1 now)" in done.stdout


def test_fresh_spares_a_folder_that_is_no_rollout(home: Path, rollout: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    assert "not a rollout" in mistake(typed(home, "rollout", "--fresh", "--out", str(tmp_path)))
    assert (tmp_path / "thesis.txt").exists()


def test_samples_come_with_their_card_and_texts(home: Path, samples: Path) -> None:
    card = json.loads((samples.parent / "data_card.json").read_text())
    assert card["samples"] > 2
    assert len(list((home / "texts").rglob("sample_*.txt"))) == card["samples"]


@pytest.mark.slow
def test_a_training_is_recorded_once_and_not_done_again(home: Path, samples: Path, tmp_path: Path) -> None:
    import mlflow

    command = ("train", "--preset", "tiny_ci", "--samples", str(samples), "--tag", "who=tester")
    trained = started(home, *command, "--out", str(tmp_path / "policy"))
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "policy" / "adapter" / "adapter_model.safetensors").is_file()
    assert "2 of 2" in trained.stdout
    again = started(home, *command, "--out", str(tmp_path / "policy"), "--merge")
    assert again.returncode == 0, again.stderr
    played = started(home, "rollout", "--policy", str(tmp_path / "policy"), "--limit", "1", "--set", "decision_limit=2")
    assert played.returncode == 0, played.stderr
    card = PolicyCard.model_validate_json((tmp_path / "policy" / "card.json").read_text())
    assert card.policy_id in played.stdout and "crashed" not in played.stdout
    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("planner")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["who"] == "tester" and run.data.tags["base"] == "tiny"
    assert any(name.endswith("loss") for name in run.data.metrics)


@pytest.mark.slow
def test_two_processes_make_one_mistake_in_one_line(home: Path, samples: Path, tmp_path: Path) -> None:
    command = (
        "train",
        "--preset",
        "tiny_ci",
        "--samples",
        str(samples),
        "--out",
        str(tmp_path / "policy"),
        "--no-track",
    )
    line = mistake(started(home, *command, "--processes", "2", "--base", str(tmp_path / "nowhere")))
    assert "nowhere" in line


@pytest.mark.slow
def test_two_processes_train_together(home: Path, samples: Path, tmp_path: Path) -> None:
    command = (
        "train",
        "--preset",
        "tiny_ci",
        "--samples",
        str(samples),
        "--out",
        str(tmp_path / "policy"),
        "--no-track",
    )
    done = started(home, *command, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 of 2") == 1
    assert (tmp_path / "policy" / "adapter").is_dir()


@pytest.mark.slow
def test_an_evaluation_compares_and_writes_its_page(home: Path, rollout: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    options = ("--out", str(out), "--set", "primary_split=train", "--set", "resamples=100")
    done = typed(home, "evaluate", f"teacher={rollout}", f"student={rollout}", *options)
    assert done.returncode == 0, done.stderr
    assert "student over teacher, train: 1.00" in done.stdout
    assert Path(done.stdout.splitlines()[-1]).read_text().startswith("<!")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["student_over_teacher"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("rollout", "--set", "planner.knd=oracle"), "did you mean 'kind'"),
        (("rollout", "--config", "/nowhere.yaml"), "/nowhere.yaml"),
        (("rollout", "--preset", "desktop"), "laptop"),
        (("rollout", "--policy", "/nowhere"), "/nowhere"),
        (("rollout", "--policy", "/nowhere", "--expert", "oracle"), "choose one"),
        (("rollout", "--episodes", "/nowhere.json.gz"), "/nowhere.json.gz"),
        (("rollout", "--split", "test"), "there are no 'test' episodes"),
        (("rollout", "--base-url", "http://localhost:1/v1"), "--expert openai"),
        (("rollout", "--model", "gpt"), "--expert openai"),
        (("rollout", "--expert", "openai"), "--model"),
        (("rollout", "--expert", "openai", "--model", "gpt"), "OPENAI_API_KEY"),
        (("samples", "/nowhere"), "/nowhere"),
        (("train", "--samples", "/nowhere.parquet", "--out", "OUT"), "flywheel samples"),
        (("train", "--samples", "SAMPLES", "--out", "OUT", "--set", "lerning_rate=1"), "did you mean 'learning_rate'"),
        (("train", "--samples", "SAMPLES", "--out", "OUT", "--tag", "loose"), "key=value"),
        (("evaluate", "teacher", "--out", "OUT"), "name=folder"),
        (("evaluate", "teacher=/nowhere", "--out", "OUT"), "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    home: Path, samples: Path, tmp_path: Path, arguments: tuple[str, ...], names: str
) -> None:
    out = tmp_path / "out"
    words = [{"OUT": str(out), "SAMPLES": str(samples)}.get(word, word) for word in arguments]
    assert names in mistake(typed(home, *words))
    assert not out.exists()


def test_a_file_where_a_folder_should_be_is_one_line(home: Path, rollout: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    line = mistake(typed(home, "rollout", "--limit", "1", "--out", str(tmp_path / "out")))
    assert str(tmp_path / "out") in line
