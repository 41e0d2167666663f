"""Whose place a person plays in: one agent's for good, or both agents' in turn."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.collect_server import collect_server, person

pytestmark = pytest.mark.integration


def test_people_play_in_both_places_in_turn_and_try_again_in_the_same(tmp_path: Path) -> None:
    settings = {"human_agent": "alternate", "tasks_per_session": 3}
    with collect_server(tmp_path / "home", "--partner", "none", settings=settings) as server:

        async def places() -> list[int]:
            found = []
            async with person(server) as ann:
                await ann.hear_stage("consent")
                await ann.say("consent")
                await ann.hear_stage("tutorial")
                assert (await ann.hear("episode"))["human"] == 0, "the tutorial is laid out for the first agent"
                await ann.say("tutorial_done")
                await ann.hear_stage("lobby")
                for again in (False, True, False, False):
                    found.append((await ann.begin(again=again))["human"])
                    await ann.move("skip")
                    await ann.hear_stage("feedback")
            return found

        first, again, second, third = asyncio.run(places())
    assert first == again == third == 1 - second
