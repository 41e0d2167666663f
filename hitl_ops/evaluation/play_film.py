"""A play to watch: its log is played again and filmed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.session_log import SessionLog
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.rollouts.session_replay import moments
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.tools import STEPS_PER_SECOND

if TYPE_CHECKING:
    from hitl_ops.worlds.household.renderer.captions import Captions

# TinyRenderer takes tenths of a second for a frame.
_FRAMES_PER_SECOND_AT_MOST = {"opengl": 60, "pybullet": 1}
_POSTER_QUALITY = 88


class FilmConfig(StrictConfig):
    """What a film of a play is like."""

    frames_per_second: int = Field(
        default=10, ge=1, le=60, description="of the video; one where a machine draws without OpenGL"
    )
    speed: float = Field(default=2.0, gt=0, le=100, description="seconds of play that a second of video shows")
    most_frames: int = Field(
        default=0, ge=0, description="a play that would take more is shown faster; 0: however many it takes"
    )
    width: int = Field(default=1280, ge=320, le=3840, multiple_of=2, description="pixels of the picture")
    height: int = Field(default=480, ge=180, le=2160, multiple_of=2, description="pixels of the picture")

    @model_validator(mode="after")
    def _room_for_the_plan(self) -> FilmConfig:
        if self.width < 2 * self.height:
            raise ValueError("width must be at least twice the height: two views and the plan stand side by side")
        return self

    def ticks_per_frame(self, ticks: int, backend: str) -> int:
        """Ticks between two frames of a play.

        Args:
            ticks: how long the play is.
            backend: what draws it.
        """
        every = max(1, round(STEPS_PER_SECOND * self.speed / self.rate(backend)))
        # The first and the last moment come on top.
        return max(every, math.ceil(ticks / max(1, self.most_frames - 2))) if self.most_frames else every

    def rate(self, backend: str) -> int:
        """Frames a second of video."""
        return min(self.frames_per_second, _FRAMES_PER_SECOND_AT_MOST.get(backend, 1))


class UnplayableLog(UserError):
    """A log that does not fit this version's homes: the play's own fault, other plays can be filmed."""


def film_play(
    log: SessionLog,
    path: Path,
    progress: Progress = silent,
    *,
    film: FilmConfig | None = None,
    poster: Path | None = None,
    scenes: SceneConfig | None = None,
) -> int:
    """Film a play: what each agent sees, the plan, the task, the actions, their answers and how far they have come.

    Args:
        log: the play.
        path: the mp4 to publish.
        progress: told after every frame.
        film: what the film is like.
        poster: where a picture of the film's middle is to be published as JPEG, before the film is.
        scenes: how the scene it was played in is opened; else as the environment says.

    Returns:
        How many frames the film has.

    Raises:
        UnplayableLog: the log does not fit this version's homes.
        UserError: nothing can draw on this machine, or the disk is full.
    """
    from hitl_ops.worlds.habitat.open_scene import close_scene, open_recorded_scene

    with _blamed_on_the_log():
        scene = open_recorded_scene(log.header.played_scene, scenes)
    try:
        return _film_play(log, path, progress, film or FilmConfig(), poster, scene)
    finally:
        close_scene(scene)


def _film_play(
    log: SessionLog, path: Path, progress: Progress, film: FilmConfig, poster: Path | None, scene: Scene
) -> int:
    from hitl_ops.contracts.publish import publishing
    from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
    from hitl_ops.worlds.household.renderer import make_renderer
    from hitl_ops.worlds.household.renderer.video import EpisodeVideo

    description = scene.description
    renderer = make_renderer(description, OBJECT_SHAPES)
    try:
        ticks = log.events[-1].tick if log.events else 0
        every = film.ticks_per_frame(ticks, renderer.backend)
        total = ticks // every + 2
        trails: list[list[tuple[float, float]]] = [[], []]
        with EpisodeVideo(path, fps=film.rate(renderer.backend), size=(film.width, film.height)) as video:
            for session in _played(log, every, scene):
                facts = session.world.facts
                for trail, agent in zip(trails, facts.agents, strict=True):
                    trail.append((agent.x, agent.z))
                video.add_moment(renderer, description, OBJECT_SHAPES, facts, _captions(session), trails)
                if poster is not None and video.frames == total // 2 + 1:
                    with publishing(poster) as temporary:
                        video.picture.save(temporary, format="JPEG", quality=_POSTER_QUALITY)
                progress(video.frames, total, "frames")
    finally:
        renderer.close()
    return video.frames


def _played(log: SessionLog, every: int, scene: Scene) -> Iterator[LiveSession]:
    with _blamed_on_the_log():
        yield from moments(log, every, scene)


@contextlib.contextmanager
def _blamed_on_the_log() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UnplayableLog(error.what, error.remedy) from None


def _captions(session: LiveSession) -> Captions:
    """What is to be read under a moment."""
    from hitl_ops.worlds.household.renderer.captions import Answered, Captions

    doing = {session.human: session.current_action, session.partner: ""}
    status = session.partner_status()
    if status.status == "acting":
        doing[session.partner] = status.action
    answered = dict.fromkeys(sorted(doing), Answered("", ""))
    for agent in answered:
        for decision in reversed(session.decisions):
            if decision.agent == agent and decision.response:
                answered[agent] = Answered(decision.action, decision.response)
                break
    # The captions' font has no dashes.
    idle = {session.human: "-", session.partner: "is done" if status.status == "done" else "…"}
    who = {session.human: "person", session.partner: "partner"}
    return Captions(
        session.episode.instruction,
        tuple(f"{who[agent]}: {doing[agent] or idle[agent]}" for agent in sorted(doing)),
        session.percent_complete,
        f"{session.tick / STEPS_PER_SECOND:.0f} s",
        tuple(answered.values()),
    )
