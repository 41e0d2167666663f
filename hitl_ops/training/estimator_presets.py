"""The scales at which estimators are trained, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hitl_ops.models.estimator_config import EstimatorConfig
from hitl_ops.training.estimator_config import EstimatorTrainConfig

PI05_BASE = "lerobot/pi05_base"

ESTIMATOR_PRESETS: Mapping[str, EstimatorTrainConfig] = {
    # A small network from scratch: minutes on a laptop's processor.
    "laptop": EstimatorTrainConfig(),
    # As kai0 trains its own: two moments, published weights of pi05, three cameras at 224 pixels, 100,000 steps.
    "paper": EstimatorTrainConfig(
        model=EstimatorConfig(
            variant="KAI0",
            backbone="pi05",
            cameras=("top_head", "hand_left", "hand_right"),
            image_size=224,
            hidden=512,
            pretrained=PI05_BASE,
            options={"gradient_checkpointing": True},
        ),
        steps=100_000,
        episodes_per_batch=72,
        frames_per_episode=2,
        near_share=0.0,
        learning_rate=2.5e-5,
        final_learning_rate_share=0.1,
        warmup_steps=1000,
        beta2=0.95,
        weight_decay=1e-10,
        precision="bf16",
        save_interval=10_000,
        keep_period=10_000,
        eval_every=2000,
        log_every=100,
        workers=8,
    ),
}
