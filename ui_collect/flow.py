"""The way through a session: consent, tutorial, lobby, episode, feedback, the next episode, thanks.

Every change of stage happens under the session's lock: in the label store first, then in memory, then on the page. A
server that is killed in between finds the truth in the label store and the plays' logs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.rows import EpisodePlay
from ui_collect import protocol
from ui_collect.assignment import Assignment, shuffled
from ui_collect.home_files import HomeFiles
from ui_collect.label_calls import LabelCalls
from ui_collect.lobby import Lobby
from ui_collect.plays import Plays, Simulations
from ui_collect.protocol import ErrorCode, ErrorMessage, PlayResult, StageMessage, Totals
from ui_collect.settings import CollectSettings
from ui_collect.simulation import messages as worker
from ui_collect.simulation.messages import CloseReason, PartnerKind
from ui_collect.sitting import LivePlay, Sitting
from ui_collect.tutorial import TUTORIAL_ID

logger = logging.getLogger(__name__)

_FEEDBACK_PER_PLAY = 20
_RECORDED_WITHIN_S = 60.0
_NOT_NOW = "That is not possible now."
_PLAYING = ("tutorial", "episode")


class Flow:
    """Leads every open session from stage to stage.

    Args:
        settings: the server's.
        labels: the label store.
        workers: the simulation workers.
        partner: who the partner is.
        episodes: the tasks people play.
        tutorial: the tutorial's task.
        homes: what pages draw homes from.
    """

    def __init__(
        self,
        settings: CollectSettings,
        labels: LabelCalls,
        workers: Simulations,
        partner: PartnerKind,
        episodes: list[Episode],
        tutorial: Episode,
        homes: HomeFiles,
    ) -> None:
        self.settings = settings
        self.labels = labels
        self.plays = Plays(settings, labels, workers, partner, self._play_over, self._play_broken, homes)
        self.lobby = Lobby(settings.capacity)
        self.sittings: dict[str, Sitting] = {}
        self._episodes = episodes
        self.tutorial = tutorial
        self._assignments: dict[tuple[str, int], Assignment] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside; a failure is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a step of a session failed", exc_info=error)

    async def stop(self) -> None:
        """Wait a little for what runs beside, then drop it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        for task in list(self._tasks):
            task.cancel()
        await self.plays.stop()

    async def assignment(self, program: str, iteration: int) -> Assignment:
        """Which tasks an iteration's people get; made from the label store at its first use."""
        key = (program, iteration)
        if key not in self._assignments:
            counts = await self.labels.run(self.labels.store.episode_play_counts, program, iteration)
            tasks = self._episodes
            if self.settings.task_order == "shuffled":
                tasks = shuffled(tasks, program, iteration)
            self._assignments.setdefault(key, Assignment(tasks, self.settings.attempts, Counter(counts)))
        return self._assignments[key]

    def task(self, episode_id: str) -> Episode | None:
        """The task with this id, the tutorial's included; None if it is of another episode set."""
        if episode_id == TUTORIAL_ID:
            return self.tutorial
        return next((episode for episode in self._episodes if episode.episode_id == episode_id), None)

    # --- what a person says ---------------------------------------------------------------------------------

    async def handle(self, sitting: Sitting, message: protocol.ClientMessage) -> None:
        """Act on a message that is valid in itself; what does not fit the stage is answered with an error."""
        if isinstance(message, protocol.Ping):
            self._say(sitting, protocol.Pong(t=message.t))
            return
        if sitting.sign():
            self._say(sitting, protocol.IdleMessage())
        if isinstance(message, protocol.Input | protocol.Act | protocol.Override | protocol.Skip | protocol.Finish):
            self._play_on(sitting, message)
            return
        async with sitting.lock:
            if sitting.gone:
                self._refuse(sitting, "ended", "The session is over.")
                return
            try:
                await self._change(sitting, message)
            except LabelConflict:
                self._refuse(sitting, "bad_message", "This key was used for something else.")
            except UserError as error:
                logger.error("session %s, message '%s': %s", sitting.session_id, message.type, error)
                self._refuse(sitting, "server_error", "That could not be stored just now. Please try again.")

    def _play_on(
        self,
        sitting: Sitting,
        message: protocol.Input | protocol.Act | protocol.Override | protocol.Skip | protocol.Finish,
    ) -> None:
        """Pass a move on to the play's worker: no lock and no waiting, a person's hands are at it."""
        play = sitting.play
        if sitting.gone or sitting.stage not in _PLAYING or play is None or play.opened is None or play.over:
            self._refuse(sitting, "not_now", "There is no play to act in.")
            return
        play_id, seq = play.play_id, message.seq
        play.next_seq = max(play.next_seq, seq + 1)
        operation: worker.ClientOp
        if isinstance(message, protocol.Input):
            operation = worker.Input(
                play_id=play_id, seq=seq, forward=message.forward, strafe=message.strafe, turn=message.turn
            )
        elif isinstance(message, protocol.Act):
            operation = worker.Act(play_id=play_id, seq=seq, action=f"{message.tool}[{', '.join(message.args)}]")
        elif isinstance(message, protocol.Override):
            operation = worker.Override(
                play_id=play_id,
                seq=seq,
                decision=message.decision,
                action=f"{message.tool}[{', '.join(message.args)}]",
                by=sitting.participant_id,
            )
        elif isinstance(message, protocol.Skip):
            operation = worker.Skip(play_id=play_id, seq=seq)
        else:
            operation = worker.Finish(play_id=play_id, seq=seq)
        self.plays.send(operation)

    async def _change(self, sitting: Sitting, message: protocol.ClientMessage) -> None:
        stage = sitting.stage
        if isinstance(message, protocol.Consent) and stage == "consent":
            await self.labels.run(self.labels.store.record_consent, sitting.participant_id)
            await self.to_lobby(sitting)
        elif isinstance(message, protocol.TutorialDone) and stage == "tutorial":
            await self._end_tutorial(sitting)
        elif isinstance(message, protocol.Ready) and stage in ("lobby", "feedback"):
            await self._ready(sitting, again=message.again and stage == "feedback")
        elif isinstance(message, protocol.Feedback) and stage == "feedback":
            await self._feedback(sitting, message)
        elif isinstance(message, protocol.End):
            await self._end(sitting, "left", "thanks", "aborted", None)
        else:
            self._refuse(sitting, "not_now", _NOT_NOW)

    # --- consent, tutorial, lobby ---------------------------------------------------------------------------

    async def to_lobby(self, sitting: Sitting) -> None:
        """Ask for a place; with one, go on to the tutorial or ask whether the person is ready."""
        position = self.lobby.enter(sitting.session_id)
        if position is None:
            await self._with_place(sitting)
            return
        await self._set_stage(sitting, "lobby")
        self._say(sitting, StageMessage(stage="lobby", position=position))

    async def _with_place(self, sitting: Sitting) -> None:
        play = sitting.play
        learning = play is not None and play.tutorial and play.over is None and not play.closed.is_set()
        if play is not None and learning and not sitting.tutorial_done:
            await self._set_stage(sitting, "tutorial")
            await self.show_play(sitting, play, resume=True)
        elif not sitting.tutorial_done:
            await self._start(sitting, self.tutorial, tutorial=True, attempt=1)
        else:
            await self._set_stage(sitting, "lobby")
            self._say(sitting, StageMessage(stage="lobby"))

    def leave_lobby(self, session_id: str) -> None:
        """Free a session's place, or its place in the queue; whoever moves up by it is told."""
        for promoted in self.lobby.leave(session_id):
            self.later(self._promoted(promoted))
        for position, waiting in enumerate(self.lobby.queue(), start=1):
            if (sitting := self.sittings.get(waiting)) is not None:
                self._say(sitting, StageMessage(stage="lobby", position=position))

    async def _promoted(self, session_id: str) -> None:
        sitting = self.sittings.get(session_id)
        if sitting is None:
            self.leave_lobby(session_id)
            return
        async with sitting.lock:
            # Whoever is away is shown it on their return, if the place is still theirs then.
            if not sitting.gone and sitting.connected and sitting.stage == "lobby":
                sitting.sign()
                await self._with_place(sitting)

    async def _close(self, sitting: Sitting, play: LivePlay, closing: CloseReason) -> None:
        if not await self.plays.end(sitting, play, closing):
            logger.error("play %s is not recorded yet; it is tried again", play.play_id)

    async def _end_tutorial(self, sitting: Sitting) -> None:
        await self.labels.run(self.labels.store.tutorial_done, sitting.participant_id)
        sitting.tutorial_done = True
        await self.to_lobby(sitting)
        play = sitting.play
        if play is not None and play.over is None:
            self.later(self._close(sitting, play, "server"))

    # --- episode --------------------------------------------------------------------------------------------

    async def _ready(self, sitting: Sitting, *, again: bool) -> None:
        before = sitting.play
        if before is not None and not await self.plays.closed(before, _RECORDED_WITHIN_S):
            self._refuse(sitting, "not_now", "The last episode is still being saved. Please try again.")
            return
        tasks = await self.assignment(sitting.program, sitting.iteration)
        if not self.lobby.has_place(sitting.session_id):
            await self.to_lobby(sitting)
            return
        if again and before is not None:
            if sitting.result is None or sitting.result.attempts_left < 1:
                self._refuse(sitting, "too_many", "There are no attempts left at this task.")
                return
            await self._start(sitting, before.episode, tutorial=False, attempt=sitting.result.attempt + 1)
            return
        if tasks.tasks_of(sitting.participant_id) >= self.settings.tasks_per_session:
            await self._end(sitting, "done", "thanks", "server", None)
            return
        episode = tasks.next_task(sitting.participant_id)
        if episode is None:
            await self._end(sitting, "done", "thanks", "server", "You have played every task there is.")
            return
        await self._start(sitting, episode, tutorial=False, attempt=1)

    async def _start(self, sitting: Sitting, episode: Episode, *, tutorial: bool, attempt: int) -> None:
        tasks = await self.assignment(sitting.program, sitting.iteration)
        if not tutorial:
            # Counted before anything is awaited, so that two people at once get two different tasks.
            tasks.count(episode.episode_id, sitting.participant_id)
        try:
            row = await self.labels.run(
                self.labels.store.start_play, sitting.session_id, episode.episode_id, attempt, tutorial=tutorial
            )
        except UserError:
            if not tutorial:
                tasks.uncount(episode.episode_id, sitting.participant_id)
            raise
        play = self.live_play(sitting, row, episode, tasks.tasks_of(sitting.participant_id))
        sitting.plays += 1
        sitting.play, sitting.result, sitting.feedback_given = play, None, 0
        await self._set_stage(sitting, "tutorial" if tutorial else "episode")
        await self.show_play(sitting, play, resume=False)

    @staticmethod
    def live_play(sitting: Sitting, row: EpisodePlay, episode: Episode, episode_number: int) -> LivePlay:
        """A row of the label store as a play in memory."""
        return LivePlay(
            play_id=row.id,
            session_id=sitting.session_id,
            episode=episode,
            attempt=row.attempt,
            tutorial=row.tutorial,
            index=sitting.plays,
            episode_number=0 if row.tutorial else episode_number,
        )

    async def show_play(self, sitting: Sitting, play: LivePlay, *, resume: bool) -> None:
        """Open a play where it is not, and put it before the person; a play that cannot be opened ends the session."""
        if await self.plays.open_play(sitting, play, resume=resume):
            self._say(sitting, StageMessage(stage="tutorial" if play.tutorial else "episode"))
            self.plays.show(sitting, play, resumed=resume)
        elif play.over is None:
            await self._end(sitting, "error", "ended", "server", "This task could not be opened. We are sorry.")

    def _play_over(self, sitting: Sitting, play: LivePlay) -> None:
        if not sitting.gone and sitting.play is play:
            self.later(self._after_play(sitting, play))

    def _play_broken(self, sitting: Sitting, play: LivePlay) -> None:
        if not sitting.gone and sitting.play is play:
            self.later(self.end(sitting, "error", "server", "This task broke down. We are sorry."))

    async def _after_play(self, sitting: Sitting, play: LivePlay) -> None:
        async with sitting.lock:
            if sitting.gone or sitting.play is not play or play.over is None or sitting.stage not in _PLAYING:
                return
            sitting.sign()
            if play.tutorial:
                await self._end_tutorial(sitting)
                return
            tasks = await self.assignment(sitting.program, sitting.iteration)
            over = play.over
            left = 0 if over.success else tasks.attempts_left(sitting.participant_id, play.episode.episode_id)
            sitting.result = PlayResult(
                episode_number=play.episode_number,
                instruction=play.episode.instruction,
                success=over.success,
                percent_complete=over.percent_complete,
                missing=over.missing,
                ended_by=over.reason,
                attempt=play.attempt,
                attempts_left=left,
            )
            await self._set_stage(sitting, "feedback")
            self._say(sitting, StageMessage(stage="feedback", result=sitting.result))

    # --- feedback and the end -------------------------------------------------------------------------------

    async def _feedback(self, sitting: Sitting, message: protocol.Feedback) -> None:
        play = sitting.play
        if play is None:
            self._refuse(sitting, "not_now", _NOT_NOW)
            return
        if sitting.feedback_given >= _FEEDBACK_PER_PLAY:
            self._refuse(sitting, "too_many", "There is feedback enough on this episode.")
            return
        sitting.feedback_given += 1
        await self.labels.run(self._store_feedback, sitting, play, message)
        if sitting.result is not None:
            sitting.result = sitting.result.model_copy(update={"feedback_given": True})
        self._say(sitting, protocol.FeedbackSavedMessage(key=message.key))

    def _store_feedback(self, sitting: Sitting, play: LivePlay, message: protocol.Feedback) -> None:
        store = self.labels.store
        said = {"success": message.success, "missing": message.missing, "problem": message.problem}
        for kind, key in (("feedback", message.key), ("problem", f"{message.key}-problem")):
            if kind == "feedback" or message.problem:
                store.add_label(
                    "feedback" if kind == "feedback" else "problem",
                    program=sitting.program,
                    iteration=sitting.iteration,
                    annotator=sitting.participant_id,
                    client_key=key,
                    value=said if kind == "feedback" else {"problem": message.problem},
                    session_id=sitting.session_id,
                    episode_play_id=play.play_id,
                )

    async def end(self, sitting: Sitting, reason: str, closing: CloseReason, message: str | None) -> None:
        """End a session from outside: idle, or nobody came back."""
        async with sitting.lock:
            if not sitting.gone:
                await self._end(sitting, reason, "ended", closing, message)

    async def _end(
        self, sitting: Sitting, reason: str, stage: protocol.Stage, closing: CloseReason, message: str | None
    ) -> None:
        sitting.gone = True
        play = sitting.play
        if play is not None and not play.closed.is_set() and not play.refused:
            await self._close(sitting, play, closing)
        if sitting.plays:
            self.plays.end_session(sitting, reason if reason in ("error", "aborted") else "")
        totals = await self._end_in_store(sitting, reason)
        self.sittings.pop(sitting.session_id, None)
        (await self.assignment(sitting.program, sitting.iteration)).forget(sitting.participant_id)
        self.leave_lobby(sitting.session_id)
        self._say(sitting, StageMessage(stage=stage, message=message, totals=totals))
        if sitting.connection is not None:
            sitting.connection.close(protocol.CLOSED_ENDED, "the session is over")

    async def _end_in_store(self, sitting: Sitting, reason: str) -> Totals:
        """Keep the end; a database that does not answer is asked until it does."""
        wait = 1.0
        while True:
            active, sitting.unsaved_active_s = sitting.unsaved_active_s, 0.0
            try:
                await self.labels.run(self.labels.store.end_session, sitting.session_id, reason, active_seconds=active)
                active = 0.0
                return await self.totals(sitting.session_id)
            except UserError as error:
                sitting.unsaved_active_s += active
                logger.error("the end of session %s is not stored yet: %s", sitting.session_id, error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 60.0)

    async def totals(self, session_id: str) -> Totals:
        """What a session came to."""
        rows = await self.labels.run(self.labels.store.session_plays, session_id)
        finished = [row for row in rows if not row.tutorial and row.finished_at is not None]
        return Totals(
            episodes=len(finished),
            successes=sum(bool(row.success) for row in finished),
            minutes=round(sum(row.seconds or 0.0 for row in rows) / 60, 1),
        )

    # --- saying ---------------------------------------------------------------------------------------------

    async def _set_stage(self, sitting: Sitting, stage: protocol.Stage) -> None:
        if sitting.stage != stage:
            await self.labels.run(self.labels.store.set_stage, sitting.session_id, stage)
            sitting.stage = stage

    @staticmethod
    def _say(sitting: Sitting, message: protocol.Message) -> None:
        if sitting.connection is not None:
            sitting.connection.send(message)

    def _refuse(self, sitting: Sitting, code: ErrorCode, message: str) -> None:
        self._say(sitting, ErrorMessage(code=code, message=message))
