"""A station's episode as HDF5, in the ALOHA convention: what stands where, reading and writing.

Datasets: ``/observations/qpos``, ``qvel``, ``effort`` [T, joints], ``/observations/environment_state`` [T, n] where a
simulated world tells one, ``/observations/images/<camera>`` [T] JPEG as variable-length uint8, ``/action`` [T, joints],
``/timestamp`` [T] seconds, ``/intervention`` [T] bool. Root attributes are those of :class:`StationFacts`.

Files of others are read too: pictures as plain [T, height, width, 3] or as JPEG padded to one length, ``qvel``,
``effort`` and our attributes missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.reserved_file import ReservedFile

EPISODE_SUFFIX = ".hdf5"
Verdict = Literal["good", "bad"]
Float32 = npt.NDArray[np.float32]

_BATCH = 64
_HEAP_BLOCK = 4096
_NUMBERS = ("qpos", "qvel", "effort")


class StationFacts(BaseModel):
    """What is known of an episode beside its frames: the file's attributes."""

    model_config = ConfigDict(extra="ignore")

    episode_id: str = Field(description="never given twice; what a label or a copy is matched by")
    task: str = Field(default="", description="in natural language, without an advantage")
    fps: float = Field(default=50.0, gt=0, description="frames a second")
    robot: str = Field(default="", description="name of the robot")
    joint_names: tuple[str, ...] = Field(default=(), description="in the order of every vector")
    environment_state_names: tuple[str, ...] = Field(default=(), description="what a simulated world tells")
    policy_id: str = Field(default="", description="the policy that acted")
    iteration: int = Field(default=0, ge=0, description="the turn of the loop it was collected in")
    sim: bool = Field(default=False, description="whether the robot was simulated")
    status: Literal["complete", "aborted"] = Field(default="complete", description="how it ended")
    reason: str = Field(default="", description="why it was aborted")
    advantage: bool | None = Field(default=None, description="the person's verdict: good, bad, or none yet")
    success: bool | None = Field(default=None, description="the simulator's truth, where it is known")
    started: float = Field(default=0.0, ge=0, description="seconds since 1970")

    @property
    def verdict(self) -> Verdict | None:
        """The person's verdict as the station says it."""
        return None if self.advantage is None else "good" if self.advantage else "bad"


