"""Policies told of advantages, and their baselines: each makes of the labels what its name says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.advantage_prompt import label_prompts
from hitl_ops.contracts.errors import UserError
from hitl_ops.models.action_model import FACTS_FILE
from hitl_ops.models.planner_lm import read_card
from hitl_ops.models.robot_policy import load_robot_policy
from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.records.station_episode import StationEpisodeWriter
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from hitl_ops.training.action_config import ActionTrainConfig
from hitl_ops.training.action_data import advantage_weights, drawn_batches, read_robot_frames
from hitl_ops.training.advantage_config import AdvantagePoliciesConfig, variant_training
from hitl_ops.training.advantage_policies import train_advantage_policies
from hitl_ops.training.publish_robot_policy import publish_robot_policy
from tests.support.station_recordings import TASK, robot

SMALL = {
    "dim_model": 16, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "n_decoder_layers": 1,
    "use_vae": False, "dropout": 0.0,
}  # fmt: skip
BEST = 4
"""Of five ways a frame can go, the one with the highest advantage."""


def training(**changes: Any) -> ActionTrainConfig:
    fast = {
        "steps": 150, "batch_size": 16, "learning_rate": 3e-3, "eval_every": 1000, "save_interval": 1000,
        "device": "cpu", "indicator_dropout": 0.3, "validation_fraction": 0.0,
    }  # fmt: skip
    return ActionTrainConfig.model_validate({"model": {"chunk": 4, "options": SMALL}, **fast, **changes})


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes whose frames each move all joints one of five ways, from -1 to 1; nobody said of them anything."""
    folder, spec = tmp_path_factory.mktemp("ways"), robot(environment=1)
    chance = np.random.default_rng(0)
    for number in range(5):
        file = folder / "raw" / f"episode_{number}.hdf5"
        writer = StationEpisodeWriter(file, spec, TASK, "p", 0, sim=True, waits=True)
        for frame in range(40):
            place = chance.uniform(-1, 1, spec.dim).astype(np.float32)
            moved = np.full(spec.dim, (number - 2) / 2, np.float32)
            writer.add(place, place, place, moved, {}, frame / 50, environment_state=place[:1])
        writer.finish(None)
    build_station_dataset(folder / "raw", folder / "set", StationDatasetConfig(unlabelled="keep"))
    data = open_lerobot(folder / "set")
    episode = np.repeat(np.arange(5), 40)
    advantage = ((episode - 2) / 2).astype(np.float32)
    for name, labels, prompts in (
        ("binary", episode == BEST, label_prompts(TASK, "binary")),
        ("slices", episode, label_prompts(TASK, "n_slices", 5)),
    ):
        columns = {"task_index": labels.astype(np.int32), "absolute_advantage": advantage}
        write_overlay(folder / name, data, columns, tasks=dict(enumerate(prompts)))
    return folder


def asked(folder: Path, prompt: str, **facts: Any) -> float:
    """Where the policy in ``folder`` moves to, told this."""
    file = folder / "merged" / FACTS_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    policy = load_robot_policy(folder)
    around = np.zeros(len(policy.spec.environment_state_names), np.float32)
    observation = {"state": np.zeros(14, np.float32), "environment_state": around, "prompt": prompt}
    return float(policy.infer([observation])[0].mean())


def published(folder: Path, summary: Any, data: Path) -> Path:
    publish_robot_policy(summary, data, folder, program="advantage", iteration=0, code_version="v", parent="act")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_each_makes_of_the_labels_what_its_name_says(ways: Path, tmp_path: Path, at_once: int) -> None:
    config = AdvantagePoliciesConfig(seeds=(3,), training=training(temperature=0.3), at_once=at_once)
    said: list[tuple[int, int]] = []
    done = train_advantage_policies(
        config, ways / "set", [ways / "binary"], tmp_path, lambda done, total, note="": said.append((done, total))
    )
    assert list(done) == ["awbc_3", "bc_3", "filtered_bc_3", "awr_3"]
    assert said[-1] == (600, 600)
    moved = {name: asked(published(tmp_path / name, summary, ways / "set"), TASK) for name, summary in done.items()}
    good = asked(tmp_path / "awbc_3", f"{TASK}, Advantage=True")
    assert good > 0.7 and asked(tmp_path / "awbc_3", f"{TASK}, Advantage=False") < 0.3
    assert abs(moved["bc_3"]) < 0.4 < moved["awr_3"]
    assert moved["filtered_bc_3"] > 0.8
    # Led further by what it is told, it goes further in that direction.
    untold = asked(tmp_path / "awbc_3", TASK)
    assert asked(tmp_path / "awbc_3", f"{TASK}, Advantage=True", guidance=2.0) == pytest.approx(
        2 * good - untold, abs=1e-4
    )
    # The same, said where it is served; what is told nothing cannot be led.
    assert asked(tmp_path / "awbc_3", f"{TASK}, Advantage=True", guidance=1.0) == good
    led = load_robot_policy(tmp_path / "awbc_3", guidance=2.0)
    assert led.metadata["guidance"] == 2.0
    with pytest.raises(UserError, match="never told"):
        load_robot_policy(tmp_path / "bc_3", guidance=2.0)
    again = train_advantage_policies(config, ways / "set", [ways / "binary"], tmp_path)
    assert again == done


