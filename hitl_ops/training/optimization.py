"""AdamW and its learning rate."""

from __future__ import annotations

import math

import torch

from hitl_ops.training.train_config import OptimizationConfig


def build_optimizer(model: torch.nn.Module, config: OptimizationConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; vectors (norms, biases) are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def learning_rate_at(step: int, total: int, config: OptimizationConfig) -> float:
    """The learning rate of a step: linear warm-up, then constant or a half cosine.

    Args:
        step: steps done before this one.
        total: steps of the whole training.
        config: peak, schedule, warm-up and final share.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    share = config.final_learning_rate_share
    return config.learning_rate * (share + (1 - share) * (1 + math.cos(math.pi * min(1.0, done))) / 2)
