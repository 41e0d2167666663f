"""The dagger program's games: an iteration's own to learn from, and the same for all to be examined on.

A thin layer over ``hitl_ops.rollouts``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import claim
from hitl_assets.dagger_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    DaggerPaths,
    dagger_base_policy,
    dagger_iterations,
    stage_tags,
)
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from resources.progress import ProgressListener
from resources.store import StoreResource

GAME_SOURCES = (
    "contracts/text_game.py",
    "rollouts/text_game_sets.py",
    "worlds/text_tasks.py",
    "worlds/household_text",
    "worlds/alfworld",
)


def games_file(games: Path, split: str) -> Path:
    """The file of a split's games."""
    return games / f"{split}.jsonl"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    tags=stage_tags("games"),
    partitions_def=dagger_iterations,
    deps=[dagger_base_policy],
    code_version=code_version(*GAME_SOURCES),
    description=(
        "Household tasks in text: to learn from, new ones in every iteration; for the gate (`val`) and to be told of "
        "(`test`), the same in all.\n\n"
        "Splits share no home and no task. `world` says whose games they are: the household's, or ALFWorld's."
    ),
)
def dagger_games(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Make the lists that are missing."""
    from collections import Counter

    from hitl_ops.rollouts.text_game_sets import SPLITS, make_text_games, read_text_games, write_text_games
    from hitl_ops.worlds.text_worlds import games_note

    told = progress.of_step(context)
    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = DaggerPaths(iteration).games
        config = {"world": chosen.world_config.model_dump(mode="json"), "games": chosen.games.model_dump(mode="json")}
        claim(folder, {**config, "name": chosen.world, "code": code_version(*GAME_SOURCES)})
        found = {}
        for number, split in enumerate(SPLITS):
            told(number, len(SPLITS), f"{chosen.games.count(split)} games to {_WORDS[split]}")
            file = games_file(folder, split)
            if not file.is_file():
                write_text_games(make_text_games(chosen.world_config, split, chosen.games, iteration.iteration), file)
            found[split] = read_text_games(file)
        told(len(SPLITS), len(SPLITS))
    families = {split: Counter(game.family for game in games) for split, games in found.items()}
    rows = [
        {"family": family.replace("_", " "), **{split: families[split][family] for split in found}}
        for family in sorted({name for counted in families.values() for name in counted})
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([games_file(folder, s) for s in SPLITS], relative_to=folder)),
        metadata={
            "world": chosen.world,
            **{f"{split} games": len(games) for split, games in found.items()},
            "families": showing.table(rows),
            "note": games_note([game for games in found.values() for game in games], chosen.players.worlds),
            "for example": found["train"][0].task,
            "folder": showing.path(folder),
        },
    )


_WORDS = {"train": "learn from", "val": "decide by", "test": "be told of"}
