"""Who is here: sessions found again by their token or after a restart, connections, idleness, absence."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.errors import SessionEnded
from hitl_ops.labels.rows import EpisodePlay, SessionRow
from hitl_ops.records.session_log import log_path, read_session_log
from ui_collect import protocol
from ui_collect.connection import Connection
from ui_collect.flow import Flow
from ui_collect.protocol import ErrorMessage, IdleMessage, PlayResult, StageMessage
from ui_collect.sitting import LivePlay, Sitting

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_SAVE_EVERY_S = 15.0
_CLOSING_AT_ONCE = 2


class Presence:
    """Connects people with their sessions.

    Args:
        flow: what sessions go through.
        store: where plays' logs lie.
    """

    def __init__(self, flow: Flow, store: Store) -> None:
        self.flow = flow
        self._store = store
        self._finding = asyncio.Lock()

    # --- finding sessions -----------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up every session that a server before this one left open."""
        labels = self.flow.labels
        for row in await labels.run(labels.store.open_sessions):
            sitting = await self._taken_up(row)
            if sitting.play is not None and not sitting.play.closed.is_set():
                self.flow.lobby.keep(sitting.session_id)
        left = await labels.run(labels.store.open_plays, of_ended_sessions=True)
        self.flow.later(self._close_left(left))

    async def _close_left(self, rows: list[EpisodePlay]) -> None:
        """Finish what a killed server left behind: plays that are over, and plays of sessions that are."""
        slots = asyncio.Semaphore(_CLOSING_AT_ONCE)

        async def close(sitting: Sitting, play: LivePlay, *, over: bool) -> None:
            async with slots:
                if not over:
                    await self.flow.plays.end(sitting, play, "aborted")
                elif play.opened is None:
                    await self.flow.plays.open_play(sitting, play, resume=True)

        waiting = []
        for row in rows:
            session = await self.flow.labels.run(self.flow.labels.store.session, row.session_id)
            if session is None:
                continue
            sitting = _sitting(session, tutorial_done=True)
            if not log_path(self._folder(sitting), row.id).exists():
                await self._never_begun(row)
                continue
            waiting.append(close(sitting, await self._live_play(sitting, row, 1), over=False))
        for sitting in list(self.flow.sittings.values()):
            play = sitting.play
            if play is not None and play.opened is None and await self._is_over(sitting, play):
                waiting.append(close(sitting, play, over=True))
        await asyncio.gather(*waiting)

    async def _never_begun(self, row: EpisodePlay) -> None:
        finish = self.flow.labels.store.finish_play
        try:
            await self.flow.labels.run(
                finish, row.id, percent_complete=0.0, success=False, ended_by="aborted", seconds=0.0
            )
        except UserError as error:
            logger.error("play %s: %s", row.id, error)

    async def _is_over(self, sitting: Sitting, play: LivePlay) -> bool:
        folder = self._folder(sitting)

        def look() -> bool:
            path = log_path(folder, play.play_id)
            return path.exists() and read_session_log(path).finish is not None

        try:
            return await self.flow.labels.run(look)
        except UserError as error:
            logger.error("play %s: %s", play.play_id, error)
            return False

    def _folder(self, sitting: Sitting) -> str:
        return str(self._store.iteration(sitting.program, sitting.iteration).sessions / sitting.session_id)

    async def find(self, token: str) -> Sitting | SessionRow | None:
        """The session a token opens: a sitting, the row of one that has ended, or None.

        Raises:
            LabelStoreUnavailable: the label store does not answer.
        """
        labels = self.flow.labels
        row = await labels.run(labels.store.session_by_token, token)
        if row is None or row.ended_at is not None:
            return row
        async with self._finding:
            return self.flow.sittings.get(row.id) or await self._taken_up(row)

    async def _taken_up(self, row: SessionRow) -> Sitting:
        labels, flow = self.flow.labels, self.flow
        participant = await labels.run(labels.store.participant, row.participant_id)
        plays = await labels.run(labels.store.session_plays, row.id)
        sitting = _sitting(row, tutorial_done=participant.tutorial_done_at is not None)
        tasks = await flow.assignment(row.program, row.iteration)
        had = [play.episode_id for play in plays if not play.tutorial]
        tasks.remember(row.participant_id, had)
        if plays:
            last = plays[-1]
            sitting.plays = len(plays) - 1
            sitting.play = await self._live_play(sitting, last, len(set(had)))
            sitting.plays = len(plays)
            if last.finished_at is None:
                # The play is the truth: a kill may have come between its row and the session's.
                sitting.stage = "tutorial" if last.tutorial else "episode"
            else:
                sitting.play.closed.set()
                if not last.tutorial:
                    left = tasks.attempts_left(row.participant_id, last.episode_id)
                    sitting.result = _result(last, sitting.play, 0 if last.success else left)
                if sitting.stage == "episode":
                    sitting.stage = "lobby" if last.tutorial else "feedback"
        if sitting.stage == "consent" and participant.consented_at is not None:
            sitting.stage = "lobby"
        if sitting.stage == "feedback" and sitting.result is None:
            sitting.stage = "lobby"
        flow.sittings[row.id] = sitting
        return sitting

    async def _live_play(self, sitting: Sitting, row: EpisodePlay, episode_number: int) -> LivePlay:
        """A play of before; its task is the one in its log, should the episode set have changed since."""
        episode = self.flow.task(row.episode_id)
        if row.finished_at is None:
            path = log_path(self._folder(sitting), row.id)
            try:
                episode = (await self.flow.labels.run(read_session_log, path)).header.episode
            except UserError as error:
                logger.error("play %s: %s", row.id, error)
        if episode is None:
            # Only its name is left; enough for the feedback page.
            episode = self.flow.tutorial.model_copy(update={"episode_id": row.episode_id, "instruction": ""})
        return self.flow.live_play(sitting, row, episode, episode_number)

    # --- connections ----------------------------------------------------------------------------------------

    async def connect(self, sitting: Sitting, connection: Connection) -> None:
        """Give a session its connection and show the person where they are; an older connection is closed."""
        older, sitting.connection = sitting.connection, connection
        if older is not None:
            older.send(ErrorMessage(code="taken_over", message="This session was opened elsewhere."))
            older.close(protocol.CLOSED_TAKEN_OVER, "taken over")
        sitting.sign()
        async with sitting.lock:
            if sitting.connection is not connection:
                return
            if sitting.gone:
                connection.close(protocol.CLOSED_ENDED, "the session is over")
                return
            connection.send(protocol.Welcome(server_time=round(time.time(), 3)))
            try:
                await self.flow.labels.run(self.flow.labels.store.touch_session, sitting.session_id)
                await self._show(sitting)
            except UserError as error:
                logger.error("session %s cannot be shown: %s", sitting.session_id, error)
                connection.send(ErrorMessage(code="server_error", message="Please try again in a moment."))
                connection.close(1011, "try again")

    async def _show(self, sitting: Sitting) -> None:
        play, stage = sitting.play, sitting.stage
        if stage == "consent":
            self._say(sitting, StageMessage(stage="consent"))
        elif stage == "feedback":
            self._say(sitting, StageMessage(stage="feedback", result=sitting.result))
        elif stage == "episode" and play is not None and not play.closed.is_set():
            if not self.flow.lobby.has_place(sitting.session_id):
                self.flow.lobby.keep(sitting.session_id)
            await self.flow.show_play(sitting, play, resume=True)
        else:
            await self.flow.to_lobby(sitting)

    @staticmethod
    def _say(sitting: Sitting, message: protocol.Message) -> None:
        if sitting.connection is not None:
            sitting.connection.send(message)

    async def disconnect(self, sitting: Sitting, connection: Connection) -> None:
        """A connection has gone; if it was the session's, its play stands still until the next one."""
        if sitting.connection is not connection:
            return
        sitting.connection = None
        sitting.away_since = time.monotonic()
        if sitting.play is not None:
            self.flow.plays.leave(sitting.play)
        if not sitting.gone:
            await self._keep_time(sitting)

    # --- time -----------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look after idle and absent people once a second, until cancelled."""
        saved = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            for sitting in list(self.flow.sittings.values()):
                if sitting.gone:
                    continue
                if sitting.connected:
                    self._look_after(sitting, now)
                else:
                    self._miss(sitting, now)
            if now - saved >= _SAVE_EVERY_S:
                saved = now
                self.flow.later(self._keep_times())
                self.flow.later(self._end_unseen())

    def _look_after(self, sitting: Sitting, now: float) -> None:
        settings = self.flow.settings
        if sitting.stage == "lobby" and not self.flow.lobby.has_place(sitting.session_id):
            sitting.last_sign = now  # waiting is no idling
            return
        idle = now - sitting.last_sign
        if idle < settings.idle_warning_s:
            sitting.unsaved_active_s += _LOOK_EVERY_S
        elif idle >= settings.idle_end_s:
            message = "You were away for a while, so the session was closed. Thank you for playing."
            self.flow.later(self.flow.end(sitting, "idle", "idle", message))
        elif not sitting.warned:
            sitting.warned = True
            self._say(sitting, IdleMessage(seconds_left=round(settings.idle_end_s - idle)))

    def _miss(self, sitting: Sitting, now: float) -> None:
        settings = self.flow.settings
        away = now - sitting.away_since
        if away >= settings.reconnect_within_s:
            self.flow.later(self.flow.end(sitting, "aborted", "aborted", None))
            return
        waited = away >= settings.queue_grace_s and sitting.stage != "episode"
        if waited and self.flow.lobby.knows(sitting.session_id):
            # Nothing that counts is under way: somebody else may have the place.
            self.flow.leave_lobby(sitting.session_id)

    async def _keep_times(self) -> None:
        for sitting in list(self.flow.sittings.values()):
            if sitting.connected and not sitting.gone:
                await self._keep_time(sitting)

    async def _end_unseen(self) -> None:
        """End sessions of people who came in by an invitation and never connected."""
        labels = self.flow.labels
        silent = timedelta(seconds=self.flow.settings.reconnect_within_s)
        try:
            for row in await labels.run(labels.store.stale_sessions, silent):
                if row.id not in self.flow.sittings:
                    await labels.run(labels.store.end_session, row.id, "aborted")
        except UserError as error:
            logger.warning("%s", error)

    async def _keep_time(self, sitting: Sitting) -> None:
        """Tell the label store who is here, and for how long they have been active."""
        store = self.flow.labels.store
        # Taken at once: whoever comes by while the store is told must not tell it again.
        active, sitting.unsaved_active_s = sitting.unsaved_active_s, 0.0
        keep = store.touch_session if sitting.connected else store.pause_session
        try:
            await self.flow.labels.run(keep, sitting.session_id, active_seconds=active)
        except SessionEnded:
            return
        except UserError as error:
            sitting.unsaved_active_s += active
            logger.warning("session %s: %s", sitting.session_id, error)


def _sitting(row: SessionRow, *, tutorial_done: bool) -> Sitting:
    return Sitting(
        session_id=row.id,
        participant_id=row.participant_id,
        program=row.program,
        iteration=row.iteration,
        stage=row.stage,
        tutorial_done=tutorial_done,
    )


def _result(row: EpisodePlay, play: LivePlay, attempts_left: int) -> PlayResult:
    """How a play of before went; what was missing then is no longer known in words."""
    return PlayResult(
        episode_number=play.episode_number,
        instruction=play.episode.instruction,
        success=bool(row.success),
        percent_complete=row.percent_complete or 0.0,
        missing=[],
        ended_by=row.ended_by,
        attempt=row.attempt,
        attempts_left=attempts_left,
    )
