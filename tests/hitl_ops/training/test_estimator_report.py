"""What is said of an estimator's agreement with the truth."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.advantage_estimator import AdvantageEstimator, EstimatorFacts
from hitl_ops.models.estimator_config import EstimatorConfig
from hitl_ops.training.estimator_report import (
    agreement,
    calibration,
    is_reported,
    read_estimator_report,
    report_estimator,
    true_advantage,
)

Floats = npt.NDArray[np.float32]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12), st.integers(1, 6))
def test_the_truth_follows_the_rule(progress: list[float], delta: int) -> None:
    said = true_advantage(np.array(progress, np.float32), delta)
    last = len(progress) - 1
    for n, at in enumerate(progress):
        f = min(n + delta, last)
        wanted = 0.0 if f == n else np.clip((progress[f] - at) * delta / (f - n), -1, 1)
        assert said[n] == pytest.approx(wanted, abs=1e-6)


def test_agreement_is_measured() -> None:
    truth = np.array([0.0, 0.1, 0.4, 0.9], np.float32)
    curved = agreement(truth**3 + 0.1, truth)
    assert curved.spearman == pytest.approx(1) and curved.pearson is not None and 0.8 < curved.pearson < 0.999
    assert agreement(-truth, truth).pearson == pytest.approx(-1)
    shifted = agreement(truth + 0.25, truth)
    assert (shifted.bias, shifted.mean_error) == (pytest.approx(0.25), pytest.approx(0.25))
    assert agreement(truth, np.full(4, 0.3, np.float32)).pearson is None


@given(st.integers(1, 60), st.integers(1, 12))
def test_bins_share_the_frames_in_order(count: int, bins: int) -> None:
    estimate = np.random.default_rng(count).normal(size=count).astype(np.float32)
    found = calibration(estimate, estimate * 2, bins)
    assert sum(one.frames for one in found) == count
    assert max(one.frames for one in found) - min(one.frames for one in found) <= 1
    assert [one.estimate for one in found] == sorted(one.estimate for one in found)
    assert all(one.truth == pytest.approx(2 * one.estimate, abs=1e-5) for one in found)


class Knowing(AdvantageEstimator):
    """Its features are the first pixel; it says by how much that is brighter."""

    def __init__(self, variant: str) -> None:
        torch.nn.Module.__init__(self)
        self.facts = EstimatorFacts(
            name="knowing",
            config=EstimatorConfig.model_validate({"variant": variant}),
            cameras=("cam",),
            joints=0,
            state_mean=(),
            state_std=(),
            task="brighten",
            fps=50,
            steps=7,
        )
        self.state_mean = torch.zeros(0)

    def encode(self, pictures: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        return pictures[:, 0, 0, 0, :1].float() / 255

    def relative(self, then: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        return (now - then).squeeze(1)

    def value(self, features: torch.Tensor) -> torch.Tensor:
        return features.squeeze(1)


def world(lengths: tuple[int, ...]) -> tuple[Any, Any]:
    """Episodes whose progress is their pictures' brightness."""
    chance = np.random.default_rng(0)
    levels = [chance.integers(0, 256, length) for length in lengths]
    starts = np.cumsum([0, *lengths]).tolist()
    episodes = [
        SimpleNamespace(index=number + 5, start=starts[number], length=length) for number, length in enumerate(lengths)
    ]
    progress = (np.concatenate(levels) / 255).astype(np.float32)

    def pictures(episode: int, rows: Any) -> npt.NDArray[np.uint8]:
        seen = np.zeros((len(rows), 1, 4, 4, 3), np.uint8)
        seen[:] = levels[episode][rows][:, None, None, None, None]
        return seen

    return SimpleNamespace(episodes=episodes, progress=progress, state=None), SimpleNamespace(pictures=pictures)


@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
def test_who_knows_is_found_to_know(variant: str, tmp_path: Path) -> None:
    frames, source = world((40, 1, 33))
    report = report_estimator(Knowing(variant), frames, source, [0, 1, 2], 5, tmp_path, batch=16, trained_on=[2, 0])
    assert report.trained_on == [5, 7]
    assert report.advantage.pearson == pytest.approx(1, abs=1e-5)
    assert report.absolute_advantage.pearson == pytest.approx(1, abs=1e-5)
    assert report.advantage.frames == 74 and report.advantage.mean_error < 1e-6
    assert [one.episode for one in report.episodes] == [5, 6, 7]
    assert report.episodes[1].advantage.pearson is None  # of a single frame
    for one in report.episodes:
        assert one.value.pearson == pytest.approx(1, abs=1e-5) or one.value.frames == 1
    if variant == "PI06":
        assert report.value.mean_error < 1e-6
    assert read_estimator_report(tmp_path) == report
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"advantage.png", "value.png"}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "plots").iterdir())


def test_a_report_is_known_by_what_was_asked(tmp_path: Path) -> None:
    assert is_reported(tmp_path, 5, 0) and not is_reported(tmp_path, 5, 2)
    frames, source = world((8, 9))
    made = report_estimator(Knowing("PI06"), frames, source, [0, 1], 5, tmp_path, batch=16)
    assert made.trained_on == []
    asked = [(5, 2), (5, 1), (6, 2)]
    assert [is_reported(tmp_path, delta, count) for delta, count in asked] == [True, False, False]
    older = json.loads((tmp_path / "report.json").read_text())
    del older["trained_on"]  # as they were before episodes learned from were named
    (tmp_path / "report.json").write_text(json.dumps(older))
    assert read_estimator_report(tmp_path) == made
    (tmp_path / "report.json").write_text("{}")
    assert not is_reported(tmp_path, 5, 2)


def test_a_report_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json' does not exist"):
        read_estimator_report(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(UserError, match=r"report\.json' is damaged"):
        read_estimator_report(tmp_path)
