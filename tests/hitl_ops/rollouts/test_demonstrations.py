"""Demonstrations: recorded once, gone on with after a kill, and never mixed with others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.station_hdf5 import read_station_episode
from hitl_ops.rollouts.demonstrations import DemonstrationsConfig, record_demonstrations


def settings(**changes: object) -> DemonstrationsConfig:
    told = {"world_options": {"cameras": []}, "episodes": 3, "noises": (0.0, 1.0), "processes": 1, **changes}
    return DemonstrationsConfig.model_validate(told)


@pytest.mark.slow
def test_hands_take_turns_and_what_they_did_is_kept(tmp_path: Path) -> None:
    summary = record_demonstrations(settings(), tmp_path)
    assert (summary.episodes, summary.recorded_now) == (3, 3)
    played = [read_station_episode(tmp_path / "raw" / f"episode_{number}.hdf5") for number in range(3)]
    assert [one.facts.policy_id for one in played] == [f"scripted-arms-noise-{noise}" for noise in (0, 1, 0)]
    assert all(one.facts.verdict is None and one.facts.success is not None for one in played)
    assert played[0].facts.success and played[0].environment_state is not None
    assert summary.frames == sum(one.frames for one in played)
    before = (tmp_path / "raw" / "episode_1.hdf5").read_bytes()
    more = record_demonstrations(settings(episodes=4), tmp_path)
    assert (more.episodes, more.recorded_now) == (4, 1)
    assert (tmp_path / "raw" / "episode_1.hdf5").read_bytes() == before
    with pytest.raises(UserError, match="another 'judged'"):
        record_demonstrations(settings(judged=True), tmp_path)


@pytest.mark.slow
def test_somebody_may_have_judged_them(tmp_path: Path) -> None:
    record_demonstrations(settings(judged=True, noises=(1.0,)), tmp_path)
    for number in range(3):
        facts = read_station_episode(tmp_path / "raw" / f"episode_{number}.hdf5").facts
        assert facts.advantage is facts.success


@pytest.mark.slow
@pytest.mark.integration
def test_a_kill_costs_the_demonstration_that_was_running(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    raw = tmp_path / "raw"
    for _ in range(2):
        process = context.Process(target=record_demonstrations, args=(settings(episodes=8), tmp_path))
        process.start()
        before = len(list(raw.glob("*.hdf5")))
        while process.is_alive() and len(list(raw.glob("*.hdf5"))) < before + 2:
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    kept = {file.name: file.stat().st_mtime_ns for file in raw.glob("*.hdf5")}
    summary = record_demonstrations(settings(episodes=8), tmp_path)
    assert len(kept) >= 4
    assert summary.recorded_now == 8 - len(kept)
    assert {name: (raw / name).stat().st_mtime_ns for name in kept} == kept
    assert sorted(file.name for file in raw.iterdir()) == [f"episode_{number}.hdf5" for number in range(8)]
    assert len({read_station_episode(file).facts.episode_id for file in raw.iterdir()}) == 8


def test_an_unknown_world_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no robot world 'moon'"):
        record_demonstrations(settings(world="moon"), tmp_path)
