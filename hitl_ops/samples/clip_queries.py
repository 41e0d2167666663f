"""Which pairs of clips to ask about: those on which the ensemble of reward models disagrees most, or any by lot.

Disagreement is the standard deviation, over the members, of the chance that the left clip is the better one
(Christiano et al. 2017, section 2.2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ChosenBy, ClipPair, WorthOf
from hitl_ops.records.clips import Clip

if TYPE_CHECKING:
    from hitl_ops.models.reward_model import RewardEnsemble

ClipWorth = Callable[[Sequence[Clip]], npt.NDArray[np.floating]]
"""What each member of an ensemble holds clips to be worth: [C] → [K, C], in the units of a log-odds."""


class QueryConfig(StrictConfig):
    """Which pairs are asked."""

    pairs: int = Field(default=50, ge=1, description="questions")
    chosen_by: Literal["disagreement", "random"] = Field(
        default="disagreement", description="by lot where there is no learned reward yet, whatever is said here"
    )
    random_share: float = Field(
        default=0.1, ge=0, le=1, description="of the questions that are by lot all the same, as a check on the others"
    )
    candidates: int = Field(default=20, ge=1, description="pairs that are looked at for every one that is asked")
    of_one_task: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="share of the questions whose clips show the same stretch of one episode, tried twice: what "
        "differs then is what was done, not how hard the task was. The others tell tasks apart",
    )
    uses: int = Field(
        default=2, ge=1, description="pairs of one set that a clip is in, at most, while there are others"
    )
    seed: int = 0


def choose_pairs(
    clips: Sequence[Clip],
    config: QueryConfig,
    prefix: str,
    worth: ClipWorth | None = None,
    comparable: Sequence[npt.NDArray[np.int64]] | None = None,
) -> list[ClipPair]:
    """Choose which pairs to ask, the most telling ones early.

    Args:
        clips: what there is.
        config: how many, and how they are chosen.
        prefix: of the pairs' ids, which have to be unique in a program.
        worth: what an ensemble says of clips; None: by lot.
        comparable: groups of the only pairs that may be asked, [M, 2] places in ``clips`` by lot, as
            :func:`hitl_ops.samples.clip_pairs.comparable_pairs` gives them: a later group is asked when nothing is
            left of those before it. None: any, as ``of_one_task`` says.

    Raises:
        UserError: there are fewer than two clips.
    """
    if len(clips) < 2:
        raise UserError(f"{len(clips)} clips make no pair", "make more clips, or longer rollouts")
    rng = np.random.default_rng(config.seed)
    telling = worth is not None and config.chosen_by == "disagreement"
    looked_at = config.pairs * (config.candidates if telling else 4)
    if comparable is None:
        within, across = _within_tasks(clips, looked_at, rng), _across_tasks(clips, looked_at, rng)
        share = min(round(config.pairs * config.of_one_task), len(within))
        share = max(share, config.pairs - len(across))
        kinds = [_Kind(within, share), _Kind(across, config.pairs - share)]
    else:
        kinds = _one_after_the_other(comparable, config.pairs, looked_at if telling else None)
    members = None if worth is None else np.asarray(worth(clips), dtype=np.float64)
    uses = np.zeros(len(clips), dtype=np.int64)
    asked: list[_Asked] = []
    for kind in kinds:
        pairs, count = kind.pairs, kind.count
        swapped = rng.random(len(pairs)) < 0.5
        pairs = np.where(swapped[:, None], pairs[:, ::-1], pairs)
        scores = None if members is None else disagreement(members, pairs)
        by_lot = round(count * config.random_share) if telling else count
        first = (
            _take(np.argsort(-scores, kind="stable"), pairs, count - by_lot, config.uses, uses)
            if (telling and scores is not None)
            else []
        )
        rest = np.setdiff1d(np.arange(len(pairs)), first)
        lots = _take(rng.permutation(rest), pairs, count - len(first), config.uses, uses)
        for rows, how in ((first, "disagreement"), (lots, "random")):
            for place, row in enumerate(rows):
                left, right = (clips[index].facts.clip_id for index in pairs[row])
                score = None if scores is None else round(float(scores[row]), 6)
                asked.append(_Asked(kind.turn + (place + 0.5) / len(rows), left, right, cast(ChosenBy, how), score))
    # Kinds that have one turn are spread over the whole, so that whoever stops early has answered some of each.
    asked.sort(key=lambda one: one.place)
    return [
        ClipPair(
            pair_id=f"{prefix}-{number:04d}",
            left=one.left,
            right=one.right,
            chosen_by=one.chosen_by,
            disagreement=one.disagreement,
        )
        for number, one in enumerate(asked)
    ]


@dataclass(frozen=True)
class _Kind:
    """Pairs that are chosen among each other, how many of them are asked, and after how many other kinds."""

    pairs: npt.NDArray[np.int64]
    count: int
    turn: int = 0


def _one_after_the_other(groups: Sequence[npt.NDArray[np.int64]], count: int, looked_at: int | None) -> list[_Kind]:
    """Of each group as many as are still wanted; of a large one only the first are looked at."""
    kinds = []
    for turn, group in enumerate(groups):
        kinds.append(_Kind(group[:looked_at], min(count, len(group)), turn))
        count -= kinds[-1].count
    return kinds


@dataclass(frozen=True)
class _Asked:
    """A question, and how far into the questions it belongs: the turn of its kind, and 0 to 1 into that."""

    place: float
    left: str
    right: str
    chosen_by: ChosenBy
    disagreement: float | None


def clip_worth(reward: RewardEnsemble, worth: WorthOf = "sum") -> ClipWorth:
    """What each member of a learned reward holds clips to be worth, as log-odds.

    Args:
        reward: the ensemble.
        worth: whether a clip is worth its steps' sum or their mean, as the reward was taught.
    """
    import torch

    def of_clips(clips: Sequence[Clip]) -> npt.NDArray[np.floating]:
        found = []
        with torch.no_grad():
            for clip in clips:
                reward.check(clip.observations, clip.actions)
                said = reward.raw(torch.from_numpy(clip.observations), torch.from_numpy(clip.actions))
                found.append((said.sum(dim=1) if worth == "sum" else said.mean(dim=1)).numpy())
        return np.stack(found, axis=1)

    return of_clips


def disagreement(members: npt.NDArray[np.float64], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """How far an ensemble disagrees on pairs.

    Args:
        members: [K, C] what each member holds each clip to be worth, in log-odds.
        pairs: [M, 2] places of clips.

    Returns:
        [M]: standard deviation over the members of the chance that the left clip wins; at most 0.5.
    """
    difference = members[:, pairs[:, 0]] - members[:, pairs[:, 1]]
    chances: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(difference, -50, 50)))
    return np.asarray(chances.std(axis=0))


def _within_tasks(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """[M, 2] pairs that show the same stretch of one episode, by lot, each once; M is at most ``count``."""
    stretches: dict[tuple[str, int], list[int]] = {}
    for place in rng.permutation(len(clips)):
        facts = clips[place].facts
        stretches.setdefault((facts.episode_id, facts.start), []).append(int(place))
    found = [pair for places in stretches.values() for pair in combinations(places, 2)]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[rng.permutation(len(pairs))][:count]


def _across_tasks(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """[M, 2] pairs of different episodes, by lot, each once; M is at most ``count``."""
    episode = np.unique([clip.facts.episode_id for clip in clips], return_inverse=True)[1]
    if len(clips) * (len(clips) - 1) // 2 <= 16 * count:
        pairs = np.stack(np.triu_indices(len(clips), 1), axis=1)
        pairs = pairs[rng.permutation(len(pairs))]
    else:
        pairs = np.sort(rng.integers(len(clips), size=(4 * count, 2)), axis=1)
        pairs = pairs[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]
    return pairs[episode[pairs[:, 0]] != episode[pairs[:, 1]]][:count].astype(np.int64)


def _take(
    order: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64],
    count: int,
    most: int,
    uses: npt.NDArray[np.int64],
) -> list[int]:
    """The first pairs whose clips are not used up; where these are too few, more and more uses are let pass."""
    taken: list[int] = []
    waiting = [int(number) for number in order]
    while waiting and len(taken) < count:
        passed: list[int] = []
        for number in waiting:
            pair = candidates[number]
            if len(taken) >= count or (uses[pair] >= most).any():
                passed.append(number)
                continue
            uses[pair] += 1
            taken.append(number)
        waiting = passed
        most += 1
    return taken
