"""What people played in one iteration: the label store says which plays there are, their files how they went.

Both are compared, play by play. What agrees is listed with the hashes of its files; what does not is listed too, with
the reason, so that nothing is missing without a word.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.records.session_export import episode_file_path, read_episode_head
from hitl_ops.records.session_log import SessionLog, closed_log_path, log_path, read_session_log
from hitl_ops.records.traces import Trace, read_trace, trace_path
from hitl_ops.rollouts.session_closing import TRACE_FOLDER, close_play

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.rows import EpisodePlay

MANIFEST_FILE = "plays.json"


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CollectedPlay(_Row):
    """A finished play whose files are whole and say what the label store says."""

    play_id: str
    session_id: str
    participant_id: str
    episode_id: str
    scene_id: str
    task_type: str
    split: str
    attempt: int = Field(description="1 for the person's first attempt at this episode")
    ended_by: str
    success: bool
    percent_complete: float = Field(ge=0, le=1)
    seconds: float = Field(ge=0, description="seconds of play, pauses left out")
    sim_steps: int = Field(ge=0)
    finish_id: int = Field(description="place among all finished plays, in the order they finished")
    finished_at: datetime
    reported: bool = Field(description="somebody reported a problem with it")
    prompt_style: str = Field(description="the dialect its prompts were logged in")
    files: dict[str, str] = Field(description="file, relative to the iteration's sessions folder → its sha256")

    def trace(self, sessions: Path) -> Path:
        """The play's trace, which samples are cut from."""
        return trace_path(sessions / self.session_id / TRACE_FOLDER, self.play_id)


class BrokenPlay(_Row):
    """A finished play that cannot be used."""

    play_id: str
    session_id: str
    episode_id: str
    reason: str = Field(description="what is wrong, and what to do about it")


