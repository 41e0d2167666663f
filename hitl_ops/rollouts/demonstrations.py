"""Demonstrations of a scripted hand, recorded as a station records: what a base policy is trained from.

Hands of differing skill take turns. What each did is recorded as it was; whether it succeeded is noted as the
simulator's truth, and no verdict is given.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, sweep_temporaries
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArmsConfig
from hitl_ops.experts.scripted_robots import scripted_expert
from hitl_ops.records.station_episode import StationEpisodeWriter, repair_unfinished
from hitl_ops.records.station_hdf5 import read_station_facts
from hitl_ops.rollouts.robot_episode import play_robot_episode
from hitl_ops.worlds.robot_worlds import SoftWorld, make_robot_world, robot_world_config

RAW = "raw"
CLAIM = "demonstrations.json"
SUMMARY = "summary.json"
_PART = 8
"""Episodes a worker plays before it is given others."""


class DemonstrationsConfig(StrictConfig):
    """Who demonstrates what, and how often."""

    world: str = Field(default="bimanual", description="the simulated robot")
    world_options: dict[str, Any] = Field(default_factory=dict, description="its settings, such as cameras")
    episodes: int = Field(default=60, ge=1, le=100_000, description="demonstrations")
    noises: tuple[float, ...] = Field(
        default=(0.75,), min_length=1, description="clumsiness of the hands that take turns, 0 careful to 1"
    )
    constancy: float = Field(
        default=0.0, ge=0, le=1, description="share of a hand's clumsiness that is there in every one of its episodes"
    )
    jitter: float = Field(default=0.0, ge=0, le=0.1, description="tremor of the hands, radians")
    seed: int = Field(default=10_000, ge=0, description="the first episode's seed; the others follow")
    judged: bool = Field(
        default=False, description="whether somebody said of each demonstration whether it was good, by the truth"
    )
    processes: int = Field(default=0, ge=0, le=256, description="played at once; 0: one a core")


class DemonstrationsSummary(BaseModel):
    """What was recorded."""

    episodes: int
    frames: int
    success: float = Field(description="share of them that succeeded")
    recorded_now: int = Field(description="those that were not there before")


def record_demonstrations(
    config: DemonstrationsConfig, out: Path, progress: Progress = silent
) -> DemonstrationsSummary:
    """Record demonstrations as ``out/raw/episode_<k>.hdf5``; those that are there already are kept.

    Args:
        config: who, what, how many.
        out: folder of these demonstrations alone.
        progress: told after each episode.

    Raises:
        UserError: the folder holds others, a package is missing, or the disk is full.
    """
    robot_world_config(config.world, config.world_options)
    sweep_temporaries(out)
    _claim(config, out)
    raw = out / RAW
    if raw.is_dir():
        repair_unfinished(raw)
        for file in sorted(raw.glob("*.hdf5")):
            if read_station_facts(file).status == "aborted":  # a kill left it: it is played again
                file.unlink()
    wanted = [number for number in range(config.episodes) if not _file(raw, number).is_file()]
    done = config.episodes - len(wanted)
    progress(done, config.episodes, "starting")
    for _ in _recorded(config, raw, wanted):
        done += 1
        progress(done, config.episodes, "demonstrations")
    summary = _summary(config, raw, len(wanted))
    publish_json(out / SUMMARY, summary)
    return summary


def _claim(config: DemonstrationsConfig, out: Path) -> None:
    told = config.model_dump(mode="json", exclude={"processes"})
    file = out / CLAIM
    if file.is_file():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"'{file}' is corrupt ({error})", "delete the folder and record again") from None
        # More of the same may always follow.
        usual = DemonstrationsConfig().model_dump(mode="json")  # keys that there were not yet
        differing = [key for key in told if key != "episodes" and before.get(key, usual[key]) != told[key]]
        if differing:
            raise UserError(f"'{out}' holds demonstrations with another '{differing[0]}'", "name another folder")
    publish_json(file, told)


def _file(raw: Path, number: int) -> Path:
    return raw / f"episode_{number}.hdf5"


def _recorded(config: DemonstrationsConfig, raw: Path, numbers: list[int]) -> Iterator[int]:
    """Record these, several at once; gives the number of each that is there."""
    parts = [numbers[first : first + _PART] for first in range(0, len(numbers), _PART)]
    if not parts:
        return
    count = min(config.processes or os.cpu_count() or 1, len(parts))
    if count == 1:
        for part in parts:
            yield from _record(config, raw, part)
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: set[Future[list[int]]] = {pool.submit(_record, config, raw, part) for part in parts}
        try:
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in ended:
                    yield from one.result()
        finally:
            for one in waiting:
                one.cancel()


def _record(config: DemonstrationsConfig, raw: Path, numbers: list[int]) -> list[int]:
    world = make_robot_world(config.world, config.world_options)
    try:
        for number in numbers:
            _record_one(config, raw, number, world)
    finally:
        world.close()
    return numbers


def _record_one(config: DemonstrationsConfig, raw: Path, number: int, world: SoftWorld) -> None:
    noise, seed = config.noises[number % len(config.noises)], config.seed + number
    how = ScriptedArmsConfig(noise=noise, constancy=config.constancy, jitter=config.jitter)
    expert = scripted_expert(config.world, how)
    expert.start(seed)
    episode_id = f"demonstration-{config.world}-{how.named}-{config.jitter:g}-{seed}"
    writer = StationEpisodeWriter(
        _file(raw, number),
        world.spec,
        world.task,
        expert.policy_id,
        0,
        sim=True,
        episode_id=episode_id,
        waits=True,
    )

    def keep(reading: RobotReading, action: Float32) -> None:
        writer.add(
            reading.position,
            reading.velocity,
            reading.effort,
            action,
            world.images() if world.spec.cameras else {},
            reading.time,
            False,
            environment_state=reading.environment_state,
        )

    played = play_robot_episode(world, seed, expert.act, each_frame=keep)
    verdict: Literal["good", "bad"] | None = None
    if config.judged:
        verdict = "good" if played.success else "bad"
    writer.finish(verdict, success=played.success)


def _summary(config: DemonstrationsConfig, raw: Path, now: int) -> DemonstrationsSummary:
    import h5py

    frames = succeeded = 0
    for number in range(config.episodes):
        with h5py.File(_file(raw, number)) as file:
            frames += len(file["action"])
        succeeded += bool(read_station_facts(_file(raw, number)).success)
    return DemonstrationsSummary(
        episodes=config.episodes, frames=frames, success=succeeded / config.episodes, recorded_now=now
    )
