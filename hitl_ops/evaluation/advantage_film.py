"""An episode with what an estimator says of it: its video over the curves of value and advantage, to look at and watch.

The picture has a strip of frames, each over its moment; the film shows every camera, and a line moves over the curves.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_bytes, publishing
from hitl_ops.evaluation.plots import PALETTE
from hitl_ops.models.estimator_config import ABSOLUTE_ADVANTAGE, ABSOLUTE_VALUE, RELATIVE_ADVANTAGE
from hitl_ops.records.lerobot_columns import episode_spans, read_columns
from hitl_ops.records.lerobot_overlay import FACTS_FILE, Overlay, open_overlay, read_column
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder, open_lerobot
from hitl_ops.records.video_stream import Clip, VideoStream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH = "stage_progress_gt"
TILES = 9
_WIDTH, _CURVES = 1080, 420
_VIEWS, _GAP = 300, 6
"""Pixels of the film: its width, the height of the curves and of the cameras' pictures, the room between those."""
_FRAMES_PER_SECOND_AT_MOST = 25
_DPI = 120
_INK, _FAINT, _PAPER = "#27313b", "#d9dfe5", "#ffffff"
_CURSOR = (213, 94, 0)


@dataclass(frozen=True, slots=True)
class EpisodeEstimates:
    """What is known of an episode's frames.

    Attributes:
        folder: the data set.
        entry: the episode.
        moments: seconds since it began, [T].
        columns: ``absolute_value``, ``absolute_advantage`` and, of some estimators, ``relative_advantage``, [T] each.
        truth: the true progress, [T]; None where it is not known.
        source: name of the estimates.
        cameras: the data set's.
    """

    folder: LeRobotFolder
    entry: EpisodeEntry
    moments: npt.NDArray[np.float64]
    columns: dict[str, npt.NDArray[Any]]
    truth: npt.NDArray[Any] | None
    source: str
    cameras: list[str]

    @property
    def clip(self) -> Clip:
        """Its videos."""
        return Clip(self.entry.index, self.moments, self.entry.videos)


def read_estimates(dataset: Path, episode: int, estimates: Path, overlays: Sequence[Path] = ()) -> EpisodeEstimates:
    """Read what was estimated of an episode.

    Args:
        dataset: the data set.
        episode: number of the episode.
        estimates: an overlay, or a folder ``data_<name>`` of a data set of version 2.1.
        overlays: further ones, where the true progress stands in one.

    Raises:
        UserError: there is no such episode, or its estimates are missing.
    """
    folder = open_lerobot(dataset)
    entry = next((one for one in folder.entries() if one.index == episode), None)
    if entry is None:
        raise UserError(
            f"data set '{dataset}' has no episode {episode}", f"name one below {folder.info.total_episodes}"
        )
    span = next(one for one in episode_spans(folder) if one.index == episode)
    rows = slice(span.start, span.start + span.length)
    further = [open_overlay(one, folder) for one in overlays]
    if (estimates / FACTS_FILE).is_file():
        overlay = open_overlay(estimates, folder)
        further.append(overlay)
        found = {name: overlay.column(name)[rows] for name in _names(list(overlay.facts.columns), estimates)}
    else:
        found = _beside(estimates / span.data.parent.name / span.data.name, span.length)
    return EpisodeEstimates(
        folder=folder,
        entry=entry,
        moments=read_columns(folder, ["timestamp"])["timestamp"][rows].astype(np.float64),
        columns=found,
        truth=_truth(folder, further, rows),
        source=estimates.name,
        cameras=list(folder.info.video_keys),
    )


def draw_episode(
    dataset: Path, episode: int, estimates: Path, out: Path, *, overlays: Sequence[Path] = ()
) -> EpisodeEstimates:
    """Draw an episode: frames of its first camera over the curves of value and advantage; publishes a PNG.

    Args:
        dataset: the data set.
        episode: number of the episode.
        estimates: an overlay, or a folder ``data_<name>`` of a data set of version 2.1.
        out: the PNG.
        overlays: further ones, where the true progress stands in one.

    Returns:
        What was drawn.

    Raises:
        UserError: the episode, its estimates or its video are missing, or the disk is full.
    """
    known = read_estimates(dataset, episode, estimates, overlays)
    figure = _figure(_WIDTH, _CURVES + 150 if known.cameras else _CURVES)
    axes = figure.subplots(3, 1, height_ratios=[1.1, 1.6, 1.6]) if known.cameras else [None, *figure.subplots(2, 1)]
    if known.cameras:
        _strip(axes[0], known)
    _curves(axes[1], axes[2], known)
    figure.suptitle(_title(known), x=0.012, ha="left", fontsize=10, color=_INK)
    publish_bytes(out, _png(figure))
    return known


