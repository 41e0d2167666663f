"""The simplest tasks there are, which a small policy learns in seconds and solves in homes it has never seen.

Every home has a kitchen counter, and most a bed, a couch and a coffee table; "Bring the mug to the couch." is done in
four actions, alike in all of them.
"""

from __future__ import annotations

from itertools import product

from hitl_ops.contracts.episode import Episode, Proposition, write_episodes
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import Store
from hitl_ops.rollouts.episode_sets import GENERATOR_VERSION, EpisodeSetSummary, episode_file
from hitl_ops.worlds.household.kinematic_scene import load_scene

THINGS = ("mug", "apple", "kettle", "lamp")
PLACES = {"bed": "bedroom_bed_1", "couch": "living_room_couch_1", "coffee table": "living_room_coffee_table_1"}


def errands(split: str, home: int) -> list[Episode]:
    """All errands of a home: each thing stands on the kitchen counter and is to be brought somewhere."""
    scene = load_scene(f"flywheel_{split}_{home:03d}")
    there = {piece.name for piece in scene.description.furniture}
    x, z = scene.grid.center(scene._goals["kitchen_1"][0])
    return [
        Episode(
            episode_id=f"{split}_{home:03d}_{thing}_{place.replace(' ', '_')}",
            scene_id=scene.description.scene_id,
            instruction=f"Bring the {thing} to the {place}.",
            name_to_receptacle={f"{thing}_1": "kitchen_counter_1|on|0"},
            info={
                "flywheel": {
                    "task_type": "constraint_free",
                    "split": split,
                    "seed": 1000 * ("train", "val", "test").index(split) + 100 * home + number,
                    "spawns": [[x, z, 0.0], [x, z, 0.0]],
                }
            },
            evaluation_propositions=[
                Proposition(
                    function_name="is_on_top",
                    args={"object_handles": [f"{thing}_1"], "receptacle_handles": [PLACES[place]]},
                )
            ],
        )
        for number, (thing, place) in enumerate(product(THINGS, PLACES))
        if PLACES[place] in there
    ]


def write_errands(store: Store, *, train: int, val: int, test: int = 1) -> dict[str, int]:
    """Put errands where a store has its episodes, as the generator would; returns how many each split has.

    Args:
        store: whose episodes.
        train: homes to learn in; likewise the next two, in homes of their own.
        val: homes to be examined in.
        test: homes nobody looks at.
    """
    counts: dict[str, int] = {}
    homes: dict[str, list[str]] = {}
    for split, number in (("train", train), ("val", val), ("test", test)):
        episodes = [episode for home in range(number) for episode in errands(split, home)]
        write_episodes(episode_file(store.episodes, split), episodes)
        counts[split] = len(episodes)
        homes[split] = sorted({episode.scene_id for episode in episodes})
    summary = EpisodeSetSummary(
        generator=GENERATOR_VERSION,
        counts=counts,
        homes=homes,
        task_types={split: {"constraint_free": count} for split, count in counts.items()},
    )
    publish_json(store.episodes / "summary.json", summary)
    return counts
