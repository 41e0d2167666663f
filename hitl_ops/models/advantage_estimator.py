"""The advantage estimator: how much of a task is done, and how much more after some frames, seen in pictures.

Two variants. ``KAI0`` compares two moments of an episode and says how much progress lies between them. ``PI06`` looks
at one moment and says how much of the task is done; it is trained on the progress of that very moment. Each moment is
encoded by itself: its features serve every comparison it takes part in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.models.estimator_config import (
    ABSOLUTE_ADVANTAGE,
    ABSOLUTE_VALUE,
    DELTA,
    RELATIVE_ADVANTAGE,
    VLA_BACKBONES,
    EstimatorConfig,
)
from hitl_ops.models.frame_backbones import CameraNetwork, FrameBackbone

WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "estimator.json"
_REMEDY = "train it again, or restore it"


class EstimatorFacts(BaseModel):
    """What has to be known of an estimator beyond its weights, as in ``estimator.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="of the estimator; files with its estimates are named after it")
    config: EstimatorConfig
    cameras: tuple[str, ...] = Field(description="features of the data set that hold its pictures, in its order")
    joints: int = Field(description="length of the state; 0: it does not look at it")
    state_mean: tuple[float, ...] = Field(description="of each joint, in the data it was trained on")
    state_std: tuple[float, ...] = Field(description="of each joint, never below the least deviation")
    task: str = Field(description="what was to be done")
    fps: int = Field(description="frames a second of what it was trained on")
    steps: int = Field(default=0, description="optimizer steps it was trained for")


