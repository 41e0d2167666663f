"""Plays as the web server sees them: opened in a worker, watched by a page, closed into a record and a row."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from ui_collect.corrections import CorrectionValue
from ui_collect.home_files import HomeFiles
from ui_collect.label_calls import LabelCalls
from ui_collect.protocol import (
    AnswerMessage,
    ErrorMessage,
    MissingMessage,
    PartnerMessage,
    SavedMessage,
)
from ui_collect.settings import CollectSettings
from ui_collect.simulation.messages import (
    Close,
    CloseReason,
    EndSession,
    Join,
    Leave,
    Opened,
    OpenPlay,
    Over,
    PartnerKind,
    PlayEvent,
)
from ui_collect.sitting import LivePlay, Sitting

if TYPE_CHECKING:
    from ui_collect.simulation.messages import ClientOp

logger = logging.getLogger(__name__)

OPEN_WITHIN_S = 30.0
CLOSE_WITHIN_S = 120.0
_RETRY_S = 2.0
_ERRORS = {
    "storage_full": "The disk is full: the play stands still until there is room. Nothing is lost.",
    "unknown_decision": "The partner has gone on meanwhile.",
    "bad_message": "The message could not be used.",
}


class Simulations(Protocol):
    """What is asked of the simulation workers."""

    def send(self, message: OpenPlay | ClientOp | Join | Leave | Close | EndSession) -> None:
        """Pass a message to the process that has, or gets, its play; never waits."""


class Plays:
    """All plays that are open in memory.

    Args:
        settings: the server's.
        labels: the label store.
        workers: the simulation workers.
        partner: who the partner is.
        over: told when a play has ended by itself or by its person.
        broken: told when a play cannot go on, by a defect.
        homes: what pages draw homes from.
    """

    def __init__(
        self,
        settings: CollectSettings,
        labels: LabelCalls,
        workers: Simulations,
        partner: PartnerKind,
        over: Callable[[Sitting, LivePlay], None],
        broken: Callable[[Sitting, LivePlay], None],
        homes: HomeFiles,
    ) -> None:
        self._settings = settings
        self._labels = labels
        self._workers = workers
        self._partner: PartnerKind = partner
        self._over = over
        self._broken = broken
        self._homes = homes
        self._plays: dict[str, tuple[Sitting, LivePlay]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Plays whose record is not closed yet."""
        return len(self._plays)

    # --- asking -------------------------------------------------------------------------------------------

    async def open_play(self, sitting: Sitting, play: LivePlay, *, resume: bool) -> bool:
        """Have a worker take a play up.

        Args:
            sitting: whose.
            play: which.
            resume: go on from its log.

        Returns:
            Whether it can be played; ``play.refused`` says why not. A play that was over already is not.
        """
        if play.opened is None:
            self._plays[play.play_id] = (sitting, play)
            play.ready.clear()
            play.refused = ""
            self._workers.send(
                OpenPlay(
                    play_id=play.play_id,
                    session_id=play.session_id,
                    program="planner",
                    iteration=iteration_key(sitting.iteration),
                    episode=play.episode.model_dump(mode="json"),
                    attempt=play.attempt,
                    participant=sitting.participant_id,
                    human=self._human_in(play),
                    partner="none" if play.tutorial else self._partner,
                    decision_limit=self._settings.decision_limit,
                    index=play.index,
                    tutorial=play.tutorial,
                    resume=resume,
                )
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(play.ready.wait(), OPEN_WITHIN_S)
        if play.opened is None and not play.refused:
            play.refused = "no worker answered"
        return play.opened is not None and play.over is None

    def _human_in(self, play: LivePlay) -> Literal[0, 1]:
        """Which agent the person drives; a further try at a task is in the same agent's place."""
        agent = self._settings.human_agent
        if agent != "alternate":
            return agent
        if play.tutorial:
            return 0
        # Half of the people begin in the other's place: many play few tasks.
        return 1 if (play.episode_number + int(play.session_id, 16)) % 2 else 0

    def show(self, sitting: Sitting, play: LivePlay, *, resumed: bool) -> None:
        """Send a page everything of a play, and let the play go on."""
        connection = sitting.connection
        if connection is None or play.opened is None:
            return
        settings = self._settings
        connection.expect_full()
        connection.shown = play
        message = play.message(of=settings.tasks_per_session, attempts=settings.attempts, resumed=resumed)
        self._homes.keep(message.scene)
        connection.send(message)
        self.join(play)

    def join(self, play: LivePlay) -> None:
        """Let a play go on; its next keyframe is a full one."""
        self._workers.send(Join(play_id=play.play_id))

    def leave(self, play: LivePlay) -> None:
        """Let a play stand still: nobody looks."""
        if play.opened is not None and play.over is None:
            self._workers.send(Leave(play_id=play.play_id))

    def send(self, operation: ClientOp) -> None:
        """Pass on what a person does."""
        self._workers.send(operation)

    async def end(self, sitting: Sitting, play: LivePlay, reason: CloseReason) -> bool:
        """End a play from outside and wait until its record and its row are written.

        Returns:
            Whether they are; if not, it is tried again until they are, at the server's next start too.
        """
        if play.opened is None and play.over is None:
            await self.open_play(sitting, play, resume=True)
        if play.over is None and play.opened is not None and not play.refused:
            self._workers.send(Close(play_id=play.play_id, reason=reason))
        elif play.over is None:
            return False
        return await self.closed(play)

    async def closed(self, play: LivePlay, within_s: float = CLOSE_WITHIN_S) -> bool:
        """Wait until a play that has ended is recorded; returns whether it is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(play.closed.wait(), within_s)
        return play.closed.is_set()

    async def stop(self) -> None:
        """Wait for outcomes that are being stored."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        for task in self._tasks:
            task.cancel()

    def end_session(self, sitting: Sitting, error: str) -> None:
        """Have the session's own file written, its plays being closed."""
        self._workers.send(
            EndSession(
                session_id=sitting.session_id,
                program="planner",
                iteration=iteration_key(sitting.iteration),
                error=error,
            )
        )

    # --- hearing ------------------------------------------------------------------------------------------

    def hear(self, events: list[PlayEvent]) -> None:
        """Take in what the processes say; what belongs to no open play is passed over."""
        for event in events:
            self._hear(event)

    def _hear(self, event: PlayEvent) -> None:
        if event.kind == "session_closed" and event.payload.get("error"):
            logger.error("the file of session %s was not written: %s", event.play_id, event.payload["error"])
        known = self._plays.get(event.play_id)
        if known is None:
            return
        sitting, play = known
        if event.kind == "frame":
            if sitting.connection is not None and sitting.connection.shown is play:
                sitting.connection.send_frame(event.payload)
            return
        try:
            self._heard(sitting, play, event.kind, event.payload)
        except ValidationError as error:
            logger.error("play %s: a worker's '%s' is malformed (%s)", play.play_id, event.kind, error.errors()[0])

    def _heard(self, sitting: Sitting, play: LivePlay, kind: str, payload: Any) -> None:
        connection = sitting.connection
        if connection is not None and connection.shown is not play:
            connection = None
        if kind == "opened":
            again = play.opened is not None
            play.opened = Opened.model_validate(payload)
            play.ready.set()
            if again and connection is not None:
                # The worker was started anew: its play came back from the log, and the page gets it afresh.
                connection.send(
                    ErrorMessage(code="worker_restarted", message="One moment: the play is taken up again.")
                )
                self.show(sitting, play, resumed=True)
        elif kind == "partner" and connection is not None:
            connection.send(PartnerMessage.model_validate(payload))
        elif kind == "missing" and connection is not None:
            connection.send(MissingMessage.model_validate(payload))
        elif kind == "answer" and connection is not None:
            connection.send(AnswerMessage.model_validate(payload))
        elif kind == "saved" and connection is not None:
            connection.send(SavedMessage.model_validate(payload))
        elif kind == "over":
            if play.over is None:
                play.over = Over.model_validate(payload)
                play.ready.set()
                play.ended.set()
                self._over(sitting, play)
        elif kind == "closed":
            self._later(self._store_outcome(sitting, play, payload))
        elif kind == "error":
            self._error(sitting, play, payload)

    def _error(self, sitting: Sitting, play: LivePlay, payload: dict[str, str]) -> None:
        code, message = str(payload.get("code", "")), str(payload.get("message", ""))
        if code == "cannot_open":
            logger.error("play %s cannot be opened: %s", play.play_id, message)
            play.refused = message or "it cannot be opened"
            play.ready.set()
            return
        if code == "broken":
            logger.error("play %s cannot go on: %s", play.play_id, message)
            play.refused = message or "it broke down"
            self._broken(sitting, play)
            return
        if code not in ("storage_full", "unknown_decision", "bad_message"):
            logger.error("play %s: %s (%s)", play.play_id, message, code)
            return
        known: Literal["storage_full", "unknown_decision", "bad_message"] = code  # type: ignore[assignment]
        if code != "unknown_decision":
            logger.warning("play %s: %s (%s)", play.play_id, message, code)
        if sitting.connection is not None and sitting.play is play:
            sitting.connection.send(ErrorMessage(code=known, message=_ERRORS[code]))

    # --- keeping ------------------------------------------------------------------------------------------

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store_outcome(self, sitting: Sitting, play: LivePlay, payload: dict[str, str]) -> None:
        """Keep corrections, then the outcome: whoever is woken by the outcome finds the corrections there."""
        if play.over is None or play.closed.is_set():
            return
        if payload.get("error"):
            logger.error("the record of play %s was not published: %s", play.play_id, payload["error"])
        wait = _RETRY_S
        while True:
            try:
                await self._labels.run(self._keep, sitting, play, str(payload.get("record", "") or ""))
                break
            except UserError as error:
                logger.error("the outcome of play %s is not stored yet: %s", play.play_id, error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 60.0)
        self._plays.pop(play.play_id, None)
        play.closed.set()

    def _keep(self, sitting: Sitting, play: LivePlay, record: str) -> None:
        over = play.over
        assert over is not None
        store = self._labels.store
        for number, value in enumerate(over.corrections):
            correction = CorrectionValue.model_validate(value)
            store.add_label(
                "correction",
                program=sitting.program,
                iteration=sitting.iteration,
                annotator=sitting.participant_id,
                client_key=f"{play.play_id}-{number}",
                value=correction.model_dump(mode="json"),
                session_id=play.session_id,
                episode_play_id=play.play_id,
                decision_index=correction.decision_index,
            )
        store.finish_play(
            play.play_id,
            percent_complete=over.percent_complete,
            success=over.success,
            ended_by=over.reason,
            seconds=over.seconds,
            # The label store counts from the sessions folder, workers from the iteration's.
            record_file=record.removeprefix("sessions/"),
            state_hash=over.state_hash,
        )
