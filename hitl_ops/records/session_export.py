"""PARTNR's session files (``session.json.gz`` and one file an episode), as upstream's tools read them.

Field names and nesting follow the human-in-the-loop app of habitat-lab (``rearrange_v2``: ``session_recorder.py``,
``frame_recorder.py``). What only Flywheel records is ``decisions`` beside the frames, and ``role`` wherever an agent
or user is named.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.decision import Decision, Role
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_bytes
from hitl_ops.records.session_log import CLOSED_LOG_SUFFIX

SESSION_FILE = "session.json.gz"
EPISODE_SUFFIX = ".json.gz"
_REMEDY = "close the session again from its logs, or restore the file from a copy"

EventType = Literal[
    "pick",
    "place",
    "open",
    "close",
    "state_change",
    "end_episode_form_cancelled",
    "episode_finished",
    "error_reported",
]
Numbers3 = tuple[float, float, float]
Numbers4 = tuple[float, float, float, float]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class UserEvent(_Row):
    """One thing a person did that changed something."""

    type: EventType
    obj_id: int | None = Field(default=None, description="object picked, placed or changed; its number in the file")
    obj_handle: str | None = Field(default=None, description="name of the object or furniture")
    receptacle_id: str | None = Field(default=None, description="place: the furniture or floor it was put on or in")
    state_name: str | None = Field(default=None, description="state_change: which state")
    new_value: bool | None = Field(default=None, description="state_change: its value from now on")
    error: str | None = Field(default=None, description="error_reported: what the person wrote")


class UserFrame(_Row):
    """One person in a frame."""

    finished_episode: bool
    camera_transform: tuple[Numbers4, Numbers4, Numbers4, Numbers4] = Field(
        description="camera to world, 4×4, rows; the camera looks along its −z with y up"
    )
    held_object: int | None
    hovered_object: int | None
    selected_object: int | None = Field(description="object of the act under way")
    events: list[UserEvent]


class ObjectState(_Row):
    """One object in a frame."""

    position: Numbers3
    rotation: Numbers4 = Field(description="quaternion x, y, z, w")
    object_handle: str
    object_id: int
    states: dict[str, bool]


class AgentState(_Row):
    """One agent in a frame."""

    position: Numbers3
    rotation: Numbers4 = Field(description="quaternion x, y, z, w; at rest the agent faces +x")
    grasp_mgr_snap_idx: int | None = Field(description="object in its hand")


class Frame(_Row):
    """One moment. Where nothing has changed since the last one the file has ``{}`` in its place."""

    t: float = Field(ge=0, description="seconds of play since the episode began, pauses left out")
    task_percent_complete: float = Field(ge=0, le=1)
    users: list[UserFrame]
    object_states: list[ObjectState]
    agent_states: list[AgentState]


Idle = Annotated[dict[str, Any], Field(max_length=0)]
"""A frame in which nothing changed."""


class ConnectionRecord(_Row):
    """Who sat at the page."""

    user_id: str = Field(description="the participant's made-up id")


class User(_Row):
    """One person of a session."""

    user_index: int = Field(ge=0)
    connection_record: ConnectionRecord
    role: Role = "human"


class SessionRow(_Row):
    """One sitting."""

    session_id: str
    episode_indices: list[int]
    session_error: str = ""
    start_timestamp: str
    end_timestamp: str
    config: dict[str, Any] = Field(description="program, iteration, prompts' dialect, version of homes and tasks")
    frame_count: int = Field(ge=0)
    connection_records: dict[int, ConnectionRecord]


class EpisodeRow(_Row):
    """One play."""

    episode_index: int = Field(ge=0)
    episode_id: str
    scene_id: str
    dataset: str
    user_index_to_agent_index_map: dict[int, int]
    agent_roles: dict[int, Role]
    play_id: str
    attempt: int = Field(ge=1)
    tutorial: bool = False
    episode_info: dict[str, Any] = Field(description="instruction and the episode's own info")
    start_timestamp: str
    end_timestamp: str
    finished: bool = Field(description="whether the person ended it, rather than a clock or a lost connection")
    ended_by: str
    task_percent_complete: float = Field(ge=0, le=1)
    frame_count: int = Field(ge=0)


class Metrics(_Row):
    """The score of a play."""

    task_percent_complete: float = Field(ge=0, le=1)
    task_state_success: bool
    task_explanation: str
    sim_step_count: int = Field(ge=0)
    replanning_count: dict[int, int] = Field(description="decisions per agent")
    runtime: float = Field(ge=0, description="wall seconds, pauses left out")
    state_hash: str


class EpisodeFile(_Row):
    """``<play_id>.json.gz``."""

    session: SessionRow
    users: list[User]
    episode: EpisodeRow
    frames: list[Frame | Idle]
    metrics: Metrics
    decisions: list[Decision]


class SessionFile(_Row):
    """``session.json.gz``."""

    session: SessionRow
    users: list[User]
    episodes: list[EpisodeRow]


class EpisodeHead(BaseModel):
    """What an episode file says before its frames."""

    model_config = ConfigDict(extra="ignore")

    session: SessionRow
    users: list[User]
    episode: EpisodeRow


_File = TypeVar("_File", EpisodeFile, EpisodeHead, SessionFile)


def episode_file_path(folder: str | Path, play_id: str) -> Path:
    """Where the episode file of a play lies in its session's folder."""
    return Path(folder) / f"{play_id}{EPISODE_SUFFIX}"


