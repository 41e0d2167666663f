"""How a reward is learned in each program whose clips people compare, by name of the scale.

Plain configuration, no Dagster. Clips of the arm are all of one length, and are worth their steps' sum, as the
literature has it. Whole episodes of a station and plays of the planner are as long as they took: of a sum, the longer
one would win or lose by its length alone, whatever was done in it, and twice the length would count twice as much in
the log-odds. There a clip is worth the mean of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from hitl_assets.preference_presets import PREFERENCE_PRESETS
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.training.reward_config import RewardTrainConfig

# Two joint vectors a step, and hundreds of steps a clip: few clips fill a batch, and each has much to say.
_STATION = RewardTrainConfig(
    model=RewardModelConfig(members=5, hidden=(32, 32)), steps=150, batch_pairs=16, worth="mean"
)
# Bags of 320 words a step, tens of steps a clip, and seldom more comparisons than words: one small layer.
_PLANNER = RewardTrainConfig(model=RewardModelConfig(members=8, hidden=(16,)), steps=150, batch_pairs=32, worth="mean")
# The figures of Christiano et al. (arXiv 1706.03741, appendix A.1): three members of two layers of 64 that see
# bootstrapped samples, and a tenth of the answers taken to be by lot.
_PAPER_MODEL = RewardModelConfig(members=3, hidden=(64, 64), activation="leaky_relu")
_PAPER = RewardTrainConfig(model=_PAPER_MODEL, steps=1000, answer_noise=0.1, bootstrap=True, worth="mean")
# Seconds, for tests: nothing is learned.
_TINY_CI = RewardTrainConfig(model=RewardModelConfig(members=2, hidden=(8,)), steps=5, worth="mean")

REWARD_PRESETS: Mapping[str, Mapping[str, RewardTrainConfig]] = {
    "planner": {"laptop": _PLANNER, "paper": _PAPER, "tiny_ci": _TINY_CI},
    "station": {"laptop": _STATION, "paper": _PAPER, "tiny_ci": _TINY_CI},
    "preference": {name: one.reward for name, one in PREFERENCE_PRESETS.items()},
}
