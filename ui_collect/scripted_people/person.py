"""One scripted person: from the invitation to the thanks, as somebody with a browser would go."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

from ui_collect import protocol
from ui_collect.protocol import Message, PlayResult
from ui_collect.scripted_people.coach import Coach
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.line import Line, LineBroke
from ui_collect.scripted_people.page import Page
from ui_collect.scripted_people.page_socket import ConnectionRefused
from ui_collect.scripted_people.people_settings import PersonSettings
from ui_collect.scripted_people.player import Player

_STAGE_WITHIN_S = 120.0
_NEXT_STAGE_S = 30.0
_AGAIN_AFTER_S = 1.0
_FINAL = ("thanks", "ended")
_FOR_GOOD = (protocol.CLOSED_TAKEN_OVER, protocol.CLOSED_BAD_TOKEN, protocol.CLOSED_ENDED)


@dataclass
class PersonReport:
    """What became of one person.

    Attributes:
        number: which one.
        results: their tries in order, as the feedback page told them.
        ended: the last stage seen; ``time`` where they were told to leave, ``never_back`` where they did not return
            after a broken connection, ``refused`` where the server took no connection; empty while they are here.
        drops: connections that broke.
    """

    number: int
    results: list[PlayResult] = field(default_factory=list)
    ended: str = ""
    drops: int = 0


class Person:
    """Somebody who comes, plays and leaves.

    Args:
        number: which one; with the seed it makes out what they choose.
        settings: what they are like.
        url: the server's.
        token: of their session, from ``POST /api/join``.
        seed: everything they choose depends on it.
        episodes: tries they make; 0: any number.
        coach: whispers where things lie.
        plans: floor plans by home, shared by all.
    """

    def __init__(
        self,
        number: int,
        settings: PersonSettings,
        url: str,
        token: str,
        *,
        seed: int,
        episodes: int = 0,
        coach: Coach | None = None,
        plans: dict[str, FloorPlan] | None = None,
    ) -> None:
        self.report = PersonReport(number)
        self.line = Line(url, token)
        self._settings = settings
        self._episodes = episodes
        self._luck = random.Random(f"person {seed} {number}")
        self._fate = random.Random(f"fate {seed} {number}")
        self.player = Player(self.line, settings, self._luck, coach=coach, plans=plans)

    @property
    def token(self) -> str:
        """Of their session."""
        return self.line.token

    @property
    def page(self) -> Page:
        """What they see."""
        return self.line.page

    async def visit(self) -> PersonReport:
        """Go through the session to its end; broken connections are made again."""
        misfortune = asyncio.create_task(self._misfortune())
        try:
            while not self.report.ended:
                try:
                    await self.line.connect(self._fate)
                    await self._follow()
                except LineBroke:
                    await self._come_back()
                except ConnectionRefused as error:
                    self.line.defects.append(f"the server refuses the connection: {error}")
                    self.report.ended = "refused"
        finally:
            misfortune.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await misfortune
            self.line.hang_up()
        return self.report

    def leave(self) -> None:
        """Ask them to stop at the next moment that suits, as somebody does who looks at the clock."""
        self.player.leaving = True
        self.page.wake()

    async def _misfortune(self) -> None:
        """Cables are pulled out, phones lose their network, tabs are closed."""
        rate = self._settings.drops_per_minute / 60
        while rate:
            await asyncio.sleep(self._fate.expovariate(rate))
            if self.line.open:
                self.line.break_off(politely=self._fate.random() < 0.5)

    async def _come_back(self) -> None:
        self.line.hang_up()
        closed, stage = self.page.closed, self.page.stage
        if closed is not None and closed[0] in _FOR_GOOD:
            self.report.ended = stage.stage if stage is not None and stage.stage in _FINAL else f"closed {closed[0]}"
            return
        self.report.drops += 1
        if self.player.leaving:
            self.report.ended = "time"
        elif self._fate.random() < self._settings.never_back:
            self.report.ended = "never_back"
        elif self._settings.away_s:
            await asyncio.sleep(self._fate.expovariate(1 / self._settings.away_s))

    # --- stage after stage ----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        page = self.page
        if not await self.line.until(lambda: page.stage is not None, _STAGE_WITHIN_S):
            self.line.defects.append("no stage was told within two minutes")
            self.report.ended = "defect"
        while not self.report.ended:
            stage = page.stage
            assert stage is not None
            if stage.stage in _FINAL:
                self.report.ended = stage.stage
            elif self.player.leaving:
                self.line.send(protocol.End())
                await self._final_stage()
                self.report.ended = "time"
            elif stage.stage == "consent":
                await self.player.pause()
                await self._say(protocol.Consent())
            elif stage.stage == "lobby" and stage.position is not None:
                await self.line.until(lambda now=stage: page.stage is not now or self.player.leaving, _STAGE_WITHIN_S)  # type: ignore[misc]
            elif stage.stage == "lobby":
                await self.player.pause()
                await self._say(protocol.Ready())
            elif stage.stage == "feedback":
                await self._give_feedback()
            else:
                await self._play()

    async def _final_stage(self) -> None:
        page = self.page
        try:
            await self.line.until(lambda: page.stage is not None and page.stage.stage in _FINAL, _STAGE_WITHIN_S)
        except LineBroke:
            return

    async def _say(self, message: Message) -> None:
        """Say something that leads to another stage; where it is refused for now, it is said again later."""
        page = self.page
        before, refusals = page.stage, page.refusals
        self.line.send(message)
        await self.line.until(lambda: page.stage is not before or page.refusals != refusals, _NEXT_STAGE_S)
        await self.line.until(lambda: page.stage is not before, _AGAIN_AFTER_S)

    async def _play(self) -> None:
        page = self.page
        stage = page.stage
        if not await self.line.until(lambda: page.stage is not stage or page.drawn, _STAGE_WITHIN_S):
            self.line.defects.append("a play was announced and never drawn")
            self.report.ended = "defect"
        if not page.playing or not page.drawn or page.episode is None:
            return
        episode = page.episode
        await self.player.begin(episode)
        if not episode.tutorial or self._settings.tutorial:
            await self.player.play(episode)
        if episode.tutorial and page.stage is stage and not self.player.leaving:
            await self.player.pause()
            await self._say(protocol.TutorialDone())

    async def _give_feedback(self) -> None:
        page = self.page
        assert page.stage is not None and page.stage.result is not None
        result = page.stage.result
        last = self.report.results[-1:]
        if [_which(result)] != [_which(known) for known in last]:
            self.report.results.append(result)
        await self.player.pause()
        if not result.feedback_given:
            key = f"person-{self._luck.getrandbits(64):016x}"
            missing = "" if result.success else "; ".join(result.missing)[:2000]
            self.line.send(protocol.Feedback(key=key, success=result.success, missing=missing))
            await self.line.until(lambda: key in page.feedback_saved, _NEXT_STAGE_S)
        if self._episodes and len(self.report.results) >= self._episodes:
            await self._say(protocol.End())
            return
        again = not result.success and result.attempts_left > 0 and self._luck.random() < self._settings.again
        await self._say(protocol.Ready(again=again))


def _which(result: PlayResult) -> tuple[int, int]:
    """What tells one try from another within a session."""
    return result.episode_number, result.attempt
