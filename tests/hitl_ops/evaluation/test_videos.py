"""Videos show the trace that was played, or none at all."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.summary import VideoPicks
from hitl_ops.evaluation.videos import record_videos, replay
from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.traces import Trace, read_trace, trace_path, write_trace
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Episode, Path]:
    """An episode the oracle played, and the folder of its trace."""
    episode = generate_episode("train", 0)
    oracle = Oracle("partial")
    result = play_episode(episode, {0: oracle, 1: oracle})
    folder = tmp_path_factory.mktemp("traces")
    write_trace(trace_path(folder, episode.episode_id), result.header, result.decisions, result.result)
    return episode, folder


def _trace(played: tuple[Episode, Path]) -> Trace:
    return read_trace(trace_path(played[1], played[0].episode_id))


@pytest.mark.parametrize("every", [1, 7, 100, 100_000])
def test_replay_ends_where_the_trace_ended(every: int, played: tuple[Episode, Path]) -> None:
    trace = _trace(played)
    steps = []
    for world in replay(played[0], trace, every):
        steps.append(world.step)
    assert steps[0] == 0 and steps[-1] == trace.result.sim_steps
    assert all(step % every == 0 for step in steps[:-1])
    assert len(steps) >= trace.result.sim_steps // every + 1
    assert world.facts.digest() == trace.result.state_hash
    assert world.percent_complete == trace.result.percent_complete == 1.0


def test_a_trace_of_another_world_is_refused(played: tuple[Episode, Path]) -> None:
    trace = _trace(played)
    trace.decisions[0].action = "Wait[]"
    with pytest.raises(UserError, match="ends in another state"):
        list(replay(played[0], trace, 50))


@pytest.mark.slow
def test_three_videos_of_the_picked_episodes(played: tuple[Episode, Path], tmp_path: Path) -> None:
    episode, traces = played
    picks = VideoPicks(best=episode.episode_id, median=episode.episode_id, worst=episode.episode_id)
    videos = record_videos(tmp_path, traces, [episode], picks)
    assert {name: path.name for name, path in videos.items()} == {
        "best": "best.mp4",
        "median": "median.mp4",
        "worst": "worst.mp4",
    }
    assert videos["best"].read_bytes() == videos["worst"].read_bytes()
    with av.open(str(videos["best"])) as container:
        frames = list(container.decode(video=0))
    assert 20 < len(frames) < 500
    first, last = frames[0].to_ndarray(format="rgb24"), frames[-1].to_ndarray(format="rgb24")
    assert (first != last).any()


def test_an_episode_that_is_not_there_is_named(played: tuple[Episode, Path], tmp_path: Path) -> None:
    picks = VideoPicks(best="val_9999", median="val_9999", worst="val_9999")
    with pytest.raises(UserError, match="val_9999"):
        record_videos(tmp_path, played[1], [played[0]], picks)
    assert not list(tmp_path.iterdir())
