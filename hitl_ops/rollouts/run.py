"""Rollouts: many episodes, several processes, resumable; one crash costs one episode.

Every worker plays one episode at a time and publishes its trace before it says so. A rerun skips what is there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.decision import EpisodeHeader, EpisodeResult
from hitl_ops.contracts.episode import Episode, variation_of
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Planner
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import disk_errors_named, publish_json, publish_text, sweep_temporaries
from hitl_ops.experts.llm_ledger import BudgetExhausted
from hitl_ops.records.traces import read_trace, trace_path, write_trace
from hitl_ops.rollouts.planners import PlannerConfig, make_planner, planner_fingerprint, planner_name
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.open_scene import KeptScenes, scene_to_play
from hitl_ops.worlds.habitat.partnr_episodes import check_episodes, episode_to_play
from hitl_ops.worlds.household.scene import SceneLost

CRASH_TRIES = 2
"""Times an episode is tried before its crash is recorded as a failure."""


class RolloutConfig(StrictConfig):
    """How episodes are played."""

    planner: PlannerConfig = Field(default=PlannerConfig(), description="who decides for both agents")
    processes: int = Field(default=0, ge=0, le=256, description="episodes played at once; 0: one per CPU core")
    prompt_style: Literal["incremental", "snapshot"] = Field(
        default="incremental", description="dialect of the prompts that are logged"
    )
    decision_limit: int = Field(
        default=50, ge=1, description="decisions each agent may make in an episode (PARTNR: 50)"
    )
    variations: int = Field(
        default=0, ge=0, description="also play so many variations of each episode: other words, other starting places"
    )
    disturbance: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that an agent does something at random, so that the teacher shows how to recover; "
        "for collecting, never for scoring",
    )
    max_episodes: int = Field(default=0, ge=0, description="play only the first so many episodes; 0: all")
    keep_world_graph: bool = Field(default=True, description="log what the agent knew with every decision")
    scene: SceneConfig = Field(default=SceneConfig(), description="what the homes are played in")

    def told(self) -> dict[str, Any]:
        """What of it decides how episodes go, as records keep it; where it is played is said unless it is the usual."""
        told = self.model_dump(mode="json", exclude={"processes", "max_episodes", "scene"})
        scene = self.scene.told()
        return {**told, "scene": scene} if scene else told


class RolloutSummary(BaseModel):
    """What a rollout left behind."""

    episodes: int
    played_now: int
    success: float
    percent_complete: float
    decisions: int
    sim_steps: float
    crashed: list[str]
    policy_id: str
    seconds: float
    stopped_by_budget: str = ""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    episode: Episode | None = None


def run_rollouts(
    episodes: list[Episode], config: RolloutConfig, out: Path, progress: Progress = silent
) -> RolloutSummary:
    """Play episodes into ``out/traces`` and summarise them in ``out/summary.json``.

    Args:
        episodes: what to play; ids must differ.
        config: by whom and how.
        out: the rollout's folder. If it holds finished traces of the same configuration, those are kept.
        progress: told after every episode.

    Raises:
        UserError: the folder holds another configuration's rollout, a planner cannot be made, something that an
            episode needs is missing, the disk is full.
    """
    started = time.perf_counter()
    originals = episodes[: config.max_episodes] if config.max_episodes else episodes
    chosen = [variation_of(episode, number) for number in range(config.variations + 1) for episode in originals]
    if not chosen:
        raise UserError("there are no episodes to play", "check the episode file and max_episodes")
    if len({episode.episode_id for episode in chosen}) != len(chosen):
        raise UserError("two episodes have the same id", "give every episode an id of its own")
    check_episodes(originals, config.scene)
    traces = out / "traces"
    sweep_temporaries(out)
    _claim(out, config)
    waiting = deque(episode for episode in chosen if not trace_path(traces, episode.episode_id).exists())
    played = len(waiting)
    budget = _play_all(waiting, config, out, progress, done_before=len(chosen) - played, total=len(chosen))
    summary = _summarise(chosen, traces, played, budget)
    summary.seconds = time.perf_counter() - started
    publish_json(out / "summary.json", summary)
    return summary


def _claim(out: Path, config: RolloutConfig) -> None:
    """Write what this rollout is, or check that the folder holds the same one."""
    told = config.told()
    told["planner_fingerprint"] = planner_fingerprint(config.planner)
    file = out / "rollout.json"
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"rollout file '{file}' is corrupt ({error})", "delete the folder and run again") from None
        differing = [key for key in ("scene", *told) if before.get(key) != told.get(key)]
        if differing:
            raise UserError(
                f"'{out}' holds a rollout with another '{differing[0]}'", "name another --out, or run with --fresh"
            )
        return
    publish_json(file, told)


def _play_all(
    waiting: deque[Episode], config: RolloutConfig, out: Path, progress: Progress, *, done_before: int, total: int
) -> str:
    """Keep the workers busy until nothing waits; returns why the budget stopped the run, "" if it did not."""
    progress(done_before, total, "starting")
    if not waiting:
        return ""
    count = min(config.processes or os.cpu_count() or 1, len(waiting))
    threads = max(1, (os.cpu_count() or 1) // count)
    context = multiprocessing.get_context("spawn")
    workers = [_start(context, config, out, threads) for _ in range(count)]
    crashes: dict[str, int] = {}
    done = done_before
    stopped = ""
    try:
        for worker in workers:
            _hand_out(worker, waiting)
        while any(worker.episode is not None for worker in workers):
            busy = [worker for worker in workers if worker.episode is not None]
            ready = set(wait([worker.pipe for worker in busy]))
            for position, worker in enumerate(workers):
                if worker.pipe not in ready or worker.episode is None:
                    continue
                episode = worker.episode
                kind, text = _receive(worker)
                worker.episode = None
                if kind == "user_error":
                    raise UserError(*text)
                if kind == "budget":
                    stopped = text
                    waiting.clear()
                elif kind == "crash":
                    crashes[episode.episode_id] = crashes.get(episode.episode_id, 0) + 1
                    publish_text(out / "crashes" / f"{episode.episode_id}.txt", text)
                    if crashes[episode.episode_id] < CRASH_TRIES:
                        waiting.append(episode)
                    else:
                        _record_crash(episode, config, out)
                        done += 1
                    if not worker.process.is_alive():
                        workers[position] = worker = _start(context, config, out, threads)
                else:
                    done += 1
                    progress(done, total, text)
                _hand_out(worker, waiting)
    finally:
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.process.join(timeout=2)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join(timeout=5)
    return stopped


def _start(context: Any, config: RolloutConfig, out: Path, threads: int) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_work, args=(theirs, config.model_dump(mode="json"), str(out), threads), daemon=True
    )
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _hand_out(worker: _Worker, waiting: deque[Episode]) -> None:
    if waiting:
        worker.episode = waiting.popleft()
        worker.pipe.send(worker.episode.model_dump(mode="json"))


def _receive(worker: _Worker) -> tuple[str, Any]:
    """A worker's word on its episode; a worker that died has crashed."""
    try:
        return worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join(timeout=5)
        return "crash", f"the worker process ended with exit code {worker.process.exitcode}"


