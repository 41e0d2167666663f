"""Many scripted people at one server, and what became of them."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx
from pydantic import BaseModel, ConfigDict, Field

from ui_collect.scripted_people.coach import Coach
from ui_collect.scripted_people.floor_plan import FloorPlan
from ui_collect.scripted_people.front_door import join
from ui_collect.scripted_people.people_settings import PeopleSettings
from ui_collect.scripted_people.person import Person

_LEAVE_WITHIN_S = 60.0


class CrowdSummary(BaseModel):
    """What a crowd did."""

    model_config = ConfigDict(extra="forbid")

    people: int
    plays: int = Field(description="tries that came to their feedback page, tutorials aside")
    successes: int
    percent_complete: float = Field(description="mean over those tries")
    acts: int = Field(description="acts by name: picking, placing, opening, walking by name")
    refused_acts: int = Field(description="those the world did not carry out")
    overrides: int = Field(description="decisions made in the partner's place")
    drops: int = Field(description="connections that broke")
    resumed: int = Field(description="plays gone on with after that")
    never_back: int
    latency_ms_p50: float = Field(description="from an input or act to the keyframe that shows it")
    latency_ms_p95: float
    bytes_per_s: float = Field(description="received, a person, while connected")
    ended: dict[str, int] = Field(description="people by how they ended: thanks, ended, time, never_back, …")
    defects: list[str] = Field(description="what the server did that the protocol does not allow")


@dataclass
class Crowd:
    """The people of one run, for whoever wants to look closer.

    Attributes:
        people: all of them, in the order they came.
        summary: of all.
    """

    people: list[Person]
    summary: CrowdSummary


async def run_crowd(
    url: str,
    invitation: str,
    settings: PeopleSettings,
    *,
    coach: Coach | None = None,
    arrived: Callable[[list[Person]], None] | None = None,
) -> Crowd:
    """Let people come in, play and leave.

    Args:
        url: the server's, ``http://host:port``.
        invitation: the token of an invitation for at least so many people.
        settings: how many people, what they are like.
        coach: whispers where things lie.
        arrived: told once everybody is in.

    Returns:
        The people and their summary.

    Raises:
        UserError: the server is not there, or does not let them in.
    """
    plans: dict[str, FloorPlan] = {}
    people: list[Person] = []
    visits: list[asyncio.Task[object]] = []
    leaving: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    try:
        async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
            for number in range(settings.people):
                token = await join(client, url, invitation)
                person = Person(
                    number,
                    settings.person,
                    url,
                    token,
                    seed=settings.seed,
                    episodes=settings.episodes,
                    coach=coach,
                    plans=plans,
                )
                people.append(person)
                visits.append(asyncio.create_task(person.visit(), name=f"person {number}"))
                await asyncio.sleep(settings.arrive_s)
        if arrived is not None:
            arrived(people)
        if settings.duration_s:
            await asyncio.wait(visits, timeout=settings.duration_s, return_when=asyncio.FIRST_EXCEPTION)
            for person in people:
                # Not all at once: nobody's clock shows the same.
                wait = random.Random(f"leave {settings.seed} {person.report.number}").random()
                leaving.append(loop.call_later(wait, person.leave))
            _, late = await asyncio.wait(visits, timeout=_LEAVE_WITHIN_S)
            for visit in late:
                visit.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*(visit for visit in visits if not visit.cancelled()))
    finally:
        for timer in leaving:
            timer.cancel()
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
    return Crowd(people, summary_of(people))


def summary_of(people: Iterable[Person]) -> CrowdSummary:
    """What people did, in figures."""
    everybody = list(people)
    reports = [person.report for person in everybody]
    results = [result for report in reports for result in report.results]
    latencies = sorted(latency for person in everybody for latency in person.page.latencies_ms)
    done = [person.player.doings for person in everybody]
    seconds = sum(person.line.traffic.connected_s for person in everybody)
    ended: dict[str, int] = {}
    for report in reports:
        ended[report.ended or "cut off"] = ended.get(report.ended or "cut off", 0) + 1
    return CrowdSummary(
        people=len(everybody),
        plays=len(results),
        successes=sum(result.success for result in results),
        percent_complete=sum(result.percent_complete for result in results) / len(results) if results else 0.0,
        acts=sum(doings.acts for doings in done),
        refused_acts=sum(doings.refused_acts for doings in done),
        overrides=sum(doings.overrides for doings in done),
        drops=sum(report.drops for report in reports),
        resumed=sum(doings.resumed for doings in done),
        never_back=ended.get("never_back", 0),
        latency_ms_p50=quantile(latencies, 0.5),
        latency_ms_p95=quantile(latencies, 0.95),
        bytes_per_s=sum(person.line.traffic.received_bytes for person in everybody) / seconds if seconds else 0.0,
        ended=dict(sorted(ended.items())),
        defects=[f"person {person.report.number}: {defect}" for person in everybody for defect in person.line.defects],
    )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of sorted values lie; 0 of none."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
