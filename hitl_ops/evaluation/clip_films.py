"""Films of clips, for people who compare them: an mp4 that browsers play, and a sheet of six of its moments.

A clip of the simulated arm is drawn from its observations; one of a station is a camera's pictures; one of the
household is its play again, as fast as every other, so that who is done sooner is seen to be.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.decision import EpisodeHeader
from hitl_ops.contracts.episode import Episode, original_episode_id, read_episodes, variation_of
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_bytes, publishing
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.play_film import FilmConfig, film_play
from hitl_ops.records.clips import Clip, content_hash, open_clip_set
from hitl_ops.records.film_writing import write_film
from hitl_ops.records.pictures import decode_jpeg, encode_jpeg
from hitl_ops.records.session_log import closed_log_path, read_session_log
from hitl_ops.records.traces import TRACE_SUFFIX, read_trace
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.planner_clips import decision_numbers
from hitl_ops.samples.station_clips import CAMERA
from hitl_ops.worlds.reach.kinematics import JOINTS, TARGET

if TYPE_CHECKING:
    from hitl_ops.worlds.reach.pictures import ReachPictures

Picture = npt.NDArray[np.uint8]

REACH_SIZE = 320
"""Pixels from edge to edge of each of the arm's two views."""
SHEET_TILES, _ACROSS = 6, 3
_SHEET_WIDTH, _GAP, _STRIP, _QUALITY = 960, 4, 16, 85
_PAPER, _INK = (27, 30, 37), (225, 229, 234)
_CAMERA_RATE, _CAMERA_HEIGHT = 25, 360
"""Frames a second and rows of a camera's film, at most: an eye sees no more beside another film."""
PLAY_FILM = FilmConfig(frames_per_second=10, speed=6, width=720, height=360)
"""How plays are filmed: all equally fast, and no wider than half a window shows, so that captions can be read."""
_PLAY_ID = "[0-9a-f]{16}"
_REMEDY = "make the clips anew with `flywheel clips`"


def film_clip(clip_set: Path, clip_id: str, video: Path, poster: Path, root: Path) -> None:
    """Film a clip: publishes the sheet of its moments, then the film.

    Args:
        clip_set: the set's folder.
        clip_id: which of its clips.
        video: the mp4 to make.
        poster: the JPEG to make.
        root: of the store, which records of clips are named from.

    Raises:
        UserError: the set or the clip is missing or malformed, or what it was cut from is.
        CannotWrite: the disk is full or a place cannot be written.
    """
    opened = open_clip_set(clip_set)
    clip = opened.clip(clip_id)
    with publishing(video) as temporary:
        if clip.facts.kind == "reach":
            sheet = _film_reach(clip, temporary)
        elif clip.facts.kind == "station":
            sheet = _film_station(clip, temporary, _record(clip, root), str(opened.facts.made.get(CAMERA, "")))
        else:
            sheet = _film_planner(clip, temporary, _record(clip, root), Store.at(root))
        publish_bytes(poster, encode_jpeg(sheet, _QUALITY))


def _film_reach(clip: Clip, video: Path) -> Picture:
    width = clip.observations.shape[1]
    if width < TARGET.stop:
        raise UserError(
            f"clip '{clip.facts.clip_id}' is malformed: its observations have {width} numbers, not {TARGET.stop}",
            _REMEDY,
        )
    from hitl_ops.worlds.reach.pictures import ReachPictures

    with ReachPictures(REACH_SIZE) as pictures:
        return _filmed(_drawn(clip, pictures), clip.facts.steps, clip.facts.fps, video, clip.facts.clip_id)


def _drawn(clip: Clip, pictures: ReachPictures) -> Iterator[Picture]:
    for step in clip.observations:
        yield pictures.draw(step[:JOINTS], step[TARGET])


def _film_station(clip: Clip, video: Path, record: Path, camera: str) -> Picture:
    from hitl_ops.records.station_hdf5 import opened_hdf5, read_pictures, read_state_and_action

    facts = clip.facts
    rows = slice(facts.start, facts.start + facts.steps)
    state, action = read_state_and_action(record)
    if content_hash(state[rows], action[rows]) != facts.content_hash:
        raise _changed(clip, record)
    if not camera:
        with opened_hdf5(record) as hdf5:
            cameras = sorted(hdf5["observations/images"]) if "observations/images" in hdf5 else []
        if not cameras:
            raise UserError(f"episode '{record}' has no camera", _REMEDY)
        camera = cameras[0]
    step = max(1, round(facts.fps / _CAMERA_RATE))
    pictures = itertools.islice(read_pictures(record, camera, rows.start, rows.stop), 0, None, step)
    shown = (_shrunk(picture, f"episode '{record}'") for picture in pictures)
    return _filmed(shown, len(range(0, facts.steps, step)), facts.fps / step, video, facts.clip_id)


