"""One open session as the server holds it in memory: its stage, its connection, the play under way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from hitl_ops.contracts.episode import Episode
from ui_collect.connection import Connection
from ui_collect.protocol import EpisodeMessage, PlayResult, Stage
from ui_collect.simulation.messages import Opened, Over


@dataclass(eq=False)
class LivePlay:
    """One attempt at one task.

    Attributes:
        play_id: made by the label store; also names the log.
        session_id: whose it is.
        episode: the task.
        attempt: from 1.
        tutorial: counted nowhere.
        index: number of the play within the session, from 0.
        episode_number: number of the task within the session, from 1; 0 for the tutorial.
        opened: what the page needs to draw it, once a worker has it.
        ready: set once it is opened, or cannot be (``refused`` says why).
        over: how it ended; ``ended`` is set with it.
        next_seq: the number after the highest one passed on to the worker since this server has it.
        closed: set once its record is published (or could not be) and its outcome stored.
    """

    play_id: str
    session_id: str
    episode: Episode
    attempt: int
    tutorial: bool
    index: int
    episode_number: int
    opened: Opened | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    refused: str = ""
    over: Over | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    next_seq: int = 0

    def message(self, *, of: int, attempts: int, resumed: bool) -> EpisodeMessage:
        """What the page is told of it, once a worker has opened it."""
        assert self.opened is not None
        drawn = self.opened.model_dump(exclude={"resumed", "seconds", "next_seq"})
        return EpisodeMessage(
            index=self.index,
            episode_number=self.episode_number,
            of=of,
            attempt=self.attempt,
            attempts_allowed=attempts,
            tutorial=self.tutorial,
            resumed=resumed,
            next_seq=max(self.next_seq, self.opened.next_seq),
            **drawn,
        )


@dataclass(eq=False)
class Sitting:
    """One session that has not ended.

    Attributes:
        session_id: made by the label store.
        participant_id: whose.
        program: the loop people collect for.
        iteration: its turn.
        stage: what the person does now.
        tutorial_done: they need no tutorial any more.
        connection: the live connection; None while nobody is connected.
        away_since: seconds (monotonic) since when nobody is.
        last_sign: seconds (monotonic) of the last thing the person did.
        warned: the idle warning stands.
        play: the play under way, or the one that has just ended (for its feedback).
        plays: plays begun so far, tutorials included.
        result: how the last play went, for the feedback page.
        feedback_given: how many times feedback on it came.
        unsaved_active_s: seconds the person acted that the label store has not been told of yet.
        lock: held through every change of stage.
        gone: the session is ending; nothing more is taken from it.
    """

    session_id: str
    participant_id: str
    program: str
    iteration: int
    stage: Stage = "consent"
    tutorial_done: bool = False
    connection: Connection | None = None
    away_since: float = field(default_factory=time.monotonic)
    last_sign: float = field(default_factory=time.monotonic)
    warned: bool = False
    play: LivePlay | None = None
    plays: int = 0
    result: PlayResult | None = None
    feedback_given: int = 0
    unsaved_active_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: bool = False

    @property
    def connected(self) -> bool:
        """Whether somebody is connected."""
        return self.connection is not None

    def sign(self) -> bool:
        """The person did something; returns whether a warning is to be taken back."""
        self.last_sign = time.monotonic()
        warned, self.warned = self.warned, False
        return warned
