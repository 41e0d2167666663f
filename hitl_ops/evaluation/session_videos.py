"""A play to watch: its log is played again and filmed."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.session_log import SessionLog
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.rollouts.session_replay import moments
from hitl_ops.worlds.household.tools import STEPS_PER_SECOND

FRAMES_PER_SECOND = {"opengl": 10, "pybullet": 1}
"""TinyRenderer takes tenths of a second for a frame."""
SPEED = 2
"""How many seconds of play a second of video shows."""


def film_play(log: SessionLog, path: Path, progress: Progress = silent) -> Path:
    """Film a play: what each agent sees, the plan, the task, the actions and how far they have come.

    Args:
        log: the play.
        path: the mp4 to publish.
        progress: told after every frame.

    Returns:
        ``path``.

    Raises:
        UserError: the log does not fit this version's homes, or the disk is full.
    """
    from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
    from hitl_ops.worlds.household.kinematic_scene import load_scene
    from hitl_ops.worlds.household.renderer import make_renderer
    from hitl_ops.worlds.household.renderer.captions import Captions
    from hitl_ops.worlds.household.renderer.video import EpisodeVideo

    episode = log.header.episode
    description = load_scene(episode.scene_id).description
    renderer = make_renderer(description, OBJECT_SHAPES)
    try:
        rate = FRAMES_PER_SECOND.get(renderer.backend, 1)
        every = STEPS_PER_SECOND * SPEED // rate
        total = (log.events[-1].tick if log.events else 0) // every + 2
        trails: list[list[tuple[float, float]]] = [[], []]
        with EpisodeVideo(path, fps=rate) as video:
            for session in moments(log, every):
                facts = session.world.facts
                for trail, agent in zip(trails, facts.agents, strict=True):
                    trail.append((agent.x, agent.z))
                captions = Captions(
                    episode.instruction, _doing(session), session.percent_complete, f"{session.tick / 30:.0f} s"
                )
                video.add_moment(renderer, description, OBJECT_SHAPES, facts, captions, trails)
                progress(video.frames, total, "frames")
    finally:
        renderer.close()
    return path


def _doing(session: LiveSession) -> tuple[str, ...]:
    """What each agent is at, in the order of the agents."""
    doing = {session.human: session.current_action, session.partner: session.partner_status().action}
    return tuple(doing[agent] or "–" for agent in sorted(doing))