def film_episode(
    dataset: Path,
    episode: int,
    estimates: Path,
    out: Path,
    progress: Progress = silent,
    *,
    overlays: Sequence[Path] = (),
) -> int:
    """Film an episode: its cameras over the curves of value and advantage, on which a line moves; publishes an mp4.

    Args:
        dataset: the data set.
        episode: number of the episode.
        estimates: an overlay, or a folder ``data_<name>`` of a data set of version 2.1.
        out: the mp4.
        progress: told after every frame of the film.
        overlays: further ones, where the true progress stands in one.

    Returns:
        How many frames the film has.

    Raises:
        UserError: the episode, its estimates or its video are missing, or the disk is full.
    """
    import av
    from PIL import Image

    known = read_estimates(dataset, episode, estimates, overlays)
    if not known.cameras:
        raise UserError(f"data set '{dataset}' has no camera", "draw its curves alone")
    background, places = _drawn_curves(known)
    every = max(1, round(known.folder.info.fps / _FRAMES_PER_SECOND_AT_MOST))
    shown = range(0, len(known.moments), every)
    size = _view_size(known, len(known.cameras))
    with (
        publishing(out) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream: Any = container.add_stream(
            "libx264", rate=Fraction(known.folder.info.fps, every), options={"crf": "20", "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = _WIDTH, size[0] + background.shape[0], "yuv420p"
        stream.thread_count = 1
        for done, (row, views) in enumerate(_views(known, size, every), 1):
            picture = np.full((stream.height, _WIDTH, 3), 255, np.uint8)
            left = (_WIDTH - sum(view.shape[1] for view in views)) // 2
            for view in views:
                picture[: size[0], left : left + size[1]] = view
                left += size[1] + _GAP
            picture[size[0] :] = background
            _mark(picture[size[0] :], places, row)
            frame = av.VideoFrame.from_image(Image.fromarray(picture))
            container.mux(stream.encode(frame))
            progress(done, len(shown), "frames")
        container.mux(stream.encode())
    return len(shown)


def _names(known: list[str], where: Path) -> list[str]:
    missing = [name for name in (ABSOLUTE_VALUE, ABSOLUTE_ADVANTAGE) if name not in known]
    if missing:
        raise UserError(f"'{where}' has no column '{missing[0]}'", "estimate it: `flywheel estimate-advantage`")
    return [name for name in (ABSOLUTE_VALUE, RELATIVE_ADVANTAGE, ABSOLUTE_ADVANTAGE) if name in known]


def _beside(file: Path, length: int) -> dict[str, npt.NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            table = parquet.read(_names(parquet.schema_arrow.names, file))
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "estimate it: `flywheel estimate-advantage`") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"'{file}' is corrupt ({' '.join(str(error).split())})", "estimate it again") from None
    if table.num_rows != length:
        raise UserError(f"'{file}' has {table.num_rows} rows, its episode {length}", "estimate it again")
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _truth(folder: LeRobotFolder, overlays: Sequence[Overlay], rows: slice) -> npt.NDArray[Any] | None:
    if TRUTH in folder.info.columns or any(TRUTH in one.facts.columns for one in overlays):
        return read_column(folder, TRUTH, overlays)[rows]
    return None


def _title(known: EpisodeEstimates) -> str:
    task = known.entry.tasks[0] if known.entry.tasks else ""
    return f"Episode {known.entry.index} of {known.folder.root.name}, {known.source}: {task}"


def _view_size(known: EpisodeEstimates, across: int) -> tuple[int, int]:
    """Rows and columns of a camera's picture in the film, both even."""
    height, width = known.folder.info.features[known.cameras[0]].shape[:2]
    rows = min(_VIEWS, int((_WIDTH / across - _GAP) * height / width))
    return rows // 2 * 2, int(rows * width / height) // 2 * 2


def _views(
    known: EpisodeEstimates, size: tuple[int, int], every: int
) -> Iterator[tuple[int, list[npt.NDArray[np.uint8]]]]:
    """The rows that the film shows, each with its cameras' pictures."""
    with VideoStream([known.clip], known.cameras, size, known.folder.info.fps, chunk=16) as stream:
        for pictures in stream:
            for n in range(-pictures.first % every, len(pictures), every):
                yield pictures.first + n, [images[n] for images in pictures.cameras]


def _strip(axes: Axes, known: EpisodeEstimates) -> None:
    """Frames of the first camera, each over its moment."""
    clip, last = known.clip, len(known.moments) - 1
    end = max(float(known.moments[-1]), 1e-3)
    height, width = known.folder.info.features[known.cameras[0]].shape[:2]
    size = (140, int(140 * width / height))
    rows = sorted({round(last * (n + 0.5) / TILES) for n in range(TILES)})
    wanted = [Clip(clip.episode, clip.moments, clip.videos, row, row + 1) for row in rows]
    half = end / TILES / 2 * 0.97
    with VideoStream(wanted, known.cameras[:1], size, known.folder.info.fps) as stream:
        for number, pictures in enumerate(stream):
            middle = end * (number + 0.5) / len(rows)
            axes.imshow(pictures.cameras[0][0], extent=(middle - half, middle + half, 0, 1), aspect="auto")
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1)
    axes.axis("off")


def _curves(above: Axes, below: Axes, known: EpisodeEstimates) -> None:
    """Value and, where it is known, progress; under them the advantages."""
    end = max(float(known.moments[-1]), 1e-3)
    value = known.columns[ABSOLUTE_VALUE]
    if known.truth is not None:
        above.plot(known.moments, known.truth, color=_INK, linewidth=1.2, linestyle=(0, (4, 2)), label="true progress")
    above.plot(known.moments, value, color=PALETTE[0], linewidth=1.8, label="value")
    above.set_ylim(min(0.0, float(value.min())) - 0.05, max(1.0, float(value.max())) + 0.05)
    above.set_ylabel("value")
    above.tick_params(labelbottom=False)
    main = known.columns.get(RELATIVE_ADVANTAGE, known.columns[ABSOLUTE_ADVANTAGE])
    below.fill_between(
        known.moments, 0, main, where=main >= 0, interpolate=True, color=PALETTE[2], alpha=0.3, linewidth=0
    )
    below.fill_between(
        known.moments, 0, main, where=main < 0, interpolate=True, color=PALETTE[5], alpha=0.3, linewidth=0
    )
    for name, colour, label in (
        (RELATIVE_ADVANTAGE, PALETTE[2], "relative advantage"),
        (ABSOLUTE_ADVANTAGE, PALETTE[3], "absolute advantage"),
    ):
        if name in known.columns:
            below.plot(known.moments, known.columns[name], color=colour, linewidth=1.4, label=label)
    reach = max(0.1, *(float(np.abs(known.columns[name]).max()) for name in known.columns if name != ABSOLUTE_VALUE))
    below.axhline(0, color=_INK, linewidth=0.8)
    below.set_ylim(-1.1 * reach, 1.1 * reach)
    below.set_ylabel("advantage")
    below.set_xlabel("seconds")
    for axes in (above, below):
        axes.set_xlim(0, end)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_FAINT)
        axes.tick_params(colors=_INK, labelsize=8, length=0)
        axes.grid(axis="y", color=_FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where on the drawn curves the line and its dots go, pixels.

    Attributes:
        columns: of each frame, [T].
        top: first row of the line.
        bottom: last row.
        dots: the row of each frame on each curve, [T], and the curve's colour.
    """

    columns: npt.NDArray[np.int64]
    top: int
    bottom: int
    dots: list[tuple[npt.NDArray[np.int64], tuple[int, int, int]]]


def _drawn_curves(known: EpisodeEstimates) -> tuple[npt.NDArray[np.uint8], _Places]:
    """The curves as a picture, and where the line goes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb

    figure = _figure(_WIDTH, _CURVES)
    above, below = figure.subplots(2, 1)
    _curves(above, below, known)
    figure.suptitle(_title(known), x=0.012, ha="left", fontsize=10, color=_INK)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    height = len(picture)

    def pixels(axes: Axes, name: str) -> npt.NDArray[np.int64]:
        points = axes.transData.transform(np.column_stack([known.moments, known.columns[name]]))
        return np.stack([points[:, 0], height - 1 - points[:, 1]]).round().astype(np.int64)

    def shade(colour: str) -> tuple[int, int, int]:
        red, green, blue = (round(255 * part) for part in to_rgb(colour))
        return red, green, blue

    main = RELATIVE_ADVANTAGE if RELATIVE_ADVANTAGE in known.columns else ABSOLUTE_ADVANTAGE
    value, advantage = pixels(above, ABSOLUTE_VALUE), pixels(below, main)
    dots = [(value[1], shade(PALETTE[0])), (advantage[1], shade(PALETTE[2 if main == RELATIVE_ADVANTAGE else 3]))]
    top, bottom = above.get_window_extent().y1, below.get_window_extent().y0
    return picture, _Places(value[0], round(height - 1 - top), round(height - 1 - bottom), dots)


def _mark(picture: npt.NDArray[np.uint8], places: _Places, row: int) -> None:
    """Draw the line and its dots."""
    height, width = picture.shape[:2]
    column = int(np.clip(places.columns[row], 1, width - 2))
    picture[places.top : places.bottom, column - 1 : column + 1] = _CURSOR
    down, across = np.mgrid[0:height, 0:width][:, :, max(0, column - 6) : column + 7]
    for rows, colour in places.dots:
        away = (down - rows[row]) ** 2 + (across - column) ** 2
        part = picture[:, max(0, column - 6) : column + 7]
        part[away <= 30] = 255
        part[away <= 16] = colour


def _figure(width: int, height: int) -> Figure:
    # Figure itself, not pyplot: no global state, so that several threads may draw.
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained", facecolor=_PAPER)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the software tag equal figures are equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
