"""An iteration's questions about the arm: a policy acts, clips are cut, pairs of them chosen, all of it published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.preference import ClipPair
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.clips import Clip, ClipSet, open_clip_set, write_clip_set
from hitl_ops.rollouts.reach_clips import ReachActing, ReachClipConfig, reach_clips
from hitl_ops.samples.clip_queries import QueryConfig, choose_pairs, clip_worth
from hitl_ops.worlds.reach.config import ReachConfig

if TYPE_CHECKING:
    from hitl_ops.models.reward_model import RewardEnsemble


def make_reach_queries(
    policy: ReachActing,
    world: ReachConfig,
    clips: ReachClipConfig,
    queries: QueryConfig,
    out: Path,
    iteration: int,
    made: Mapping[str, Any],
    *,
    reward: RewardEnsemble | None = None,
    progress: Progress = silent,
) -> ClipSet:
    """Publish the clips and pairs of an iteration.

    Args:
        policy: who acts.
        world: where.
        clips: how many clips, how long.
        queries: how many pairs, and how they are chosen.
        out: the set's folder.
        iteration: its number, with which ids begin.
        made: by what it is made, to be noted in the set.
        reward: what an ensemble learned so far; None: pairs are drawn by lot.
        progress: told of episodes.

    Raises:
        UserError: a clip is longer than an episode, there are too few clips, or the reward is of another world.
        CannotWrite: the folder cannot be written.
    """
    cut, pairs = reach_queries(policy, world, clips, queries, iteration, reward=reward, progress=progress)
    write_clip_set(out, cut, pairs, made)
    return open_clip_set(out)


def reach_queries(
    policy: ReachActing,
    world: ReachConfig,
    clips: ReachClipConfig,
    queries: QueryConfig,
    iteration: int,
    *,
    reward: RewardEnsemble | None = None,
    progress: Progress = silent,
) -> tuple[list[Clip], list[ClipPair]]:
    """The clips and pairs of an iteration, not published yet; see :func:`make_reach_queries`."""
    cut = reach_clips(policy, world, clips, f"c{iteration:03d}", progress)
    return cut, choose_pairs(cut, queries, f"q{iteration:03d}", None if reward is None else clip_worth(reward))
