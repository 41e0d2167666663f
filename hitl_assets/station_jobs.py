"""The station program's assets, all of them, and its jobs: what is started as one, by a person or by a sensor."""

from __future__ import annotations

import dagster as dg

from hitl_assets.planner_jobs import ALONE
from hitl_assets.station_control import CONTROL_ASSETS
from hitl_assets.station_data import station_dataset, station_demonstrations, station_recordings
from hitl_assets.station_examination import station_evaluation
from hitl_assets.station_iterations import PROGRAM, STATION_GIVEN
from hitl_assets.station_promotion import station_promotion
from hitl_assets.station_training import station_policy

_TAGS = {"flywheel/program": PROGRAM}

STATION_LEARNING: list[dg.AssetsDefinition] = [station_dataset, station_policy, station_evaluation, station_promotion]
STATION_ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    *STATION_GIVEN,
    station_demonstrations,
    station_recordings,
    *STATION_LEARNING,
    *CONTROL_ASSETS,
]

station_iteration_0 = dg.define_asset_job(
    "station_iteration_0",
    selection=dg.AssetSelection.assets(station_demonstrations, *STATION_LEARNING),
    description=(
        "The station program's iteration 0 from end to end: demonstrations, data set, base policy, evaluation, "
        "promotion. Choose partition 000; the preset is `resources.station_preset` in the launchpad."
    ),
    tags={**_TAGS, ALONE: "station"},
)

station_refinement = dg.define_asset_job(
    "station_refinement",
    selection=dg.AssetSelection.assets(station_recordings, *STATION_LEARNING),
    description=(
        "Makes an iteration's policy out of demonstrations and everything stations sent so far: recordings looked "
        "through, data set, training, evaluation, the gate. The sensor `finished_epoch` starts it when the expected "
        "stations have finished the epoch; by hand it may be started any time."
    ),
    # Two at once would train into the same folder, or be compared with a policy that serves no more.
    tags={**_TAGS, ALONE: "station"},
)

station_control = dg.define_asset_job(
    "station_control",
    selection=dg.AssetSelection.assets(*CONTROL_ASSETS),
    description=(
        "What an iteration's policy would be if nobody had been listened to, and if no station had collected "
        "anything: as many steps, on the same episodes without the advantage, and on iteration 000's alone. Neither "
        "ever serves."
    ),
    tags={**_TAGS, ALONE: "station_control"},
)
