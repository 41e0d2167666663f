"""LeRobot data sets, version 3.0: which file stands where, what ``info.json`` says, how a column is typed.

Data files hold many episodes, a row group each; every camera of every episode has a video file of its own here, so
that leaving an episode out, or judging it anew, never touches a video.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "v3.0"
LEGACY_VERSION = "v2.1"
CHUNK_FILES = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FACTS_PATH = "meta/flywheel_episodes.jsonl"
"""Ours, a line an episode: which recording it is, who acted, what was said of it. LeRobot passes it over."""

AUTOMATIC: dict[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""The columns every data set has, in LeRobot's order."""

IMAGES = "observation.images."
STATE = "observation.state"
ACTION = "action"
ENVIRONMENT = "observation.environment_state"

_REMEDY = "check the path, or convert it again"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column, or one camera.

    Attributes:
        dtype: NumPy's name, ``video``, ``image`` or ``string``.
        shape: of one frame's value.
        names: of its parts, as LeRobot keeps them: a list, a map of lists, or None.
        info: what is known of a video's encoding.
    """

    dtype: str
    shape: tuple[int, ...]
    names: Any = None
    info: dict[str, Any] | None = None

    @property
    def is_video(self) -> bool:
        """Whether it is a camera kept as video."""
        return self.dtype == "video"

    def plain(self) -> dict[str, Any]:
        """As it stands in ``info.json``."""
        said = {"dtype": self.dtype, "shape": list(self.shape), "names": self.names}
        return said if self.info is None else {**said, "info": self.info}


def vector(names: tuple[str, ...] | list[str], dtype: str = "float32") -> Feature:
    """A column with one number a name."""
    return Feature(dtype, (len(names),), list(names))


def scalar(dtype: str) -> Feature:
    """A column with one number a frame."""
    return Feature(dtype, (1,), None)


def camera(height: int, width: int) -> Feature:
    """A camera kept as video."""
    return Feature("video", (height, width, 3), ["height", "width", "channels"])


@dataclass(slots=True)
class DatasetInfo:
    """What ``info.json`` says.

    Attributes:
        fps: frames a second, a whole number.
        features: columns and cameras, the automatic columns last.
        robot_type: name of the robot.
        version: of the format.
        total_episodes: how many.
        total_frames: in all of them.
        total_tasks: different tasks.
        extra: further keys, kept as they are.
    """

    fps: int
    features: dict[str, Feature]
    robot_type: str | None = None
    version: str = VERSION
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def video_keys(self) -> list[str]:
        """The cameras kept as video."""
        return [key for key, feature in self.features.items() if feature.is_video]

    @property
    def columns(self) -> dict[str, Feature]:
        """What stands in the data files."""
        return {key: feature for key, feature in self.features.items() if not feature.is_video}

    def plain(self) -> dict[str, Any]:
        """As JSON, in LeRobot's order."""
        return {
            "codebase_version": self.version,
            "fps": self.fps,
            "features": {key: feature.plain() for key, feature in self.features.items()},
            "total_episodes": self.total_episodes,
            "total_frames": self.total_frames,
            "total_tasks": self.total_tasks,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.video_keys else None,
            "robot_type": self.robot_type,
            "splits": {"train": f"0:{self.total_episodes}"} if self.total_episodes else {},
            **self.extra,
        }


def with_automatic(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """The features with the automatic columns behind them."""
    named = {key: feature for key, feature in features.items() if key not in AUTOMATIC}
    return {**named, **{key: scalar(dtype) for key, dtype in AUTOMATIC.items()}}


def read_info(root: str | Path) -> DatasetInfo:
    """Read a data set's ``info.json``, version 3.0 or 2.1.

    Raises:
        UserError: it is missing, no JSON, or of another version.
    """
    file = Path(root) / INFO_PATH
    said = read_json(file)
    version = said.get("codebase_version")
    if version not in (VERSION, LEGACY_VERSION):
        raise UserError(
            f"data set '{root}' has version {version!r}", f"it must be {VERSION} or {LEGACY_VERSION}; convert it first"
        )
    try:
        features = {
            key: Feature(one["dtype"], tuple(one["shape"]), one.get("names"), one.get("info") or one.get("video_info"))
            for key, one in said["features"].items()
        }
        fps, frames, episodes = int(said["fps"]), int(said["total_frames"]), int(said["total_episodes"])
        tasks = int(said["total_tasks"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{file}' lacks or misstates {error}", _REMEDY) from None
    extra = {"tools": said["tools"]} if said.get("tools") else {}
    return DatasetInfo(fps, features, said.get("robot_type"), version, episodes, frames, tasks, extra)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is missing or no JSON object.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "name the folder of a LeRobot data set") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{file}' cannot be read ({error})", _REMEDY) from None
    if not isinstance(said, dict):
        raise UserError(f"'{file}' holds no JSON object", _REMEDY)
    return said


def arrow_schema(info: DatasetInfo) -> pa.Schema:
    """The schema of the data files: vectors as fixed-size lists, and what the `datasets` library asks to be told.

    Raises:
        UserError: a feature is kept in the data files in a way this writer does not know (matrices, pictures).
    """
    import pyarrow as pa

    fields: list[Any] = []
    told: dict[str, dict[str, Any]] = {}
    for key, feature in info.columns.items():
        kind = pa.bool_() if feature.dtype == "bool" else pa.string() if feature.dtype == "string" else None
        if kind is None:
            try:
                kind = pa.from_numpy_dtype(np.dtype(feature.dtype))
            except (TypeError, pa.ArrowNotImplementedError):
                raise UserError(
                    f"feature '{key}' has dtype '{feature.dtype}'", "columns hold numbers, truth values or text"
                ) from None
        value = {"dtype": feature.dtype, "_type": "Value"}
        if feature.shape == (1,):
            fields.append(pa.field(key, kind))
            told[key] = value
        elif len(feature.shape) == 1:
            fields.append(pa.field(key, pa.list_(kind, feature.shape[0])))
            told[key] = {"feature": value, "length": feature.shape[0], "_type": "List"}
        else:
            raise UserError(f"feature '{key}' has shape {feature.shape}", "columns hold numbers and vectors")
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": told}})})


def arrow_column(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array [T] or [T, n] as a column; shares its memory."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(arrow_column(values.reshape(-1), kind.value_type), type=kind)
    if pa.types.is_string(kind):
        return pa.array(values, kind)
    return pa.array(np.ascontiguousarray(values, kind.to_pandas_dtype()).reshape(len(values)), kind)


def numpy_column(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column as an array [T] or [T, n].

    Raises:
        ValueError: cells are empty, or lists differ in length.
    """
    import pyarrow as pa

    if column.null_count:
        raise ValueError("has empty cells")
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # an empty one
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        flat = array.flatten().to_numpy(zero_copy_only=False)
        width = len(flat) // max(len(array), 1)
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != width).any():
            raise ValueError("has lists of different lengths")
        return flat.reshape(len(array), width)
    return array.to_numpy(zero_copy_only=False)


def place(number: int) -> tuple[int, int]:
    """The chunk and the file of the ``number``-th file of a kind."""
    return number // CHUNK_FILES, number % CHUNK_FILES
