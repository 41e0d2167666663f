"""What stays of a play and of a session when they are over: everything is made from the logs, by replaying them.

In a session's folder then lie, a play each: ``<play_id>.log.jsonl.gz`` (the log), ``<play_id>.json.gz`` (PARTNR's
episode file, with decisions) and ``traces/<play_id>.jsonl.gz`` (a trace, which samples are cut from); and
``session.json.gz`` for the whole. Closing again gives the same bytes again, so that a kill in between costs nothing.
"""

from __future__ import annotations

import fcntl
import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.decision import EpisodeResult
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.file_lock import unlock_and_close
from hitl_ops.contracts.publish import disk_errors_named, publish_bytes
from hitl_ops.records.session_events import FinishEvent
from hitl_ops.records.session_export import (
    SESSION_FILE,
    ConnectionRecord,
    EpisodeRow,
    Metrics,
    SessionFile,
    SessionRow,
    User,
    episode_file_path,
    list_episode_files,
    read_episode_head,
    write_episode_file,
    write_session_file,
)
from hitl_ops.records.session_log import LOG_SUFFIX, SessionLog, closed_log_path, list_session_logs, read_session_log
from hitl_ops.records.traces import trace_path, write_trace
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.rollouts.partner_decisions import Correction
from hitl_ops.rollouts.session_frames import FRAMES_PER_SECOND, TICKS_PER_FRAME, FrameRecorder
from hitl_ops.rollouts.session_replay import ReplayedPlay, moments
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import recorded_scene

TRACE_FOLDER = "traces"


@dataclass(frozen=True, slots=True)
class ClosedPlay:
    """A play whose files are written.

    Attributes:
        play_id: the play.
        log: its compressed log.
        episode_file: PARTNR's episode file.
        trace: the trace.
        result: how it went.
        corrections: what people decided for the partner.
    """

    play_id: str
    log: Path
    episode_file: Path
    trace: Path
    result: EpisodeResult
    corrections: list[Correction]


def close_play(path: str | Path, scenes: SceneConfig | None = None) -> ClosedPlay:
    """Write a finished play's files from its log, then let the open log go.

    Takes as long as a replay (about a second for ten minutes of play): not for a loop that must not wait.

    Args:
        path: the log, open or closed; a closed one has its other files written anew.
        scenes: how the scene it was played in is opened; else as the environment says.

    Raises:
        UserError: the log is missing, corrupt, still being written or without its finish; the replay ends otherwise
            than the play did; or the disk is full. The log is then still there.
    """
    file = Path(path)
    with _undisturbed(file):
        log = read_session_log(file)
        finish = log.finish
        if finish is None:
            raise UserError(f"session log '{file}': the play is not over", "finish it first, or go on with it")
        recorder: FrameRecorder | None = None
        with recorded_scene(log.header.played_scene, scenes) as scene:
            for session in moments(log, TICKS_PER_FRAME, scene):
                if recorder is None:
                    recorder = FrameRecorder(session)
                recorder.record()
        assert recorder is not None  # moments has at least the end
        replayed = ReplayedPlay(log, session, session.digest())
        if replayed.difference is not None:
            raise UserError(
                f"session log '{file}' cannot be closed: replayed, {replayed.difference}",
                "keep it, and replay it with the version that recorded it",
            )
        return _publish(file, log, finish, session, recorder.frames)


