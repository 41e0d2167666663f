"""The preference program's assets, all of them, and its jobs: what is started as one, by a person or by a sensor."""

from __future__ import annotations

import dagster as dg

from hitl_assets.planner_jobs import ALONE
from hitl_assets.preference_clips import clip_pairs
from hitl_assets.preference_examination import reach_evaluation
from hitl_assets.preference_iterations import PREFERENCE_GIVEN, PROGRAM
from hitl_assets.preference_learning import preference_labels, reward_model
from hitl_assets.preference_policies import reach_control, reach_policy
from hitl_assets.preference_promotion import reach_promotion

_TAGS = {"flywheel/program": PROGRAM}

PREFERENCE_LEARNING: list[dg.AssetsDefinition] = [
    preference_labels,
    reward_model,
    reach_policy,
    reach_control,
    reach_evaluation,
    reach_promotion,
]
PREFERENCE_ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [*PREFERENCE_GIVEN, clip_pairs, *PREFERENCE_LEARNING]

preference_clips = dg.define_asset_job(
    "preference_clips",
    selection=dg.AssetSelection.assets(clip_pairs),
    description=(
        "Makes an iteration's questions: clips of the policy it starts from, and pairs of them. The sensor "
        "`next_preference_iteration` starts it for every iteration it opens; for 000 a person does, which begins the "
        "preference program: the clips are then of an arm that moves by lot. People compare them (`flywheel compare`, "
        "or `flywheel compare-scripted`); the sensors do the rest, iteration by iteration. Choose partition 000; the "
        "preset is `resources.preference_preset` in the launchpad."
    ),
    tags={**_TAGS, ALONE: "preference_clips"},
)

preference_learning = dg.define_asset_job(
    "preference_learning",
    selection=dg.AssetSelection.assets(*PREFERENCE_LEARNING),
    description=(
        "Makes an iteration's policy out of everything people have said so far: labels, reward, PPO on it, the "
        "control, examination, the gate. The sensor `new_preferences` starts it when enough has been said; by hand it "
        "may be started any time."
    ),
    # Two at once would train into the same folder, or be compared with a policy that serves no more.
    tags={**_TAGS, ALONE: PROGRAM},
)
