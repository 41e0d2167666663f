"""The scales at which estimators are trained, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hitl_ops.training.estimator_config import EstimatorTrainConfig

ESTIMATOR_PRESETS: Mapping[str, EstimatorTrainConfig] = {
    "laptop": EstimatorTrainConfig(),
}
