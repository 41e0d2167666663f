"""The planner program's jobs: what is started as one, by a person or by a sensor."""

from __future__ import annotations

import dagster as dg

from hitl_assets.planner_examination import PLANNER_ASSETS
from hitl_assets.planner_iterations import PROGRAM
from hitl_assets.planner_sessions import SESSION_ASSETS

_TAGS = {"flywheel/program": PROGRAM}

ALONE = "flywheel/alone"
"""Tag of runs that follow one another where its value is the same; dagster.yaml holds them to it."""

planner_iteration_0 = dg.define_asset_job(
    "planner_iteration_0",
    selection=dg.AssetSelection.assets(*(asset for asset in PLANNER_ASSETS if isinstance(asset, dg.AssetsDefinition))),
    description=(
        "The planner program's iteration 0 from end to end: episodes, teacher, samples, training, policy, evaluation. "
        "Choose partition 000; the preset is `resources.preset` in the launchpad."
    ),
    tags=_TAGS,
)

planner_collection = dg.define_asset_job(
    "planner_collection",
    selection=dg.AssetSelection.assets(*SESSION_ASSETS),
    description=(
        "Takes up what people have played in an iteration: their logs, their scores, samples of the best attempts. "
        "The sensor `finished_collection` starts it when the target is reached; by hand it may be started any time."
    ),
    # Two at once would list and score different plays into the same files.
    tags={**_TAGS, ALONE: "planner_collection"},
)