@contextmanager
def _undisturbed(file: Path) -> Iterator[None]:
    """Keep writers away from an open log while it is read; a log that is not there is the reader's to complain of."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"session log '{file}' is still being written", "close its writer first") from None
    finally:
        unlock_and_close(descriptor)


def _publish(file: Path, log: SessionLog, finish: FinishEvent, session: LiveSession, frames: list[bytes]) -> ClosedPlay:
    folder, play_id = file.parent, log.header.play_id
    result = session.result()
    trace = trace_path(folder / TRACE_FOLDER, play_id)
    write_trace(trace, session.header(), session.decisions, result)
    episode_file = episode_file_path(folder, play_id)
    write_episode_file(
        episode_file,
        session=_session_row(log, finish, len(frames)),
        users=[_user(log)],
        episode=_episode_row(log, finish, session, len(frames)),
        frames=frames,
        metrics=Metrics(
            task_percent_complete=result.percent_complete,
            task_state_success=result.success,
            task_explanation=result.explanation,
            sim_step_count=result.sim_steps,
            replanning_count=result.replans,
            runtime=result.runtime_s,
            state_hash=result.state_hash,
        ),
        decisions=session.decisions,
    )
    closed = closed_log_path(folder, play_id)
    if file.name.endswith(LOG_SUFFIX):
        publish_bytes(closed, gzip.compress(file.read_bytes()[: log.sound_bytes], compresslevel=6, mtime=0))
        file.unlink()
    return ClosedPlay(play_id, closed, episode_file, trace, result, session.corrections)


def close_session(folder: str | Path, *, session_error: str = "") -> Path:
    """Write ``session.json.gz`` from the episode files of a session's folder.

    Args:
        folder: ``…/sessions/<session_id>``; every play in it must be closed.
        session_error: what went wrong, where something did.

    Returns:
        The file.

    Raises:
        UserError: a play is still open, there is none, a file is damaged, or the disk is full.
    """
    root = Path(folder)
    still_open = list_session_logs(root, closed=False)
    if still_open:
        raise UserError(f"session '{root}' cannot be closed: '{still_open[0].name}' is open", "close its plays first")
    heads = [read_episode_head(file) for file in list_episode_files(root)]
    if not heads:
        raise UserError(f"session '{root}' has no plays", "there is nothing to close")
    heads.sort(key=lambda head: (head.episode.episode_index, head.episode.play_id))
    users = list({user.user_index: user for head in heads for user in head.users}.values())
    content = SessionFile(
        session=SessionRow(
            session_id=heads[0].session.session_id,
            episode_indices=[head.episode.episode_index for head in heads],
            session_error=session_error,
            start_timestamp=min((head.session.start_timestamp for head in heads), key=int),
            end_timestamp=max((head.session.end_timestamp for head in heads), key=int),
            config=heads[0].session.config,
            frame_count=sum(head.episode.frame_count for head in heads),
            connection_records={user.user_index: user.connection_record for user in users},
        ),
        users=users,
        episodes=[head.episode for head in heads],
    )
    path = root / SESSION_FILE
    write_session_file(path, content)
    return path


def delete_play_files(sessions: str | Path, session_id: str, play_id: str) -> list[Path]:
    """Delete everything a play left behind, films included, and write its ``session.json.gz`` without it.

    Args:
        sessions: the iteration's sessions folder.
        session_id: the play's session.
        play_id: the play, which must be over.

    Returns:
        What was deleted, sorted; nothing where nothing was left of it.

    Raises:
        UserError: a file of another play is damaged, or the place cannot be written.
    """
    root = Path(sessions) / session_id
    with disk_errors_named(root):
        # Whatever was made of the play there carries its id, which is unique.
        left = sorted(file for file in Path(sessions).rglob(f"{play_id}.*") if file.is_file())
        for file in left:
            file.unlink()
        if left and (root / SESSION_FILE).is_file():
            (root / SESSION_FILE).unlink()
            if list_episode_files(root) and not list_session_logs(root, closed=False):
                close_session(root)
    return left


def _user(log: SessionLog) -> User:
    return User(user_index=0, connection_record=ConnectionRecord(user_id=log.header.participant))


def _session_row(log: SessionLog, finish: FinishEvent, frame_count: int) -> SessionRow:
    header = log.header
    return SessionRow(
        session_id=header.session_id,
        episode_indices=[header.index],
        start_timestamp=_timestamp(header.started),
        end_timestamp=_timestamp(finish.wall),
        config={
            "program": header.program,
            "iteration": header.iteration,
            "prompt_style": header.style,
            "decision_limit": header.decision_limit,
            "generator": header.generator,
            "frames_per_second": FRAMES_PER_SECOND,
        },
        frame_count=frame_count,
        connection_records={0: _user(log).connection_record},
    )


def _episode_row(log: SessionLog, finish: FinishEvent, session: LiveSession, frame_count: int) -> EpisodeRow:
    header = log.header
    episode = header.episode
    return EpisodeRow(
        episode_index=header.index,
        episode_id=episode.episode_id,
        scene_id=episode.scene_id,
        dataset=episode.scene_dataset_config,
        user_index_to_agent_index_map={0: session.human},
        agent_roles=header.roles,
        play_id=header.play_id,
        attempt=header.attempt,
        tutorial=header.tutorial,
        episode_info={"instruction": episode.instruction, **episode.info},
        start_timestamp=_timestamp(header.started),
        end_timestamp=_timestamp(finish.wall),
        finished=finish.reason == "person",
        ended_by=finish.reason,
        task_percent_complete=session.percent_complete,
        frame_count=frame_count,
    )


def _timestamp(wall: float) -> str:
    """Whole seconds since 1970, as text: upstream's form."""
    return str(int(wall))
