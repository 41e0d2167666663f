"""The code location: every program's assets, checks, jobs and sensors, and the resources they work with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from hitl_assets.advantage_checks import ADVANTAGE_CHECKS
from hitl_assets.advantage_jobs import ADVANTAGE_ASSETS, advantage_iteration_0
from hitl_assets.dagger_checks import DAGGER_CHECKS
from hitl_assets.dagger_jobs import DAGGER_ASSETS, dagger_iteration
from hitl_assets.planner_checks import PLANNER_CHECKS
from hitl_assets.planner_jobs import PLANNER_ASSETS, planner_collection, planner_iteration_0, planner_refinement
from hitl_assets.planner_learning_checks import LEARNING_CHECKS
from hitl_assets.planner_session_checks import SESSION_CHECKS
from hitl_assets.preference_checks import PREFERENCE_CHECKS
from hitl_assets.preference_jobs import (
    PREFERENCE_ASSETS,
    preference_clips,
    preference_learning,
)
from hitl_assets.preset_choice import (
    AdvantagePresetChoice,
    DaggerPresetChoice,
    PreferencePresetChoice,
    PresetChoice,
    StationPresetChoice,
)
from hitl_assets.station_checks import STATION_CHECKS
from hitl_assets.station_jobs import STATION_ASSETS, station_control, station_iteration_0, station_refinement
from resources.launcher import LocalLauncher
from resources.progress import ProgressLog
from resources.store import StoreResource
from resources.tracker import TrackerResource
from sensors.annotation import finished_annotation
from sensors.collection import finished_collection
from sensors.dagger import next_dagger_iteration
from sensors.label_changes import label_changes
from sensors.opening import next_iteration
from sensors.preference import new_preferences, next_preference_iteration, preference_changes
from sensors.station import finished_epoch, next_station_iteration, station_changes

# Dagster's own default tells every step's every event.
_CONSOLE = dg.colored_console_logger.configured({"log_level": "INFO"})


def build_defs(
    *, resource_overrides: Mapping[str, Any] | None = None, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """Fresh definitions.

    Args:
        resource_overrides: resources to put in the place of the usual ones, by name: another launcher, a store
            elsewhere, a listener that draws bars.
        loggers: where runs may write their log besides Dagster's own, by name.
    """
    return dg.Definitions(
        assets=[*PLANNER_ASSETS, *STATION_ASSETS, *ADVANTAGE_ASSETS, *PREFERENCE_ASSETS, *DAGGER_ASSETS],
        asset_checks=[
            *(*PLANNER_CHECKS, *SESSION_CHECKS, *LEARNING_CHECKS),
            *(*STATION_CHECKS, *ADVANTAGE_CHECKS, *PREFERENCE_CHECKS),
            *DAGGER_CHECKS,
        ],
        jobs=[
            *(planner_iteration_0, planner_collection, planner_refinement),
            *(station_iteration_0, station_refinement, station_control),
            advantage_iteration_0,
            *(preference_clips, preference_learning),
            dagger_iteration,
        ],
        sensors=[
            *(finished_collection, finished_annotation, next_iteration, label_changes),
            *(finished_epoch, next_station_iteration, station_changes),
            *(new_preferences, next_preference_iteration, preference_changes),
            next_dagger_iteration,
        ],
        resources={
            "preset": PresetChoice.from_environment(),
            "station_preset": StationPresetChoice.from_environment(),
            "advantage_preset": AdvantagePresetChoice.from_environment(),
            "preference_preset": PreferencePresetChoice.from_environment(),
            "dagger_preset": DaggerPresetChoice.from_environment(),
            "store": StoreResource(),
            "launcher": LocalLauncher(),
            "tracker": TrackerResource(),
            "progress": ProgressLog(),
            **(resource_overrides or {}),
        },
        loggers=loggers or {"console": _CONSOLE},
        # Steps share the run's process: trainings start one of their own, and the others need no second one to be
        # told apart from Dagster's.
        executor=dg.in_process_executor,
    )


defs = build_defs()
