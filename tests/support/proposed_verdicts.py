"""Tiny estimators that look at a station's recordings, for proposals of verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hitl_ops.models.advantage_estimator import EstimatorConfig, EstimatorFacts, build_estimator, save_estimator
from hitl_ops.samples.epoch_proposals import EpochProposals
from hitl_ops.samples.proposal_rule import ProposalRule
from hitl_ops.training.estimator import train_estimator
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from tests.support.estimator_sets import waving_set
from tests.support.station_recordings import TASK


def trained_estimator(folder: Path, *, steps: int = 8, seed: int = 0, cameras: Sequence[str] = ("cam_high",)) -> Path:
    """Train for a few steps on recordings of the waving robot; returns the estimator's folder."""
    waving_set(folder, (14, 12, 9), cameras=cameras)
    config = EstimatorTrainConfig.model_validate(
        {
            "model": {"image_size": 16, "features": 16, "hidden": 16}, "steps": steps, "seed": seed,
            "episodes_per_batch": 3, "frames_per_episode": 4, "near_span": 8, "eval_every": steps, "log_every": steps,
            "save_interval": steps, "device": "cpu", "warmup_steps": 2, "validation_frames": 5, "learning_rate": 0.01,
        }
    )  # fmt: skip
    out = folder / "training"
    summary = train_estimator(config, folder / "set", out, overlays=[folder / "progress"])
    return out / summary.trained


def untrained_estimator(folder: Path, *, cameras: Sequence[str] = ("cam_high",), seed: int = 4) -> Path:
    """An estimator with its first weights, made to say different things of different pictures."""
    folder.mkdir(parents=True)
    config = EstimatorConfig(variant="PI06", image_size=16, features=16, hidden=16, use_state=False)
    keys = tuple(f"observation.images.{name}" for name in cameras)
    facts = EstimatorFacts(
        name="tried", config=config, cameras=keys, joints=0, state_mean=(), state_std=(), task=TASK, fps=50, steps=3
    )
    model = build_estimator(facts, seed=seed)
    with torch.no_grad():
        model.value_head[-2].weight *= 40
    save_estimator(model, folder)
    return folder


def spread_rule(made: EpochProposals) -> ProposalRule:
    """A rule by which the lowest score of an epoch is bad, the next unsure, and all others good."""
    low, _, high, *_ = sorted(one.score for one in made.episodes)
    assert low < high, "it finds all episodes alike"
    return ProposalRule(threshold_bad=low, threshold_good=high, calibrate=False)
