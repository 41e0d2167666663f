"""What a trained estimator says of every frame of a data set.

Videos are decoded ahead of the model, each frame is encoded once, and an episode's numbers come from the features of
its frames. A batch goes on across episodes and always holds the same frames, those whose numbers in the data set follow
on a multiple of its size: whoever was stopped and goes on gets the numbers of whoever was not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.lerobot_columns import EpisodeSpan, episode_spans, read_columns
from hitl_ops.records.lerobot_layout import STATE, numpy_column
from hitl_ops.records.lerobot_overlay import dataset_fingerprint
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.video_stream import CHUNKS_AHEAD, Clip, Pictures, StreamFigures, VideoStream
from hitl_ops.samples.estimation_input import states_digest, videos_digest
from hitl_ops.samples.estimation_output import estimation_output
from hitl_ops.samples.frame_encoding import FrameEncoder

if TYPE_CHECKING:
    import torch

    from hitl_ops.models.advantage_estimator import AdvantageEstimator

_CHUNK = 32
_REMEDY = "mend the recording, or leave the episode out"


class EstimationConfig(StrictConfig):
    """How a data set is estimated."""

    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="of the estimates, to which the estimator's steps are added; its variant (KAI0, PI06) where empty",
    )
    delta: int = Field(default=50, ge=1, description="frames that an advantage looks ahead")
    batch_size: int = Field(default=64, ge=1, le=65_536, description="frames encoded at once")
    prefetch: int = Field(
        default=CHUNKS_AHEAD, ge=1, le=1024, description=f"chunks of {_CHUNK} frames of each camera decoded ahead"
    )
    decode_threads: int = Field(default=0, ge=0, le=256, description="threads that decode; 0: one a core")
    device: Literal["auto", "cpu"] = Field(default="auto", description="auto takes an accelerator where there is one")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 halves the work on accelerators that have it"
    )


class EstimationSummary(BaseModel):
    """What came of it."""

    name: str = Field(description="of the estimates: the configuration's and the estimator's steps")
    place: str = Field(description="folder of the estimates")
    variant: str = Field(description="of the estimator")
    columns: list[str] = Field(description="estimated of every frame")
    episodes: int = Field(description="of the data set")
    frames: int = Field(description="of the data set")
    estimated_now: int = Field(default=0, description="episodes that were not there before")
    frames_per_second: float | None = Field(default=None, description="of those; None where nothing was left to do")
    decode_s: float = Field(default=0.0, description="processor seconds that decoding took")
    idle_share: float | None = Field(default=None, description="share of the time in which nothing was being encoded")
    most_held: int = Field(default=0, description="the most decoded pictures that waited at once")


def estimate_advantages(
    estimator: Path,
    dataset: Path,
    config: EstimationConfig | None = None,
    out: Path | None = None,
    progress: Progress = silent,
    *,
    replace: bool = False,
) -> EstimationSummary:
    """Estimate value and advantage of every frame of a data set; what was finished before is kept.

    Args:
        estimator: folder of a trained estimator.
        dataset: the data set, version 3.0 or 2.1; it stays as it is.
        config: how.
        out: folder of an overlay to write. Where None: ``data_<name>_<steps>`` in a data set of version 2.1, its rows
            with ``relative_advantage`` (KAI0), ``absolute_value`` and ``absolute_advantage`` behind the other columns;
            for one of version 3.0 an overlay ``<data set>_<name>_<steps>`` beside it.
        progress: told of the frames that are done.
        replace: whether other estimates, finished or not, that stand where these go are removed first; refused
            otherwise.

    Returns:
        What came of it.

    Raises:
        UserError: the estimator or the data set cannot be used, a frame cannot be decoded or has no state (the message
            names file, episode and frame), or something else stands where the estimates go. Finished episodes are kept.
    """
    from hitl_ops.models.advantage_estimator import load_estimator

    config = config or EstimationConfig()
    device = device_of(config)
    folder, model = open_lerobot(dataset), load_estimator(estimator, device)
    facts = model.facts
    _check_fits(folder, estimator, facts.cameras, facts.joints)
    moments = read_columns(folder, ["timestamp"])["timestamp"]
    spans = episode_spans(folder)
    name = f"{config.name or facts.config.variant}_{facts.steps}"
    columns = _columns(facts.config.variant)
    made: dict[str, Any] = {
        "estimator": {"name": facts.name, "variant": facts.config.variant, "steps": facts.steps},
        "weights": weights_hash(estimator),
        "settings": config.model_dump(mode="json", include={"delta", "batch_size", "precision"}) | {"device": device},
        "dataset": dataset_fingerprint(folder),
        "videos": videos_digest(folder, facts.cameras),
        "states": states_digest(spans) if facts.joints else None,
        "columns": columns,
        "episodes": len(spans),
        "frames": len(moments),
    }
    summary = EstimationSummary(
        name=name, place="", variant=facts.config.variant, columns=columns, episodes=len(spans), frames=len(moments)
    )
    with estimation_output(folder, spans, name, made, out, replace=replace) as output:
        summary.place = str(output.place)
        if output.finished():
            progress(summary.frames, summary.frames, "estimated before")
            return summary
        missing = {span.index for span in spans if not output.has(span)}
        todo = sum(span.length for span in spans if span.index in missing)
        done = summary.frames - todo
        progress(done, summary.frames, "starting")
        rows = _Rows(folder, spans, moments, missing, config.batch_size, facts.joints)
        began = time.perf_counter()
        costs = _Costs()
        for span, said in _estimated(model, rows, config, device, costs):
            _check_numbers(span, said)
            output.write(span, said)
            done += span.length
            summary.estimated_now += 1
            progress(done, summary.frames, f"frames, episode {span.index}")
        took = time.perf_counter() - began
        output.finish()
    if todo:
        summary.frames_per_second = todo / took
        summary.idle_share = max(0.0, 1 - costs.busy_s / took)
        summary.decode_s, summary.most_held = costs.stream.decode_s, costs.stream.most_held
    return summary


def weights_hash(estimator: Path) -> str:
    """Tells an estimator from others by its weights and what is known of them.

    Raises:
        UserError: the folder holds no estimator.
    """
    from hitl_ops.models.advantage_estimator import FACTS_FILE, WEIGHTS_FILE

    digest = hashlib.sha256()
    for name in (FACTS_FILE, WEIGHTS_FILE):
        try:
            with (estimator / name).open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        except OSError as error:
            raise UserError(f"'{estimator / name}' cannot be read ({error.strerror})", "name an estimator") from None
    return digest.hexdigest()


def _columns(variant: str) -> list[str]:
    from hitl_ops.models.estimator_config import ABSOLUTE_ADVANTAGE, ABSOLUTE_VALUE, RELATIVE_ADVANTAGE

    return [*([RELATIVE_ADVANTAGE] if variant == "KAI0" else []), ABSOLUTE_VALUE, ABSOLUTE_ADVANTAGE]


def device_of(config: EstimationConfig) -> str:
    """What an estimator runs on here."""
    import torch

    return "cuda" if config.device == "auto" and torch.cuda.is_available() else "cpu"


def _check_fits(folder: LeRobotFolder, estimator: Path, cameras: Sequence[str], joints: int) -> None:
    """See that the data set has what the estimator looks at."""
    for key in cameras:
        if key not in folder.info.video_keys:
            known = ", ".join(folder.info.video_keys) or "none"
            raise UserError(
                f"data set '{folder.root}' has no camera '{key}'",
                f"estimator '{estimator}' looks at it; the data set has {known}",
            )
    if not joints:
        return
    if STATE not in folder.info.columns:
        raise UserError(f"data set '{folder.root}' has no '{STATE}'", f"estimator '{estimator}' looks at it")
    shape = folder.info.columns[STATE].shape
    if shape != (joints,):
        raise UserError(
            f"'{STATE}' of data set '{folder.root}' has shape {shape}",
            f"estimator '{estimator}' looks at {joints} joints; take one that was trained on this robot",
        )


def _check_numbers(span: EpisodeSpan, said: dict[str, npt.NDArray[np.float32]]) -> None:
    for name, values in said.items():
        if not np.isfinite(values).all():
            frame = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(
                f"the estimator says {values[frame]} as '{name}' of '{span.data}', episode {span.index}, frame {frame}",
                "train it again, or estimate with precision=float32",
            )


@dataclass(slots=True)
class _Costs:
    """What estimating took.

    Attributes:
        stream: what decoding took.
        busy_s: seconds in which something was being encoded.
    """

    stream: StreamFigures = field(default_factory=StreamFigures)
    busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An episode of which rows are needed.

    Attributes:
        span: the episode.
        state: [T, joints] float32; None where the estimator does not look at it.
        missing: whether its estimates are; where not, its rows only complete a batch.
    """

    span: EpisodeSpan
    state: npt.NDArray[np.float32] | None
    missing: bool


