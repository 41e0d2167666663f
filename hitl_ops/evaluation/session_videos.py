"""People's plays as videos to look through: several filmed at a time, what is finished kept.

In ``sessions/videos`` lie, a play each, ``<play_id>.mp4``, ``<play_id>.jpg`` (its poster) and, published last,
``<play_id>.json``, which says what they were made from; and ``videos.json`` for the whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, sweep_temporaries
from hitl_ops.evaluation.play_film import FilmConfig, UnplayableLog, film_play
from hitl_ops.records.session_log import closed_log_path, read_session_log
from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest
from hitl_ops.worlds.habitat.config import SceneConfig

VIDEO_FOLDER = "videos"
LIST_FILE = "videos.json"
CRASH_TRIES = 2
"""Times a play is filmed before it is left out because the filming process ends."""


class SessionVideosConfig(StrictConfig):
    """Which plays are filmed, and how."""

    most_plays: int = Field(default=12, ge=0, description="film only the first so many of the queue; 0: all")
    processes: int = Field(default=0, ge=0, le=256, description="plays filmed at once; 0: one per CPU core")
    film: FilmConfig = Field(
        default=FilmConfig(frames_per_second=8, speed=3, most_frames=240), description="what the films are like"
    )

    def fingerprint(self) -> str:
        """Hash over what can change a video."""
        return hashlib.sha256(json.dumps(self.film.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlayVideo(_Row):
    """One play's video."""

    play_id: str
    session_id: str
    episode_id: str
    video: str = Field(description="the mp4, relative to the iteration's sessions folder")
    poster: str = Field(description="a picture of its middle, relative to the iteration's sessions folder")
    frames: int = Field(ge=1)
    log: str = Field(description="sha256 of the log it was made from")
    film: str = Field(description="hash of the configuration it was made by")
    files: dict[str, str] = Field(description="file, relative to the iteration's sessions folder → its sha256")


class UnfilmedPlay(_Row):
    """A play that could not be filmed."""

    play_id: str
    reason: str = Field(description="what is wrong, and what to do about it")


class SessionVideos(_Row):
    """The videos of an iteration's plays, in the order of the queue."""

    plays_hash: str = Field(description="hash of the list of plays")
    videos: list[PlayVideo]
    unfilmed: list[UnfilmedPlay]
    made_now: int = Field(description="videos this run made; the others were there")
    seconds: float = Field(description="how long this run took")

    @property
    def videos_per_minute(self) -> float:
        """How fast this run made its videos; 0 where it made none."""
        return 60 * self.made_now / self.seconds if self.made_now else 0.0


def record_session_videos(
    manifest: PlayManifest,
    sessions: Path,
    plays: Sequence[str],
    config: SessionVideosConfig | None = None,
    progress: Progress = silent,
    scenes: SceneConfig | None = None,
) -> SessionVideos:
    """Film an iteration's plays into ``sessions/videos``.

    A video that is there, whole and made from the same log by the same configuration, is kept. Those of plays the
    manifest does not have any more are removed.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder.
        plays: play ids, the most valuable first.
        config: which and how.
        progress: told often; counts finished videos.
        scenes: how the scenes they were played in are opened; else as the environment says.

    Returns:
        The videos, also published as ``videos/videos.json``.

    Raises:
        UserError: a play is not in the manifest, nothing can draw on this machine, or the disk is full. What is
            finished by then stays.
    """
    started = time.perf_counter()
    config = config or SessionVideosConfig()
    known = {play.play_id: play for play in manifest.plays}
    chosen = list(dict.fromkeys(plays))[: config.most_plays or None]
    for play_id in chosen:
        if play_id not in known:
            raise UserError(
                f"play '{play_id}' is not among the plays of iteration {manifest.iteration}",
                "make session_logs and the queue again",
            )
    folder = sessions / VIDEO_FOLDER
    sweep_temporaries(folder)
    _remove_others(folder, known)
    videos = {play_id: video for play_id in chosen if (video := _finished(known[play_id], sessions, config))}
    jobs = [_Job(known[play_id]) for play_id in chosen if play_id not in videos]
    made, unfilmed = _film_all(
        deque(jobs), _Work(sessions, config, scenes), progress, done=len(videos), total=len(chosen)
    )
    videos.update(made)
    summary = SessionVideos(
        plays_hash=manifest.hash,
        videos=[videos[play_id] for play_id in chosen if play_id in videos],
        unfilmed=[UnfilmedPlay(play_id=play_id, reason=unfilmed[play_id]) for play_id in chosen if play_id in unfilmed],
        made_now=len(made),
        seconds=time.perf_counter() - started,
    )
    publish_json(folder / LIST_FILE, summary)
    return summary


