"""What a browser page would know: built from the messages and keyframes that came, and from nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ui_collect.keyframes import FLOOR, HELD_BY, AgentRow, ObjectRow, Picture
from ui_collect.protocol import (
    SERVER_MESSAGES,
    AnswerMessage,
    EpisodeMessage,
    ErrorMessage,
    FeedbackSavedMessage,
    IdleMessage,
    MissingMessage,
    PartnerMessage,
    SavedMessage,
    StageMessage,
    Welcome,
)

_KEPT_LATENCIES = 4096


@dataclass
class Said:
    """One thing a person said in a play, as it should stand in the play's log.

    Attributes:
        kind: ``control``, ``act``, ``override``, ``skip`` or ``finish``, as the log calls them.
        what: its content: the action, or the three axes.
    """

    kind: str
    what: str


@dataclass
class PlayLedger:
    """What a person said in one play, and how much of it the server said was on disk.

    Attributes:
        said: by ``seq``.
        saved_seq: everything up to it was acknowledged; -1 before anything was.
        saved_n: the log's events up to it were.
        tutorial: whether the play is counted nowhere.
        finished: the stage after it has come: the play was over.
    """

    said: dict[int, Said] = field(default_factory=dict)
    saved_seq: int = -1
    saved_n: int = -1
    tutorial: bool = False
    finished: bool = False


class Page:
    """The state a page keeps; waiting for it to change.

    Attributes:
        stage: what the person is to do; None before the first stage message of a connection.
        episode: the play's scenery; None before the first play.
        laid_out: the scenery is the present stage's: between the word that a play begins and its scenery, the page
            still has the one before, whose numbers must not be used any more.
        picture: the play as the keyframes tell it.
        missing: the list of what is still missing.
        partner: what the partner was last said to do.
        answers: the world's answers to acts and overrides of this play, by ``seq``.
        errors: refusals by the server, the latest last.
        ledgers: by the play's index in the session.
        latencies_ms: from a message with a ``seq`` to the keyframe that shows it applied.
        refusals: how many errors came.
        welcomes: connections the server took up.
    """

    def __init__(self) -> None:
        self.stage: StageMessage | None = None
        self.episode: EpisodeMessage | None = None
        self.laid_out = False
        self.picture = Picture()
        self.missing: list[str] | None = None
        self.partner: PartnerMessage | None = None
        self.answers: dict[int, AnswerMessage] = {}
        self.feedback_saved: set[str] = set()
        self.errors: deque[ErrorMessage] = deque(maxlen=100)
        self.ledgers: dict[int, PlayLedger] = {}
        self.latencies_ms: deque[float] = deque(maxlen=_KEPT_LATENCIES)
        self.welcomes = 0
        self.idle_warnings = 0
        self.refusals = 0
        self.frames = 0
        self.closed: tuple[int, str] | None = None
        self._sent_at: deque[tuple[int, float]] = deque()
        self._changed: asyncio.Future[None] | None = None

    # --- listening ------------------------------------------------------------------------------------------

    def connecting(self) -> None:
        """A new connection begins: the server tells again where the person is."""
        self.stage = None
        self.laid_out = False
        self.closed = None
        self._sent_at.clear()

    def on_text(self, text: str) -> None:
        """Take in a message.

        Raises:
            ValidationError: it breaks the protocol.
        """
        match SERVER_MESSAGES.validate_json(text):
            case Welcome():
                self.welcomes += 1
            case StageMessage() as stage:
                if stage.stage not in ("tutorial", "episode") and self.episode is not None:
                    self.ledgers[self.episode.index].finished = True
                self.stage = stage
                self.laid_out = False
            case EpisodeMessage() as episode:
                self._begin(episode)
            case PartnerMessage() as partner:
                self.partner = partner
            case MissingMessage(lines=lines):
                self.missing = lines
            case AnswerMessage() as answer:
                self.answers[answer.seq] = answer
            case SavedMessage() as saved:
                self._save(saved)
            case FeedbackSavedMessage(key=key):
                self.feedback_saved.add(key)
            case IdleMessage(seconds_left=left):
                self.idle_warnings += left is not None
            case ErrorMessage() as error:
                self.errors.append(error)
                self.refusals += 1
        self.wake()

    def on_bytes(self, data: bytes) -> None:
        """Take in a keyframe.

        Raises:
            ValueError: it is none.
        """
        self.picture.take(data)
        self.frames += 1
        now = time.perf_counter()
        while self._sent_at and self._sent_at[0][0] <= self.picture.seq:
            self.latencies_ms.append((now - self._sent_at.popleft()[1]) * 1000)
        self.wake()

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is over."""
        self.closed = (code, reason)
        self.wake()

    def _begin(self, episode: EpisodeMessage) -> None:
        same = self.episode is not None and self.episode.index == episode.index
        self.episode = episode
        self.laid_out = True
        self.picture = Picture()
        self.partner, self.missing = None, None
        self._sent_at.clear()
        if not same:
            self.answers = {}
        ledger = self.ledgers.setdefault(episode.index, PlayLedger(tutorial=episode.tutorial))
        # What the server never took in is not in the log; its numbers are used again.
        for seq in [seq for seq in ledger.said if seq >= episode.next_seq]:
            del ledger.said[seq]

    def _save(self, saved: SavedMessage) -> None:
        if self.episode is not None:
            ledger = self.ledgers[self.episode.index]
            ledger.saved_seq = max(ledger.saved_seq, saved.seq)
            ledger.saved_n = max(ledger.saved_n, saved.n)

    def sent(self, seq: int, said: Said, *, shows: bool) -> None:
        """Note what the person has just said.

        Args:
            seq: its number.
            said: what.
            shows: a keyframe will show when it is applied.
        """
        assert self.episode is not None
        self.ledgers[self.episode.index].said[seq] = said
        if shows:
            self._sent_at.append((seq, time.perf_counter()))

    # --- waiting --------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have whoever waits look again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def until(self, ready: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is so; returns whether it is. A closed connection ends the wait too."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while not ready():
            left = end - loop.time()
            if left <= 0 or self.closed is not None:
                return False
            self._changed = loop.create_future()
            timer = loop.call_later(left, self.wake)
            try:
                await self._changed
            finally:
                timer.cancel()
        return True

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether there is a play to act in."""
        return (
            self.closed is None
            and self.laid_out
            and self.stage is not None
            and self.stage.stage in ("tutorial", "episode")
        )

    @property
    def me(self) -> AgentRow:
        """The person's own body."""
        assert self.episode is not None
        return self.picture.agents[self.episode.human]

    @property
    def drawn(self) -> bool:
        """Whether there is anything to see yet."""
        return (
            self.laid_out
            and self.episode is not None
            and self.episode.human in self.picture.agents
            and self.missing is not None
        )


