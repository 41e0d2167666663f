"""What turns the pictures of one moment into features: networks of torchvision, or the prefix of a LeRobot VLA
(:mod:`hitl_ops.models.vla_backbone`).

Nothing in them depends on the other frames of a batch (groups are normalised, not batches), so that a frame has the
same features in training and out of it, alone and among others, in one process and in several.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

_SMALL = ((24, 7, 4), (48, 3, 2), (64, 3, 1))
"""Channels, kernel and stride of each layer of ``small``: a wide first stride is what makes it quick on a processor."""
_STATE_WIDTH = 64
_CHANNELS_A_GROUP = 8


class FrameBackbone(Protocol):
    """Turns what is seen and felt at one moment into features."""

    @property
    def width(self) -> int:
        """How many features there are."""

    def __call__(self, pictures: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """The features of some moments.

        Args:
            pictures: [B, cameras, 3, height, width] uint8.
            state: [B, joints] float, normalised; None where the estimator does not look at it.

        Returns:
            [B, width] float.
        """


class SpatialKeypoints(nn.Module):
    """Where each channel of a feature map is active, and how much: its spatial soft-argmax and its mean.

    After Levine et al. 2016 (arXiv 1504.00702). A lid's place against a hand survives, which it would not in a mean.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(channels))
        self.width = 3 * channels

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """[B, channels, rows, columns] → [B, 3 · channels]: columns, rows (both -1 to 1), means."""
        rows, columns = maps.shape[-2:]
        shares = torch.softmax(maps.flatten(2) * self.sharpness[:, None], dim=-1).unflatten(2, (rows, columns))
        down = torch.linspace(-1, 1, rows, device=maps.device, dtype=maps.dtype)
        across = torch.linspace(-1, 1, columns, device=maps.device, dtype=maps.dtype)
        found = [(shares.sum(2) * across).sum(2), (shares.sum(3) * down).sum(2), maps.mean((2, 3))]
        return torch.cat(found, dim=1)


class CameraNetwork(nn.Module):
    """A convolutional network that all cameras share; each camera adds a learned vector of its own behind the first
    layers, so that the same network can read a view from above and one from a wrist.

    Args:
        kind: ``small``, or the name of one of torchvision's residual networks.
        cameras: how many.
        joints: length of the state; 0: it is not looked at.
        width: features.
    """

    def __init__(self, kind: str, cameras: int, joints: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.rest, inner, channels = _small() if kind == "small" else _residual(kind)
        self.camera = nn.Parameter(torch.zeros(cameras, inner, 1, 1))
        self.keypoints = SpatialKeypoints(channels)
        self.felt = _mlp(joints) if joints else None
        seen = cameras * self.keypoints.width + (_STATE_WIDTH if joints else 0)
        self.join = nn.Sequential(nn.Linear(seen, width), nn.LayerNorm(width), nn.SiLU())

    def forward(self, pictures: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        """See :class:`FrameBackbone`."""
        count, cameras = pictures.shape[:2]
        light = pictures.flatten(0, 1).to(self.camera.dtype) / 127.5 - 1
        maps = self.first(light).unflatten(0, (count, cameras)) + self.camera
        parts = [self.keypoints(self.rest(maps.flatten(0, 1))).unflatten(0, (count, cameras)).flatten(1)]
        if self.felt is not None:
            if state is None:
                raise ValueError("this backbone looks at the state")
            parts.append(self.felt(state))
        features: torch.Tensor = self.join(torch.cat(parts, dim=1))
        return features


def _mlp(joints: int) -> nn.Module:
    return nn.Sequential(nn.Linear(joints, _STATE_WIDTH), nn.SiLU(), nn.Linear(_STATE_WIDTH, _STATE_WIDTH), nn.SiLU())


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // _CHANNELS_A_GROUP), channels)


def _small() -> tuple[nn.Module, nn.Module, int, int]:
    """First layer, the others, channels behind the first, channels at the end."""
    from torchvision.ops import Conv2dNormActivation

    layers, channels = [], 3
    for width, kernel, stride in _SMALL:
        layers.append(Conv2dNormActivation(channels, width, kernel, stride, norm_layer=_group_norm))
        channels = width
    return layers[0], nn.Sequential(*layers[1:]), _SMALL[0][0], channels


def _residual(kind: str) -> tuple[nn.Module, nn.Module, int, int]:
    """The same of a residual network of torchvision's, with groups normalised in place of batches."""
    import torchvision

    build: Callable[..., Any] = partial(torchvision.models.get_model, kind, weights=None)
    whole = build(norm_layer=_group_norm, num_classes=1)
    first = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
    rest = nn.Sequential(whole.layer1, whole.layer2, whole.layer3, whole.layer4)
    return first, rest, whole.conv1.out_channels, whole.fc.in_features