@pytest.mark.slow
def test_the_best_slice_is_asked_for(ways: Path, tmp_path: Path) -> None:
    config = AdvantagePoliciesConfig(variants=("awbc",), seeds=(0,), training=training(steps=300), at_once=1)
    summary = train_advantage_policies(config, ways / "set", [ways / "slices"], tmp_path)["awbc_0"]
    folder = published(tmp_path / "awbc_0", summary, ways / "set")
    policy = load_robot_policy(folder)
    assert policy.metadata["prompt"] == read_card(folder).prompt_style == f"{TASK}, Advantage: 4"
    assert asked(folder, f"{TASK}, Advantage=True") > 0.6
    assert asked(folder, f"{TASK}, Advantage=False") < -0.6
    assert asked(folder, f"{TASK}, Advantage: 4") == asked(folder, f"{TASK}, Advantage=True")
    assert abs(asked(folder, f"{TASK}, Advantage: 2")) < 0.4


def test_labels_laid_over_a_data_set_are_heard(ways: Path) -> None:
    frames = read_robot_frames(ways / "set", [ways / "slices"])
    assert np.unique(frames.indicator).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert frames.style.prompts(frames.task)[-1] == f"{TASK}, Advantage: 4"
    bare = read_robot_frames(ways / "set")
    assert bare.hash != frames.hash and not bare.indicator.any()
    binary = read_robot_frames(ways / "set", [ways / "slices", ways / "binary"])
    assert np.unique(binary.indicator).tolist() == [-1.0, 1.0]


def test_what_a_baseline_lacks_is_named(ways: Path, tmp_path: Path) -> None:
    filtered = variant_training(training(), "filtered_bc", 0)
    with pytest.raises(UserError, match="of no frame to learn from was said that it is good"):
        train_advantage_policies(
            AdvantagePoliciesConfig(variants=("filtered_bc",), seeds=(0,), training=filtered, at_once=1),
            ways / "set",
            [],
            tmp_path,
        )
    with pytest.raises(UserError, match="absolute_advantage"):
        read_robot_frames(ways / "set", advantage_column="absolute_advantage")


def test_all_differ_in_nothing_but_the_labels() -> None:
    told = training()
    for variant in ("bc", "filtered_bc", "awr"):
        config = variant_training(told, variant, 7)
        differing = {key for key, value in config.decisive().items() if value != told.replace(seed=7).decisive()[key]}
        assert differing <= {"model.advantage", "indicator_dropout", "learn_from"}
    assert variant_training(told, "awbc", 7) == told.replace(seed=7)
    with pytest.raises(ValueError, match="named once"):
        AdvantagePoliciesConfig(seeds=(1, 1))


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=40), st.floats(0.1, 5))
def test_a_better_frame_never_counts_less(values: list[float], temperature: float) -> None:
    advantage = np.array(values, np.float32)
    weights = advantage_weights(advantage, temperature, 20.0)
    assert weights.mean() == pytest.approx(1) and (weights > 0).all()
    assert (np.diff(weights[np.argsort(advantage, kind="stable")]) >= -1e-9).all()


def test_frames_are_drawn_by_weight_and_by_step_alone() -> None:
    rows, weights = np.arange(100, 104), np.array([0.0, 1.0, 3.0, 0.0])
    drawn = list(drawn_batches(rows, weights, 64, range(40), seed=1))
    counts = np.bincount(np.concatenate(drawn) - 100, minlength=4) / (40 * 64)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert counts[2] == pytest.approx(0.75, abs=0.04)
    later = list(drawn_batches(rows, weights, 64, range(30, 40), seed=1))
    assert all((one == other).all() for one, other in zip(drawn[30:], later, strict=True))
