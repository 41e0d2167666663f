"""Whoever is killed, the worker or its client: episodes are played anew, and no process is left behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.traces import read_trace, trace_path
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.rollouts.run import RolloutConfig, run_rollouts
from hitl_ops.worlds.habitat.open_scene import open_scene
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.household.scene import SceneLost
from tests.support.habitat_environment import BEHIND_THE_SOCKET
from tests.support.scene_workers import all_end, scene_workers

pytestmark = pytest.mark.integration
HOME = "flywheel_train_000"
KILLS = 30

CLIENT = """
import sys, time
from tests.support.habitat_environment import BEHIND_THE_SOCKET
from hitl_ops.worlds.habitat.open_scene import open_scene
print("begins", flush=True)
scenes = []
for _ in range(2):
    scenes.append(open_scene(BEHIND_THE_SOCKET, "flywheel_train_000"))
    print(scenes[-1].pid, flush=True)
x, z = scenes[0].description.spawns[0]
number = 0
while True:
    number += 1
    for scene in scenes:
        scene.route((x + number * 1e-9, z), scene.anchors[number % len(scene.anchors)])
"""


@pytest.mark.slow
def test_a_killed_client_leaves_no_worker_and_no_socket(source_root: Path) -> None:
    rng = random.Random(3)
    seen: set[int] = set()
    for round_ in range(6):
        client = subprocess.Popen([sys.executable, "-c", CLIENT], cwd=source_root, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        try:
            # In the middle of a start, and in the middle of questions.
            for _ in range(1 + round_ % 3):
                client.stdout.readline()
            time.sleep(rng.uniform(0, 0.6))
            seen |= {process.pid for process in scene_workers(client.pid)}
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
        seen |= {process.pid for process in scene_workers() if _is_orphan(process)}
        assert all_end(seen)
        left = list(Path(tempfile.gettempdir()).glob(f"flywheel-scene-{client.pid}-*"))
        assert not [folder for folder in left if any(folder.iterdir())], "a socket is left"
    assert len(seen) >= 6


def _is_orphan(process: psutil.Process) -> bool:
    try:
        return process.ppid() == 1
    except psutil.Error:
        return False


def test_a_client_that_ends_in_the_usual_way_leaves_none_either(source_root: Path) -> None:
    code = CLIENT.partition("x, z")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=source_root, capture_output=True, text=True, check=True)
    pids = [int(line) for line in done.stdout.split()[1:]]
    assert len(pids) == 2 and all_end(pids)


@pytest.mark.slow
def test_kills_at_random_moments_are_always_the_one_error() -> None:
    """Whatever is being asked when the worker is killed: SceneLost, and the same answers in the next worker."""
    rng = random.Random(5)
    scene = open_scene(BEHIND_THE_SOCKET, HOME)
    assert isinstance(scene, RemoteScene)
    x, z = scene.description.spawns[0]
    expected = {name: scene.route((x, z), name) for name in scene.anchors}
    killed = []
    for number in range(KILLS):
        pid = scene.pid
        assert pid is not None
        timer = threading.Timer(rng.uniform(0, 0.05), lambda pid=pid: os.kill(pid, 9))
        timer.start()
        with pytest.raises(SceneLost, match=rf"pid {pid}\) has ended: SIGKILL"):
            asked = 0
            while True:
                asked += 1
                offset = (number * 1_000_000 + asked) * 1e-12
                scene.slide(x + offset, z, 0.01, 0.0)
                scene.seen_from(x + offset, z, asked)
                scene.route((x + offset, z), rng.choice(scene.anchors))
        timer.join()
        killed.append(pid)
        scene.reopen()
        assert {name: scene.route((x, z), name) for name in scene.anchors} == expected
    scene.close()
    assert len(set(killed)) == KILLS and all_end(killed)


@pytest.mark.slow
def test_rollouts_play_an_episode_anew_when_its_scene_is_killed(tmp_path: Path) -> None:
    episodes = [generate_episode("val", index) for index in range(8)]
    killed: list[int] = []
    over = threading.Event()

    def kill_some() -> None:
        rng = random.Random(1)
        met: set[int] = set()
        while not over.wait(0.02):
            for process in scene_workers(os.getpid()):
                if process.pid not in met:
                    met.add(process.pid)
                    if len(met) in (1, 3, 4):  # an episode is tried twice, and must not be unlucky both times
                        over.wait(rng.uniform(0.3, 1.2))
                        process.kill()
                        killed.append(process.pid)

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        summary = run_rollouts(episodes, RolloutConfig(processes=1, scene=BEHIND_THE_SOCKET), tmp_path)
    finally:
        over.set()
        killer.join()
    assert killed and summary.episodes == len(episodes) and not summary.crashed
    for episode in episodes:
        oracle = Oracle("full")
        usual = play_episode(episode, {0: oracle, 1: oracle})
        trace = read_trace(trace_path(tmp_path / "traces", episode.episode_id))
        assert trace.header.scene == "habitat"
        assert trace.result.state_hash == usual.result.state_hash
        assert [one.action for one in trace.decisions] == [one.action for one in usual.decisions]
    assert all_end(killed)
    assert not scene_workers(os.getpid())
