"""From a station's recordings to a LeRobot data set: verdicts become prompts, pictures videos, numbers rows.

The data set is made anew from whatever recordings and verdicts there are; videos that were encoded before are kept, so
that a verdict given later, or a conversion that was killed, costs seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from hitl_ops.contracts.advantage_prompt import advantage_prompt, split_advantage
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.lerobot_dataset import DatasetWriter, EpisodeData, VideoPart, writing_dataset
from hitl_ops.records.lerobot_edit import ADVANTAGE, BAD, GOOD, INTERVENTION, KEPT_BYTES, NOT_JUDGED
from hitl_ops.records.lerobot_layout import (
    ACTION,
    ENVIRONMENT,
    IMAGES,
    INFO_PATH,
    STATE,
    VERSION,
    DatasetInfo,
    Feature,
    camera,
    scalar,
    vector,
    with_automatic,
)
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.records.norm_stats import FILE_NAME, dataset_norm_stats, write_norm_stats
from hitl_ops.records.station_hdf5 import (
    StationEpisode,
    Verdict,
    list_station_episodes,
    read_pictures,
    read_station_episode,
)
from hitl_ops.records.video_encoding import EncodedVideo, VideoSettings, encode_video, find_encoded, video_info

VELOCITY, EFFORT = "observation.velocity", "observation.effort"


class StationDatasetConfig(StrictConfig):
    """How recordings become a data set."""

    task: str = Field(default="", description="Task of every episode; what each recording says where empty.")
    prompts: Literal["advantage", "plain"] = Field(
        default="advantage", description='"<task>, Advantage=True|False", or the task alone.'
    )
    unlabelled: Literal["exclude", "keep", "error"] = Field(
        default="exclude", description="What becomes of episodes without a verdict; kept ones carry the task alone."
    )
    aborted: Literal["exclude", "keep"] = Field(
        default="exclude", description="What becomes of episodes that were not finished."
    )
    interventions_good: bool = Field(
        default=True, description="Whether frames in which a person had the robot in hand are good in any case."
    )
    cameras: tuple[str, ...] | None = Field(default=None, description="Cameras to keep; all where not set.")
    velocity: bool = Field(default=True, description="Whether joint velocities are kept, where recorded.")
    effort: bool = Field(default=True, description="Whether joint efforts are kept, where recorded.")
    environment_state: bool = Field(default=True, description="Whether a simulated world's state is kept.")
    norm_stats: bool = Field(default=True, description="Whether norm_stats.json is written beside the data.")
    video: VideoSettings = Field(default=VideoSettings(), description="How pictures are encoded.")
    workers: int = Field(default=0, ge=0, le=256, description="Videos encoded at once; 0: one a core.")


class StationDatasetSummary(BaseModel):
    """What came of it."""

    episodes: int = Field(default=0, description="in the data set")
    frames: int = Field(default=0, description="in the data set")
    good: int = Field(default=0, description="episodes judged good")
    bad: int = Field(default=0, description="episodes judged bad")
    excluded: dict[str, list[str]] = Field(default_factory=dict, description="reason → recordings left out")
    videos_encoded: int = Field(default=0, description="videos encoded now")
    videos_kept: int = Field(default=0, description="videos encoded before")
    manifest_hash: str = Field(default="", description="hash over episodes, verdicts and configuration")


@dataclass(slots=True)
class _Pending:
    """An episode whose videos are being encoded."""

    episode: StationEpisode
    good: bool | None
    videos: dict[str, Future[EncodedVideo] | VideoPart]


def build_station_dataset(
    recordings: str | Path | Iterable[str | Path],
    out: str | Path,
    config: StationDatasetConfig,
    progress: Progress = silent,
    *,
    verdicts: Mapping[str, Verdict] | None = None,
    exclude: Iterable[str] = (),
    earlier: Iterable[str | Path] = (),
) -> StationDatasetSummary:
    """Make a LeRobot data set of recordings; it replaces the one at ``out`` when it is complete.

    Args:
        recordings: a folder with ``*.hdf5`` in it or below it, or the files themselves.
        out: the data set's folder.
        config: how.
        progress: told after each episode.
        verdicts: what was said after the recording, by episode id or file name; counts before what the recording says.
        exclude: recordings to leave out, by episode id or file name.
        earlier: data sets of the same recordings and more, whose videos are linked rather than encoded again.

    Returns:
        What came of it.

    Raises:
        UserError: there is nothing to convert, a recording is corrupt or unlike the others (the message names it), a
            name in ``verdicts`` or ``exclude`` fits no recording, or the disk is full. What stood at ``out`` stays.
    """
    target = Path(out)
    files = _files(recordings)
    summary = StationDatasetSummary()
    said = _Said(config, dict(verdicts or {}), set(exclude), summary)
    chosen = said.chosen(files)
    first = next(chosen, None)
    if first is None:
        said.check_names()
        left = ", ".join(f"{len(names)} {reason}" for reason, names in summary.excluded.items())
        raise UserError(
            f"no recording is left for '{target}' ({left or 'none was found'})", "record some, or label those there are"
        )
    workers = config.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="video") as pool:
        form = _Form(first[0], config, target, pool, [Path(one) for one in earlier])
        pending: deque[_Pending] = deque()
        with writing_dataset(target, form.info) as writer:
            try:
                for episode, good in itertools.chain([first], chosen):
                    pending.append(_Pending(episode, good, form.videos(episode)))
                    # Enough to keep the workers busy. An episode's numbers are small, and its pictures are not held.
                    if len(pending) > 2 * workers:
                        form.write(pending.popleft(), writer, summary)
                        progress(writer.episodes, len(files), "episodes")
                for waiting in pending:
                    form.write(waiting, writer, summary)
                    progress(writer.episodes, len(files), "episodes")
                said.check_names()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            writer.close()
            if config.norm_stats:
                write_norm_stats(writer.folder / FILE_NAME, dataset_norm_stats(writer.folder, keep=KEPT_BYTES))
    shutil.rmtree(form.work, ignore_errors=True)
    summary.manifest_hash = form.manifest.hexdigest()
    return summary


def _files(recordings: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(recordings, str | Path):
        return [Path(one) for one in recordings]
    folder = Path(recordings)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UserError(f"'{folder}' does not exist", "name a folder with *.hdf5")
    return list_station_episodes(folder)


class _Said:
    """Which recordings are taken, and what is said of each."""

    def __init__(
        self,
        config: StationDatasetConfig,
        verdicts: dict[str, Verdict],
        exclude: set[str],
        summary: StationDatasetSummary,
    ) -> None:
        self._config, self._verdicts, self._exclude, self._summary = config, verdicts, exclude, summary
        self._unused = {*verdicts, *exclude}

    def chosen(self, files: Iterable[Path]) -> Iterator[tuple[StationEpisode, bool | None]]:
        """Recordings that are taken, each with whether it is good; one is in memory at a time."""
        seen: set[str] = set()
        for file in files:
            episode = read_station_episode(file)
            names = (episode.facts.episode_id, file.name)
            self._unused.difference_update(names)
            verdict = next((self._verdicts[name] for name in names if name in self._verdicts), episode.facts.verdict)
            reason = self._against(episode, names, verdict)
            if episode.facts.episode_id in seen:
                reason = "recorded in another file already"
            seen.add(episode.facts.episode_id)
            if reason:
                self._summary.excluded.setdefault(reason, []).append(file.name)
            else:
                yield episode, None if verdict is None else verdict == "good"

    def _against(self, episode: StationEpisode, names: tuple[str, ...], verdict: Verdict | None) -> str:
        """Why a recording is not taken; empty where it is."""
        if self._exclude.intersection(names):
            return "excluded"
        if episode.facts.status == "aborted" and self._config.aborted == "exclude":
            return "aborted"
        if verdict is None and self._config.unlabelled == "error":
            raise UserError(f"episode '{episode.path}' has no verdict", "say good or bad of it, or exclude it")
        if verdict is None and self._config.unlabelled == "exclude":
            return "without a verdict"
        return ""

    def check_names(self) -> None:
        """Refuse names that fitted no recording."""
        if self._unused:
            raise UserError(f"no recording is named '{min(self._unused)}'", "name it by its file name or episode id")


class _Form:
    """What all episodes of a data set have in common, and how one of them becomes rows and videos."""

    def __init__(
        self,
        first: StationEpisode,
        config: StationDatasetConfig,
        target: Path,
        pool: ThreadPoolExecutor,
        earlier: Sequence[Path],
    ) -> None:
        self._first, self._config, self._pool = first, config, pool
        if first.facts.fps != int(first.facts.fps):
            raise UserError(
                f"episode '{first.path}' has {first.facts.fps} frames a second", "LeRobot needs a whole number"
            )
        cameras = tuple(first.cameras) if config.cameras is None else config.cameras
        self._cameras = {name: self._size(first, name) for name in cameras}
        self.info = DatasetInfo(
            fps=int(first.facts.fps),
            features=with_automatic(self._features(first)),
            robot_type=first.facts.robot or None,
        )
        self.work = target.with_name(f".{target.name}.videos")
        self._kept = {key: part for place in (*earlier, target) for key, part in _kept_videos(place).items()}
        self.manifest = hashlib.sha256(config.model_dump_json(exclude={"workers"}).encode())

    @staticmethod
    def _size(episode: StationEpisode, name: str) -> tuple[int, int]:
        if name not in episode.cameras:
            raise UserError(
                f"episode '{episode.path}' has no camera '{name}'",
                f"it has {', '.join(episode.cameras) or 'none'}; leave the episode out, or choose other cameras",
            )
        return episode.cameras[name]

    def _features(self, episode: StationEpisode) -> dict[str, Feature]:
        joints = episode.facts.joint_names or tuple(f"joint_{n}" for n in range(episode.qpos.shape[1]))
        told = {STATE: vector(joints), ACTION: vector(joints)}
        for name, kept, array in (
            (VELOCITY, self._config.velocity, episode.qvel),
            (EFFORT, self._config.effort, episode.effort),
        ):
            if kept and array is not None:
                told[name] = vector(joints)
        if self._config.environment_state and episode.environment_state is not None:
            width = episode.environment_state.shape[1]
            told[ENVIRONMENT] = vector(
                episode.facts.environment_state_names or tuple(f"environment_{n}" for n in range(width))
            )
        told[INTERVENTION] = scalar("bool")
        if self._config.prompts == "advantage":
            told[ADVANTAGE] = scalar("float32")
        return told | {IMAGES + name: camera(*size) for name, size in self._cameras.items()}

    def videos(self, episode: StationEpisode) -> dict[str, Future[EncodedVideo] | VideoPart]:
        """The episode's videos: those there are, and those that are being encoded from now on."""
        found: dict[str, Future[EncodedVideo] | VideoPart] = {}
        for name, size in self._cameras.items():
            if self._size(episode, name) != size:
                here = self._size(episode, name)
                raise UserError(
                    f"episode '{episode.path}', camera '{name}' has {here} pixels, the first {size}", "leave it out"
                )
            key, settings = IMAGES + name, self._config.video
            part = self._kept.get((episode.facts.episode_id, key, settings.digest))
            if part is not None:
                found[key] = part
                continue
            stem = hashlib.sha256(f"{episode.facts.episode_id} {name} {settings.digest}".encode()).hexdigest()[:32]
            path = self.work / f"{stem}.mp4"
            before = find_encoded(path)
            if before is not None and before.frames == episode.frames:
                found[key] = VideoPart(path, 0.0, episode.frames / self.info.fps, before.stats)
            else:
                found[key] = self._pool.submit(
                    _encode, episode.path, name, episode.frames, path, self.info.fps, settings
                )
        return found

    def write(self, waiting: _Pending, writer: DatasetWriter, summary: StationDatasetSummary) -> None:
        """Write an episode, once its videos are there."""
        episode, good = waiting.episode, waiting.good
        facts = episode.facts
        if facts.fps != self._first.facts.fps or facts.robot != self._first.facts.robot:
            raise UserError(
                f"episode '{episode.path}' is of robot '{facts.robot}' at {facts.fps:g} frames a second",
                f"the first is of '{self._first.facts.robot}' at {self._first.facts.fps:g}; convert them apart",
            )
        parts = {key: self._part(video, episode, summary) for key, video in waiting.videos.items()}
        for key, part in parts.items():
            feature = self.info.features[key]
            if feature.info is None:
                said = video_info(part.path, self._config.video)
                self.info.features[key] = dataclasses.replace(feature, info=said)
        task = split_advantage(self._config.task or facts.task)[0]
        if not task:
            raise UserError(f"episode '{episode.path}' names no task", "name one: --set task=…")
        told = np.full(episode.frames, NOT_JUDGED if good is None else GOOD if good else BAD, np.float32)
        if good is not None and self._config.interventions_good:
            told[episode.intervention] = GOOD
        columns: dict[str, npt.NDArray[Any]] = {
            STATE: episode.qpos,
            ACTION: episode.action,
            INTERVENTION: episode.intervention,
            ADVANTAGE: told,
        }
        for name, array in (
            (VELOCITY, episode.qvel), (EFFORT, episode.effort), (ENVIRONMENT, episode.environment_state)
        ):  # fmt: skip
            if array is not None:
                columns[name] = array
        try:
            writer.add(EpisodeData(columns, self._tasks(task, good, told), parts, facts=self._facts(episode, good)))
        except UserError as error:
            raise UserError(f"episode '{episode.path}': {error.what}", error.remedy) from None
        self.manifest.update(f"{facts.episode_id} {episode.frames} {good} {task}\n".encode())
        summary.episodes, summary.frames = writer.episodes, writer.frames
        summary.good += good is True
        summary.bad += good is False

    def _tasks(self, task: str, good: bool | None, told: npt.NDArray[np.float32]) -> str | list[str]:
        if self._config.prompts == "plain" or good is None:
            return task
        if (told == told[0]).all():
            return advantage_prompt(task, bool(told[0]))
        prompts = advantage_prompt(task, False), advantage_prompt(task, True)
        return [prompts[int(one)] for one in told]

    def _part(
        self, video: Future[EncodedVideo] | VideoPart, episode: StationEpisode, summary: StationDatasetSummary
    ) -> VideoPart:
        if isinstance(video, VideoPart):
            summary.videos_kept += 1
            return video
        encoded = video.result()
        summary.videos_encoded += 1
        return VideoPart(encoded.path, 0.0, episode.frames / self.info.fps, encoded.stats)

    def _facts(self, episode: StationEpisode, good: bool | None) -> dict[str, Any]:
        facts = episode.facts.model_dump(
            include={"episode_id", "policy_id", "iteration", "sim", "status", "success", "started"}
        )
        return {
            **facts,
            "file": episode.path.name,
            "advantage": good,
            "interventions": int(episode.intervention.sum()),
            "interventions_good": self._config.interventions_good,
            "videos": {IMAGES + name: self._config.video.digest for name in self._cameras},
        }


def _encode(recording: Path, name: str, frames: int, path: Path, fps: int, settings: VideoSettings) -> EncodedVideo:
    return encode_video(
        read_pictures(recording, name), frames, path, fps, settings, f"episode '{recording}', camera '{name}'"
    )


def _kept_videos(target: Path) -> dict[tuple[str, str, str], VideoPart]:
    """The videos of a data set made earlier, by episode id, camera and settings."""
    if not (target / INFO_PATH).is_file():
        return {}
    kept = {}
    folder = open_lerobot(target)
    if folder.info.version != VERSION:
        raise UserError(f"'{target}' is a data set of version {folder.info.version}", "name another folder")
    for entry in folder.entries():
        for key, digest in entry.facts.get("videos", {}).items():
            path, start, stop = entry.videos[key]
            if path.is_file():
                kept[entry.facts["episode_id"], key, digest] = VideoPart(path, start, stop, entry.stats.get(key))
    return kept
