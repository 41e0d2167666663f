"""The preference program's questions: clips of what the policy does, and pairs of them for people to compare.

A thin layer over ``hitl_ops.rollouts`` and ``hitl_ops.samples``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.clip_provenance import made_of
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_iterations import (
    GROUP,
    OWNERS,
    PREFERENCE_LOOP,
    PROGRAM,
    PreferencePaths,
    preference_base_policy,
    preference_iterations,
    stage_tags,
)
from hitl_assets.preference_presets import PreferencePreset
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths, Store
from resources.progress import ProgressListener
from resources.store import StoreResource

if TYPE_CHECKING:
    from hitl_ops.contracts.preference import ClipPair
    from hitl_ops.records.clips import Clip, ClipSet
    from hitl_ops.rollouts.reach_clips import ReachActing

CLIP_SOURCES = (
    "contracts",
    "worlds/reach",
    "models/reach_policy.py",
    "models/reward_model.py",
    "records/clips.py",
    "rollouts/reach_clips.py",
    "samples/clip_queries.py",
    "samples/reach_queries.py",
)
_PAIRS_SHOWN = 3


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "safetensors"},
    tags=stage_tags("questions"),
    partitions_def=preference_iterations,
    deps=[preference_base_policy],
    code_version=code_version(*CLIP_SOURCES),
    description=(
        "What people are asked: pairs of clips of what the policy does that the iteration starts from, exploring; in "
        "iteration `000` an arm that moves by lot.\n\n"
        "Asked first is where the reward models of the iteration before disagree most. `flywheel compare` shows the "
        "pairs as films; a set is never changed once somebody has compared clips of it. Lost, it is made anew, and "
        "what people said of it counts, as long as the clips are the same."
    ),
)
def clip_pairs(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let the policy act, cut clips, choose pairs; what is there already, made of the same, stays."""
    from hitl_ops.records.clips import open_clip_set, write_clip_set

    told = progress.of_step(context)
    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = iteration.clips
        base = _base(context.instance, iteration)
        reward, by = learned_before(store.open(), iteration)
        made = made_of(chosen, iteration.iteration, policy=base, reward_of=by, reward=reward)
        found = _standing(folder, made)
        if found is None:
            clips, pairs = _make(chosen, store.open(), iteration, base, reward, told)
            # Looked at last of all: people may have compared while the arm was acting.
            with store.opened_labels() as labels:
                _refuse_to_replace(labels, iteration, clips, pairs)
            write_clip_set(folder, clips, pairs, made)
            found = open_clip_set(folder)
        else:
            told(1, 1, "they are there already")
        sketch = _sketch(found, iteration, chosen)
    choices = [pair.chosen_by for pair in found.pairs]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(found.files(), relative_to=found.root)),
        metadata={
            "policy": base or "an arm that moves by lot",
            "clips": len(found.clips),
            "pairs": len(found.pairs),
            "how pairs were chosen": showing.counts(
                {name: choices.count(name) for name in dict.fromkeys(choices)}, of="by"
            ),
            "disagreement of": f"the reward models of iteration {by}" if by else "nobody: there is no reward yet",
            "asked first": showing.table(_rows(found)),
            "some of them": showing.pictures([sketch]),
            "compare them": "flywheel compare",
            "clip set": showing.path(found.root),
        },
    )


def _base(instance: dg.DagsterInstance, iteration: IterationPaths) -> str:
    """Id of the policy whose clips these are; "" for an arm that moves by lot.

    Raises:
        UserError: a later iteration was never opened, or no policy served when it was.
    """
    return PREFERENCE_LOOP.parent_of(instance, iteration.key) if iteration.iteration else ""


def learned_before(store: Store, iteration: IterationPaths) -> tuple[Path | None, str]:
    """The newest reward learned before an iteration: its weights' folder, and the key of its iteration."""
    from hitl_ops.training.reward_folders import MODEL_FOLDER

    for number in range(iteration.iteration - 1, -1, -1):
        earlier = store.iteration(PROGRAM, number)
        folder = PreferencePaths(earlier).reward / MODEL_FOLDER
        if folder.is_dir():
            return folder, earlier.key
    return None, ""


def _standing(folder: Path, made: dict[str, Any]) -> "ClipSet | None":
    """The clip set that is there, if it was made like this and is whole."""
    from hitl_ops.records.clips import open_clip_set

    try:
        found = open_clip_set(folder)
        found.all_clips()
    except UserError:
        return None
    return found if found.facts.made == made else None


def _refuse_to_replace(
    labels: Any, iteration: IterationPaths, clips: "Sequence[Clip]", pairs: "Sequence[ClipPair]"
) -> None:
    """Clips made again as they were may take the place of those that are gone; others would leave what people said
    without anything to learn from. Where nobody has said that any clip is better, there is nothing to learn from.

    Args:
        labels: the label store; None where nobody ever said anything.
        iteration: whose clips.
        clips: the new ones.
        pairs: the new ones.

    Raises:
        UserError: somebody has compared clips that are not among the new ones.
    """
    from hitl_ops.labels.preferences import standing_preferences

    said = [] if labels is None else standing_preferences(labels, PROGRAM, iteration.iteration)
    hashes = {clip.facts.clip_id: clip.facts.content_hash for clip in clips}
    asked = {pair.pair_id: {(pair.left, hashes[pair.left]), (pair.right, hashes[pair.right])} for pair in pairs}
    seen = [
        (word.said.pair_id, {(word.said.left, word.said.left_hash), (word.said.right, word.said.right_hash)})
        for word in said
    ]
    lost = sum(asked.get(pair_id) != shown for pair_id, shown in seen)
    if lost and any(word.said.choice in ("left", "right") for word in said):
        raise UserError(
            f"people have made {lost} comparisons of iteration {iteration.key} whose clips would be others now",
            "set the preset as it was, or restore the clip set; new settings count from the next iteration on",
        )


def _make(
    chosen: PreferencePreset,
    store: Store,
    iteration: IterationPaths,
    base: str,
    reward: Path | None,
    told: Any,
) -> "tuple[list[Clip], list[ClipPair]]":
    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy
    from hitl_ops.models.reward_model import load_reward
    from hitl_ops.rollouts.reach_clips import UntaughtReach
    from hitl_ops.samples.reach_queries import reach_queries

    number = iteration.iteration
    actor: ReachActing
    actor = load_reach_policy(store.policy(PROGRAM, base) / WEIGHTS_FOLDER, base) if base else UntaughtReach()
    return reach_queries(
        actor,
        chosen.world,
        chosen.clips_of(number),
        chosen.queries_of(number),
        number,
        reward=None if reward is None else load_reward(reward),
        progress=told,
    )


def _rows(found: "ClipSet") -> list[dict[str, Any]]:
    return [
        {
            "pair": pair.pair_id,
            "left": pair.left,
            "right": pair.right,
            "chosen by": pair.chosen_by,
            "disagreement": "–" if pair.disagreement is None else f"{pair.disagreement:.3f}",
        }
        for pair in found.pairs[:10]
    ]


def _sketch(found: "ClipSet", iteration: IterationPaths, chosen: PreferencePreset) -> Path:
    from hitl_ops.evaluation.pair_sketch import draw_pairs

    pairs = found.pairs[:_PAIRS_SHOWN]
    clips = {name: found.clip(name) for pair in pairs for name in (pair.left, pair.right)}
    path = iteration.rollouts / "pairs.png"
    draw_pairs(pairs, clips, chosen.world.success_m, path)
    return path