@dataclass(slots=True)
class StationEpisode:
    """An episode's numbers; its pictures stay in the file.

    Attributes:
        path: the file.
        facts: what is known of it.
        qpos: joint positions, [T, joints] float32.
        qvel: joint velocities, alike; None where the file has none.
        effort: what the motors gave, alike; None where the file has none.
        action: absolute joint targets, alike.
        environment_state: what a simulated world told, [T, n] float32; None for a real robot.
        timestamp: seconds since the episode began, [T] float64.
        intervention: whether a person had the robot in hand, [T] bool.
        cameras: camera → (height, width).
    """

    path: Path
    facts: StationFacts
    qpos: Float32
    qvel: Float32 | None
    effort: Float32 | None
    action: Float32
    environment_state: Float32 | None
    timestamp: npt.NDArray[np.float64]
    intervention: npt.NDArray[np.bool_]
    cameras: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames, T."""
        return len(self.action)


def write_station_hdf5(
    path: Path,
    facts: StationFacts,
    numbers: dict[str, npt.NDArray[Any]],
    cameras: dict[str, tuple[int, int]],
    pictures: Iterable[Sequence[bytes]],
    pictures_bytes: int,
) -> None:
    """Write an episode; the caller publishes it.

    Args:
        path: the file to make.
        facts: its attributes.
        numbers: dataset → array, all with T rows.
        cameras: camera → (height, width).
        pictures: for each frame one JPEG a camera, in the order of ``cameras``; a second's worth is in memory at a
            time.
        pictures_bytes: how much the JPEGs are together, at most.

    Raises:
        OSError: the disk has no room for it.
    """
    with ReservedFile(path, _largest_size(numbers, len(cameras), pictures_bytes)) as room, h5py.File(room, "w") as file:
        for name, value in facts.model_dump().items():
            if value is not None:
                file.attrs[name] = json.dumps(value) if isinstance(value, tuple) else value
        for name, array in numbers.items():
            file.create_dataset(name, data=array)
        if cameras:
            _write_pictures(file, len(numbers["action"]), cameras, pictures)


def _largest_size(numbers: Mapping[str, npt.NDArray[Any]], cameras: int, pictures_bytes: int) -> int:
    """What an episode takes on disk, at most: HDF5 keeps small pictures in blocks, large ones with a head."""
    blocks = _HEAP_BLOCK * len(numbers["action"]) * cameras
    return (2 << 20) + sum(array.nbytes for array in numbers.values()) + pictures_bytes + blocks


def _write_pictures(
    file: Any, frames: int, cameras: Mapping[str, tuple[int, int]], pictures: Iterable[Sequence[bytes]]
) -> None:
    kept = []
    for camera, (height, width) in cameras.items():
        dataset = file.create_dataset(
            f"observations/images/{camera}", (frames,), h5py.vlen_dtype(np.uint8), chunks=(min(_BATCH, frames),)
        )
        dataset.attrs.update(encoding="jpeg", height=height, width=width)
        kept.append(dataset)
    batch: list[Sequence[bytes]] = []
    done = 0
    for frame in pictures:
        batch.append(frame)
        if len(batch) == _BATCH:
            done = _store(kept, batch, done)
    _store(kept, batch, done)


def _store(datasets: list[Any], batch: list[Sequence[bytes]], done: int) -> int:
    for number, dataset in enumerate(datasets):
        cells = np.empty(len(batch), h5py.vlen_dtype(np.uint8))
        for row, frame in enumerate(batch):
            cells[row] = np.frombuffer(frame[number], np.uint8)
        dataset.write_direct(cells, dest_sel=np.s_[done : done + len(batch)])
    done += len(batch)
    batch.clear()
    return done


def read_station_episode(path: str | Path) -> StationEpisode:
    """Read an episode's numbers and facts.

    Raises:
        UserError: the file is missing, corrupt, or no episode; the message names the file and the dataset.
    """
    file = Path(path)
    with opened_hdf5(file) as hdf5:
        action = _numbers(file, hdf5, "action")
        frames = len(action)
        qpos = _numbers(file, hdf5, "observations/qpos", rows=frames)
        there, observed = set(hdf5), set(hdf5["observations"])
        optional = {
            name: _numbers(file, hdf5, f"observations/{name}", rows=frames) if name in observed else None
            for name in ("qvel", "effort", "environment_state")
        }
        facts = _facts(file, hdf5)
        timestamp = np.asarray(hdf5["timestamp"][()], np.float64) if "timestamp" in there else None
        intervention = np.asarray(hdf5["intervention"][()], bool) if "intervention" in there else None
        for name, array in (("timestamp", timestamp), ("intervention", intervention)):
            if array is not None and array.shape != (frames,):
                raise UserError(
                    f"episode '{file}': '{name}' has shape {array.shape}, not ({frames},)", "record it again"
                )
        cameras = {name: _picture_size(file, name, images) for name, images in sorted(_image_datasets(hdf5).items())}
    return StationEpisode(
        path=file,
        facts=facts,
        qpos=qpos,
        qvel=optional["qvel"],
        effort=optional["effort"],
        action=action,
        environment_state=optional["environment_state"],
        timestamp=np.arange(frames) / facts.fps if timestamp is None else timestamp,
        intervention=np.zeros(frames, bool) if intervention is None else intervention,
        cameras=cameras,
    )


def read_state_and_action(path: str | Path) -> tuple[Float32, Float32]:
    """Read an episode's ``qpos`` and ``action`` alone.

    Raises:
        UserError: as :func:`read_station_episode`.
    """
    file = Path(path)
    with opened_hdf5(file) as hdf5:
        action = _numbers(file, hdf5, "action")
        return _numbers(file, hdf5, "observations/qpos", rows=len(action)), action


def read_station_facts(path: str | Path) -> StationFacts:
    """Read an episode's attributes alone.

    Raises:
        UserError: the file is missing or corrupt.
    """
    file = Path(path)
    with opened_hdf5(file) as hdf5:
        return _facts(file, hdf5)


def read_pictures(
    path: str | Path, camera: str, first: int = 0, last: int | None = None
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield a camera's pictures in order: JPEG as [n] uint8, or plain [height, width, 3] as the file has them.

    Args:
        path: the file.
        camera: the camera's name.
        first: the first frame wanted.
        last: the frame after the last one wanted; all where None.

    Raises:
        UserError: the file is missing or corrupt, or has no such camera.
    """
    file = Path(path)
    with opened_hdf5(file) as hdf5:
        images = _image_datasets(hdf5)
        if camera not in images:
            raise UserError(
                f"episode '{file}' has no camera '{camera}'", f"it has {', '.join(sorted(images)) or 'none'}"
            )
        dataset = images[camera]
        stop = len(dataset) if last is None else min(last, len(dataset))
        for start in range(first, stop, _BATCH):
            yield from dataset[start : min(start + _BATCH, stop)]


