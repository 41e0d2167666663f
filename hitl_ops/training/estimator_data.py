"""What an advantage estimator learns from: the progress of a data set's frames, and which frames a step looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.advantage_prompt import split_advantage
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.models.action_model import WEIGHTS_FILE
from hitl_ops.models.estimator_config import VLA_BACKBONES, EstimatorConfig
from hitl_ops.records.lerobot_columns import episode_spans, frame_named
from hitl_ops.records.lerobot_layout import IMAGES, INFO_PATH, STATE, numpy_column
from hitl_ops.records.lerobot_overlay import COLUMNS_FILE, open_overlay, read_column
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.video_fingerprint import video_fingerprint
from hitl_ops.records.video_stream import Clip
from hitl_ops.training.action_data import batches_of
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.sample_reader import split_episodes

_FRAMES_STREAM, _LOOK_STREAM = 0xF4A, 0xA06


@dataclass(frozen=True, slots=True)
class EstimatorEpisode:
    """One episode.

    Attributes:
        index: its number in the data set.
        start: index of its first frame.
        length: frames.
        clip: where its pictures are.
    """

    index: int
    start: int
    length: int
    clip: Clip


@dataclass(frozen=True, slots=True)
class EstimatorFrames:
    """The frames of a data set; numbers are in memory, pictures stay in their videos.

    Attributes:
        root: the data set's folder.
        cameras: the features that hold the pictures looked at.
        progress: how much is done, [N] float32, 0 to 1.
        state: joints, [N, D] float32; None where they are not looked at.
        episodes: in the data set's order.
        task: what most episodes are to do, without an advantage.
        fps: frames a second.
        hash: of everything that is learned from, first weights in a folder included.
        pictures_hash: of the videos and of what is looked at in them, and when.
    """

    root: Path
    cameras: tuple[str, ...]
    progress: npt.NDArray[np.float32]
    state: npt.NDArray[np.float32] | None
    episodes: list[EstimatorEpisode]
    task: str
    fps: int
    hash: str
    pictures_hash: str

    def __len__(self) -> int:
        return len(self.progress)


@dataclass(frozen=True, slots=True)
class Slot:
    """The frames of one episode that a step looks at.

    Attributes:
        episode: place of the episode in the data set.
        rows: the frames' places in it, [k], ascending.
        look: how its pictures are changed: where they are moved (rows, columns), how light they are made; the same
            for all of them, so that nothing seems to change that does not.
    """

    episode: int
    rows: npt.NDArray[np.int64]
    look: tuple[int, int, float] = (0, 0, 1.0)


def read_estimator_frames(
    root: str | Path, config: EstimatorTrainConfig, overlays: Sequence[str | Path] = ()
) -> EstimatorFrames:
    """Read the numbers of a data set.

    Args:
        root: the data set, version 3.0 or 2.1.
        config: which column says the progress, what is looked at.
        overlays: folders with further columns; the last one that has a column counts.

    Raises:
        UserError: the data set or an overlay is missing or corrupt; the column or a camera is missing; progress is NaN
            or outside 0 to 1. The message names file, episode and frame.
    """
    folder = open_lerobot(root)
    progress = _progress(folder, config.column, overlays)
    cameras = chosen_cameras(folder, config.model)
    if config.model.use_state and STATE not in folder.info.columns:
        file = folder.root / INFO_PATH
        raise UserError(f"'{file}' has no '{STATE}'", "set model.use_state=false, or record joint positions")
    digest = hashlib.sha256(f"{config.column} {config.model.use_state}".encode())
    digest.update(progress.tobytes())
    seen = hashlib.sha256(f"{cameras} {config.model.image_size} {folder.info.fps}".encode())
    states, episodes, tasks, start = [], [], dict[str, int](), 0
    for entry, table in folder.episodes():
        for camera in cameras:
            if camera not in entry.videos:
                raise UserError(
                    f"episode {entry.index} of '{root}' (from frame 0 on) has no camera '{camera}'",
                    "leave it out of the data set, or name other cameras",
                )
            path, begins, _ = entry.videos[camera]
            if not path.is_file():
                raise UserError(
                    f"video '{path}' of episode {entry.index} (from frame 0 on) is missing",
                    "convert the data set again",
                )
            seen.update(f"\n{path.relative_to(folder.root)} {begins} {entry.length}".encode())
        if config.model.use_state:
            states.append(_state(table.column(STATE), entry.data, entry.index))
            digest.update(states[-1].tobytes())
        moments = numpy_column(table.column("timestamp")).astype(np.float64).reshape(-1)
        seen.update(moments.tobytes())  # they say which picture is a row's
        videos = {camera: entry.videos[camera] for camera in cameras}
        episodes.append(EstimatorEpisode(entry.index, start, entry.length, Clip(entry.index, moments, videos)))
        start += entry.length
        for task in entry.tasks:
            plain = split_advantage(task)[0]
            tasks[plain] = tasks.get(plain, 0) + entry.length
    for path in sorted({video[0] for episode in episodes for video in episode.clip.videos.values()}):
        seen.update(f"\n{path.relative_to(folder.root)} {video_fingerprint(path)}".encode())
    digest.update(seen.digest())
    digest.update(np.array([episode.length for episode in episodes]).tobytes())
    asked = max(sorted(tasks), key=lambda task: tasks[task], default="")
    digest.update(f"\n{asked}\n{_first_weights(config.model)}".encode())
    return EstimatorFrames(
        root=folder.root,
        cameras=cameras,
        progress=progress,
        state=np.concatenate(states) if states else None,
        episodes=episodes,
        task=asked,
        fps=folder.info.fps,
        hash=digest.hexdigest(),
        pictures_hash=seen.hexdigest(),
    )


def chosen_cameras(folder: LeRobotFolder, config: EstimatorConfig) -> tuple[str, ...]:
    """The features of a data set that an estimator looks at.

    Raises:
        UserError: the data set has no videos, or not one of the cameras that are named.
    """
    known = folder.info.video_keys
    file = folder.root / INFO_PATH
    if not known:
        raise UserError(f"'{file}' has no cameras kept as video", "convert recordings with pictures")
    if not config.cameras:
        return tuple(known)
    chosen = [name if name in known else IMAGES + name for name in config.cameras]
    for name, key in zip(config.cameras, chosen, strict=True):
        if key not in known:
            there = ", ".join(key.removeprefix(IMAGES) for key in known)
            raise UserError(f"'{file}' has no camera '{name}' (in any episode, from frame 0 on)", f"it has {there}")
    return tuple(chosen)


def _first_weights(config: EstimatorConfig) -> str:
    """Hash of the weights that a training begins with, where they are in a folder: others can take their place."""
    file = Path(config.pretrained) / WEIGHTS_FILE
    return sha256_of(file) if config.backbone in VLA_BACKBONES and config.pretrained and file.is_file() else ""


def _progress(folder: LeRobotFolder, name: str, overlays: Sequence[str | Path]) -> npt.NDArray[np.float32]:
    opened = [open_overlay(overlay, folder) for overlay in overlays]
    values = read_column(folder, name, opened).astype(np.float32)
    odd = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(odd):
        spans = episode_spans(folder)
        own = [overlay.root / COLUMNS_FILE for overlay in opened if name in overlay.facts.columns]
        span = next(span for span in spans if span.start <= odd[0] < span.start + span.length)
        where = own[-1] if own else span.data
        raise UserError(
            f"'{name}' is {values[odd[0]]:g} in {frame_named(spans, int(odd[0]))} of '{where}'",
            "progress goes from 0 to 1",
        )
    return values


def _state(column: object, file: Path, episode: int) -> npt.NDArray[np.float32]:
    try:
        values = numpy_column(column)
    except ValueError as error:
        raise UserError(f"'{file}', episode {episode}: '{STATE}' {error}", "convert it again") from None
    state = values.reshape(len(values), -1).astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(state).all(axis=1))
    if len(odd):
        raise UserError(
            f"'{STATE}' is not finite in episode {episode}, frame {odd[0]} of '{file}'", "leave the episode out"
        )
    return state


def split(frames: EstimatorFrames, config: EstimatorTrainConfig) -> tuple[list[int], list[int], int]:
    """Which episodes are learned from and which are only looked at, by a hash, whatever else is in the data set.

    Returns:
        Places of the episodes to learn from, of those kept aside, and how many are neither: a single frame has no
        other that KAI0 could compare it with.

    Raises:
        UserError: nothing is left to learn from.
    """
    least = 2 if config.model.variant == "KAI0" else 1
    aside = split_episodes([str(one.index) for one in frames.episodes], config.validation_fraction, config.seed)
    whole = [number for number, one in enumerate(frames.episodes) if one.length >= least]
    training = [number for number in whole if str(frames.episodes[number].index) not in aside]
    if not training:
        one = frames.episodes[0].index if frames.episodes else "?"
        raise UserError(
            f"data set '{frames.root}' has no episode to learn from: episode {one}, like all that are not kept aside, "
            "ends with frame 0",
            "record longer ones, or lower validation_fraction",
        )
    return training, [number for number in whole if number not in set(training)], len(frames.episodes) - len(whole)


def planned_steps(
    frames: EstimatorFrames, chosen: Sequence[int], config: EstimatorTrainConfig, steps: range
) -> Iterator[list[Slot]]:
    """What each step looks at, a function of seed and step alone, whatever the number of processes.

    Args:
        frames: the data set's.
        chosen: places of the episodes to learn from; KAI0 cannot learn from one of a single frame.
        config: how many, how near, and how pictures are changed.
        steps: steps wanted.
    """
    order = batches_of(np.asarray(chosen, np.int64), config.episodes_per_batch, steps, config.seed)
    for step, episodes in zip(steps, order, strict=True):
        yield [
            _slot(frames.episodes[episode].length, int(episode), config, (config.seed, step, number))
            for number, episode in enumerate(episodes)
        ]


def _slot(length: int, episode: int, config: EstimatorTrainConfig, key: tuple[int, int, int]) -> Slot:
    draw = np.random.default_rng((_FRAMES_STREAM, *key))
    near = draw.random() < config.near_share
    span = min(length, config.near_span) if near else length
    first = int(draw.integers(0, length - span + 1))
    rows = first + np.sort(draw.choice(span, size=min(config.frames_per_episode, span), replace=False))
    look = np.random.default_rng((_LOOK_STREAM, *key))
    moved = look.integers(-config.shift, config.shift + 1, 2)
    light = 1 + look.uniform(-config.brightness, config.brightness)
    return Slot(episode, rows.astype(np.int64), (int(moved[0]), int(moved[1]), float(light)))


def validation_slots(frames: EstimatorFrames, chosen: Sequence[int], config: EstimatorTrainConfig) -> list[Slot]:
    """Evenly spaced frames of the episodes kept aside."""
    slots = []
    for episode in chosen:
        length = frames.episodes[episode].length
        rows = np.linspace(0, length - 1, min(config.validation_frames, length)).astype(np.int64)
        slots.append(Slot(int(episode), rows))
    return slots


def all_pairs(counts: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every ordered pair of different frames within each slot, as places in the batch.

    Args:
        counts: frames of each slot, in the batch's order.

    Returns:
        The moments compared with, and the moments asked about: [P] each.
    """
    places: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    start = 0
    for count in counts:
        places.append(start + np.argwhere(~np.eye(count, dtype=bool)))
        start += count
    then, now = np.concatenate(places).T
    return then, now
