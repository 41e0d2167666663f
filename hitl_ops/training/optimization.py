"""The optimizers and their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, overload

import torch

from hitl_ops.training.train_config import OptimizationConfig


class RateSchedule(Protocol):
    """What decides the learning rate of a step; see the configurations for what each means."""

    @property
    def learning_rate(self) -> float:
        """Its peak."""

    @property
    def schedule(self) -> str:
        """``cosine``, ``linear_end`` or ``constant``."""

    @property
    def warmup_steps(self) -> int:
        """Steps of the linear rise."""

    @property
    def final_learning_rate_share(self) -> float:
        """Share of the peak at the end."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices inside the layers, AdamW for embeddings and vectors, as one optimizer.

    Muon (Jordan et al. 2024) orthogonalises a matrix's momentum before the step; with its update scaled to the
    size of AdamW's (Moonshot 2025, arXiv 2502.16982) both follow the same learning rate. A small model from scratch
    needs about a third of the steps.

    Args:
        matrices: two-dimensional parameters of hidden layers.
        others: everything else that is trained.
        config: learning rate, decay and AdamW's figures.
    """

    def __init__(
        self, matrices: list[torch.nn.Parameter], others: list[torch.nn.Parameter], config: OptimizationConfig
    ) -> None:
        self._muon = torch.optim.Muon(
            matrices, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(
            others,
            lr=config.learning_rate,
            weight_decay=0.0,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )
        super().__init__([*matrices, *others], {"lr": config.learning_rate})
        # The very groups and state of the two: whoever sets a learning rate or loads a checkpoint here sets theirs.
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]
        self._muon.state = self._adamw.state = self.state

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with both."""
        loss = closure() if closure is not None else None
        self._muon.step()
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave, keeping groups and state shared with the two inside."""
        super().load_state_dict(state_dict)
        count = len(self._muon.param_groups)
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:count], self.param_groups[count:]
        self._muon.state = self._adamw.state = self.state


def build_optimizer(model: torch.nn.Module, config: OptimizationConfig) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are trained; vectors (norms, biases) are never decayed."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if config.optimizer == "muon":
        embeddings = {
            id(parameter)
            for module in model.modules()
            if isinstance(module, torch.nn.Embedding)
            for parameter in module.parameters()
        }
        inner = [p for name, p in trained if p.dim() == 2 and id(p) not in embeddings and "lm_head" not in name]
        chosen = {id(p) for p in inner}
        return MuonWithAdamW(inner, [p for _, p in trained if id(p) not in chosen], config)
    groups = [
        {"params": [p for _, p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for _, p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def learning_rate_at(step: int, total: int, config: RateSchedule) -> float:
    """The learning rate of a step: linear warm-up, then constant, a half cosine, or constant with a linear end.

    Args:
        step: steps done before this one.
        total: steps of the whole training.
        config: peak, schedule, warm-up and final share.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = min(1.0, (step - config.warmup_steps) / max(1, total - config.warmup_steps))
    share = config.final_learning_rate_share
    left = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else min(1.0, 2 * (1 - done))
    return config.learning_rate * (share + (1 - share) * left)