def read_session_videos(sessions: Path) -> SessionVideos:
    """Read the list of an iteration's videos.

    Raises:
        UserError: it is missing or not what it should be.
    """
    file = sessions / VIDEO_FOLDER / LIST_FILE
    try:
        return SessionVideos.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "materialise session_videos first") from None
    except OSError as error:
        raise UserError(f"'{file}' cannot be read", str(error.strerror)) from None
    except ValidationError:
        raise UserError(f"'{file}' is damaged", "materialise session_videos again") from None


# --- what is there already ----------------------------------------------------------------------------------------


def _files(play_id: str) -> tuple[str, str, str]:
    """A play's video, its poster and what is said about them, relative to the sessions folder."""
    stem = f"{VIDEO_FOLDER}/{play_id}"
    return f"{stem}.mp4", f"{stem}.jpg", f"{stem}.json"


def _log_hash(play: CollectedPlay) -> str:
    """The hash the manifest has of a play's log."""
    return play.files[closed_log_path(Path(play.session_id), play.play_id).as_posix()]


def _finished(play: CollectedPlay, sessions: Path, config: SessionVideosConfig) -> PlayVideo | None:
    """A play's video, if it is there, whole, and the one that would be made."""
    try:
        video = PlayVideo.model_validate_json((sessions / _files(play.play_id)[2]).read_bytes())
        whole = all(_sha256(sessions / name) == digest for name, digest in video.files.items())
    except (OSError, ValidationError):
        return None
    wanted = (play.play_id, _log_hash(play), config.fingerprint())
    return video if whole and (video.play_id, video.log, video.film) == wanted else None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove_others(folder: Path, known: dict[str, CollectedPlay]) -> None:
    """Remove the videos of plays that are none of the iteration's any more, withdrawn by who played them, say."""
    if not folder.is_dir():
        return
    for file in folder.iterdir():
        if file.name != LIST_FILE and file.suffix in (".mp4", ".jpg", ".json") and file.stem not in known:
            file.unlink()


# --- filming ------------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    """The sessions folder, what films are like, and how scenes are opened."""

    sessions: Path
    config: SessionVideosConfig
    scenes: SceneConfig | None


@dataclass
class _Job:
    play: CollectedPlay
    crashes: int = 0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: _Job | None = None


def _film_all(
    waiting: deque[_Job], work: _Work, progress: Progress, *, done: int, total: int
) -> tuple[dict[str, PlayVideo], dict[str, str]]:
    """Keep the workers busy until nothing waits.

    Returns:
        The videos made, and why there is none, each by play.
    """
    progress(done, total, "videos")
    made: dict[str, PlayVideo] = {}
    unfilmed: dict[str, str] = {}
    count = min(work.config.processes or os.cpu_count() or 1, len(waiting))
    context = multiprocessing.get_context("spawn")
    workers = [_start(context, work) for _ in range(count)]
    frames = 0
    try:
        for worker in workers:
            _hand_out(worker, waiting)
        while busy := {worker.pipe: worker for worker in workers if worker.job is not None}:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker = busy[pipe]
                job = worker.job
                assert job is not None
                kind, told = _receive(worker)
                if kind == "frame":
                    frames += 1
                    progress(done + len(made) + len(unfilmed), total, f"videos, {frames} frames")
                    continue
                worker.job = None
                if kind == "error":
                    raise UserError(*told)
                if kind == "crash":
                    job.crashes += 1
                    if job.crashes < CRASH_TRIES:
                        waiting.append(job)
                    else:
                        unfilmed[job.play.play_id] = told
                    if not worker.process.is_alive():
                        workers[workers.index(worker)] = worker = _start(context, work)
                elif kind == "unplayable":
                    unfilmed[job.play.play_id] = told
                else:
                    made[job.play.play_id] = PlayVideo.model_validate(told)
                progress(done + len(made) + len(unfilmed), total, f"videos, {frames} frames")
                _hand_out(worker, waiting)
    finally:
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.process.join(timeout=2)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join(timeout=5)
    return made, unfilmed


