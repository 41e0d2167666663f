"""A sketch of pairs of the arm's clips: the arm at a few moments, the hand's way and the target, from the side.

Drawn from the observations alone, in a fraction of a second; people compare films (``clip_films``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hitl_ops.contracts.preference import ClipPair
from hitl_ops.contracts.publish import publishing
from hitl_ops.records.clips import Clip
from hitl_ops.worlds.reach.kinematics import JOINTS, TARGET, end_effector, link_frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOMENTS = 4
_ARM, _WAY, _BALL = "#3b6ea8", "#27313b", "#c0392b"


def draw_pairs(pairs: Sequence[ClipPair], clips: Mapping[str, Clip], success_m: float, path: Path) -> None:
    """Draw pairs below each other, the left clip on the left.

    Args:
        pairs: at least one.
        clips: by id.
        success_m: radius in which a target counts as reached, m.
        path: the PNG to publish.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 2, squeeze=False)
    for row, pair in enumerate(pairs):
        for axes, name in zip(grid[row], (pair.left, pair.right), strict=True):
            _draw_clip(axes, clips[name], success_m)
            axes.set_title(f"{pair.pair_id}: {name}", fontsize=7)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _draw_clip(axes: Axes, clip: Clip, success_m: float) -> None:
    """The arm in the plane of x (ahead) and z (up), m; later moments are darker."""
    from matplotlib.patches import Circle

    joints = clip.observations[:, :JOINTS].astype(np.float64)
    target = clip.observations[-1, TARGET]
    hand = end_effector(joints)
    axes.add_patch(Circle((float(target[0]), float(target[2])), success_m, color=_BALL, alpha=0.8))
    shown = np.unique(np.linspace(0, len(joints) - 1, _MOMENTS).round().astype(int))
    for number, frames in enumerate(link_frames(joints[shown])):
        places = np.concatenate([[[0.0, 0.0, 0.0]], frames[:, :3, 3]])
        axes.plot(places[:, 0], places[:, 2], "-", lw=2, c=_ARM, alpha=(number + 1) / (len(shown) + 1))
    axes.plot(hand[:, 0], hand[:, 2], "-", lw=1, color=_WAY)
    axes.plot(hand[-1, 0], hand[-1, 2], "o", ms=4, color=_WAY)
    axes.set(xlim=(-1.1, 1.1), ylim=(-0.3, 1.4), aspect="equal", xticks=[], yticks=[])
