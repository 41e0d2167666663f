"""The planner program's assets, all of them, and its jobs: what is started as one, by a person or by a sensor."""

from __future__ import annotations

import dagster as dg

from hitl_assets.planner import distilled_samples, household_episodes, teacher_rollouts
from hitl_assets.planner_corrections import REVIEW_ASSETS, expert_samples
from hitl_assets.planner_examination import planner_evaluation
from hitl_assets.planner_iterations import GIVEN, PROGRAM
from hitl_assets.planner_promotion import planner_promotion
from hitl_assets.planner_sessions import SESSION_ASSETS
from hitl_assets.planner_training import planner_adapter, planner_policy, training_mix

_TAGS = {"flywheel/program": PROGRAM}

ALONE = "flywheel/alone"
"""Tag of runs that follow one another where its value is the same; dagster.yaml holds them to it."""

TEACHING: list[dg.AssetsDefinition] = [household_episodes, teacher_rollouts, distilled_samples]
LEARNING: list[dg.AssetsDefinition] = [
    training_mix,
    planner_adapter,
    planner_policy,
    planner_evaluation,
    planner_promotion,
]
PLANNER_ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    *GIVEN,
    *TEACHING,
    *SESSION_ASSETS,
    *REVIEW_ASSETS,
    expert_samples,
    *LEARNING,
]

planner_iteration_0 = dg.define_asset_job(
    "planner_iteration_0",
    selection=dg.AssetSelection.assets(*TEACHING, *LEARNING),
    description=(
        "The planner program's iteration 0 from end to end: episodes, teacher, samples, training, policy, evaluation, "
        "promotion. Choose partition 000; the preset is `resources.preset` in the launchpad."
    ),
    tags=_TAGS,
)

planner_collection = dg.define_asset_job(
    "planner_collection",
    selection=dg.AssetSelection.assets(*SESSION_ASSETS, *REVIEW_ASSETS),
    description=(
        "Takes up what people have played in an iteration: their logs, their scores, samples of the best attempts, "
        "what annotators are to look at, on video. The sensor `finished_collection` starts it when the target is "
        "reached; by hand it may be started any time."
    ),
    # Two at once would list and score different plays into the same files.
    tags={**_TAGS, ALONE: "planner_collection"},
)

planner_refinement = dg.define_asset_job(
    "planner_refinement",
    selection=dg.AssetSelection.assets(expert_samples, *LEARNING),
    description=(
        "Makes an iteration's policy out of all that people have given so far: corrections, the weighted training "
        "set, training from the policy before, weights, evaluation, the gate. The sensor `finished_annotation` starts "
        "it when annotators are through; by hand it may be started any time."
    ),
    # Two at once would train into the same folder, or be compared with a policy that serves no more.
    tags={**_TAGS, ALONE: "planner_refinement"},
)
