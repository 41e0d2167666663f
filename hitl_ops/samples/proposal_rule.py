"""From an estimator's values to a proposal: good, bad, or unsure, and which episode is worth a look first.

An episode's value at its end is the mean of ``absolute_value`` over its last frames; its score is that, kept within 0
and 1. From ``threshold_good`` on the proposal is good, up to ``threshold_bad`` it is bad, between them unsure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.labels.station_verdicts import ProposedWord
from hitl_ops.records.station_hdf5 import Verdict


class ProposalRule(StrictConfig):
    """When an episode is proposed to be good or bad."""

    last_frames: int = Field(default=25, ge=1, description="frames at its end over which the value is averaged")
    threshold_good: float = Field(default=0.7, ge=0, le=1, description="scores from here on are good")
    threshold_bad: float = Field(default=0.3, ge=0, le=1, description="scores up to here are bad")
    calibrate: bool = Field(
        default=True,
        description="take thresholds from episodes of which a person or the simulator has said good or bad, once there "
        "are enough",
    )
    least_judged: int = Field(
        default=5,
        ge=1,
        description="episodes of each kind that calibration takes, and episodes beyond a threshold it sets",
    )
    precision: float = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="share that calibrated proposals of a word are to be right in, good and bad weighing the same",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.threshold_bad >= self.threshold_good:
            raise ValueError("threshold_bad must lie below threshold_good")
        return self


class Thresholds(BaseModel):
    """Where good begins and bad ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    good: float | None = Field(ge=0, le=1, description="scores from here on are good; None: none is")
    bad: float | None = Field(ge=0, le=1, description="scores up to here are bad; None: none is")
    judged_good: int = Field(default=0, ge=0, description="good episodes they were calibrated on; 0: they were not")
    judged_bad: int = Field(default=0, ge=0, description="bad ones alike")

    @property
    def calibrated(self) -> bool:
        """Whether they come from judged episodes."""
        return self.judged_good > 0

    def word(self, score: float) -> ProposedWord:
        """What an episode with this score is proposed to be."""
        if self.good is not None and score >= self.good:
            return "good"
        return "bad" if self.bad is not None and score <= self.bad else "unsure"

    def doubt(self, score: float) -> float:
        """How little the proposal says: above a half between the thresholds, 1 in their middle, 0 at the ends."""
        good, bad = 1.0 if self.good is None else self.good, 0.0 if self.bad is None else self.bad
        word = self.word(score)
        if word == "good":
            return 0.5 * (1 - score) / (1 - good) if good < 1 else 0.5
        if word == "bad":
            return 0.5 * score / bad if bad > 0 else 0.5
        half = (good - bad) / 2
        return 1 - 0.5 * abs(score - (good + bad) / 2) / half if half > 0 else 1.0


class Agreement(BaseModel):
    """How often proposals are what somebody says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    same: int = Field(default=0, description="both said good, or both bad")
    different: int = Field(default=0, description="one said good, the other bad")
    unsure: int = Field(default=0, description="the estimator was unsure")

    @property
    def decided(self) -> int:
        """Episodes of which the estimator said good or bad."""
        return self.same + self.different

    @property
    def share(self) -> float | None:
        """Of those, the share in which both say the same; None where there are none."""
        return self.same / self.decided if self.decided else None


def value_at_end(values: npt.NDArray[np.floating], last_frames: int) -> float:
    """The mean of an episode's values, [T], over its last frames, or all where it is shorter."""
    return float(np.mean(values[-last_frames:], dtype=np.float64))


def score_of(value: float) -> float:
    """A value at the end, kept within 0 and 1."""
    return min(1.0, max(0.0, value))


def agreement(pairs: Iterable[tuple[ProposedWord, Verdict]]) -> Agreement:
    """Count what was proposed against what is said."""
    same = different = unsure = 0
    for proposed, said in pairs:
        unsure += proposed == "unsure"
        same += proposed == said
        different += proposed not in ("unsure", said)
    return Agreement(same=same, different=different, unsure=unsure)


def fixed_thresholds(rule: ProposalRule) -> Thresholds:
    """Those the configuration names."""
    return Thresholds(good=rule.threshold_good, bad=rule.threshold_bad)


def thresholds_of(rule: ProposalRule, scores: Sequence[float], good: Sequence[bool]) -> Thresholds:
    """Thresholds from judged episodes; the configuration's where calibration is off or too few are judged.

    The cut is where the share of good episodes at or above it exceeds the share of bad ones most. Good begins at the
    least score from the cut on, and bad ends at the greatest below it, for which ``precision`` of the episodes beyond
    are rightly named, good and bad weighing the same however many there are of each. A side for which no score does
    that has no threshold: nothing is proposed to be so.

    Args:
        rule: how.
        scores: of the judged episodes.
        good: whether each is.
    """
    score, is_good = np.asarray(scores, np.float64), np.asarray(good, bool)
    goods, bads = np.sort(score[is_good]), np.sort(score[~is_good])
    if not rule.calibrate or min(len(goods), len(bads)) < rule.least_judged:
        return fixed_thresholds(rule)
    levels = np.unique(score)
    good_above = 1 - np.searchsorted(goods, levels, side="left") / len(goods)
    bad_above = 1 - np.searchsorted(bads, levels, side="left") / len(bads)
    good_below = np.searchsorted(goods, levels, side="right") / len(goods)
    bad_below = np.searchsorted(bads, levels, side="right") / len(bads)
    ordered = np.sort(score)
    below = np.searchsorted(ordered, levels, side="right")
    above = len(ordered) - np.searchsorted(ordered, levels, side="left")
    cut = int(np.argmax(good_above - bad_above))
    # Every level has an episode on either side of itself: its own. No sum here is 0.
    right_above = (good_above / (good_above + bad_above) >= rule.precision) & (above >= rule.least_judged)
    right_below = (bad_below / (good_below + bad_below) >= rule.precision) & (below >= rule.least_judged)
    begins, ends = np.flatnonzero(right_above[cut:]), np.flatnonzero(right_below[:cut])
    return Thresholds(
        good=float(levels[cut + begins[0]]) if len(begins) else None,
        bad=float(levels[ends[-1]]) if len(ends) else None,
        judged_good=len(goods),
        judged_bad=len(bads),
    )


def words_left_out(
    rule: ProposalRule, scores: Sequence[float], good: Sequence[bool], which: Iterable[int]
) -> list[ProposedWord]:
    """What judged episodes would be proposed to be by thresholds that know all the others, but not them.

    Args:
        rule: how.
        scores: of the judged episodes.
        good: whether each is.
        which: places of those that are asked about.
    """
    words: list[ProposedWord] = []
    for place in which:
        others = [n for n in range(len(scores)) if n != place]
        known = thresholds_of(rule, [scores[n] for n in others], [good[n] for n in others])
        words.append(known.word(scores[place]))
    return words