def list_episode_files(folder: str | Path) -> list[Path]:
    """The episode files of a session's folder, sorted by name."""
    root = Path(folder)
    if not root.is_dir():
        return []
    return sorted(
        file
        for file in root.glob(f"*{EPISODE_SUFFIX}")
        if file.name != SESSION_FILE and not file.name.endswith(CLOSED_LOG_SUFFIX) and TEMPORARY_MARK not in file.name
    )


def write_episode_file(
    path: str | Path,
    *,
    session: SessionRow,
    users: Sequence[User],
    episode: EpisodeRow,
    frames: Sequence[bytes],
    metrics: Metrics,
    decisions: Sequence[Decision],
) -> None:
    """Publish an episode file; equal input gives equal bytes.

    Args:
        path: ``episode_file_path(folder, play_id)``.
        session: the sitting, with this episode alone.
        users: who played.
        episode: which play it was.
        frames: each frame as JSON: a long play has many, and they need not exist as objects all at once.
        metrics: the score.
        decisions: every decision of both agents.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    parts: list[bytes] = []
    for name, row in (("session", session), ("users", users), ("episode", episode)):
        parts += (b"{" if not parts else b",", json.dumps(name).encode(), b":", _dumped(row))
    parts += (b',"frames":[', b",".join(frames), b'],"metrics":', _dumped(metrics))
    parts += (b',"decisions":', _dumped(decisions), b"}\n")
    publish_bytes(path, gzip.compress(b"".join(parts), compresslevel=6, mtime=0))


def write_session_file(path: str | Path, content: SessionFile) -> None:
    """Publish a session file; equal input gives equal bytes.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    publish_bytes(path, gzip.compress(content.model_dump_json().encode() + b"\n", compresslevel=6, mtime=0))


def _dumped(rows: BaseModel | Sequence[BaseModel]) -> bytes:
    if isinstance(rows, BaseModel):
        return rows.model_dump_json().encode()
    return b"[" + b",".join(row.model_dump_json().encode() for row in rows) + b"]"


def read_episode_file(path: str | Path) -> EpisodeFile:
    """Read an episode file.

    Raises:
        UserError: it is missing, damaged, or breaks the schema; the message names the field.
    """
    return _read(path, EpisodeFile)


def read_session_file(path: str | Path) -> SessionFile:
    """Read a session file.

    Raises:
        UserError: it is missing, damaged, or breaks the schema; the message names the field.
    """
    return _read(path, SessionFile)


def read_episode_head(path: str | Path) -> EpisodeHead:
    """Read who played what from an episode file; its frames and decisions are passed over.

    Raises:
        UserError: it is missing, damaged, or breaks the schema; the message names the field.
    """
    return _read(path, EpisodeHead)


def _read(path: str | Path, model: type[_File]) -> _File:
    file = Path(path)
    try:
        return model.model_validate_json(gzip.decompress(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"session file '{file}' does not exist", "check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"session file '{file}' is damaged ({error})", _REMEDY) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f"field '{place}': " if place else ""
        raise UserError(f"session file '{file}': {where}{first['msg'].lower()}", _REMEDY) from None
