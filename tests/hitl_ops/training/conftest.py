"""Small households in words, and the smallest planner that can learn from them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.training.train_config import TrainConfig

ROOMS = ("kitchen_1", "bedroom_1", "hall_1")
FURNITURE = ("counter_1", "desk_1", "bed_2", "shelf_3")
THINGS = ("mug_1", "book_1", "lamp_2")
MARKER = "Next Agent_Action:<act>"


def sample_rows(
    episodes: int = 4, steps: int = 3, *, dialect: str = "incremental", seed: int = 0
) -> list[dict[str, Any]]:
    """Rows as the samples room writes them, in the append-only dialect or the snapshot one."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for episode in range(episodes):
        thing = draw.choice(THINGS)
        head = f"Task: Bring the {thing} to the {draw.choice(FURNITURE)}.\nFurniture:\n"
        head += "".join(f"{room}: {', '.join(draw.sample(FURNITURE, 2))}\n" for room in ROOMS) + "Objects:\n"
        text = head
        for step in range(steps):
            if dialect == "snapshot":
                text = (
                    head + "".join(f"{thing}: {draw.choice(FURNITURE)}\n" for _ in range(step)) + "Previous actions:\n"
                )
            prompt = text + MARKER
            completion = f"{draw.choice(('Navigate', 'Explore'))}[{draw.choice(FURNITURE + ROOMS)}]<end_act>"
            rows.append(
                {
                    "sample_id": f"{episode}/{step}/distilled",
                    "episode_id": f"{episode:03d}",
                    "split": "train",
                    "scene_id": "home",
                    "task_type": "spatial",
                    "agent": 1,
                    "step": step,
                    "source": "distilled",
                    "iteration": 0,
                    "prompt": prompt,
                    "completion": completion,
                    "weight": 1.0,
                    "policy_id": "oracle",
                    "trace": f"{episode}.jsonl.gz",
                    "label_id": "",
                }
            )
            text = prompt + completion + f"\nAction Result: Successful execution!\n{thing}: {draw.choice(FURNITURE)}\n"
    return rows


def write_rows(rows: list[dict[str, Any]], path: Path) -> Path:
    """Write rows as Parquet."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def samples_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a samples file; arguments as for :func:`sample_rows`, or ready ``rows``."""

    def write(rows: list[dict[str, Any]] | None = None, name: str = "samples.parquet", **shape: Any) -> Path:
        return write_rows(sample_rows(**shape) if rows is None else rows, tmp_path / name)

    return write


@pytest.fixture
def rows_of_household() -> Callable[..., list[dict[str, Any]]]:
    """:func:`sample_rows`, for tests that change something in them."""
    return sample_rows


def small_config(**changes: Any) -> TrainConfig:
    """A training of four steps that takes a fraction of a second."""
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.2, **changes.pop("lora", {})}
    tiny = {
        "hidden_size": 16,
        "layers": 2,
        "heads": 2,
        "kv_heads": 1,
        "intermediate_size": 24,
        "vocab_size": 500,
        **changes.pop("tiny", {}),
    }
    plain = {"max_steps": 4, "batch_size": 6, "learning_rate": 1e-2, "validation_fraction": 0.25, "device": "cpu"}
    return TrainConfig.model_validate({**plain, "lora": lora, "tiny": tiny, **changes})


@pytest.fixture
def config_of() -> Callable[..., TrainConfig]:
    """:func:`small_config`."""
    return small_config


@pytest.fixture(scope="session")
def lid_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of the simulated station with two small cameras, as ``set``, and how much of each was done after
    each frame, in step with time, as ``progress``."""
    from hitl_ops.rollouts.demonstrations import RAW, DemonstrationsConfig, record_demonstrations
    from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
    from tests.support.estimator_sets import with_progress

    folder = tmp_path_factory.mktemp("lid")
    options = {"cameras": ["cam_high", "cam_low"], "height": 32, "width": 32}
    told = DemonstrationsConfig(world_options=options, episodes=4, noises=(0.2, 0.8), processes=1)
    record_demonstrations(told, folder)
    how = StationDatasetConfig(unlabelled="keep", prompts="plain", velocity=False, effort=False)
    build_station_dataset(folder / RAW, folder / "set", how)
    with_progress(folder)
    return folder
