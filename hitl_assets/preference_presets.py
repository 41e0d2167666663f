"""The preference program's scales, by name: the same code path at each, only the figures differ.

Plain configuration, no Dagster: the command line starts from the same presets as the asset graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from hitl_assets.named_preset import named_preset
from hitl_ops.contracts.config import StrictConfig, apply_overrides
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.evaluation.reach_evaluation import ReachEvaluationConfig
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.models.reach_policy_config import ReachPolicyConfig
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.rollouts.reach_clips import ReachClipConfig
from hitl_ops.samples.clip_queries import QueryConfig
from hitl_ops.samples.scripted_comparisons import ScriptedPeopleConfig
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.training.reach_config import ReachTrainConfig
from hitl_ops.training.reward_config import RewardTrainConfig
from hitl_ops.worlds.reach.config import ReachConfig

PreferencePresetName = Literal["laptop", "paper", "tiny_ci"]
_ITERATIONS_APART = 1000
"""How many iterations seeds are kept apart for."""


class LabelSection(StrictConfig):
    """When people have said enough."""

    every: int = Field(
        default=0, ge=0, description="pairs of an iteration that are answered before it learns; 0: all of them"
    )


class PreferenceLoopSection(StrictConfig):
    """How the loop turns."""

    iterations: int = Field(default=9, ge=0, description="the last iteration that opens without anybody asking for it")
    warm_start: bool = Field(
        default=True, description="whether a policy goes on from the one the iteration was opened on, or begins anew"
    )


class ControlSection(StrictConfig):
    """The policy to compare with."""

    enabled: bool = Field(
        default=True,
        description="whether one is trained on beside, on the world's own reward; the gate never sets it back",
    )


class PreferenceCheckLimits(StrictConfig):
    """What the asset checks let pass."""

    least_held_out_accuracy: float = Field(
        default=0.6, ge=0, le=1, description="share of held-out answers the reward agrees with below which to look"
    )
    least_held_out: int = Field(default=5, ge=1, description="held-out answers below which nothing is said about them")
    least_episodes: int = Field(default=100, ge=1, description="evaluation episodes below which figures say little")


class PreferencePreset(StrictConfig):
    """One scale of the preference program."""

    world: ReachConfig = Field(default=ReachConfig(), description="the arm and its task")
    clips: ReachClipConfig = Field(default=ReachClipConfig(), description="what is cut out of what the policy does")
    first_pairs: int = Field(default=40, ge=1, description="questions of iteration 000, instead of queries.pairs")
    queries: QueryConfig = Field(default=QueryConfig(pairs=20), description="which pairs are asked")
    labels: LabelSection = Field(default=LabelSection(), description="when people have said enough")
    annotator: ScriptedPeopleConfig = Field(
        default=ScriptedPeopleConfig(), description="scripted people, where nobody else compares"
    )
    reward: RewardTrainConfig = Field(default=RewardTrainConfig(), description="how the reward is learned")
    ppo: PPOConfig = Field(default=PPOConfig(), description="how the policy learns from it")
    control: ControlSection = Field(default=ControlSection(), description="the policy to compare with")
    evaluation: ReachEvaluationConfig = Field(default=ReachEvaluationConfig(), description="the examination")
    gate: GateConfig = Field(
        # How near the hand ends tells policies apart long before any of them succeeds; by success alone, chance would
        # decide between the first ones, and a better one be sent back.
        default=GateConfig(figure="percent_complete"),
        description="when a policy may take the place of another",
    )
    loop: PreferenceLoopSection = Field(default=PreferenceLoopSection(), description="how the loop turns")
    checks: PreferenceCheckLimits = Field(default=PreferenceCheckLimits(), description="what the asset checks let pass")

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.clips.steps > self.world.max_steps:
            raise ValueError(f"clips.steps {self.clips.steps} is longer than an episode, world.max_steps")
        if self.labels.every > min(self.first_pairs, self.queries.pairs):
            raise ValueError(
                f"labels.every {self.labels.every} waits for more than is asked: first_pairs {self.first_pairs}, "
                f"queries.pairs {self.queries.pairs}"
            )
        return self

    def pairs_of(self, iteration: int) -> int:
        """Questions of an iteration."""
        return self.queries.pairs if iteration else self.first_pairs

    def wanted_of(self, iteration: int, pairs: int) -> int:
        """Answers after which an iteration learns.

        Args:
            iteration: its number.
            pairs: that its clip set asks, which may be fewer than were wanted.
        """
        return min(self.labels.every or self.pairs_of(iteration), pairs)

    def clips_of(self, iteration: int) -> ReachClipConfig:
        """How an iteration's clips are made: each from episodes of its own."""
        return self.clips.replace(seed=self.clips.seed * _ITERATIONS_APART + iteration)

    def queries_of(self, iteration: int) -> QueryConfig:
        """Which pairs an iteration asks."""
        return self.queries.replace(
            pairs=self.pairs_of(iteration), seed=self.queries.seed * _ITERATIONS_APART + iteration
        )

    def training_of(self, iteration: int) -> ReachTrainConfig:
        """How an iteration's policy is trained, and its control."""
        return ReachTrainConfig(
            world=self.world, ppo=self.ppo.replace(seed=self.ppo.seed * _ITERATIONS_APART + iteration)
        )