class PlayManifest(_Row):
    """All finished plays of an iteration, in the order they finished."""

    format: Literal["flywheel-plays-1"] = "flywheel-plays-1"
    program: str
    iteration: int
    plays: list[CollectedPlay]
    broken: list[BrokenPlay]
    never_begun: list[str] = Field(description="plays that ended before their first moment, and left no file")
    withdrawn: list[str] = Field(default_factory=list, description="plays that were taken back")

    @property
    def hash(self) -> str:
        """The sha256 over everything the manifest says."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode("utf-8")).hexdigest()


def collect_plays(labels: LabelStore, paths: IterationPaths, progress: Progress = silent) -> PlayManifest:
    """Compare every finished play of an iteration with its files, and publish the list as ``sessions/plays.json``.

    A play whose log lies there finished but unclosed (the disk was full when it ended, say) is closed first. The
    tutorial is left out, as everywhere; of withdrawn plays nothing but the name is told.

    Args:
        labels: the label store.
        paths: the iteration's folders.
        progress: told after each play.

    Returns:
        The manifest.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: the disk is full.
    """
    rows = labels.finished_plays(paths.program, paths.iteration)
    participants: dict[str, str] = {}
    plays: list[CollectedPlay] = []
    broken: list[BrokenPlay] = []
    never_begun: list[str] = []
    for position, row in enumerate(rows, start=1):
        if row.session_id not in participants:
            session = labels.session(row.session_id)
            participants[row.session_id] = session.participant_id if session is not None else ""
        if _never_begun(row, paths.sessions):
            never_begun.append(row.id)
        else:
            try:
                plays.append(_whole(row, participants[row.session_id], paths.sessions))
            except UserError as error:
                broken.append(
                    BrokenPlay(play_id=row.id, session_id=row.session_id, episode_id=row.episode_id, reason=str(error))
                )
        progress(position, len(rows), f"{len(broken)} broken")
    manifest = PlayManifest(
        program=paths.program,
        iteration=paths.iteration,
        plays=plays,
        broken=broken,
        never_begun=never_begun,
        withdrawn=[row.id for row in labels.finished_plays(paths.program, paths.iteration, withdrawn=True)],
    )
    publish_json(paths.sessions / MANIFEST_FILE, manifest)
    return manifest


def read_play_manifest(sessions: Path) -> PlayManifest:
    """Read the list of an iteration's plays.

    Raises:
        UserError: it is missing or not what it should be.
    """
    file = sessions / MANIFEST_FILE
    try:
        return PlayManifest.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "materialise session_logs first") from None
    except OSError as error:
        raise UserError(f"'{file}' cannot be read", str(error.strerror)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"'{file}', field '{place}': {first['msg'].lower()}", "materialise session_logs again"
        ) from None


def listed_plays(labels: LabelStore, paths: IterationPaths) -> PlayManifest:
    """The list of an iteration's plays; made now where nobody has made it.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: the list is damaged, or the disk is full.
    """
    if (paths.sessions / MANIFEST_FILE).is_file():
        return read_play_manifest(paths.sessions)
    return collect_plays(labels, paths)


def _never_begun(row: EpisodePlay, sessions: Path) -> bool:
    """Whether a play ended before its world stood: nothing was recorded, because there was nothing."""
    if row.record_file or row.state_hash or row.seconds:
        return False
    folder = sessions / row.session_id
    return not (log_path(folder, row.id).exists() or closed_log_path(folder, row.id).exists())


def _whole(row: EpisodePlay, participant_id: str, sessions: Path) -> CollectedPlay:
    """Read everything a play left behind.

    Raises:
        UserError: something of it is missing, damaged, or says otherwise than the label store.
    """
    folder = sessions / row.session_id
    left = log_path(folder, row.id)
    if left.exists() and not closed_log_path(folder, row.id).exists():
        close_play(left)
    log = read_session_log(closed_log_path(folder, row.id))
    trace = read_trace(trace_path(folder / TRACE_FOLDER, row.id))
    episode_file = episode_file_path(folder, row.id)
    head = read_episode_head(episode_file)
    if head.episode.play_id != row.id:
        raise UserError(f"session file '{episode_file}' is of play '{head.episode.play_id}'", "restore it from a copy")
    for difference in _differences(row, log, trace):
        raise UserError(
            f"the record of play '{row.id}' does not fit the label store: {difference}",
            "one of them was changed by hand: restore it from a copy",
        )
    # `finished_plays` has only rows that say when, and in which place.
    assert row.finish_id is not None and row.finished_at is not None and row.seconds is not None
    return CollectedPlay(
        play_id=row.id,
        session_id=row.session_id,
        participant_id=participant_id,
        episode_id=row.episode_id,
        scene_id=trace.header.scene_id,
        task_type=trace.header.task_type,
        split=trace.header.split,
        attempt=row.attempt,
        ended_by=row.ended_by,
        success=trace.result.success,
        percent_complete=trace.result.percent_complete,
        seconds=row.seconds,
        sim_steps=trace.result.sim_steps,
        finish_id=row.finish_id,
        finished_at=row.finished_at,
        reported=row.reported,
        prompt_style=log.header.style,
        files={
            file.relative_to(sessions).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (log.path, episode_file, trace.path)
        },
    )


def _differences(row: EpisodePlay, log: SessionLog, trace: Trace) -> Iterator[str]:
    finish = log.finish
    if finish is None:
        yield "its log has no end"
        return
    result = trace.result
    for name, kept, found in (
        ("play", row.id, (log.header.play_id,)),
        ("session", row.session_id, (log.header.session_id,)),
        ("episode", row.episode_id, (log.header.episode.episode_id, trace.header.episode_id)),
        ("success", row.success, (finish.success, result.success)),
        ("final state", row.state_hash or finish.state_hash, (finish.state_hash, result.state_hash)),
    ):
        for one in found:
            if one != kept:
                yield f"its {name} is {one} where {kept} was kept"
    for percent in (finish.percent_complete, result.percent_complete):
        if not math.isclose(percent, row.percent_complete or 0.0, abs_tol=1e-9):
            yield f"its percent complete is {percent} where {row.percent_complete} was kept"
