"""A learned reward as it judges whole clips: of the kind it was taught on, by their sum or their mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import WorthOf
from hitl_ops.models.reward_model import RewardEnsemble, load_reward, read_reward_facts
from hitl_ops.records.clips import Clip

WORTH, KINDS = "worth", "kinds"
"""Where a reward's facts say how it was taught: what a clip is worth, and which kinds of clips there were."""


@dataclass(frozen=True, eq=False)
class ClipReward:
    """A learned reward, and how it was taught.

    Attributes:
        model: the ensemble.
        worth: whether a clip is worth its steps' sum or their mean.
        kinds: of the clips it learned from; empty where that is not known.
        folder: where it lies.
    """

    model: RewardEnsemble
    worth: WorthOf
    kinds: frozenset[str]
    folder: Path

    def score(self, clip: Clip) -> float:
        """The sum of a clip's steps, each the members' mean of their normalised rewards.

        Raises:
            UserError: the clip has other numbers than the reward learned from.
        """
        return float(self.model.rewards(clip.observations, clip.actions).sum(dtype="float64"))

    def check(self, kinds: Iterable[str]) -> None:
        """Look whether clips are of a kind it learned from.

        Args:
            kinds: of the clips.

        Raises:
            UserError: one is none of them.
        """
        other = next((kind for kind in kinds if self.kinds and kind not in self.kinds), None)
        if other is not None:
            raise UserError(
                f"the reward in '{self.folder}' was learned from {', '.join(sorted(self.kinds))} clips, "
                f"and these are {other} clips",
                "name a reward that was learned from such clips with `flywheel train-reward`",
            )


def load_clip_reward(folder: Path) -> ClipReward:
    """A reward from the folder of its weights.

    Raises:
        UserError: there is none, or its files do not fit each other.
    """
    made = read_reward_facts(folder).made
    # Whoever says nothing else was taught as the literature has it.
    worth: WorthOf = "mean" if made.get(WORTH) == "mean" else "sum"
    return ClipReward(load_reward(folder), worth, frozenset(made.get(KINDS) or ()), folder)