def _shrunk(picture: Picture, source: str) -> Picture:
    """A camera's picture as RGB with even sides, no higher than a film."""
    from PIL import Image

    rgb = picture if picture.ndim == 3 else decode_jpeg(picture, source)
    rows, columns = rgb.shape[:2]
    height = max(2, min(_CAMERA_HEIGHT, rows) // 2 * 2)
    width = max(2, round(columns * height / rows / 2) * 2)
    if (height, width) == (rows, columns):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))


def _film_planner(clip: Clip, video: Path, record: Path, store: Store) -> Picture:
    from hitl_ops.evaluation.videos import film

    trace = read_trace(record)
    if content_hash(*decision_numbers(trace.header, trace.decisions)) != clip.facts.content_hash:
        raise _changed(clip, record)
    play = record.name.removesuffix(TRACE_SUFFIX)
    # A person's play has its whole log beside its traces, a policy's its episode among those that were generated.
    log = closed_log_path(record.parent.parent, play) if re.fullmatch(_PLAY_ID, play) else None
    if log is not None and log.is_file():
        film_play(read_session_log(log), video, film=PLAY_FILM)
    else:
        film(_episode(trace.header, store), trace, video, PLAY_FILM)
    return _sheet_of(video)


def _episode(header: EpisodeHeader, store: Store) -> Episode:
    """The task that a policy's play is of."""
    file = episode_file(store.episodes, header.split)
    original = original_episode_id(header.episode_id)
    for episode in read_episodes(file):
        if episode.episode_id == original:
            return variation_of(episode, int(header.episode_id.removeprefix(original)[1:] or 0))
    raise UserError(f"episode '{header.episode_id}' is not in '{file}'", "generate the episodes its play is of")


def _sheet_of(video: Path) -> Picture:
    """The sheet of a film that is made already."""
    import av

    with av.open(str(video), format="mp4") as container:
        stream = container.streams.video[0]
        wanted, rate = moments(stream.frames), float(stream.average_rate or 1)
        shown = [
            (number / rate, frame.to_ndarray(format="rgb24"))
            for number, frame in enumerate(container.decode(stream))
            if number in wanted
        ]
    return contact_sheet(shown)


def _record(clip: Clip, root: Path) -> Path:
    """The file a clip was cut from."""
    named = PurePosixPath(clip.facts.record)
    if not clip.facts.record or named.is_absolute() or ".." in named.parts:
        raise UserError(f"clip '{clip.facts.clip_id}' names '{named}' as what it was cut from", _REMEDY)
    return root / named


def _changed(clip: Clip, record: Path) -> UserError:
    return UserError(f"'{record}' has changed since clip '{clip.facts.clip_id}' was cut from it", _REMEDY)


def _filmed(pictures: Iterator[Picture], count: int, fps: float, video: Path, clip_id: str) -> Picture:
    """Write the film of ``count`` pictures; returns the sheet of its moments."""
    wanted = moments(count)
    seen: dict[int, Picture] = {}

    def watched() -> Iterator[Picture]:
        for number, picture in enumerate(pictures):
            if number in wanted:
                seen[number] = picture
            yield picture

    write_film(watched(), fps, video, f"clip '{clip_id}'")
    return contact_sheet([(number / fps, seen[number]) for number in wanted])


def moments(count: int) -> list[int]:
    """Which of ``count`` frames stand on a sheet: the first, the last, and as many evenly between as there is room."""
    return sorted({round(number) for number in np.linspace(0, count - 1, SHEET_TILES)})


def contact_sheet(frames: list[tuple[float, Picture]]) -> Picture:
    """Frames in a grid, three in a row, each over its time.

    Args:
        frames: seconds since the film began, and the picture, [height, width, 3] uint8 RGB, all of one size.

    Returns:
        [rows, 960, 3] uint8 RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = frames[0][1].shape[:2]
    across = min(_ACROSS, len(frames))
    wide = (_SHEET_WIDTH - _GAP * (across - 1)) // across
    high = max(1, round(height * wide / width))
    pitch = high + _STRIP
    sheet = Image.new("RGB", (_SHEET_WIDTH, pitch * math.ceil(len(frames) / across)), _PAPER)
    font = ImageFont.load_default(size=_STRIP - 4)
    pen = ImageDraw.Draw(sheet)
    for number, (seconds, picture) in enumerate(frames):
        left, top = number % across * (wide + _GAP), number // across * pitch
        sheet.paste(Image.fromarray(picture).resize((wide, high), Image.Resampling.BILINEAR), (left, top))
        pen.text((left + _GAP, top + high + _STRIP / 2), f"{seconds:.1f} s", font=font, fill=_INK, anchor="lm")
    return np.asarray(sheet)
