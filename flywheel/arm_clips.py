"""``flywheel clips --program preference``: clips of the arm and what is asked of them, as the asset makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_assets.preference_presets import PreferencePreset
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.store import Store
    from hitl_ops.models.clip_reward import ClipReward
    from hitl_ops.records.clips import ClipSetFacts

PROGRAM = "preference"


@dataclass(frozen=True, slots=True)
class ArmClips:
    """What the command line says of the preset.

    Attributes:
        pairs: questions, in place of the preset's.
        seed: of all that is drawn by lot, in place of the preset's.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.
    """

    pairs: int | None
    seed: int | None
    preset: str
    config: Path | None
    overrides: list[str]

    def chosen(self) -> PreferencePreset:
        """The preset with all that lies over it."""
        from flywheel.configuration import resolve_config
        from hitl_assets.preference_presets import PREFERENCE_PRESETS, PreferencePreset

        said = {
            "first_pairs": self.pairs,
            "queries.pairs": self.pairs,
            "clips.seed": self.seed,
            "queries.seed": self.seed,
        }
        presets: dict[str, PreferencePreset] = {name: one for name, one in PREFERENCE_PRESETS.items()}
        return resolve_config(
            PreferencePreset, presets, preset=self.preset, file=self.config, overrides=self.overrides, options=said
        )


def make_arm_clips(
    store: Store,
    iteration: int,
    out: Path,
    wanted: ArmClips,
    policy: Path | None,
    judge: ClipReward | None,
    progress: Progress,
) -> ClipSetFacts:
    """Make clips of the arm, and choose which pairs are asked.

    Args:
        store: where everything is kept.
        iteration: its number.
        out: the set's folder.
        wanted: how many, of what.
        policy: folder of the policy that acts, or of its weights; None: the arm moves by lot.
        judge: the reward on whose disagreement pairs are asked; None: by lot.
        progress: told of episodes.

    Raises:
        UserError: somebody has compared clips of the set that lies there, or the policy or the preset cannot be used.
        LabelStoreUnavailable: the label store does not answer.
    """
    from hitl_assets.clip_provenance import made_of
    from hitl_ops.models.planner_lm import CARD_FILE, read_card
    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy
    from hitl_ops.rollouts.reach_clips import ReachActing, UntaughtReach
    from hitl_ops.samples.reach_queries import make_reach_queries

    chosen = wanted.chosen()
    _refuse_to_replace(store, iteration, out)
    actor: ReachActing = UntaughtReach()
    if policy is not None:
        named = read_card(policy).policy_id if (policy / CARD_FILE).is_file() else ""
        actor = load_reach_policy(policy / WEIGHTS_FOLDER if (policy / WEIGHTS_FOLDER).is_dir() else policy, named)
    clips, queries = chosen.clips_of(iteration), chosen.queries_of(iteration)
    # As the asset notes it, so that it knows a set that was made by hand of the same.
    made = made_of(
        chosen,
        iteration,
        policy=actor.policy_id,
        reward_of=_reward_of(store, judge),
        reward=None if judge is None else judge.folder,
    )
    reward = None if judge is None else judge.model
    return make_reach_queries(
        actor, chosen.world, clips, queries, out, iteration, made, reward=reward, progress=progress
    ).facts


def _reward_of(store: Store, judge: ClipReward | None) -> str:
    """The key of the iteration that a reward was learned in, or its folder; empty where there is none."""
    if judge is None:
        return ""
    folder = judge.folder.resolve()
    try:
        key, *rest = folder.relative_to((store.root / PROGRAM).resolve()).parts
    except ValueError:
        return str(folder)
    return key if rest == ["reward", "model"] else str(folder)


def _refuse_to_replace(store: Store, iteration: int, out: Path) -> None:
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.samples.standing_comparisons import standing_words

    if out.resolve() != store.iteration(PROGRAM, iteration).clips.resolve():
        return
    said = sum(word.iteration == iteration for word in standing_words(store, PROGRAM))
    if said:
        raise UserError(
            f"people have made {said} comparisons of iteration {iteration:03d}, and its clips would be others now",
            "make clips of the next iteration with --iteration, or elsewhere with --out",
        )
