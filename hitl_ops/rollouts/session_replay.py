"""Plays played again from their logs: to go on with them, to check them, to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.session_events import SessionEvent
from hitl_ops.records.session_log import SessionLog, SessionLogHeader, read_session_log
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.worlds.habitat.open_scene import close_scene, open_recorded_scene, recorded_scene
from hitl_ops.worlds.household.scene import Scene

_REMEDY = "it does not fit this version's homes; replay it with the version that recorded it"


def session_of(header: SessionLogHeader, scene: Scene | None = None) -> LiveSession:
    """The play a log is of, at its beginning.

    Args:
        header: which play.
        scene: what it was played in; opened where it is not given, and whoever takes the session closes it.

    Raises:
        UserError: the episode's home or one of its assets is missing.
    """
    if scene is None:
        scene = open_recorded_scene(header.played_scene)
    return LiveSession(
        header.episode,
        human=header.human,
        style=header.style,
        decision_limit=header.decision_limit,
        participant=header.participant,
        partner_policy=header.partner_policy,
        scene=scene,
    )


def restore(log: SessionLog | str | Path, scene: Scene | None = None) -> LiveSession:
    """The play as it stood at the last event of its log, ready to go on; all its answers are still to be taken.

    Args:
        log: the log, read or to be read.
        scene: what it was played in; opened where it is not given, and whoever takes the session closes it.

    Raises:
        UserError: the log is missing or corrupt, or an event in it cannot have happened.
    """
    read = log if isinstance(log, SessionLog) else read_session_log(log)
    opened = scene or open_recorded_scene(read.header.played_scene)
    try:
        (session,) = moments(read, scene=opened)
    except BaseException:
        if scene is None:
            close_scene(opened)
        raise
    return session


def moments(log: SessionLog, every: int = 0, scene: Scene | None = None) -> Iterator[LiveSession]:
    """Play a log again.

    Args:
        log: what happened.
        every: ticks between two moments to stop at; 0 stops nowhere on the way.
        scene: what it was played in; opened where it is not given, and closed at the end.

    Yields:
        The same session again and again: at tick 0, every ``every`` ticks, and once more at the end, after the last
        event.

    Raises:
        UserError: an event cannot have happened: the world does not get to its tick, or it comes in the wrong order.
    """
    header = log.header
    given = nullcontext(scene) if scene is not None else recorded_scene(header.played_scene)
    with given as opened:
        yield from _moments(log, every, opened)


def _moments(log: SessionLog, every: int, scene: Scene) -> Iterator[LiveSession]:
    session = session_of(log.header, scene)
    if every:
        yield session
    for event in log.events:
        while session.tick < event.tick:
            before = session.tick
            session.step()
            if session.tick == before:
                raise _cannot(log, event, f"the world stands still at tick {before} ({session.stands})")
            if every and session.tick % every == 0:
                yield session
        try:
            session.apply(event)
        except ValueError as error:
            raise _cannot(log, event, str(error)) from None
    yield session


def _cannot(log: SessionLog, event: SessionEvent, why: str) -> UserError:
    # The header is line 1, event 0 line 2.
    return UserError(
        f"session log '{log.path}', line {event.n + 2}: the {event.kind} of tick {event.tick} cannot be applied: {why}",
        _REMEDY,
    )


@dataclass(frozen=True, slots=True)
class ReplayedPlay:
    """What came out of a replay.

    Attributes:
        log: the log that was replayed.
        session: the play at its end.
        state_hash: hash of the world it ends in.
    """

    log: SessionLog
    session: LiveSession
    state_hash: str

    @property
    def difference(self) -> str | None:
        """How the replay ends otherwise than the log says; None where it does not, or the play is not finished."""
        finish = self.log.finish
        if finish is None:
            return None
        for name, ours, logged in (
            ("state", self.state_hash, finish.state_hash),
            ("percent complete", self.session.percent_complete, finish.percent_complete),
            ("success", self.session.success, finish.success),
        ):
            if ours != logged:
                return f"its {name} is {ours} where the log says {logged}"
        return None


def replay(path: str | Path) -> ReplayedPlay:
    """Play a log again, to its end; the session is to be looked at, its scene is closed.

    Raises:
        UserError: the log is missing or corrupt, or an event in it cannot have happened.
    """
    log = read_session_log(path)
    (session,) = moments(log)
    session.take_answers()
    return ReplayedPlay(log, session, session.digest())