@dataclass(frozen=True)
class Thing:
    """An object as the page shows it.

    Attributes:
        name: e.g. ``mug_1``.
        place: the furniture it is on or in, ``floor_<room>``, or ``agent_<number>`` whose hand it is in.
        row: the rest.
    """

    name: str
    place: str
    row: ObjectRow

    @property
    def holder(self) -> int | None:
        """The agent that holds it."""
        return int(self.place.removeprefix("agent_")) if self.place.startswith("agent_") else None


@dataclass(frozen=True)
class Sight:
    """A moment of a play, by names instead of indices.

    Attributes:
        things: objects the person has seen, in the episode's order.
        held: per agent what it holds.
        open_furniture: furniture that stands open.
        powered: furniture that is on.
        reach: what the person can act on from where it stands.
    """

    things: dict[str, Thing]
    held: dict[int, str | None]
    open_furniture: frozenset[str]
    powered: frozenset[str]
    reach: frozenset[str]

    @classmethod
    def of(cls, page: Page) -> Sight:
        """What the page shows now."""
        episode, picture = page.episode, page.picture
        assert episode is not None
        objects, furniture = episode.objects, episode.furniture
        rooms = [room.name for room in episode.scene.rooms]

        def place(parent: int) -> str:
            if parent & HELD_BY == HELD_BY:
                return f"agent_{parent & ~HELD_BY}"
            return f"floor_{rooms[parent & ~FLOOR]}" if parent & FLOOR else furniture[parent]

        return cls(
            things={
                objects[i]: Thing(objects[i], place(row.parent), row) for i, row in sorted(picture.objects.items())
            },
            held={i: None if row.held is None else objects[row.held] for i, row in picture.agents.items()},
            open_furniture=frozenset(furniture[i] for i, row in picture.furniture.items() if row.open),
            powered=frozenset(furniture[i] for i, row in picture.furniture.items() if row.on),
            reach=frozenset(furniture[i & ~FLOOR] if i & FLOOR else objects[i] for i in picture.reach),
        )
