"""A play without server or socket, watched by a page: what a worker would send is handed over as it is."""

from __future__ import annotations

from hitl_ops.contracts.episode import Episode
from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.session_events import ActEvent, ControlEvent, DecisionEvent
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.layout import REACH
from ui_collect.keyframes import FrameNames, KeyframeEncoder
from ui_collect.protocol import EpisodeMessage, MissingMessage, StageMessage, to_wire
from ui_collect.scripted_people.page import Page
from ui_collect.scripted_people.walking import Keys


def episode_message(
    session: LiveSession, *, index: int = 0, next_seq: int = 0, resumed: bool = False
) -> EpisodeMessage:
    """What the page is told of a play before its first keyframe."""
    world = session.world
    names = FrameNames.of(world)
    return EpisodeMessage(
        index=index,
        episode_number=1,
        of=5,
        attempt=1,
        attempts_allowed=3,
        tutorial=False,
        resumed=resumed,
        next_seq=next_seq,
        instruction=session.episode.instruction,
        scene=world.state.description,
        shapes={thing.kind: OBJECT_SHAPES[thing.kind] for thing in world.state.facts.objects.values()},
        objects=names.objects,
        furniture=names.furniture,
        doors=names.doors,
        abilities=[list(abilities) for abilities in world.abilities],
        human=session.human,
        reach_m=REACH,
        policy="",
    )


class WatchedPlay:
    """A play and the page that shows it.

    Args:
        episode: the task.
        human: the person's agent.
        partner: the oracle plays the partner; otherwise it stands still.
    """

    def __init__(self, episode: Episode, *, human: int = 0, partner: bool = False) -> None:
        self.session = LiveSession(episode, human=human)
        self.page = Page()
        self._encoder = KeyframeEncoder(self.session)
        self._seq = 0
        self._oracle: Oracle | None = None
        if partner:
            self._oracle = Oracle("partial")
            self._oracle.start(episode, self.session.world)
        self.page.on_text(to_wire(StageMessage(stage="episode")))
        self.page.on_text(to_wire(episode_message(self.session)))
        self.page.on_bytes(self._encoder.full())
        self._tell()

    def _tell(self) -> None:
        self.page.on_text(to_wire(MissingMessage(lines=self.session.missing())))

    def tick(self) -> None:
        """A thirtieth of a second; the page hears of it."""
        session = self.session
        observation = session.wants_decision()
        if self._oracle is not None and observation is not None:
            action = self._oracle.decide(observation).action
            asked = session.asked_tick or 0
            event = DecisionEvent(**self._place(), action=action, policy_id="oracle", asked_tick=asked)
            session.apply(event)
        session.step()
        frame = self._encoder.increment()
        if frame is not None:
            self.page.on_bytes(frame)
        self._tell()

    def _place(self) -> dict[str, float]:
        return {"n": self.session.next_n, "tick": self.session.tick, "wall": 1_700_000_000 + self.session.tick / 30}

    def hold(self, keys: Keys) -> None:
        """Hold keys from now on."""
        self._seq += 1
        self.session.apply(ControlEvent(**self._place(), seq=self._seq, **keys._asdict()))

    def act(self, action: str) -> str:
        """Carry an act out to its end; returns the world's answer."""
        self._seq += 1
        self.session.apply(ActEvent(**self._place(), seq=self._seq, action=action))
        while not (answers := self.session.take_answers()):
            self.tick()
        return answers[-1].response