def list_station_episodes(folder: str | Path) -> list[Path]:
    """The finished episodes in a folder and the folders below it, in the order of their numbers.

    Hidden ones are not finished: rsync keeps what has come halfway in a hidden folder, under the episode's own name.
    """
    root = Path(folder)
    found = [
        path
        for path in root.rglob(f"*{EPISODE_SUFFIX}")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(path)) if part]


@contextlib.contextmanager
def opened_hdf5(file: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; what is wrong with it becomes one line.

    Raises:
        UserError: the file is missing or corrupt.
    """
    if not file.is_file():
        raise UserError(f"episode '{file}' does not exist", "check the path")
    try:
        with h5py.File(file, "r") as hdf5:
            yield hdf5
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"episode '{file}' is corrupt ({' '.join(str(error).split())})", "move it away, or copy it again"
        ) from None


def _image_datasets(hdf5: Any) -> dict[str, Any]:
    return dict(hdf5["observations/images"].items()) if "observations/images" in hdf5 else {}


def _numbers(file: Path, hdf5: Any, name: str, rows: int | None = None) -> Float32:
    try:
        array = np.ascontiguousarray(hdf5[name][()], np.float32)
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"episode '{file}' has no '{name}' of numbers", "it is not an episode in the ALOHA convention"
        ) from None
    if array.ndim != 2 or not len(array) or rows not in (None, len(array)):
        wanted = f"({'T' if rows is None else rows}, joints)"
        raise UserError(f"episode '{file}': '{name}' has shape {array.shape}, not {wanted}", "record it again")
    if not np.isfinite(array).all():
        frame, joint = np.argwhere(~np.isfinite(array))[0]
        raise UserError(
            f"episode '{file}': '{name}' holds {array[frame, joint]} at frame {frame}, joint {joint}",
            "leave the episode out, or record it again",
        )
    return array


def _picture_size(file: Path, camera: str, images: Any) -> tuple[int, int]:
    if images.ndim == 4 and images.shape[3] == 3:
        return int(images.shape[1]), int(images.shape[2])
    if images.ndim > 2 or not len(images):
        raise UserError(
            f"episode '{file}': pictures of '{camera}' have shape {images.shape}",
            "they must be JPEG, or [T, height, width, 3]",
        )
    if "height" in images.attrs and "width" in images.attrs:
        return int(images.attrs["height"]), int(images.attrs["width"])
    from hitl_ops.records.pictures import decode_jpeg

    height, width, _ = decode_jpeg(np.asarray(images[0]), f"episode '{file}', camera '{camera}', frame 0").shape
    return height, width


def _facts(file: Path, hdf5: Any) -> StationFacts:
    attributes = hdf5.attrs
    values: dict[str, Any] = {
        name: _plain(attributes[name]) for name in attributes if name in StationFacts.model_fields
    }
    # What others wrote has no id: its numbers are one, so that a copy of it is known as a copy.
    if "episode_id" not in values:
        content = (hdf5[name][()].tobytes() for name in ("observations/qpos", "action") if name in hdf5)
        values["episode_id"] = hashlib.sha256(b"".join(content)).hexdigest()[:32]
    for name in ("joint_names", "environment_state_names"):
        if isinstance(values.get(name), str):
            values[name] = json.loads(values[name])
    if "advantage" not in values and "status" not in values and "success" in values:
        values["advantage"] = values["success"]
    try:
        return StationFacts.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"episode '{file}': attribute '{first['loc'][0]}' is {first['input']!r}", first["msg"].lower()
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
