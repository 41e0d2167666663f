"""A person in a play: looks, chooses, walks, acts, and now and then decides for the partner."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.tools import SUCCESS
from ui_collect import protocol
from ui_collect.protocol import EpisodeMessage
from ui_collect.scripted_people.choices import Choices, Step, as_named
from ui_collect.scripted_people.coach import Coach
from ui_collect.scripted_people.errands import Errand, errands_of
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.line import Line
from ui_collect.scripted_people.page import Said, Sight
from ui_collect.scripted_people.people_settings import PersonSettings
from ui_collect.scripted_people.walking import STILL, Keys, Walk

_ANSWER_WITHIN_S = 40.0
_PLAY_OVER_WITHIN_S = 30.0
_LOOK_EVERY_S = 2.0
_SIGN_EVERY_S = 30.0
"""Whoever waits for the partner shows that they are there, long before the server asks."""
_STUCK_S = 2.5
_TRIES = 3
_REACH_KNOWN_S = 0.3
"""What is within reach is looked up a few times a second; a person looks, too, before reaching out."""
_ORDERED = ("First", "Start with")


@dataclass
class Doings:
    """What a person did in all plays."""

    acts: int = 0
    refused_acts: int = 0
    overrides: int = 0
    resumed: int = 0


class Player:
    """Plays one play after another over one line.

    Args:
        line: to the server.
        settings: what the person is like.
        luck: what they choose by.
        coach: whispers where things lie.
        plans: floor plans by home, shared by all.
    """

    def __init__(
        self,
        line: Line,
        settings: PersonSettings,
        luck: random.Random,
        *,
        coach: Coach | None = None,
        plans: dict[str, FloorPlan] | None = None,
    ) -> None:
        self.doings = Doings()
        self.leaving = False
        self._line = line
        self._page = line.page
        self._settings = settings
        self._luck = luck
        self._coach = coach
        self._plans = {} if plans is None else plans
        self._seq = 0
        self._keys = STILL
        self._play = -1
        self._begun_at = 0.0
        self._me: Choices | None = None
        self._partner: Choices | None = None
        self._looked_at: int | None = None
        self._signed_at = 0.0

    async def pause(self) -> None:
        """Think a little.

        Raises:
            LineBroke: the connection is gone.
        """
        mean = self._settings.pause_s / self._settings.speed
        await self._line.pause(min(5 * mean, self._luck.expovariate(1 / mean)) if mean else 0.0)

    async def begin(self, episode: EpisodeMessage) -> None:
        """Take up a play: a new one, or one gone on with."""
        self._keys = STILL
        again = episode.index == self._play and self._me is not None
        # Numbers are not used twice, whatever became of the first use.
        self._seq = max(self._seq, episode.next_seq) if again else episode.next_seq
        self.doings.resumed += episode.resumed
        if again:
            return
        self._play, self._looked_at, self._begun_at = episode.index, None, time.monotonic()
        home = episode.scene.scene_id
        if home not in self._plans:
            # A few hundredths of a second: everybody else plays on meanwhile.
            self._plans[home] = await asyncio.to_thread(FloorPlan, episode.scene)
        whispered = self._coach.places(episode) if self._coach is not None else {}
        self._me, self._partner = (
            Choices(
                self._plans[home],
                episode.abilities[agent],
                agent,
                instruction=episode.instruction,
                whispered=whispered,
                in_order=episode.instruction.startswith(_ORDERED),
            )
            for agent in (episode.human, 1 - episode.human)
        )

    async def play(self, episode: EpisodeMessage) -> None:
        """Play until the play is over, its person must leave, or loses patience.

        Raises:
            LineBroke: the connection is gone.
        """
        settings = self._settings
        until = self._begun_at + settings.patience_s
        fate = random.Random(f"{self._luck.random()}")
        skips = not episode.tutorial and fate.random() < settings.skips
        skips_at = self._begun_at + fate.random() * settings.patience_s
        while self._goes_on(episode) and not self.leaving:
            now = time.monotonic()
            if skips and now > skips_at:
                await self._declare(protocol.Skip(seq=self._take_seq()), "skip")
            elif now > until and not episode.tutorial:
                await self._declare(protocol.Finish(seq=self._take_seq()), "finish")
            elif now > until:
                return
            else:
                await self._one_step(episode)

    def _goes_on(self, episode: EpisodeMessage) -> bool:
        """Whether the play is before one's eyes; for a moment it is not where the server takes it up afresh."""
        page = self._page
        return page.playing and page.drawn and page.episode is not None and page.episode.index == episode.index

    # --- step after step ------------------------------------------------------------------------------------

    async def _one_step(self, episode: EpisodeMessage) -> None:
        page, me = self._page, self._me
        assert me is not None
        self._look_at_partner()
        sight = Sight.of(page)
        errands = errands_of(page.missing or [])
        about = page.partner.action if page.partner is not None and page.partner.status == "acting" else ""
        if self._luck.random() < self._settings.skill:
            step = me.next_step(sight, errands, taken=about)
        else:
            step = me.mistake(sight, self._luck)
        if step.kind in ("wait", "nothing"):
            self._tell_partner(sight, errands)
            seen = (page.missing, page.partner)
            await self._until(episode, lambda: (page.missing, page.partner) != seen, _LOOK_EVERY_S)
            self._show_a_sign()
            return
        await self.pause()
        if step.kind == "walk" and self._goes_on(episode) and not await self._walk(episode, step):
            return
        if step.action is not None and self._goes_on(episode):
            await self._act(episode, step.action)

    async def _act(self, episode: EpisodeMessage, action: Action) -> bool:
        """Do something and hear what came of it; returns whether it was done."""
        page, me = self._page, self._me
        assert me is not None
        seq = self._take_seq()
        self._speak(protocol.Act(seq=seq, tool=action.tool, args=list(action.args)), "act", str(action))
        self.doings.acts += 1
        await self._until(episode, lambda: seq in page.answers, _ANSWER_WITHIN_S)
        answer = page.answers.get(seq)
        if answer is None or answer.response == SUCCESS:
            return answer is not None
        self.doings.refused_acts += 1
        me.memory.refused[str(action)] += 1
        # Perhaps one stands elsewhere than one thought.
        me.memory.at = ""
        return False

    async def _walk(self, episode: EpisodeMessage, step: Step) -> bool:
        """Walk somewhere; returns whether one got there."""
        me, target = self._me, step.target
        assert me is not None
        me.memory.at = ""
        if self._luck.random() < self._settings.by_name:
            arrived = await self._act(episode, _navigate(target))
        else:
            arrived = await self._walk_by_keys(episode, target)
        if arrived:
            me.memory.at = target
        return arrived

    async def _walk_by_keys(self, episode: EpisodeMessage, target: str) -> bool:
        page, me = self._page, self._me
        assert me is not None
        for _ in range(_TRIES):
            way = me.plan.way((page.me.x, page.me.z), target)
            if way is None:
                return False
            if await self._follow(episode, Walk(way)):
                await self._until(episode, lambda: False, _REACH_KNOWN_S)
                return True
            if not self._goes_on(episode) or self.leaving:
                return False
            self._hold(STILL)
        return await self._act(episode, _navigate(target))

    async def _follow(self, episode: EpisodeMessage, walk: Walk) -> bool:
        """Hold the keys along a way; returns whether its end was reached, False too where one is stuck."""
        page = self._page
        place, moved_at = page.me, time.monotonic()
        while self._goes_on(episode) and not self.leaving:
            self._hold(walk.keys(page.me))
            if walk.arrived:
                return True
            tick = page.picture.tick
            await self._until(episode, lambda tick=tick: page.picture.tick > tick, 0.5)  # type: ignore[misc]
            if not self._goes_on(episode):
                return False
            if page.me != place:
                place, moved_at = page.me, time.monotonic()
            elif time.monotonic() - moved_at > _STUCK_S:
                return False
        return False

    def _show_a_sign(self) -> None:
        if time.monotonic() - self._signed_at > _SIGN_EVERY_S and self._page.playing:
            self._hold(Keys(turn=0.25))
            self._hold(STILL)

    async def _declare(self, message: protocol.Skip | protocol.Finish, kind: str) -> None:
        page = self._page
        before = page.stage
        self._speak(message, kind, "")
        await self._line.until(lambda: page.stage is not before, _PLAY_OVER_WITHIN_S)

    # --- the partner ----------------------------------------------------------------------------------------

    def _look_at_partner(self) -> None:
        """Now and then one knows better than the partner, or thinks so."""
        partner = self._page.partner
        if partner is None or partner.decision is None or partner.decision == self._looked_at:
            return
        self._looked_at = partner.decision
        if self._luck.random() >= self._settings.overrides or self._partner is None:
            return
        if self._luck.random() < self._settings.skill:
            action = as_named(self._partner.next_step(Sight.of(self._page), errands_of(self._page.missing or [])))
        else:
            action = _navigate(self._luck.choice(list(self._partner.plan.rooms)))
        if action is not None and str(action) != partner.action:
            self._override(partner.decision, action)

    def _tell_partner(self, sight: Sight, errands: list[Errand]) -> None:
        """What is left only the partner can do, and it stands idle: it is told what to do next."""
        partner, choices = self._page.partner, self._partner
        if partner is None or partner.decision is None or partner.status != "done" or choices is None:
            return
        action = as_named(choices.next_step(sight, errands)) if self._settings.overrides else None
        if action is None:
            return
        choices.memory.at = action.args[0] if action.tool == "Navigate" else choices.memory.at
        self._override(partner.decision, action)

    def _override(self, decision: int, action: Action) -> None:
        message = protocol.Override(seq=self._take_seq(), decision=decision, tool=action.tool, args=list(action.args))
        self._speak(message, "override", str(action))
        self.doings.overrides += 1

    # --- speaking and waiting -------------------------------------------------------------------------------

    def _hold(self, keys: Keys) -> None:
        if keys != self._keys and self._page.playing:
            self._keys = keys
            self._speak(protocol.Input(seq=self._take_seq(), **keys._asdict()), "control", str(tuple(keys)))

    def _take_seq(self) -> int:
        seq, self._seq = self._seq, self._seq + 1
        return seq

    def _speak(
        self,
        message: protocol.Input | protocol.Act | protocol.Override | protocol.Skip | protocol.Finish,
        kind: str,
        what: str,
    ) -> None:
        self._signed_at = time.monotonic()
        if self._line.open and self._page.episode is not None:
            self._page.sent(message.seq, Said(kind, what), shows=kind in ("control", "act"))
            self._line.send(message)

    async def _until(self, episode: EpisodeMessage, ready: Callable[[], bool], within_s: float) -> bool:
        """Wait for something in a play, for the play's end, or for the time to leave."""
        return await self._line.until(lambda: ready() or not self._goes_on(episode) or self.leaving, within_s)


def _navigate(target: str) -> Action:
    return Action("Navigate", (target.removeprefix("floor_"),))
