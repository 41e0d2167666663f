"""Client, policy server, upload server and conversion killed at random moments: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.station_processes import VICTIMS, StationLoop

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("FLYWHEEL_TEST_KILLS", "6"))


def test_all_of_them_killed_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "7")))
    begun = time.monotonic()
    loop = StationLoop(tmp_path)
    hits: Counter[str] = Counter()
    order: list[str] = []
    try:
        loop.begin()
        for _ in range(KILLS):
            if not order:
                # The client twice: more can be lost there.
                order = chance.sample([*VICTIMS, "client"], len(VICTIMS) + 1)
            victim = order.pop()
            loop.pass_time(chance.uniform(0.05, 2.5))
            if victim == "convert":
                loop.start("convert")  # it runs now and then only
                loop.pass_time(chance.uniform(0.0, 1.0))
            loop.note_finished()
            loop.kill(victim)
            hits[victim] += 1
            loop.check()
            if chance.random() < 0.4:
                loop.pass_time(chance.uniform(0.1, 0.8))  # the others go on without it
            loop.start(victim)
        loop.finish_epoch()
        loop.check_at_rest()
        assert loop.conversions[0] >= 1
        for program in loop.programs.values():
            assert "Traceback" not in program.said, program.said[-4000:]
    finally:
        loop.close()
    seconds = time.monotonic() - begun
    print(f"{KILLS} kills ({dict(hits)}) in {seconds:.0f} s: {loop.epoch} epochs, conversions {dict(loop.conversions)}")
