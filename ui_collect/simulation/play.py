"""One play inside a worker: what comes in becomes events of its log, what happens becomes messages to the page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.log_flusher import process_flusher
from hitl_ops.records.session_events import (
    ActEvent,
    ControlEvent,
    DecisionEvent,
    MarkEvent,
    OverrideEvent,
    PauseEvent,
    ResumeEvent,
)
from hitl_ops.worlds.household.tools import STEPS_PER_SECOND
from ui_collect.corrections import corrections_of
from ui_collect.keyframes import KeyframeEncoder
from ui_collect.simulation.messages import Act, ClientOp, Finish, Input, Over, Override, Skip

if TYPE_CHECKING:
    from hitl_ops.records.session_events import FinishReason, SessionEvent
    from hitl_ops.records.session_log import SessionLogWriter
    from hitl_ops.rollouts.live_session import LiveSession
    from ui_collect.simulation.messages import EventKind
    from ui_collect.simulation.partners import Partner

_SUCCESS_SHOWN = 2 * STEPS_PER_SECOND
"""Ticks a completed task is shown before the play ends by itself."""
_RETRY_S = 1.0


def over_of(session: LiveSession, log_name: str, told: str | None = None) -> Over:
    """How a finished play ended.

    Args:
        session: the play.
        log_name: its log's path below the iteration's folder.
        told: the reason told to people, where it says more than the log's.
    """
    assert session.finish is not None
    return Over(
        reason=told or session.finish.reason,
        success=session.success,
        percent_complete=session.percent_complete,
        missing=session.missing(),
        state_hash=session.finish.state_hash,
        ticks=session.tick,
        seconds=session.seconds_active,
        log=log_name,
        corrections=corrections_of(session),
    )


@dataclass
class Answers:
    """What a play answers its person; goes on with whoever takes the play up again for the same page.

    Attributes:
        given: client numbers of what has an answer.
        waiting: answers not told yet, each with the number of the event that the log has to hold before.
        overriding: client number of the decision for the partner that has none yet; None where there is none.
    """

    given: set[int] = field(default_factory=set)
    waiting: deque[tuple[int, dict[str, Any]]] = field(default_factory=deque)
    overriding: int | None = None


class Play:
    """A play under way.

    Args:
        play_id: names it in messages.
        session: its world.
        log: where its events go; nothing is applied that was not taken in there.
        log_name: the log's path below the iteration's folder.
        partner: who decides for the partner.
        send: takes a kind of message and its payload.
        answers: those before its scene was lost; None where nobody waits for what its log answers.
        clock: seconds since 1970, for the record.
    """

    def __init__(
        self,
        play_id: str,
        session: LiveSession,
        log: SessionLogWriter,
        *,
        log_name: str,
        partner: Partner,
        send: Callable[[EventKind, Any], None],
        answers: Answers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.play_id = play_id
        self.session = session
        self.log = log
        self.over: Over | None = None
        """How it ended, from the moment it has; it is announced once the log is closed."""
        self.began = session.tick
        """The tick at which this process took it up."""
        self._log_name = log_name
        self._partner = partner
        self._send = send
        self._clock = clock
        self._frames = KeyframeEncoder(session)
        self._watched = False
        self._marked = session.tick
        self._unsaved: deque[tuple[int, int]] = deque()
        self._saved_n = log.durable_n
        self._saved_seq = session.last_seq
        self.answers = answers or Answers()
        self._partner_said: dict[str, Any] = {}
        self._missing: list[str] | None = None
        self._missing_of = -1
        self._completed_at: int | None = None
        self._storage_failed = False
        self._retry_at = 0.0
        if not session.paused:
            self._event(PauseEvent, reason="not joined")
        for answer in session.take_answers():
            if answers is not None and answer.seq not in answers.given:
                self._answer(answer.seq, answer.action, answer.response)
        self._go_on_overriding()

    def _go_on_overriding(self) -> None:
        """Answer a decision for the partner that ended when nobody could be told; forget one that the log lacks."""
        if self.answers.overriding is None:
            return
        if self.answers.overriding > self.session.last_seq:
            self.answers.overriding = None
        elif (now := self.session.partner_status()).status != "acting":
            self._answer_override(now.response)

    @property
    def moves(self) -> bool:
        """Whether its world goes on."""
        return self.over is None and not self.session.paused and not self._storage_failed

    # --- what comes in ------------------------------------------------------------------------------------

    def join(self) -> None:
        """Somebody looks on from here: everything is told from the beginning."""
        if self.over is not None:
            return
        if self.session.paused:
            self._event(ResumeEvent)
        self._watched = True
        self._send("frame", self._frames.full())
        self._send("saved", {"seq": self._saved_seq, "n": self._saved_n})
        self._partner_said, self._missing, self._missing_of = {}, None, -1
        self._tell_partner()
        self._tell_missing()

    def leave(self) -> None:
        """Nobody looks on: the world stands still."""
        if self.over is None and not self.session.paused:
            self._event(PauseEvent, reason="left")
        self._watched = False

    def take(self, op: ClientOp) -> None:
        """Take in what the person does; applied before the next tick."""
        session = self.session
        if self.over is not None or op.seq <= session.last_seq:
            return
        match op:
            case Input():
                self._event(ControlEvent, seq=op.seq, forward=op.forward, strafe=op.strafe, turn=op.turn)
            case Act():
                self._event(ActEvent, seq=op.seq, action=op.action)
            case Override():
                self._override(op)
            case Finish():
                self._finish("person", seq=op.seq)
            case Skip():
                self._finish("skip", seq=op.seq)
        self._take_answers()

    def close(self, reason: FinishReason) -> None:
        """End it from outside."""
        if self.over is None:
            self._finish(reason)

    def give_up(self) -> None:
        """Its world cannot go on in this process: whatever is not in the log is forgotten."""
        self._partner.close()

    def _override(self, op: Override) -> None:
        decisions = self.session.decisions
        if op.decision >= len(decisions) or decisions[op.decision].agent != self.session.partner:
            self._send("error", {"code": "unknown_decision", "message": "The partner has made no such decision."})
            return
        if self.answers.overriding is not None:
            self._answer_override("Interrupted.")
        # Noted first: the scene may be lost once the log holds it.
        self.answers.overriding = op.seq
        if not self._event(OverrideEvent, seq=op.seq, action=op.action, decision_index=op.decision, by=op.by):
            self.answers.overriding = None

    # --- time -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let a thirtieth of a second pass."""
        session = self.session
        observation = session.wants_decision()
        if observation is not None and session.asked_tick is not None:
            self._partner.ask(observation, session.asked_tick)
        reply = self._partner.reply()
        if reply is not None:
            taken = self._event(
                DecisionEvent,
                action=reply.action,
                reply=reply.reply,
                policy_id=reply.policy_id,
                latency_ms=reply.latency_ms,
                stats=reply.stats,
                asked_tick=reply.asked_tick,
            )
            if not taken:
                session.ask_again()
                return
        ended = session.step()
        if ended or session.tick - self._marked >= STEPS_PER_SECOND:
            self._event(MarkEvent)
        if ended:
            # What a person was told has happened must not be undone by a crash.
            process_flusher().want(self.log, urgent=True)
        for skill in ended:
            if skill.agent == session.partner:
                self._partner_ended(str(skill.action), skill.response)
        self._take_answers()
        self._end_if_over()

    def tell(self) -> None:
        """Send what has changed since the last time."""
        if self._watched:
            frame = self._frames.increment()
            if frame is not None:
                self._send("frame", frame)
            self._tell_partner()
            self._tell_missing()

    def check_log(self) -> None:
        """Tell what has become durable, and whether the disk takes nothing more."""
        log = self.log
        durable = log.durable_n
        waiting = self.answers.waiting
        while waiting and waiting[0][0] <= durable:
            self._send("answer", waiting.popleft()[1])
        if durable != self._saved_n:
            self._saved_n = durable
            seq = -1
            while self._unsaved and self._unsaved[0][0] <= self._saved_n:
                seq = self._unsaved.popleft()[1]
            if seq >= 0:
                self._saved_seq = seq
                self._send("saved", {"seq": seq, "n": self._saved_n})
        if log.error is not None:
            self._storage_error(log.error)
        elif self._storage_failed:
            self._storage_failed = False

    def _storage_error(self, error: UserError) -> None:
        now = time.monotonic()
        if not self._storage_failed:
            self._storage_failed = True
            self._retry_at = now + _RETRY_S
            self._send("error", {"code": "storage_full", "message": str(error)})
        elif now >= self._retry_at:
            # Done by the threads that wait for the disk anyway.
            self._retry_at = now + _RETRY_S
            process_flusher().want(self.log, urgent=True)

    def _end_if_over(self) -> None:
        session = self.session
        if self.over is not None:
            return
        if session.stands == "step_limit":
            self._finish("time")
        elif session.stands == "done":
            self._finish("person")
        elif not session.success:
            self._completed_at = None
        elif self._completed_at is None:
            self._completed_at = session.tick
        elif session.tick - self._completed_at >= _SUCCESS_SHOWN:
            self._finish("person", told="task")

    # --- the log --------------------------------------------------------------------------------------------

    def _event(self, kind: Callable[..., SessionEvent], **fields: Any) -> bool:
        """Make an event of this moment, log it, apply it; returns whether the log took it."""
        session = self.session
        event = kind(n=session.next_n, tick=session.tick, wall=self._clock(), **fields)
        return self._log_and_apply(event, fields.get("seq"))

    def _log_and_apply(self, event: SessionEvent, seq: int | None) -> bool:
        try:
            self.log.append(event)
        except UserError as error:
            self._storage_error(error)
            return False
        self.session.apply(event)
        self._marked = event.tick
        if seq is not None:
            self._unsaved.append((event.n, seq))
        return True

    def _finish(self, reason: FinishReason, *, seq: int | None = None, told: str | None = None) -> None:
        session = self.session
        if not self._log_and_apply(session.finish_event(reason, wall=self._clock()), seq):
            return
        self._take_answers()
        if self._watched:
            self.tell()
        self._partner.close()
        self.over = over_of(session, self._log_name, told)

    # --- telling --------------------------------------------------------------------------------------------

    def _take_answers(self) -> None:
        """Answers wait until the log holds the moment they are of."""
        for answer in self.session.take_answers():
            self._answer(answer.seq, answer.action, answer.response)

    def _answer(self, seq: int, action: str, response: str) -> None:
        answer = {"seq": seq, "action": action, "response": response}
        self.answers.given.add(seq)
        self.answers.waiting.append((self.log.next_n - 1, answer))

    def _partner_ended(self, action: str, response: str) -> None:
        self._tell_of_partner("done", action, response)
        if self.answers.overriding is not None:
            self._answer_override(response)

    def _answer_override(self, response: str) -> None:
        assert self.answers.overriding is not None
        last = next(d for d in reversed(self.session.decisions) if d.agent == self.session.partner)
        self._answer(self.answers.overriding, last.action, response)
        self.answers.overriding = None

    def _tell_partner(self) -> None:
        now = self.session.partner_status()
        status = "away" if now.status == "thinking" and self._partner.away else now.status
        self._tell_of_partner(status, now.action, now.response)

    def _tell_of_partner(self, status: str, action: str, response: str) -> None:
        told = {"status": status, "action": action, "response": response}
        if self._partner_said.items() >= told.items() or not self._watched:
            return
        decided = (d.index for d in reversed(self.session.decisions) if d.agent == self.session.partner)
        self._partner_said = {**told, "decision": next(decided, None)}
        self._send("partner", self._partner_said)

    def _tell_missing(self) -> None:
        revision = self.session.world.state.revision
        if revision == self._missing_of:
            return
        self._missing_of = revision
        lines = self.session.missing()
        if lines != self._missing:
            self._missing = lines
            self._send("missing", {"lines": lines})
