"""What a policy for a robot learns from: the frames of a LeRobot data set, each with the actions that followed it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from hitl_ops.contracts.advantage_prompt import PromptStyle, split_advantage, style_of
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.models.lerobot_policy import INDICATORS
from hitl_ops.records.lerobot_edit import ADVANTAGE, BAD, GOOD
from hitl_ops.records.lerobot_layout import (
    ACTION,
    ENVIRONMENT,
    IMAGES,
    INFO_PATH,
    LEGACY_VERSION,
    STATE,
    STATS_PATH,
    DatasetInfo,
    numpy_column,
    read_json,
)
from hitl_ops.records.lerobot_overlay import COLUMNS_FILE, open_overlay, read_column
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.records.lerobot_stats import StatsTotal, plain_stats
from hitl_ops.records.video_fingerprint import video_fingerprint

_TOLERANCE_S = 1e-3
Batch = dict[str, Any]


@dataclass
class RobotFrames:
    """The frames of a data set; numbers are in memory, pictures stay in their videos.

    Attributes:
        info: the data set's features.
        stats: feature → statistic → values, as LeRobot keeps them.
        state: [N, joints] float32.
        around: state of the surroundings, [N, n] float32; None where there is none.
        action: [N, joints] float32.
        indicator: what was said of each frame, [N] float32: 1 good, -1 bad, 0 nothing, slices evenly in between.
        episode: number of each frame's episode, [N].
        end: index after the last frame of each frame's episode, [N].
        tasks: task of each frame, as it stands in the data set.
        style: the words in which the tasks name an advantage.
        moments: seconds since its episode began, [N] float64.
        videos: per episode: camera → (file, where the episode begins, seconds).
        advantage: of each frame, [N] float32; None where nobody asked for it.
        hash: of everything that is learned from.
    """

    info: DatasetInfo
    stats: dict[str, dict[str, npt.NDArray[Any]]]
    state: npt.NDArray[np.float32]
    around: npt.NDArray[np.float32] | None
    action: npt.NDArray[np.float32]
    indicator: npt.NDArray[np.float32]
    episode: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    tasks: list[str]
    style: PromptStyle
    moments: npt.NDArray[np.float64]
    videos: list[dict[str, tuple[Path, float]]] = field(default_factory=list)
    advantage: npt.NDArray[np.float32] | None = None
    hash: str = ""

    def __len__(self) -> int:
        return len(self.action)

    @property
    def task(self) -> str:
        """The task of most frames, without an advantage."""
        counts: Counter[str] = Counter()
        for task, count in Counter(self.tasks).items():
            counts[split_advantage(task)[0]] += count
        return max(sorted(counts), key=lambda task: counts[task])


def read_robot_frames(
    root: str | Path, overlays: Sequence[Path] = (), *, advantage_column: str | None = None
) -> RobotFrames:
    """Read the numbers of a data set.

    Args:
        root: its folder.
        overlays: folders with columns that are added to its own or take their place; a later one wins.
        advantage_column: column whose values are wanted as :attr:`RobotFrames.advantage`.

    Raises:
        UserError: it is missing, corrupt, empty, or has no state or actions; an overlay is another data set's; there
            is no such column.
    """
    folder = open_lerobot(root)
    laid_over = [open_overlay(path, folder) for path in overlays]
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    episodes, ends, tasks, moments, videos = [], [], [], [], []
    digest = hashlib.sha256((folder.root / INFO_PATH).read_bytes())
    wanted = [key for key in (STATE, ACTION, ENVIRONMENT, ADVANTAGE) if key in folder.info.columns]
    for key in (STATE, ACTION):
        if key not in wanted:
            raise UserError(f"data set '{root}' has no '{key}'", "convert recordings with joint positions and actions")
    frames, total = 0, StatsTotal()
    for entry, table in folder.episodes():
        for key in wanted:
            values = numpy_column(table.column(key)).reshape(table.num_rows, -1)  # vectors of one come as numbers
            columns.setdefault(key, []).append(values)
            digest.update(np.ascontiguousarray(values).tobytes())
        said = [folder.tasks[int(index)] for index in table.column("task_index").to_pylist()]
        digest.update("\n".join(said).encode())
        tasks += said
        moments.append(numpy_column(table.column("timestamp")).astype(np.float64).reshape(-1))
        frames += table.num_rows
        episodes.append(np.full(table.num_rows, entry.index, np.int64))
        ends.append(np.full(table.num_rows, frames, np.int64))
        videos.append({key: (path, start) for key, (path, start, _) in entry.videos.items()})
        total.add(entry.stats)
    if not frames:
        raise UserError(f"data set '{root}' is empty", "record episodes, and label them")
    legacy = folder.info.version == LEGACY_VERSION  # says it of its episodes only
    plain = plain_stats(total.total()) if legacy else read_json(folder.root / STATS_PATH)
    stats = {key: {name: np.asarray(value) for name, value in one.items()} for key, one in plain.items()}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for path, start in sorted({place for videos_of in videos for place in videos_of.values()}):
        digest.update(f"{path.relative_to(folder.root)} {start} {video_fingerprint(path)}".encode())
    column, named = columns.get(ADVANTAGE), folder.tasks
    for overlay in laid_over:
        digest.update(f"{overlay.facts.tasks} {sha256_of(overlay.root / COLUMNS_FILE)}".encode())
        if overlay.tasks is not None and "task_index" in overlay.facts.columns:
            column, named = None, overlay.tasks
            tasks = [named[int(index)] for index in overlay.column("task_index")]
    # A slice that no frame is in counts too.
    style = style_of(sorted({*tasks, *named.values()}))
    if style.name != "verdict":
        column = None  # labels made from progress say it frame by frame
    advantage = None
    if advantage_column is not None:
        advantage = read_column(folder, advantage_column, laid_over).astype(np.float32).reshape(-1)
        digest.update(advantage.tobytes())
    return RobotFrames(
        info=folder.info,
        stats=stats,
        state=np.concatenate(columns[STATE]).astype(np.float32),
        around=np.concatenate(columns[ENVIRONMENT]).astype(np.float32) if ENVIRONMENT in columns else None,
        action=np.concatenate(columns[ACTION]).astype(np.float32),
        indicator=_indicators(column, tasks, style),
        episode=np.concatenate(episodes),
        end=np.concatenate(ends),
        tasks=tasks,
        style=style,
        moments=np.concatenate(moments),
        videos=videos,
        advantage=advantage,
        hash=digest.hexdigest(),
    )


def seen_by(frames: RobotFrames, cameras: Sequence[str] | None) -> RobotFrames:
    """The frames as a policy sees them that has only some of the cameras; all of them where None.

    Raises:
        UserError: the data set has no such camera.
    """
    if cameras is None:
        return frames
    wanted = [name if name.startswith(IMAGES) else IMAGES + name for name in cameras]
    for key in wanted:
        if key not in frames.info.video_keys:
            there = ", ".join(one.removeprefix(IMAGES) for one in frames.info.video_keys) or "none"
            raise UserError(f"the data set has no camera '{key.removeprefix(IMAGES)}'", f"it has {there}")
    kept = {key: one for key, one in frames.info.features.items() if not one.is_video or key in wanted}
    return replace(frames, info=replace(frames.info, features=kept))


def _indicators(
    column: list[npt.NDArray[Any]] | None, tasks: Sequence[str], style: PromptStyle
) -> npt.NDArray[np.float32]:
    """What was said of each frame, by the column that says it or else by its prompt."""
    if column is None:
        levels = {task: style.level(task) for task in set(tasks)}
        return np.array([levels[task] for task in tasks], np.float32)
    values = np.concatenate(column).reshape(-1)
    told = np.zeros(len(values), np.float32)
    told[values == GOOD], told[values == BAD] = INDICATORS[True], INDICATORS[False]
    return told


class ChunkDataset(Dataset[Batch]):
    """Frames with the actions that followed them, fetched many at a time.

    Behind an episode's end there is nothing: those actions repeat its last one and are marked as padding, which no
    loss counts.

    Args:
        frames: the data set's.
        chunk: actions of one chunk.
        conditioned: whether the state of the surroundings carries what was said.
    """

    def __init__(self, frames: RobotFrames, chunk: int, *, conditioned: bool) -> None:
        self._frames = frames
        self._ahead = np.arange(chunk)
        self._conditioned = conditioned

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """A batch: LeRobot's keys, ``action_is_pad`` [B, chunk], and ``task``, what the data set says."""
        frames, index = self._frames, np.asarray(rows)
        reached = index[:, None] + self._ahead
        end = frames.end[index][:, None]
        batch: Batch = {
            STATE: torch.from_numpy(frames.state[index]),
            ACTION: torch.from_numpy(frames.action[np.minimum(reached, end - 1)]),
            "action_is_pad": torch.from_numpy(reached >= end),
            "task": [frames.tasks[row] for row in index.tolist()],
        }
        parts = [] if frames.around is None else [frames.around[index]]
        if self._conditioned:
            parts.append(frames.indicator[index][:, None])
        if parts:
            batch[ENVIRONMENT] = torch.from_numpy(np.concatenate(parts, axis=1))
        for key in frames.info.video_keys:
            batch[key] = torch.stack([self._picture(key, row) for row in index.tolist()])
        return batch

    def _picture(self, key: str, row: int) -> torch.Tensor:
        from lerobot.datasets.video_utils import decode_video_frames

        frames = self._frames
        path, start = frames.videos[int(frames.episode[row])][key]
        moment = start + float(frames.moments[row])
        return decode_video_frames(path, [moment], _TOLERANCE_S, backend="pyav")[0]


