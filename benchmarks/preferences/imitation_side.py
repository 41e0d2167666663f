"""The same world with imitation's ``PreferenceComparisons``, in an environment of its own (see ``environment.py``).

Its loop, its reward networks, its choice of fragments and the PPO of the Stable-Baselines3 it pins; our world, the
figures of our PPO, our examination. The scripted person answers by true return, as ours does, with as many errors.

``python -m benchmarks.preferences.imitation_side --settings JSON --out FILE``
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from imitation.algorithms import preference_comparisons as comparing
from imitation.rewards import reward_nets
from imitation.util import logger as imitation_logger
from imitation.util import networks
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from benchmarks.preferences.imitation_settings import ImitationSettings
from benchmarks.preferences.journal import Journal
from hitl_ops.models.reach_policy import network_options
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.models.reward_model import RewardEnsemble
from hitl_ops.worlds.reach.arms import Float32
from hitl_ops.worlds.reach.kinematics import JOINTS
from hitl_ops.worlds.reach.vector_environment import ReachVecEnv

HIDDEN = (32, 32)
MEMBERS = 5
OVERSAMPLING = 2
"""Fragments that are looked at for each that is asked about, where they are chosen; imitation's own."""


class CountedArms(ReachVecEnv):
    """Our arms; knows how many steps they made."""

    steps = 0

    def step_wait(self) -> VecEnvStepReturn:
        """See :class:`ReachVecEnv`."""
        self.steps += self.num_envs
        return super().step_wait()


class ErringGatherer(comparing.SyntheticGatherer):
    """Names the fragment of higher true return, and the other one as often as it errs."""

    def __init__(self, errors: float, rng: np.random.Generator) -> None:
        super().__init__(temperature=0, rng=rng)
        self._errors = errors

    def __call__(self, fragment_pairs: Sequence[Any]) -> npt.NDArray[np.float32]:
        """What it says of each pair: 1 for the first, 0 for the second, 0.5 where they are equal."""
        said = super().__call__(fragment_pairs)
        wrong = self.rng.random(len(said)) < self._errors
        return np.where(wrong, 1 - said, said).astype(np.float32)


class SeesAsOurs(reward_nets.RewardNet):
    """imitation's network on the inputs that our reward has.

    Args:
        arms: whose observations and actions.
        sees: what of them.
    """

    def __init__(self, arms: ReachVecEnv, sees: RewardModelConfig) -> None:
        super().__init__(arms.observation_space, arms.action_space)
        sizes = arms.config.observation_size, JOINTS
        ours = RewardEnsemble(sees.replace(members=1), *sizes)
        self._inputs = ours.inputs  # the choice of numbers alone; none of its weights
        self.mlp = networks.build_mlp(
            in_size=len(ours.input_mean),
            hid_sizes=HIDDEN,
            out_size=1,
            squeeze_output=True,
            normalize_input_layer=networks.RunningNorm,
        )

    def forward(
        self, state: torch.Tensor, action: torch.Tensor, next_state: torch.Tensor, done: torch.Tensor
    ) -> torch.Tensor:
        """What steps are worth, [N]."""
        said: torch.Tensor = self.mlp(self._inputs(state, action))
        return said


def reward_net(arms: ReachVecEnv, settings: ImitationSettings) -> Any:
    """A network, or an ensemble, as imitation's script makes them."""

    def one() -> Any:
        if settings.sees is not None:
            base: Any = SeesAsOurs(arms, settings.sees)
        else:
            base = reward_nets.BasicRewardNet(
                arms.observation_space,
                arms.action_space,
                hid_sizes=HIDDEN,
                normalize_input_layer=networks.RunningNorm,
            )
        return reward_nets.NormalizedRewardNet(base, networks.RunningNorm)

    if settings.selection == "random":
        return one()
    members = [one() for _ in range(MEMBERS)]
    ensemble = reward_nets.RewardEnsemble(arms.observation_space, arms.action_space, members)
    return reward_nets.AddSTDRewardWrapper(ensemble, default_alpha=0.0)


class Acting:
    """Its policy, as our examination asks it.

    Args:
        policy: Stable-Baselines3's.
    """

    policy_id = "imitation"

    def __init__(self, policy: PPO) -> None:
        self._policy = policy

    def act(self, observations: Float32, rng: np.random.Generator | None) -> Float32:
        """See :class:`hitl_ops.rollouts.reach_clips.ReachActing`."""
        actions: Float32 = self._policy.predict(observations, deterministic=rng is None)[0]
        return actions


def run(settings: ImitationSettings, out: Path) -> None:
    """The whole of it; an examination after every helping of comparisons goes into the file."""
    torch.set_num_threads(1)
    set_random_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    world, ppo = settings.world.replace(end_on_success=False), settings.ppo
    arms = CountedArms(ppo.arms, world, settings.seed)
    policy = PPO(
        "MlpPolicy",
        arms,
        learning_rate=ppo.learning_rate,
        n_steps=ppo.rollout_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        ent_coef=ppo.entropy_coefficient,
        vf_coef=ppo.value_coefficient,
        max_grad_norm=ppo.max_grad_norm,
        policy_kwargs=network_options(ppo.policy),
        seed=settings.seed,
        device="cpu",
    )
    net = reward_net(arms, settings)
    model = comparing.PreferenceModel(net)
    fragments: Any = comparing.RandomFragmenter(rng=rng, warning_threshold=0)
    if settings.selection == "active":
        fragments = comparing.ActiveSelectionFragmenter(model, fragments, OVERSAMPLING, uncertainty_on="logit")
    trainer = comparing._make_reward_trainer(  # a basic one, or one of an ensemble: imitation's own choice
        model, comparing.CrossEntropyRewardLoss(), rng, {"epochs": settings.epochs}
    )
    with tempfile.TemporaryDirectory(prefix="flywheel-imitation-") as place, Journal(out, settings) as journal:
        told = imitation_logger.configure(place, format_strs=[])
        loop = comparing.PreferenceComparisons(
            comparing.AgentTrainer(policy, net, arms, rng, exploration_frac=settings.exploration, custom_logger=told),
            net,
            num_iterations=settings.helpings,
            fragmenter=fragments,
            preference_gatherer=ErringGatherer(settings.errors, rng),
            reward_trainer=trainer,
            fragment_length=settings.fragment,
            initial_comparison_frac=settings.first_share,
            initial_epoch_multiplier=settings.first_epochs / settings.epochs,
            query_schedule=settings.schedule,
            custom_logger=told,
        )

        def examine(_: int) -> None:
            made = len(loop.dataset)
            success = journal.examine(Acting(policy), world, settings.evaluation, made, arms.steps)
            print(f"{made} comparisons: {success:.0%}", file=sys.stderr, flush=True)

        # Its policy is trained after the first comparisons too: once more than it is told.
        rollouts = max(1, round(settings.steps / (settings.helpings + 1) / ppo.rollout_size))
        with contextlib.redirect_stdout(sys.stderr):
            loop.train(rollouts * ppo.rollout_size * settings.helpings, settings.comparisons, callback=examine)
    arms.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run(ImitationSettings.model_validate_json(options.settings), options.out)
