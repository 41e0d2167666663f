"""The advantage estimator: the same pictures always give the same numbers, and an episode's follow the rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.advantage_estimator import (
    AdvantageEstimator,
    EstimatorFacts,
    build_estimator,
    episode_advantages,
    load_estimator,
    save_estimator,
)
from hitl_ops.models.estimator_config import EstimatorConfig

SIZE, JOINTS = 32, 3


def facts(**changes: Any) -> EstimatorFacts:
    config = EstimatorConfig.model_validate({"image_size": SIZE, "features": 16, "hidden": 16, **changes})
    return EstimatorFacts(
        name="tried", config=config, cameras=("observation.images.a", "observation.images.b"), joints=JOINTS,
        state_mean=(0.5,) * JOINTS, state_std=(2.0,) * JOINTS, task="t", fps=50,
    )  # fmt: skip


def seen(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 2, 3, SIZE, SIZE), dtype=torch.uint8, generator=chance)
    return pictures, torch.randn(count, JOINTS, generator=chance)


def estimator(**changes: Any) -> AdvantageEstimator:
    torch.set_num_threads(1)
    return build_estimator(facts(**changes), seed=3).eval()


@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
@pytest.mark.parametrize("backbone", ["small", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_a_frame_has_the_same_features_alone_and_among_others(variant: str, backbone: str) -> None:
    model = estimator(variant=variant, backbone=backbone)
    pictures, state = seen(5)
    with torch.no_grad():
        together = model.encode(pictures, state)
        alone = torch.cat([model.encode(pictures[n : n + 1], state[n : n + 1]) for n in range(5)])
        model.train()  # nothing in it behaves differently while it is trained
        assert torch.equal(model.encode(pictures, state), together)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_every_camera_and_the_state_are_looked_at() -> None:
    model = estimator()
    pictures, state = seen(1)
    with torch.no_grad():
        first = model.encode(pictures, state)
        for camera in range(2):
            other = pictures.clone()
            other[:, camera] = 255 - other[:, camera]
            assert (model.encode(other, state) - first).abs().max() > 1e-3
        assert (model.encode(pictures, state + 1) - first).abs().max() > 1e-3
    with pytest.raises(ValueError, match="looks at the state"):
        model.encode(pictures)


def test_where_something_is_can_be_told_from_the_features() -> None:
    """A bright square at random places: least squares finds its row and column again."""
    model = build_estimator(facts(features=64), seed=3).eval()
    chance = np.random.default_rng(0)
    places = chance.integers(0, SIZE - 8, (160, 2))
    pictures = torch.full((160, 2, 3, SIZE, SIZE), 60, dtype=torch.uint8)
    for number, (row, column) in enumerate(places):
        pictures[number, :, :, row : row + 8, column : column + 8] = 250
    with torch.no_grad():
        features = model.encode(pictures, torch.zeros(160, JOINTS)).numpy()
    known = np.column_stack([features, np.ones(160)])
    weights = np.linalg.lstsq(known[:120], places[:120], rcond=None)[0]
    assert np.abs(known[120:] @ weights - places[120:]).mean() < 2.5  # pixels; who knows nothing is off by 6


def test_kai0_estimates_by_the_rule() -> None:
    model, delta = estimator(), 4
    features = torch.randn(11, 16, generator=torch.Generator().manual_seed(1))
    said = episode_advantages(model, features, delta)
    with torch.no_grad():
        value = [0.0] + [float(model.relative(features[:1], features[n : n + 1])) for n in range(1, 11)]
        for n in range(11):
            f = min(n + delta, 10)
            scale = 0.0 if f == n else delta / (f - n)
            relative = float(model.relative(features[n : n + 1], features[f : f + 1])) * scale
            assert said["relative_advantage"][n] == pytest.approx(np.clip(relative, -1, 1), abs=1e-6)
            assert said["absolute_value"][n] == pytest.approx(value[n], abs=1e-6)
            ahead = np.clip((value[f] - value[n]) * scale, -1, 1)
            assert said["absolute_advantage"][n] == pytest.approx(ahead, abs=1e-6)
    assert all(array.dtype == np.float32 and len(array) == 11 for array in said.values())


def test_pi06_says_how_much_is_done_and_nothing_relative() -> None:
    model = estimator(variant="PI06")
    features = torch.randn(5, 16)
    said = episode_advantages(model, features, 2)
    assert set(said) == {"absolute_value", "absolute_advantage"}
    with torch.no_grad():
        assert np.allclose(said["absolute_value"], model.value(features).numpy())
    assert ((said["absolute_value"] > 0) & (said["absolute_value"] < 1)).all()
    value = said["absolute_value"].astype(np.float64)
    assert np.allclose(said["absolute_advantage"][:3], value[2:] - value[:3], atol=1e-6)
    assert said["absolute_advantage"][3] == pytest.approx((value[4] - value[3]) * 2, abs=1e-6)
    assert said["absolute_advantage"][4] == 0
    with pytest.raises(ValueError, match="one moment"):
        model.relative(features, features)


@pytest.mark.parametrize("variant", ["KAI0", "PI06"])
def test_advantages_of_short_episodes_are_clipped_and_finite(variant: str) -> None:
    model = estimator(variant=variant)
    for count in (1, 2):
        said = episode_advantages(model, torch.randn(count, 16) * 30, 50)
        assert all(np.isfinite(array).all() and (np.abs(array) <= 1).all() for array in said.values())
        assert said["absolute_advantage"][-1] == 0


def test_a_kept_estimator_is_the_same(tmp_path: Path) -> None:
    model = estimator()
    save_estimator(model, tmp_path)
    again = load_estimator(tmp_path)
    assert again.facts == model.facts
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again.encode(*seen(2)), model.encode(*seen(2)))
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"x" * 40, "is damaged"),
        ("estimator.json", b"{", "is damaged"),
        ("estimator.json", None, "holds no estimator"),
    ],
)
def test_a_damaged_estimator_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    save_estimator(estimator(), tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        load_estimator(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_estimator(estimator(), tmp_path)
    told = json.loads((tmp_path / "estimator.json").read_text())
    told["config"]["hidden"] = 17
    (tmp_path / "estimator.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="is damaged"):
        load_estimator(tmp_path)
