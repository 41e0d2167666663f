"""The advantage program's assets, all of them, and its job."""

from __future__ import annotations

import dagster as dg

from hitl_assets.advantage_data import advantage_recordings, labeled_dataset, progress_dataset
from hitl_assets.advantage_estimation import advantage_dataset, advantage_estimator, estimated_dataset
from hitl_assets.advantage_iterations import PROGRAM
from hitl_assets.advantage_policies import awbc_evaluation, awbc_policy
from hitl_assets.planner_jobs import ALONE

ADVANTAGE_ASSETS: list[dg.AssetsDefinition] = [
    advantage_recordings,
    progress_dataset,
    labeled_dataset,
    advantage_estimator,
    estimated_dataset,
    advantage_dataset,
    awbc_policy,
    awbc_evaluation,
]

advantage_iteration_0 = dg.define_asset_job(
    "advantage_iteration_0",
    selection=dg.AssetSelection.assets(*ADVANTAGE_ASSETS),
    description=(
        "The advantage program from end to end: recordings, progress, labels, estimator, estimates of new episodes, "
        "labels of these, the policy that is told of them with its baselines, their evaluation. Choose partition 000; "
        "the preset is `resources.advantage_preset` in the launchpad."
    ),
    tags={"flywheel/program": PROGRAM, ALONE: PROGRAM},
)