class AdvantageEstimator(nn.Module):
    """A backbone and a value head.

    Args:
        facts: which.

    Raises:
        UserError: the backbone's library or weights cannot be had, or it has no such option.
    """

    def __init__(self, facts: EstimatorFacts) -> None:
        super().__init__()
        self.facts = facts
        self.backbone: Any = _backbone(facts)
        self.state_mean: torch.Tensor
        self.state_std: torch.Tensor
        self.register_buffer("state_mean", torch.tensor(facts.state_mean, dtype=torch.float32), persistent=False)
        self.register_buffer("state_std", torch.tensor(facts.state_std, dtype=torch.float32), persistent=False)
        moments = 2 if facts.config.variant == "KAI0" else 1
        hidden = facts.config.hidden
        self.value_head = nn.Sequential(
            nn.Linear(moments * self.backbone.width, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 1), nn.Tanh(),
        )  # fmt: skip

    def encode(self, pictures: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """The features of some moments, each by itself.

        Args:
            pictures: [B, cameras, 3, image_size, image_size] uint8.
            state: [B, joints] float, as recorded; needed where the estimator looks at it.

        Returns:
            [B, F] float.
        """
        if not self.facts.joints:
            return self._features(pictures, None)
        if state is None:
            raise ValueError("this estimator looks at the state")
        return self._features(pictures, (state - self.state_mean) / self.state_std)

    def _features(self, pictures: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        features: torch.Tensor = self.backbone(pictures, state)
        return features

    def relative(self, then: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        """How much more is done ``now`` than ``then``, -1 to 1: KAI0 only.

        Args:
            then: features of the moment compared with, [B, F].
            now: features of the moment asked about, [B, F].

        Returns:
            [B] float32, an estimate of progress(now) - progress(then).
        """
        if self.facts.config.variant != "KAI0":
            raise ValueError("PI06 looks at one moment")
        return self._said(torch.cat([then, now], dim=-1))

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """How much is done at a moment, 0 to 1: PI06 only. The head's -1 to 1 is brought there by (x + 1) / 2.

        Args:
            features: [B, F].

        Returns:
            [B] float32, an estimate of that very moment's progress.
        """
        if self.facts.config.variant != "PI06":
            raise ValueError("KAI0 compares two moments")
        return (self._said(features) + 1) / 2

    def _said(self, features: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.value_head(features)
        return said.squeeze(-1).float()

    def forward(
        self,
        pictures: torch.Tensor,
        state: torch.Tensor | None,
        then: torch.Tensor | None = None,
        now: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What is trained: every moment is encoded once, then compared with others or asked about alone.

        Args:
            pictures: as :meth:`encode` takes them.
            state: as :meth:`encode` takes it.
            then: KAI0: places in the batch of the moments compared with, [P].
            now: KAI0: places in the batch of the moments asked about, [P].

        Returns:
            KAI0: [P] differences of progress; PI06: [B] progress.
        """
        features = self.encode(pictures, state)
        if then is None or now is None:
            return self.value(features)
        return self.relative(features[then], features[now])


def build_estimator(facts: EstimatorFacts, *, seed: int) -> AdvantageEstimator:
    """An estimator with its first weights, a function of ``seed`` alone.

    Raises:
        UserError: the backbone's library or weights cannot be had, or it has no such option.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AdvantageEstimator(facts)


def save_estimator(model: AdvantageEstimator, folder: Path) -> None:
    """Write weights and facts into ``folder``; the caller publishes it."""
    from safetensors.torch import save_model

    save_model(model, str(folder / WEIGHTS_FILE))
    save_estimator_facts(model, folder)


def save_estimator_facts(model: AdvantageEstimator, folder: Path) -> None:
    """Write what opening an estimator takes beside its weights."""
    publish_json(folder / FACTS_FILE, model.facts)
    if model.facts.config.backbone in VLA_BACKBONES:
        model.backbone.keep(folder)


def load_estimator(folder: Path, device: str = "cpu") -> AdvantageEstimator:
    """Open what :func:`save_estimator` wrote, ready to estimate: the same pictures always give the same numbers.

    Args:
        folder: holds weights and facts.
        device: where it is to run.

    Raises:
        UserError: the folder holds no estimator, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    folder = Path(folder)
    facts = read_estimator_facts(folder)
    model = build_estimator(facts.model_copy(update={"config": _as_kept(facts.config, folder)}), seed=0)
    model.facts = facts
    try:
        load_model(model, str(folder / WEIGHTS_FILE), strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"estimator '{folder}' is damaged ({reason})", _REMEDY) from None
    return model.to(device).eval().requires_grad_(False)


def read_estimator_facts(folder: Path) -> EstimatorFacts:
    """What is known of an estimator, without its weights.

    Raises:
        UserError: the folder holds no estimator, or a damaged one.
    """
    file = Path(folder) / FACTS_FILE
    try:
        return EstimatorFacts.model_validate(json.loads(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(
            f"'{folder}' holds no estimator", "name a folder that `flywheel train-estimator` wrote"
        ) from None
    except ValidationError as error:
        raise UserError(f"'{file}' is damaged ({error.errors()[0]['msg']})", _REMEDY) from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{file}' is damaged ({error})", _REMEDY) from None


@torch.no_grad()
def episode_advantages(
    model: AdvantageEstimator, features: torch.Tensor, delta: int = DELTA
) -> dict[str, npt.NDArray[np.float32]]:
    """What an estimator says of each frame of an episode, from the features of its frames.

    With f = min(n + delta, last) and d = f - n: KAI0 compares n with f for the relative advantage, and the first frame
    with n for the value, which is 0 at the first; PI06's value is what it says of n, and it has no relative advantage.
    The absolute advantage is value[f] - value[n]. Both advantages are scaled by delta / d, 0 where d is 0, and clipped
    to -1 to 1; the value is not.

    Args:
        model: the estimator.
        features: of the episode's frames in order, [T, F].
        delta: frames that an advantage looks ahead.

    Returns:
        ``relative_advantage`` (KAI0 only), ``absolute_value`` and ``absolute_advantage``, each [T] float32.
    """
    count = len(features)
    ahead = np.minimum(np.arange(count) + delta, count - 1)
    distance = ahead - np.arange(count)
    scale = np.where(distance > 0, delta / np.maximum(distance, 1), 0.0)
    said: dict[str, npt.NDArray[np.float32]] = {}
    if model.facts.config.variant == "KAI0":
        then_now = model.relative(features, features[torch.from_numpy(ahead).to(features.device)])
        said[RELATIVE_ADVANTAGE] = _clipped(_numbers(then_now) * scale)
        value = _numbers(model.relative(features[:1].expand_as(features), features))
        value[:1] = 0.0
    else:
        value = _numbers(model.value(features))
    said[ABSOLUTE_VALUE] = value.astype(np.float32)
    said[ABSOLUTE_ADVANTAGE] = _clipped((value[ahead] - value) * scale)
    return said


def _numbers(values: torch.Tensor) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = values.double().cpu().numpy()
    return found


def _clipped(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.clip(values, -1.0, 1.0).astype(np.float32)


def _as_kept(config: EstimatorConfig, folder: Path) -> EstimatorConfig:
    """The same, but with nothing fetched from elsewhere: weights and tokenizer stand in the estimator's folder."""
    if config.backbone not in VLA_BACKBONES:
        return config
    from hitl_ops.models.vla_backbone import TOKENIZER_FOLDER

    return config.replace(pretrained="", tokenizer=str(folder / TOKENIZER_FOLDER))


def _backbone(facts: EstimatorFacts) -> FrameBackbone:
    config = facts.config
    if config.backbone in VLA_BACKBONES:
        from hitl_ops.models.vla_backbone import VlaPrefix

        return VlaPrefix(config, len(facts.cameras), facts.joints, facts.task)
    for name in ("pretrained", "tokenizer", "options"):
        if getattr(config, name):
            raise UserError(f"backbone '{config.backbone}' has no '{name}'", "leave it out, or take smolvla or pi05")
    return CameraNetwork(config.backbone, len(facts.cameras), facts.joints, config.features)