def _start(context: Any, work: _Work) -> _Worker:
    sessions, config, scenes = work
    ours, theirs = context.Pipe()
    told = None if scenes is None else scenes.model_dump(mode="json")
    process = context.Process(
        target=_work, args=(theirs, str(sessions), config.model_dump(mode="json"), told), daemon=True
    )
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _hand_out(worker: _Worker, waiting: deque[_Job]) -> None:
    if waiting:
        worker.job = waiting.popleft()
        # One that has ended already is told of when its answer is awaited.
        with contextlib.suppress(ConnectionError):
            worker.pipe.send(worker.job.play.model_dump(mode="json"))


def _receive(worker: _Worker) -> tuple[str, Any]:
    """A worker's word on its play; a worker that died has crashed."""
    try:
        return worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join(timeout=5)
        return "crash", f"the filming process ended with exit code {worker.process.exitcode}"


def _work(
    pipe: Connection, sessions_text: str, config_data: dict[str, Any], scenes_data: dict[str, Any] | None
) -> None:
    """A worker: films what it is handed until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to handle; it closes the pipe.
    sessions, config = Path(sessions_text), SessionVideosConfig.model_validate(config_data)
    scenes = None if scenes_data is None else SceneConfig.model_validate(scenes_data)

    def frame(done: int, total: int, note: str = "") -> None:
        pipe.send(("frame", None))

    while True:
        try:
            play = CollectedPlay.model_validate(pipe.recv())
            try:
                answer: tuple[str, Any] = ("done", _film_one(play, _Work(sessions, config, scenes), frame))
            except UnplayableLog as error:
                answer = ("unplayable", str(error))
            except UserError as error:
                answer = ("error", (error.what, error.remedy))
            except (BrokenPipeError, ConnectionError):
                return
            except Exception:
                answer = ("crash", traceback.format_exc())
            pipe.send(answer)
        except (EOFError, BrokenPipeError, ConnectionError):
            return  # The parent is gone; half a film goes with it, and whole ones are kept.


def _film_one(play: CollectedPlay, work: _Work, progress: Progress) -> dict[str, Any]:
    """Film a play; what is said about the video is published last, and makes it count.

    Returns:
        The video, as JSON has it.

    Raises:
        UnplayableLog: the log is missing, damaged, another than the manifest's, or of other homes.
        UserError: nothing can draw on this machine, or the disk is full.
    """
    sessions, config, scenes = work
    file = closed_log_path(sessions / play.session_id, play.play_id)
    try:
        log = read_session_log(file)
    except UserError as error:
        raise UnplayableLog(error.what, error.remedy) from None
    digest = _sha256(file)
    if digest != _log_hash(play):
        raise UnplayableLog(f"session log '{file}' has changed since it was listed", "make session_logs again")
    video, poster, about = _files(play.play_id)
    frames = film_play(log, sessions / video, progress, film=config.film, poster=sessions / poster, scenes=scenes)
    row = PlayVideo(
        play_id=play.play_id,
        session_id=play.session_id,
        episode_id=play.episode_id,
        video=video,
        poster=poster,
        frames=frames,
        log=digest,
        film=config.fingerprint(),
        files={name: _sha256(sessions / name) for name in (video, poster)},
    )
    publish_json(sessions / about, row)
    return row.model_dump(mode="json")
