"""A video of an episode: what each agent sees, the floor plan, and captions; H.264 in mp4, written as it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named, publishing
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.captions import Captions, agent_chip, caption_strip
from hitl_ops.worlds.household.renderer.frame import Renderer
from hitl_ops.worlds.household.renderer.topdown import FloorPlan
from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription

_GAP = 6
_PAPER = (27, 30, 37)
_STRIP_SHARE = 0.26  # of the height
_CHIP_SHARE = 0.05  # of the height, an agent's number in its view
_VIEW_ASPECT = 4 / 3
_FINER = 2  # agents' views are drawn this many times larger and averaged down: smooth edges


class EpisodeVideo:
    """Writes one mp4. A context manager: leaving it by an exception publishes nothing.

    The file appears under its name only when it is complete; until then it grows beside it under a temporary
    name. Frames go straight to the encoder, so memory does not grow with the episode.

    Attributes:
        frames: how many were added.
        picture: the last one, as it went into the video; do not draw on it.
    """

    def __init__(self, path: str | Path, fps: int = 15, size: tuple[int, int] = (1280, 480), views: int = 2) -> None:
        """Start a video.

        Args:
            path: where the mp4 is to be.
            fps: frames a second, 1 … 60.
            size: (width, height) of the whole picture in pixels, both even.
            views: how many agents' views stand side by side.

        Raises:
            UserError: ``fps`` or ``size`` cannot be encoded, or the place cannot be written.
        """
        width, height = size
        if width % 2 or height % 2 or width < 160 or height < 120:
            raise UserError(f"video size {width}×{height} cannot be encoded", "take even numbers from 160×120 on")
        if not 1 <= fps <= 60:
            raise UserError(f"video fps {fps} is out of range", "take 1 to 60")
        self.path = Path(path)
        self.size = (width, height)
        self._views = views
        strip = round(height * _STRIP_SHARE)
        self._panes_height = height - strip
        pane_height = self._panes_height - 2 * _GAP
        pane_width = min(round(pane_height * _VIEW_ASPECT), (width - _GAP * (views + 2)) // (views + 1))
        self.view_size: tuple[int, int] = (pane_width, min(pane_height, round(pane_width / _VIEW_ASPECT)))
        self._chip = max(12, round(height * _CHIP_SHARE))
        plan_left = _GAP + views * (pane_width + _GAP)
        self._plan_left = plan_left
        self.plan_size: tuple[int, int] = (width - plan_left - _GAP, pane_height)
        self.frames = 0
        self.picture = Image.new("RGB", self.size, _PAPER)
        self._plans: FloorPlan | None = None
        self._open: contextlib.ExitStack | None = contextlib.ExitStack()
        temporary = self._open.enter_context(publishing(self.path))
        try:
            with disk_errors_named(self.path):
                self._start_encoder(temporary, fps)
        except BaseException as error:
            self._abandon(error)
            raise

    def _start_encoder(self, temporary: Path, fps: int) -> None:
        import av

        # PyAV guesses the format from the name, and a temporary one says nothing.
        self._container: Any = av.open(str(temporary), mode="w", format="mp4", options={"movflags": "+faststart"})
        self._stream: Any = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = self.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "23", "preset": "veryfast"}
        self._stream.thread_count = 1

    def add(self, views: Sequence[NDArray[np.uint8]], plan: NDArray[np.uint8], captions: Captions) -> None:
        """Add a frame.

        Args:
            views: for each agent uint8 [h, w, 3]; best of ``view_size``, scaled to fit if not.
            plan: uint8 [h, w, 3]; best of ``plan_size``, scaled to fit if not.
            captions: what to write below.

        Raises:
            UserError: the disk is full.
            ValueError: another number of views than announced, or the video is closed.
        """
        if self._open is None:
            raise ValueError("the video is closed")
        if len(views) != self._views:
            raise ValueError(f"{len(views)} views given, {self._views} announced")
        width, height = self.size
        picture = Image.new("RGB", self.size, _PAPER)
        for number, view in enumerate(views):
            left = _GAP + number * (self.view_size[0] + _GAP)
            _paste(picture, view, left, _GAP, (self.view_size[0], self._panes_height - 2 * _GAP))
            chip = agent_chip(number, self._chip)
            picture.paste(chip, (left + _GAP, (self._panes_height - self.view_size[1]) // 2 + _GAP), chip)
        _paste(picture, plan, self._plan_left, _GAP, self.plan_size)
        picture.paste(caption_strip(captions, width, height - self._panes_height), (0, self._panes_height))
        import av

        self.picture = picture
        frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
        try:
            with disk_errors_named(self.path):
                self._container.mux(self._stream.encode(frame))
        except BaseException as error:
            self._abandon(error)
            raise
        self.frames += 1

    def add_moment(
        self,
        renderer: Renderer,
        description: SceneDescription,
        shapes: Mapping[str, ObjectShape],
        facts: Facts,
        captions: Captions,
        trails: Sequence[Sequence[tuple[float, float]]] = (),
    ) -> None:
        """Draw a moment of an episode and add it; the arguments are those of the renderer, the plan and ``add``."""
        if self._plans is None:
            self._plans = FloorPlan(description, shapes, *self.plan_size, label_things=False)
        width, height = self.view_size
        finer = _FINER if renderer.backend == "opengl" else 1  # TinyRenderer's time grows with the pixels
        views = []
        for agent in range(self._views):
            frame = renderer.render(facts, Camera.of_agent(facts, agent), width * finer, height * finer, depth=False)
            views.append(np.asarray(Image.fromarray(frame.rgb).reduce(finer)))
        self.add(views, self._plans.draw(facts, trails), captions)

    def close(self) -> None:
        """Finish the file and give it its name; closing twice is harmless.

        Raises:
            UserError: nothing was added, or the disk is full.
        """
        if self._open is None:
            return
        try:
            if not self.frames:
                raise UserError(f"video '{self.path}' has no frames", "add at least one before closing")
            with disk_errors_named(self.path):
                self._container.mux(self._stream.encode(None))
                self._container.close()
        except BaseException as error:
            self._abandon(error)
            raise
        opened, self._open = self._open, None
        opened.close()

    def _abandon(self, error: BaseException) -> None:
        """Drop what was written so far."""
        opened, self._open = self._open, None
        if opened is None:
            return
        container = getattr(self, "_container", None)
        if container is not None:
            # The encoder may well be what failed; the temporary file goes in any case.
            with contextlib.suppress(OSError, ValueError):
                container.close()
        with contextlib.suppress(type(error)):
            opened.__exit__(type(error), error, error.__traceback__)

    def __enter__(self) -> EpisodeVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon(error)


def _paste(picture: Image.Image, pixels: NDArray[np.uint8], left: int, top: int, size: tuple[int, int]) -> None:
    """Put ``pixels`` into the middle of a pane, scaled to fit where they do not."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.width > size[0] or image.height > size[1] or (image.width < size[0] and image.height < size[1]):
        share = min(size[0] / image.width, size[1] / image.height)
        scaled = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    picture.paste(image, (left + (size[0] - image.width) // 2, top + (size[1] - image.height) // 2))
