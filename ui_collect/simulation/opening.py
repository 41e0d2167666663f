"""Opening plays, new ones and those a killed process left: slow things, done by a thread beside the tick loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.session_log import (
    SessionLogHeader,
    SessionLogWriter,
    closed_log_path,
    log_path,
    read_session_log,
)
from hitl_ops.rollouts.session_replay import restore, session_of
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import close_scene, open_recorded_scene, open_scene
from hitl_ops.worlds.habitat.partnr_episodes import episode_to_play
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.layout import REACH
from hitl_ops.worlds.household.scene import SceneLost
from ui_collect.keyframes import FrameNames
from ui_collect.simulation.messages import Opened, OpenPlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from hitl_ops.contracts.store import Store
    from hitl_ops.rollouts.live_session import LiveSession
    from hitl_ops.worlds.household.scene import Scene


@dataclass(frozen=True)
class OpenedPlay:
    """A play ready to go on.

    Attributes:
        asked: the message that asked for it.
        session: its world.
        log: its log, held by this process; None where the play turns out to be over.
        log_name: the log's path below the iteration's folder.
        told: what the page needs to know.
    """

    asked: OpenPlay
    session: LiveSession
    log: SessionLogWriter | None
    log_name: str
    told: dict[str, Any]


def open_play(asked: OpenPlay, store: Store, policy: str, scenes: SceneConfig | None = None) -> OpenedPlay:
    """Open a play's log and bring its world to where the log ends.

    Args:
        asked: which play.
        store: where logs are kept.
        policy: id of the policy that begins as partner; empty where it is not known.
        scenes: what new plays are played in; one that goes on stays in the scene it began in. Whoever takes the
            session closes its scene.

    Raises:
        UserError: the episode is no episode, its home is missing, the log is corrupt or held by another process, or
            the disk is full.
        SceneLost: the scene's process ended meanwhile.
    """
    scenes = scenes or SceneConfig()
    paths = store.iteration(asked.program, asked.iteration)
    # Both ids are hex digits, see messages.Id; nothing else of what was asked gets into a path.
    file = log_path(paths.sessions / asked.session_id, asked.play_id)
    name = str(file.relative_to(paths.base))
    closed = closed_log_path(paths.sessions / asked.session_id, asked.play_id)
    writer: SessionLogWriter | None = None
    resumed = asked.resume and (file.exists() or closed.exists())
    if resumed:
        log = read_session_log(file if file.exists() else closed)
        if log.finish is None:
            log, writer = SessionLogWriter.resume(file)
        scene: Scene | None = None
        try:
            scene = open_recorded_scene(log.header.played_scene, scenes)
            session = restore(log, scene)
        except BaseException:
            if writer is not None:
                writer.close()
            if scene is not None:
                close_scene(scene)
            raise
    else:
        try:
            episode = Episode.model_validate(asked.episode)
        except ValueError as error:
            raise UserError("the episode cannot be read", str(error).splitlines()[0]) from None
        scene = open_scene(scenes, episode.scene_id)
        try:
            header = _header(asked, episode_to_play(episode, scene.description), scene, policy, paths.iteration)
            session = session_of(header, scene)
            writer = SessionLogWriter.create(file, header)
        except BaseException:
            close_scene(scene)
            raise
    return OpenedPlay(asked, session, writer, name, what_a_page_draws(session, resumed=resumed).model_dump())


def open_play_in_the_end(
    asked: OpenPlay, store: Store, policy: str, scenes: SceneConfig, *, tries: int, say: Callable[[str], None]
) -> OpenedPlay:
    """:func:`open_play`, again where its scene was lost meanwhile, up to ``tries`` times; ``say`` is told of each.

    Raises:
        UserError: see ``open_play``.
    """
    for _ in range(tries - 1):
        try:
            return open_play(asked, store, policy, scenes)
        except SceneLost as error:
            say(str(error))
            # What has been written meanwhile is gone on with.
            asked = asked.model_copy(update={"resume": True})
    return open_play(asked, store, policy, scenes)


def _header(asked: OpenPlay, episode: Episode, scene: Scene, policy: str, iteration: int) -> SessionLogHeader:
    """First line of a new play's log."""
    return SessionLogHeader(
        session_id=asked.session_id,
        play_id=asked.play_id,
        episode=episode,
        index=asked.index,
        attempt=asked.attempt,
        roles={asked.human: "human", 1 - asked.human: "ai"},
        participant=asked.participant,
        partner_policy=policy,
        style=asked.style,
        decision_limit=asked.decision_limit,
        program=asked.program,
        iteration=iteration,
        tutorial=asked.tutorial,
        generator=_version(),
        started=time.time(),
        **scene.played_scene.in_header(),
    )


def what_a_page_draws(session: LiveSession, *, resumed: bool = False) -> Opened:
    """What a page needs to know of a play before its first keyframe."""
    world = session.world
    names = FrameNames.of(world)
    kinds = sorted({thing.kind for thing in world.state.facts.objects.values()})
    return Opened(
        instruction=session.episode.instruction,
        scene=world.state.description.model_dump(mode="json"),
        shapes={kind: OBJECT_SHAPES[kind].model_dump(mode="json") for kind in kinds},
        objects=names.objects,
        furniture=names.furniture,
        doors=names.doors,
        abilities=[list(abilities) for abilities in world.abilities],
        human=session.human,
        reach_m=REACH,
        policy=session.partner_policy,
        next_seq=session.last_seq + 1,
        resumed=resumed,
        seconds=session.seconds_active,
    )


def _version() -> str:
    try:
        return version("flywheel-hitl")
    except PackageNotFoundError:
        return ""
