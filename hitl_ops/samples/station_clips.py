"""Clips of what stations recorded: fragments of a few seconds, or whole episodes, that people compare.

A clip's observations are the joint positions, its actions the joint targets. Clips are compared where they are attempts
at the same task, those of different episodes first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.station_epoch import EPISODE_NAME, NAME, RAW, episode_number
from hitl_ops.contracts.store import Store
from hitl_ops.records.clips import Clip, ClipSetFacts, content_hash, write_clip_set
from hitl_ops.samples.clip_pairs import ask_comparable
from hitl_ops.samples.clip_queries import ClipWorth
from hitl_ops.samples.compared_clips import with_compared

CAMERA = "camera"
"""Where a set says which camera its films show; "" for each recording's first one."""
LEFT_OUT = "left_out"
"""Where a set says which files it has nothing of, and why."""
_EPISODE, _TASK, _EPOCH = re.compile(EPISODE_NAME), re.compile(NAME), re.compile(r"epoch_(\d{1,6})")


class StationClipConfig(StrictConfig):
    """Which clips are cut from stations' episodes, and which of them are compared."""

    seconds: float = Field(default=4.0, gt=0, le=600, description="length of a clip; shorter episodes are taken whole")
    whole: bool = Field(default=False, description="a clip is an episode from beginning to end, however long it is")
    per_episode: int = Field(default=2, ge=1, description="clips of one episode, at most; they do not overlap")
    clips: int = Field(default=200, ge=2, le=1000, description="clips in all, at most; the episodes are drawn by lot")
    pairs: int = Field(default=50, ge=1, description="questions, at most")
    epoch: int | None = Field(default=None, ge=0, description="only episodes of this epoch; by default of all")
    task: str = Field(default="", pattern=rf"^$|{NAME}", description="only of the task in this folder; empty: of all")
    camera: str = Field(default="", description="camera that films show; empty: each recording's first by name")
    aborted: bool = Field(default=False, description="whether episodes that were broken off are among them")
    seed: int = Field(default=0, ge=0, description="of all that is drawn by lot")


def make_station_clips(
    store: Store,
    config: StationClipConfig,
    out: Path,
    progress: Progress = silent,
    *,
    worth: ClipWorth | None = None,
    compared: Sequence[Clip] = (),
) -> ClipSetFacts:
    """Cut clips from what came in from stations, and publish them with the pairs to ask about.

    A recording that cannot be read, has no such camera or was broken off is left out; the set says so.

    Args:
        store: where recordings come in.
        config: which clips.
        out: the set's folder.
        progress: told after each recording that was looked at.
        worth: what an ensemble of rewards says of clips: pairs are asked on which it disagrees; None: by lot.
        compared: clips that people have compared before, which stay in the set; see ``compared_clips``.

    Returns:
        What the set says of itself.

    Raises:
        UserError: there is nothing to compare.
        CannotWrite: the disk is full or the place cannot be written.
    """
    rng = np.random.default_rng(config.seed)
    files = list(_recordings(store.station_incoming, config))
    if not files:
        raise UserError(
            f"there are no such recordings in '{store.station_incoming}'", "let a station collect some first"
        )
    clips: list[Clip] = []
    left_out: dict[str, str] = {}
    seen: set[str] = set()
    for done, number in enumerate(rng.permutation(len(files)), 1):
        file = files[number]
        name = file.relative_to(store.root).as_posix()
        try:
            cut = _cut(file, name, config, rng, seen)
        except UserError as error:
            left_out[name] = error.what
            cut = []
        clips += cut[: config.clips - len(clips)]
        progress(done, len(files), f"{len(clips)} clips")
        if len(clips) == config.clips:
            break
    _check_joints(clips)
    clips.sort(key=lambda clip: (clip.facts.record, clip.facts.start))
    pairs = ask_comparable(
        clips,
        within=lambda facts: facts.task,
        apart=[lambda facts: facts.episode_id, lambda facts: facts.policy_id],
        count=config.pairs,
        seed=config.seed,
        prefix="station",
        worth=worth,
    )
    if not pairs:
        why = f" ({next(iter(left_out.values()))})" if left_out else ""
        raise UserError(
            f"{len(clips)} clips of {len(files)} recordings make no pair{why}",
            "collect at least two episodes of one task, with a camera",
        )
    made = {"program": "station", "config": config.model_dump(mode="json"), CAMERA: config.camera, LEFT_OUT: left_out}
    return write_clip_set(out, with_compared(clips, compared), pairs, made)


def _recordings(base: Path, config: StationClipConfig) -> Iterator[Path]:
    """Every finished recording that is wanted, in the order of tasks, epochs and numbers."""
    found: list[tuple[str, int, int, Path]] = []
    for file in base.glob(f"*/epoch_*/{RAW}/episode_*.hdf5"):
        task, epoch = file.parents[2].name, _EPOCH.fullmatch(file.parents[1].name)
        if epoch is None or not _TASK.fullmatch(task) or not _EPISODE.fullmatch(file.name):
            continue
        if config.epoch not in (None, int(epoch[1])) or config.task not in ("", task):
            continue
        found.append((task, int(epoch[1]), episode_number(file), file))
    return (file for *_, file in sorted(found))


def _cut(file: Path, name: str, config: StationClipConfig, rng: np.random.Generator, seen: set[str]) -> list[Clip]:
    """The clips of a recording; a second copy of one has none.

    Raises:
        UserError: the recording cannot be read, or has nothing to be seen of it.
    """
    from hitl_ops.records.station_hdf5 import read_station_episode

    episode = read_station_episode(file)
    facts = episode.facts
    if facts.episode_id in seen:
        raise UserError(f"'{name}' is a copy of another recording")
    if facts.status == "aborted" and not config.aborted:
        raise UserError(f"'{name}' was broken off ({facts.reason})")
    if config.camera and config.camera not in episode.cameras:
        raise UserError(f"'{name}' has no camera '{config.camera}'")
    if not episode.cameras:
        raise UserError(f"'{name}' has no camera")
    seen.add(facts.episode_id)
    length = episode.frames if config.whole else min(episode.frames, max(1, round(config.seconds * facts.fps)))
    cut = []
    for start in _starts(episode.frames, length, config.per_episode, rng):
        rows = slice(start, start + length)
        observations, actions = episode.qpos[rows], episode.action[rows]
        cut.append(
            Clip(
                ClipFacts(
                    clip_id=_clip_id(facts.episode_id, start, length),
                    kind="station",
                    episode_id=facts.episode_id[:1000],
                    start=start,
                    steps=length,
                    fps=facts.fps,
                    task=(facts.task or file.parents[2].name)[:2000],
                    policy_id=facts.policy_id[:200],
                    record=name,
                    content_hash=content_hash(observations, actions),
                ),
                observations,
                actions,
            )
        )
    return cut


def _check_joints(clips: Sequence[Clip]) -> None:
    """One reward is learned of all: every clip has to be of a robot with as many joints."""
    by_joints = {clip.observations.shape[1] + clip.actions.shape[1]: clip.facts.record for clip in clips}
    if len(by_joints) > 1:
        one, other = list(by_joints.values())[:2]
        raise UserError(f"'{one}' and '{other}' are of robots with different joints", "name one task: `--set task=…`")


def _starts(frames: int, length: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """First frames of clips that do not overlap, by lot, in order."""
    places = frames // length
    offset = rng.integers(frames - places * length + 1)
    chosen = rng.permutation(places)[:most]
    return np.sort(chosen) * length + offset


def _clip_id(episode_id: str, start: int, steps: int) -> str:
    told = f"{episode_id} {start} {steps}"
    return f"station-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
