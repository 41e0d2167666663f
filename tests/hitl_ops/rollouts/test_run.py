"""Many episodes at once: resumable, one crash costs one episode, a kill loses and doubles nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hitl_ops.contracts.episode import Episode, read_episodes, write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.traces import list_traces, read_trace
from hitl_ops.rollouts import episode_sets
from hitl_ops.rollouts.episode_sets import EpisodeSetConfig, generate_episode, generate_episode_sets
from hitl_ops.rollouts.planners import PlannerConfig
from hitl_ops.rollouts.run import RolloutConfig, run_rollouts


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [generate_episode("train", index) for index in range(6)]


@pytest.mark.slow
def test_a_rerun_plays_only_what_is_missing(episodes: list[Episode], tmp_path: Path) -> None:
    config = RolloutConfig(processes=2)
    first = run_rollouts(episodes, config, tmp_path)
    assert (first.episodes, first.played_now, first.success) == (6, 6, 1.0)
    traces = list_traces(tmp_path / "traces")
    before = {trace: trace.read_bytes() for trace in traces}
    traces[0].unlink()
    second = run_rollouts(episodes, config, tmp_path)
    assert second.played_now == 1
    again = read_trace(traces[0])
    assert again.result.success
    assert all(trace.read_bytes() == content for trace, content in before.items() if trace != traces[0])


@pytest.mark.slow
def test_another_configuration_is_refused(episodes: list[Episode], tmp_path: Path) -> None:
    run_rollouts(episodes[:1], RolloutConfig(processes=1), tmp_path)
    with pytest.raises(UserError, match="prompt_style"):
        run_rollouts(episodes[:1], RolloutConfig(processes=1, prompt_style="snapshot"), tmp_path)


@pytest.mark.slow
def test_variations_are_played_too(episodes: list[Episode], tmp_path: Path) -> None:
    summary = run_rollouts(episodes[:2], RolloutConfig(processes=1, variations=2), tmp_path)
    assert summary.episodes == 6
    names = {trace.name.removesuffix(".jsonl.gz") for trace in list_traces(tmp_path / "traces")}
    assert names == {f"{e.episode_id}{suffix}" for e in episodes[:2] for suffix in ("", "~1", "~2")}


@pytest.mark.slow
def test_an_episode_that_crashes_costs_only_itself(episodes: list[Episode], tmp_path: Path) -> None:
    broken = episodes[1].model_copy(deep=True)
    broken.episode_id = "broken"
    # Spawns that are no numbers: the world cannot be built, and that is no mistake anybody foresaw.
    broken.info["flywheel"]["spawns"] = [["here", "there", "everywhere"]]
    summary = run_rollouts([episodes[0], broken, episodes[2]], RolloutConfig(processes=2), tmp_path)
    assert summary.crashed == ["broken"]
    assert summary.episodes == 3
    assert "everywhere" in (tmp_path / "crashes" / "broken.txt").read_text() or (
        "could not convert" in (tmp_path / "crashes" / "broken.txt").read_text()
    )
    failed = read_trace(tmp_path / "traces" / "broken.jsonl.gz")
    assert failed.result.ended_by == "error"
    assert not failed.result.success


def test_a_missing_scene_is_one_clear_line(episodes: list[Episode], tmp_path: Path) -> None:
    foreign = episodes[0].model_copy(update={"scene_id": "102817140.scene_instance.json"})
    with pytest.raises(UserError, match="scene asset '102817140"):
        run_rollouts([foreign], RolloutConfig(processes=1), tmp_path)


def test_a_missing_policy_is_named(episodes: list[Episode], tmp_path: Path) -> None:
    config = RolloutConfig(planner=PlannerConfig(kind="policy", path=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="nowhere"):
        run_rollouts(episodes, config, tmp_path / "out")


def test_episode_sets_are_made_once_and_grow(tmp_path: Path) -> None:
    small = EpisodeSetConfig(train=5, val=2, test=1)
    summary = generate_episode_sets(small, tmp_path)
    assert summary.counts == {"train": 5, "val": 2, "test": 1}
    before = read_episodes(tmp_path / "train.json.gz")
    stamp = (tmp_path / "train.json.gz").stat().st_mtime_ns
    generate_episode_sets(small, tmp_path)
    assert (tmp_path / "train.json.gz").stat().st_mtime_ns == stamp
    generate_episode_sets(EpisodeSetConfig(train=7, val=2, test=1), tmp_path)
    assert read_episodes(tmp_path / "train.json.gz")[:5] == before


@pytest.mark.slow
def test_many_episodes_come_out_as_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_episode_sets(EpisodeSetConfig(train=4, val=0, test=0), tmp_path / "one by one")
    monkeypatch.setattr(episode_sets, "_WORTH_PROCESSES", 2)
    generate_episode_sets(EpisodeSetConfig(train=4, val=0, test=0), tmp_path / "many")
    one, many = (read_episodes(tmp_path / folder / "train.json.gz") for folder in ("one by one", "many"))
    assert len(many) == 4 and many == one


def _kill_at_random_moments(episodes: list[Episode], folder: Path, kills: int) -> None:
    """Run a rollout as a user would, kill its whole process group again and again, then let it finish."""
    file = folder / "episodes.json.gz"
    write_episodes(file, episodes)
    out = folder / "out"
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from hitl_ops.contracts.episode import read_episodes\n"
        "from hitl_ops.rollouts.run import RolloutConfig, run_rollouts\n"
        "if __name__ == '__main__':\n"
        "    run_rollouts(read_episodes(sys.argv[1]), RolloutConfig(processes=2), Path(sys.argv[2]))\n"
    )
    script = folder / "rollout.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(file), str(out)]
    moments = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for _ in range(kills):
        child = subprocess.Popen(command, start_new_session=True, env=environment)
        time.sleep(moments.uniform(0.3, 4.0))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for trace in list_traces(out / "traces") if (out / "traces").is_dir() else []:
            read_trace(trace)  # whatever is there is whole
    subprocess.run(command, check=True, env=environment, timeout=240)
    names = sorted(trace.name.removesuffix(".jsonl.gz") for trace in list_traces(out / "traces"))
    assert names == sorted(episode.episode_id for episode in episodes)
    assert not list(out.rglob("*.part-*"))
    assert json.loads((out / "summary.json").read_text())["success"] == 1.0


@pytest.mark.integration
def test_killed_rollouts_finish_with_nothing_lost_or_doubled(episodes: list[Episode], tmp_path: Path) -> None:
    _kill_at_random_moments(episodes, tmp_path, kills=4)


@pytest.mark.slow
@pytest.mark.integration
def test_twenty_kills(tmp_path: Path) -> None:
    _kill_at_random_moments([generate_episode("train", index) for index in range(60)], tmp_path, kills=20)
