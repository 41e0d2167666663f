"""Plays beside any partner: somebody who does the oracle's share, and a planner that replies after a moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.planner import HistoryEntry, Observation, Reply
from hitl_ops.experts.oracle import Oracle
from tests.support.collected_plays import Anything
from tests.support.plays import Player

_ENDS_NOTHING = ("Wait[]", "Done[]")


class Partner(Protocol):
    """Chooses for the partner; a :class:`Planner` is one."""

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode."""

    def decide(self, observation: Observation) -> Reply:
        """Choose."""


@dataclass
class Random:
    """Any admissible action, each as likely; ends nothing and never waits."""

    seed: int = 0
    luck: random.Random = field(init=False)

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode."""
        self.luck = random.Random(f"{self.seed} {episode.episode_id}")

    def decide(self, observation: Observation) -> Reply:
        """Choose."""
        action = self.luck.choice([action for action in observation.admissible if action not in _ENDS_NOTHING])
        return Reply(action, action)


class Slipping:
    """The oracle, which now and then does anything instead.

    Attributes:
        slips: prompts at which it did.
    """

    def __init__(self, share: float, *, seed: int = 0) -> None:
        self.share = share
        self.slips: set[str] = set()
        self._oracle = Oracle("partial")
        self._random = Random(seed)

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode."""
        self._oracle.start(episode, world)
        self._random.start(episode, world)

    def decide(self, observation: Observation) -> Reply:
        """Choose."""
        if self._random.luck.random() < self.share:
            self.slips.add(observation.prompt)
            return self._random.decide(observation)
        try:
            return self._oracle.decide(observation)
        except AssertionError:  # it has slipped into a state from which the oracle knows no way
            return Reply("Wait[]", "Wait[]")


def beside(
    partner: Partner, *, thinks_ticks: int = 9, most_ticks: int = 5000, grabs: bool = False
) -> Callable[[Player], None]:
    """Play a task beside a partner until it is done, the partner is, or time is up.

    Args:
        partner: chooses for the partner.
        thinks_ticks: ticks until its choice becomes known.
        most_ticks: ticks after which the play is over.
        grabs: the person does whatever it can, the partner's share first; otherwise its own share alone.
    """

    def play(player: Player) -> None:
        session = player.session
        human = session.human
        oracle = Oracle("full")
        oracle.start(session.episode, session.world)
        if grabs:
            for job in oracle.jobs:
                job.agent = session.partner if job.states else human
            oracle.jobs.reverse()
        partner.start(session.episode, session.world)
        history: list[HistoryEntry] = []
        choice, due = "", -1
        while session.tick < most_ticks and not session.success and session.stands is None:
            asked = session.asked_tick
            question = session.wants_decision()
            if question is not None:
                choice, due = partner.decide(question).action, session.tick + thinks_ticks
            if choice and session.tick >= due:
                player.decide(choice, asked)
                choice = ""
            person_stands = session.world.done[human]
            if not session.world.busy(human) and not person_stands:
                instruction = session.episode.instruction
                act = oracle.decide(Observation(human, "human", instruction, "", Anything(), history=history)).action
                if act not in _ENDS_NOTHING:
                    player.act(act)
                elif session.world.done[session.partner]:
                    return
            history += [HistoryEntry(e.agent, str(e.action), e.response) for e in player.run(1) if e.agent == human]

    return play