class _Rows:
    """Which rows are to be looked at, so that every batch holds what it would hold if nothing were there yet.

    Args:
        folder: the data set.
        spans: its episodes.
        moments: seconds since its episode began, of each frame.
        missing: episodes without estimates.
        batch: frames encoded at once.
        joints: length of the state; 0: it is not looked at.
    """

    def __init__(
        self,
        folder: LeRobotFolder,
        spans: Sequence[EpisodeSpan],
        moments: npt.NDArray[Any],
        missing: set[int],
        batch: int,
        joints: int,
    ) -> None:
        self.folder = folder
        self._spans, self._moments, self._missing, self._joints = spans, moments, missing, joints
        self.batch = batch
        self.known: dict[int, _Wanted] = {}
        """Episodes that are being decoded; whoever has used one takes it out."""

    def clips(self) -> Iterator[Clip]:
        """What is to be decoded, in order.

        Raises:
            UserError: rows are missing or corrupt, or a state has no number.
        """
        frames, batch = len(self._moments), self.batch
        needed = np.zeros(-(-frames // batch), bool)
        for span in self._spans:
            if span.index in self._missing:
                needed[span.start // batch : (span.start + span.length - 1) // batch + 1] = True
        rows = np.repeat(needed, batch)[:frames]
        for span, (entry, table) in zip(self._spans, self.folder.episodes(), strict=True):
            mine = np.flatnonzero(rows[span.start : span.start + span.length])
            if not len(mine):
                continue
            state = self._state(span, table) if self._joints else None
            self.known[span.index] = _Wanted(span, state, span.index in self._missing)
            moments = self._moments[span.start : span.start + span.length].astype(np.float64)
            # A finished episode may be needed at both of its ends.
            for part in np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1):
                yield Clip(span.index, moments, entry.videos, int(part[0]), int(part[-1]) + 1)

    def _state(self, span: EpisodeSpan, table: Any) -> npt.NDArray[np.float32]:
        where = f"'{span.data}', episode {span.index}"
        if STATE not in table.column_names:
            raise UserError(f"{where}, frame 0 has no column '{STATE}'", _REMEDY)
        try:
            state = numpy_column(table.column(STATE)).reshape(table.num_rows, -1).astype(np.float32)
        except ValueError as error:
            raise UserError(f"'{STATE}' of {where} {error}", _REMEDY) from None
        if state.shape[1] != self._joints:
            raise UserError(f"{where}, frame 0 has {state.shape[1]} joints, not {self._joints}", _REMEDY)
        wrong = ~np.isfinite(state).all(axis=1)
        if wrong.any():
            frame = int(np.flatnonzero(wrong)[0])
            raise UserError(f"{where}, frame {frame} has {state[frame].tolist()} as '{STATE}'", _REMEDY)
        return state


def _estimated(
    model: AdvantageEstimator, rows: _Rows, config: EstimationConfig, device: str, costs: _Costs
) -> Iterator[tuple[EpisodeSpan, dict[str, npt.NDArray[np.float32]]]]:
    """Each episode that is missing, with its columns."""
    import torch

    from hitl_ops.models.advantage_estimator import episode_advantages

    cameras, side = model.facts.cameras, model.facts.config.image_size
    stream = VideoStream(
        rows.clips(), cameras, (side, side), rows.folder.info.fps,
        chunk=_CHUNK, ahead=config.prefetch, threads=config.decode_threads, figures=costs.stream,
    )  # fmt: skip
    open_parts: dict[int, list[torch.Tensor]] = {}
    with stream, FrameEncoder(model, rows.batch, device, config.precision) as encoder:
        for wanted, features in _encoded(encoder, stream, rows):
            if not wanted.missing:
                continue
            span = wanted.span
            parts = open_parts.setdefault(span.index, [])
            parts.append(features)
            if sum(len(part) for part in parts) == span.length:
                del open_parts[span.index], rows.known[span.index]
                yield span, episode_advantages(model, torch.cat(parts), config.delta)
        costs.busy_s = encoder.busy_s


def _encoded(encoder: FrameEncoder, stream: Iterable[Pictures], rows: _Rows) -> Iterator[tuple[_Wanted, torch.Tensor]]:
    """Pieces of episodes, in order, each with the features of its frames, [n, F]; a batch goes on across episodes."""
    pieces: list[_Wanted] = []
    counts: list[int] = []
    for pictures in stream:
        wanted, taken = rows.known[pictures.episode], 0
        while taken < len(pictures):
            row = pictures.first + taken
            room = rows.batch - (wanted.span.start + row) % rows.batch
            count = min(room, len(pictures) - taken)
            state = None if wanted.state is None else wanted.state[row : row + count]
            encoder.add([images[taken : taken + count] for images in pictures.cameras], state)
            pieces.append(wanted)
            counts.append(count)
            taken += count
            if count == room:
                encoder.encode((pieces, counts))
                pieces, counts = [], []
                for (of, each), features in encoder.done():
                    yield from zip(of, features.split(each), strict=True)
    if pieces:
        encoder.encode((pieces, counts))
    for (of, each), features in encoder.done(everything=True):
        yield from zip(of, features.split(each), strict=True)