def without_advantage(batch: Batch, forgotten: npt.NDArray[np.bool_], *, conditioned: bool) -> Batch:
    """Have some of a batch forget what was said of them, so that a policy also learns what is done at all.

    Args:
        batch: from :class:`ChunkDataset`.
        forgotten: which, [B].
        conditioned: whether the state of the surroundings carries it.
    """
    changed = dict(batch)
    if conditioned:
        around = batch[ENVIRONMENT].clone()
        around[torch.from_numpy(forgotten), -1] = INDICATORS[None]
        changed[ENVIRONMENT] = around
    changed["task"] = [
        split_advantage(task)[0] if gone else task for task, gone in zip(batch["task"], forgotten, strict=True)
    ]
    return changed


def advantage_weights(
    advantage: npt.NDArray[np.float32], temperature: float, largest: float
) -> npt.NDArray[np.float64]:
    """How much each frame counts in advantage-weighted regression: exp(advantage / temperature), cut off above.

    The advantage is taken in its own standard deviations from its mean, so that one temperature suits any unit
    (arXiv 1910.00177, section 5).

    Args:
        advantage: of the frames, [N].
        temperature: the lower, the more the best count.
        largest: weights above this are cut off.

    Returns:
        [N] weights, their mean 1.
    """
    values = advantage.astype(np.float64)
    spread = float(values.std())
    weights = np.ones(len(values))
    if spread > 0:
        weights = np.minimum(np.exp((values - values.mean()) / (spread * temperature)), largest)
    weighed: npt.NDArray[np.float64] = weights / weights.mean()
    return weighed


