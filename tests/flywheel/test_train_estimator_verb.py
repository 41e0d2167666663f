"""``flywheel train-estimator`` by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flywheel.cli import run
from hitl_ops.models.advantage_estimator import load_estimator
from tests.support.estimator_sets import waving_set

QUICK = ["--no-track", "--set", "episodes_per_batch=2", "--set", "model.image_size=16", "--set", "device=cpu"]


@pytest.fixture(scope="module")
def waving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return waving_set(tmp_path_factory.mktemp("waving"), (9, 8, 7))


def test_an_estimator_is_trained_and_goes_on(waving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    words = ["train-estimator", str(waving / "set"), "--out", str(tmp_path), "--overlay", str(waving / "progress")]
    assert run([*words, *QUICK, "--steps", "2", "--variant", "PI06", "--set", "name=lid"]) == 0
    told = capsys.readouterr().out
    assert "lid: PI06 on small" in told and "2, and 1 kept aside" in told and "2 of 2" in told
    assert told.rstrip().endswith("trained")
    assert load_estimator(tmp_path / "trained").facts.name == "lid"
    assert (tmp_path / "report.json").is_file()
    # The data set may be named as other trainings name theirs.
    again = ["train-estimator", "--samples", str(waving / "set"), *words[2:]]
    assert run([*again, *QUICK, "--steps", "2", "--variant", "PI06", "--set", "name=lid"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a data set and --out are needed"),
        (["nowhere", "--out", "out"], "data set 'nowhere' does not exist"),
        (["nowhere", "--out", "out", "--preset", "huge"], "preset 'huge' is unknown"),
        (["nowhere", "--out", "out", "--variant", "KAI1"], "config key 'model.variant' is invalid"),
        (["nowhere", "--out", "out", "--set", "stepz=3"], "did you mean 'steps'?"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train-estimator", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and len(told.strip().splitlines()) == 1