def _work(pipe: Connection, config_data: dict[str, Any], out_text: str, threads: int) -> None:
    """A worker: plays what it is handed until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to handle; it closes the pipe.
    config = RolloutConfig.model_validate(config_data)
    out = Path(out_text)
    scenes = KeptScenes(config.scene)
    try:
        _play_on(pipe, config, out, threads, scenes)
    finally:
        scenes.close()


def _play_on(pipe: Connection, config: RolloutConfig, out: Path, threads: int, scenes: KeptScenes) -> None:
    planner: Planner | None = None
    while True:
        try:
            data = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            if planner is None:
                planner = make_planner(config.planner, out / "planner", threads=threads)
            answer: tuple[str, Any] = ("done", _play_one(Episode.model_validate(data), planner, config, out, scenes))
        except SceneLost as error:
            # As if this process had crashed with it: the episode is played anew, in another scene.
            answer = ("crash", str(error))
        except UserError as error:
            out_of_budget = isinstance(error, BudgetExhausted)
            answer = ("budget", str(error)) if out_of_budget else ("user_error", (error.what, error.remedy))
        except Exception:
            answer = ("crash", traceback.format_exc())
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionError):
            return  # The parent is gone; the trace is published, so nothing is lost.


def _play_one(episode: Episode, planner: Planner, config: RolloutConfig, out: Path, scenes: KeptScenes) -> str:
    scene = scenes.scene(episode.scene_id)
    played = play_episode(
        episode_to_play(episode, scene.description),
        {0: planner, 1: planner},
        style=config.prompt_style,
        decision_limit=config.decision_limit,
        keep_world_graph=config.keep_world_graph,
        disturbance=config.disturbance,
        scene=scene,
    )
    path = trace_path(out / "traces", episode.episode_id)
    with disk_errors_named(path):
        write_trace(path, played.header, played.decisions, played.result)
    return f"{episode.episode_id} {'succeeded' if played.result.success else 'failed'}"


def _record_crash(episode: Episode, config: RolloutConfig, out: Path) -> None:
    """An episode that crashes every time is a failure with a trace that says so, never a gap."""
    policy = planner_name(config.planner)
    header = EpisodeHeader(
        episode_id=episode.episode_id,
        scene_id=episode.scene_id,
        task_type=episode.task_type,
        split=episode.split,
        instruction=episode.instruction,
        seed=episode.seed,
        roles={0: "ai", 1: "ai"},
        policies={0: policy, 1: policy},
        **scene_to_play(config.scene, episode.scene_id).in_header(),
    )
    result = EpisodeResult(
        percent_complete=0.0,
        success=False,
        sim_steps=0,
        replans={0: 0, 1: 0},
        runtime_s=0.0,
        ended_by="error",
        explanation=f"crashed {CRASH_TRIES} times; see crashes/{episode.episode_id}.txt",
    )
    write_trace(trace_path(out / "traces", episode.episode_id), header, [], result)


def _summarise(chosen: list[Episode], traces: Path, played: int, budget: str) -> RolloutSummary:
    results = []
    crashed = []
    decisions = 0
    policy = ""
    for episode in chosen:
        path = trace_path(traces, episode.episode_id)
        if not path.exists():
            continue
        trace = read_trace(path)
        results.append(trace.result)
        decisions += len(trace.decisions)
        policy = trace.header.policies.get(0, policy)
        if trace.result.ended_by == "error":
            crashed.append(episode.episode_id)
    count = max(1, len(results))
    return RolloutSummary(
        episodes=len(results),
        played_now=played,
        success=sum(result.success for result in results) / count,
        percent_complete=sum(result.percent_complete for result in results) / count,
        decisions=decisions,
        sim_steps=sum(result.sim_steps for result in results) / count,
        crashed=crashed,
        policy_id=policy,
        seconds=0.0,
        stopped_by_budget=budget,
    )
