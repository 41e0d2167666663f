"""A policy of the arm: Stable-Baselines3's own network, kept as safetensors with what it is beside it.

Stable-Baselines3 saves with pickle, which runs code on loading; weights here are numbers and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.models.reach_policy_config import ReachPolicyConfig
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.environment import reach_spaces

if TYPE_CHECKING:
    from stable_baselines3.common.policies import ActorCriticPolicy

WEIGHTS_FOLDER = "merged"
WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "policy.json"

Float32 = npt.NDArray[np.float32]


class ReachPolicyFacts(BaseModel):
    """What stands in ``policy.json``, beside the weights."""

    kind: str = "reach"
    config: ReachPolicyConfig
    world: ReachConfig = Field(description="the world it was trained in")


def network_options(config: ReachPolicyConfig) -> dict[str, Any]:
    """The configuration, as Stable-Baselines3's policies take it."""
    return {
        "net_arch": list(config.hidden),
        "activation_fn": {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[config.activation],
        "log_std_init": config.log_std,
    }


class ReachPolicy:
    """A trained policy, ready to act.

    Args:
        network: Stable-Baselines3's.
        facts: what it is.
        policy_id: as on its card; empty where it has none.
    """

    def __init__(self, network: ActorCriticPolicy, facts: ReachPolicyFacts, policy_id: str = "") -> None:
        self.network = network
        self.facts = facts
        self.policy_id = policy_id

    @torch.no_grad()
    def act(self, observations: Float32, rng: np.random.Generator | None) -> Float32:
        """Actions [N, 7], each in -1 to 1, for observations [N, D].

        Args:
            observations: as the policy's world gives them.
            rng: explores with it; None: the policy's best.
        """
        network = self.network
        seen = torch.from_numpy(np.ascontiguousarray(observations, dtype=np.float32))
        hidden = network.mlp_extractor.forward_actor(cast(torch.Tensor, network.extract_features(seen)))
        mean: Float32 = network.action_net(hidden).numpy().astype(np.float32)
        if rng is not None:
            mean += network.log_std.exp().numpy() * rng.standard_normal(mean.shape, dtype=np.float32)
        return np.clip(mean, -1.0, 1.0).astype(np.float32, copy=False)


def write_reach_policy(network: torch.nn.Module, facts: ReachPolicyFacts, folder: Path) -> None:
    """Write weights and what they are into a folder that is there; whoever calls publishes it."""
    publish_json(folder / FACTS_FILE, facts)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS_FILE)


def load_reach_policy(folder: Path, policy_id: str = "") -> ReachPolicy:
    """A policy as it was written.

    Args:
        folder: holds weights and ``policy.json``.
        policy_id: as on its card.

    Raises:
        UserError: there is none, or its files do not fit each other.
    """
    from stable_baselines3.common.policies import ActorCriticPolicy

    try:
        facts = ReachPolicyFacts.model_validate_json((folder / FACTS_FILE).read_bytes())
        network = ActorCriticPolicy(*reach_spaces(facts.world), lambda _: 0.0, **network_options(facts.config))
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except FileNotFoundError:
        raise UserError(f"there is no policy of the arm in '{folder}'", "train one, or correct the path") from None
    except (OSError, ValidationError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"the policy in '{folder}' cannot be read: {str(error).splitlines()[0]}", "train it anew"
        ) from None
    network.set_training_mode(False)
    return ReachPolicy(network, facts, policy_id)
