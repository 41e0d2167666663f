"""The dagger program's assets, all of them, and its job: what is started as one, by a person or by a sensor."""

from __future__ import annotations

import dagster as dg

from hitl_assets.dagger_examination import dagger_evaluation
from hitl_assets.dagger_games import dagger_games
from hitl_assets.dagger_imitation import bc_policy, expert_rounds
from hitl_assets.dagger_iterations import PROGRAM, dagger_base_policy
from hitl_assets.dagger_preference import bc_control, dpo_policy, preference_pairs, preference_rounds
from hitl_assets.dagger_promotion import dagger_promotion
from hitl_assets.planner_jobs import ALONE

DAGGER_MADE: list[dg.AssetsDefinition] = [
    dagger_games,
    expert_rounds,
    bc_policy,
    preference_rounds,
    preference_pairs,
    dpo_policy,
    bc_control,
    dagger_evaluation,
    dagger_promotion,
]
DAGGER_ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [dagger_base_policy, *DAGGER_MADE]

dagger_iteration = dg.define_asset_job(
    "dagger_iteration",
    selection=dg.AssetSelection.assets(*DAGGER_MADE),
    description=(
        "An iteration of the dagger program from end to end: games, rounds of imitation, rounds of preference, the "
        "control, examination, the gate. The sensor `next_dagger_iteration` starts it for every iteration it opens; "
        "for 000 a person does. Choose partition 000; the preset is `resources.dagger_preset` in the launchpad."
    ),
    # Two at once would play into the same folder, or be compared with a policy that serves no more.
    tags={"flywheel/program": PROGRAM, ALONE: PROGRAM},
)