# Two cores, no GPU, no network, minutes. 200 comparisons in all. The reward sees the hand less the target, what people
# are asked to look at: of 200 comparisons of clips with hands near their targets it then follows the truth there with
# r = 0.8, told hand and target 0.3, told everything the arm observes 0.1. It has one best place, and targets are put
# near hands in hindsight: of the first 60 comparisons its best place then was 0.1 to 0.3 m from the target over four
# seeds; of a free reward without hindsight 0.4 to 0.9 m, and two seeds of three learned little for 135 comparisons.
_HAND_LESS_TARGET = ((17, 14), (18, 15), (19, 16))
_LAPTOP = PreferencePreset(
    first_pairs=40,
    queries=QueryConfig(pairs=20, candidates=4, random_share=0.25),
    reward=RewardTrainConfig(
        model=RewardModelConfig(shape="concave", differences=_HAND_LESS_TARGET, observed=(), use_actions=False),
    ),
    loop=PreferenceLoopSection(iterations=8),
)

# A sketch's own figures: physics' own rate, whole trajectories of 1000 steps as clips, one comparison of two of them
# every 5 updates of 10 trajectories each, a single network for the reward, 17 observed numbers, 100 updates in all.
_PAPER = PreferencePreset(
    world=ReachConfig(end_effector=False, control_hz=240, max_steps=1000),
    clips=ReachClipConfig(episodes=2, attempts=1, wander=0.0, hindsight=0.0, steps=1000, arms=2),
    first_pairs=1,
    queries=QueryConfig(pairs=1, chosen_by="random", of_one_task=0.0),
    reward=RewardTrainConfig(
        model=RewardModelConfig(members=1, hidden=(64, 64), activation="relu"),
        steps=200,  # 10 times over the 20 comparisons there are in the end
        batch_pairs=1,
        learning_rate=1e-4,
        weight_decay=0.0,
        reward_penalty=0.0,
        answer_noise=0.0,
        bootstrap=False,
        weigh_annotators=False,
        validation_share=0.0,
    ),
    ppo=PPOConfig(
        policy=ReachPolicyConfig(hidden=(64, 64), activation="tanh", log_std=0.0),
        total_steps=50_000,
        arms=10,
        rollout_steps=1000,
        batch_size=10_000,
        epochs=10,
        learning_rate=3e-4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_range=0.2,
        value_coefficient=0.5,
        entropy_coefficient=0.01,
        max_grad_norm=0.5,
        least_log_std=None,
        caution=0.0,
    ),
    loop=PreferenceLoopSection(iterations=19),
)

# Seconds, for tests: every step of the graph does its work, and nothing is learned.
_TINY_CI = PreferencePreset(
    world=ReachConfig(max_steps=10),
    clips=ReachClipConfig(episodes=4, attempts=2, steps=5, arms=4),
    first_pairs=6,
    queries=QueryConfig(pairs=4),
    reward=RewardTrainConfig(model=RewardModelConfig(members=2, hidden=(8,)), steps=5),
    ppo=PPOConfig(
        policy=ReachPolicyConfig(hidden=(8, 8)), total_steps=32, arms=2, rollout_steps=8, batch_size=8, epochs=1
    ),
    evaluation=ReachEvaluationConfig(targets=4, arms=4, scoring=EvaluationConfig(reference="serving", resamples=100)),
    gate=GateConfig(figure="percent_complete", resamples=200),
    loop=PreferenceLoopSection(iterations=1),
    checks=PreferenceCheckLimits(least_held_out_accuracy=0.0, least_episodes=4),
)

PREFERENCE_PRESETS: Mapping[PreferencePresetName, PreferencePreset] = {
    "laptop": _LAPTOP,
    "paper": _PAPER,
    "tiny_ci": _TINY_CI,
}


def chosen_preference_preset(name: str, overrides: Sequence[str]) -> PreferencePreset:
    """The preset ``name`` with ``section.key=value`` laid over it.

    Args:
        name: the preset.
        overrides: what is laid over it; values are YAML.

    Raises:
        UserError: there is no such preset, or an override's key or value is not accepted.
    """
    return apply_overrides(named_preset(PREFERENCE_PRESETS, name), list(overrides))