def drawn_batches(
    rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], size: int, steps: range, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each step, drawn by weight; a function of seed and step alone.

    Drawing by weight and weighing the loss have the same expected gradient, and any policy can be trained so, whether
    or not it tells the loss of each frame.

    Args:
        rows: frames to learn from.
        weights: of these, as many.
        size: frames a step.
        steps: steps wanted.
        seed: of the draws.
    """
    reached = np.cumsum(weights)
    for step in steps:
        draws = np.random.default_rng((seed, step, 0xA3)).random(size) * reached[-1]
        yield rows[np.minimum(np.searchsorted(reached, draws, side="right"), len(rows) - 1)]


def batches_of(rows: npt.NDArray[np.int64], size: int, steps: range, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each step: the frames in an order of their own in every pass, a function of seed and step alone.

    Args:
        rows: frames to learn from.
        size: frames a step; the last ones of a pass and the first of the next share a step.
        steps: steps wanted.
        seed: of the order.
    """
    orders: dict[int, npt.NDArray[np.int64]] = {}
    for step in steps:
        places = np.arange(step * size, (step + 1) * size)
        passes = places // len(rows)
        for number in set(passes.tolist()) - orders.keys():
            orders[number] = np.random.default_rng((seed, number)).permutation(rows)
        for number in [number for number in orders if number < passes[0]]:
            del orders[number]
        yield np.array([orders[n][p] for n, p in zip(passes.tolist(), (places % len(rows)).tolist(), strict=True)])
