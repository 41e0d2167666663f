"""What the weight of corrections does: the same data trained with expert samples at weight 5, 1 and 0.

Takes a store in which a loop has run: an iteration of 1 or more with corrections. For every weight the iteration's
training set is built anew from the same sample files, a policy is trained from where the iteration's own began, with
the preset's refinement, once for every seed, and plays the validation homes. Nothing else differs; weight 0 is the loop
without corrections, in which what was corrected stays what it was.

Success is told with bootstrap intervals that resample episodes, all seeds' plays of one together; differences are
paired by episode and seed. Whatever comes out is told, none of it has a target. Finished trainings and plays are kept
under ``out``, and the same command goes on where it was ended.

Run ``flywheel bench expert_weight --set store=PATH`` (or with ``FLYWHEEL_HOME`` naming the store).
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from flywheel.progress_bar import progress_bar
from hitl_assets.presets import RefinementSection, chosen_preset
from hitl_assets.provenance import TRAINING_SOURCES, code_version
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.episode import Episode, read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.evaluation.intervals import bootstrap_interval, paired_difference
from hitl_ops.evaluation.metrics import EpisodeScore, score_folder
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.rollouts.planners import PlannerConfig
from hitl_ops.rollouts.run import RolloutConfig, run_rollouts
from hitl_ops.samples.training_mix import MixSummary, build_training_mix
from hitl_ops.training.publish_policy import publish_policy
from hitl_ops.training.sft import SUMMARY, TrainSummary, train
from hitl_ops.training.train_config import TrainConfig

PROGRAM = "planner"
EXPERT = "expert"
BEFORE = "no refinement"
Scores = dict[str, EpisodeScore]


class Settings(StrictConfig):
    """What is compared, and on what."""

    store: str = Field(default="", description="the store's root; FLYWHEEL_HOME by default")
    iteration: int = Field(default=0, ge=0, description="whose training set; 0: the last one with corrections")
    preset: str = Field(default="laptop", description="scale whose refinement and evaluation are used")
    overrides: tuple[str, ...] = Field(default=(), description="section.key=value, laid over the preset")
    base: str = Field(default="", description="what to start from; what the iteration's policy did by default")
    weights: tuple[float, ...] = Field(default=(5.0, 1.0, 0.0), min_length=1, description="of expert samples")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="of the trainings")
    split: str = Field(default="val", description="homes that are played")
    max_episodes: int = Field(default=0, ge=0, description="episodes of the split; 0: all")
    processes: int = Field(default=0, ge=0, description="episodes played at once; 0: one per CPU core")
    out: str = Field(default="", description="where trainings and plays are kept; in the store by default")

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.weights)) != len(self.weights) or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("weights and seeds must differ")
        if any(weight < 0 for weight in self.weights) or any(seed < 0 for seed in self.seeds):
            raise ValueError("weights and seeds must not be negative")
        return self


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench expert_weight``.

    Raises:
        UserError: the store has no iteration with corrections, the preset or an override is not accepted, what the
            iteration's policy started from is gone, or the disk is full.
    """
    settings = settings or Settings()
    store = Store.at(settings.store) if settings.store else Store.from_environment()
    ablation = Ablation.prepare(settings, store)
    plays: dict[str, dict[int, Scores]] = {}
    if ablation.starts_from_a_policy:
        plays[BEFORE] = {0: ablation.play_base()}
    for weight in settings.weights:
        for seed in settings.seeds:
            scores = ablation.run(weight, seed)
            plays.setdefault(_name(weight), {})[seed] = scores
            success = statistics.fmean(score.success for score in scores.values())
            print(f"{_name(weight)}, seed {seed}: {success:.1%} of {len(scores)} episodes", file=sys.stderr, flush=True)
    return [*_data_rows(ablation.mixes), *_score_rows(plays), *_difference_rows(plays)]


@dataclass(frozen=True)
class Ablation:
    """One comparison: everything but weight and seed is fixed.

    Attributes:
        config: the training, with what it starts from; its seed is laid over it.
        episodes: what is played.
        rollouts: how; the planner is laid over it.
        mixes: of each weight the training set and what it is made of.
        folder: where trainings and plays are kept.
        cache: where base models are unpacked.
    """

    config: TrainConfig
    episodes: list[Episode]
    rollouts: RolloutConfig
    decode: Literal["greedy", "score"]
    mixes: dict[float, tuple[Path, MixSummary]]
    folder: Path
    cache: Path

    @classmethod
    def prepare(cls, settings: Settings, store: Store) -> Self:
        """Find the iteration and what its policy started from, and build the training sets.

        Raises:
            UserError: see ``bench``.
        """
        chosen = chosen_preset(settings.preset, list(settings.overrides))
        paths = _iteration(store, settings.iteration)
        config = chosen.refinement.config.replace(base=settings.base or _base(store, paths, chosen.refinement))
        file = episode_file(store.episodes, settings.split)
        if not file.is_file():
            raise UserError(f"there are no '{settings.split}' episodes in '{file.parent}'", "run `flywheel episodes`")
        episodes = read_episodes(file)[: settings.max_episodes or None]
        rollouts = chosen.rollouts.replace(
            processes=settings.processes,
            decision_limit=chosen.evaluation.decision_limit,
            max_episodes=0,
            variations=0,
            disturbance=0.0,
        )
        out = Path(settings.out).expanduser() if settings.out else store.root / PROGRAM / "ablations" / "expert_weight"
        mixes: dict[float, tuple[Path, MixSummary]] = {}
        for weight in settings.weights:
            mix = out / paths.key / "samples" / f"{_folder_name(weight)}.parquet"
            with progress_bar(f"training set, {_name(weight)}") as told:
                built = build_training_mix(
                    store, PROGRAM, paths.iteration, chosen.refinement.mix.replace(expert=weight), told, file=mix
                )
            if weight and not built.by_source.get("expert"):
                raise UserError(
                    f"there are no corrections in iterations 000 to {paths.key} of '{store.root}'",
                    "annotate plays first",
                )
            mixes[weight] = (mix, built)
        told_apart = {
            "training": {key: value for key, value in config.decisive().items() if key != "seed"},
            "inputs": [mix.manifest_hash for _, mix in mixes.values()],
            "rollouts": rollouts.model_dump(mode="json", exclude={"processes"}),
            "decode": chosen.evaluation.decode,
            "episodes": [episode.model_dump(mode="json") for episode in episodes],
        }
        key = hashlib.sha256(json.dumps(told_apart, sort_keys=True).encode()).hexdigest()[:12]
        return cls(config, episodes, rollouts, chosen.evaluation.decode, mixes, out / paths.key / key, store.cache)

    @property
    def starts_from_a_policy(self) -> bool:
        """Whether what is trained on could play itself."""
        base = Path(self.config.base)
        return any((folder / CARD_FILE).is_file() for folder in (base, base.parent)) and base.is_dir()

    def play_base(self) -> Scores:
        """Scores of what all trainings start from, by episode."""
        return self._play(Path(self.config.base), self.folder / "base", BEFORE)

    def run(self, weight: float, seed: int) -> Scores:
        """Train with one weight and seed, and play; returns the scores by episode.

        Raises:
            UserError: the training or a play cannot be done, or the disk is full.
        """
        samples, _ = self.mixes[weight]
        title = f"{_name(weight)}, seed {seed}"
        folder = self.folder / _folder_name(weight) / f"seed-{seed}"
        policy = folder / "policy"
        with progress_bar(f"{title}: training") as told:
            trained = train(self.config.replace(seed=seed), samples, policy, told, cache=self.cache)
        if not (policy / CARD_FILE).is_file():
            publish_policy(
                trained,
                samples,
                policy,
                program=PROGRAM,
                iteration=0,
                dtype=self.config.base_dtype,
                code_version=code_version(*TRAINING_SOURCES),
                cache=self.cache,
            )
        return self._play(policy, folder, title)

    def _play(self, policy: Path, folder: Path, title: str) -> Scores:
        planner = PlannerConfig(kind="policy", path=str(policy), decode=self.decode)
        with progress_bar(f"{title}: playing") as told:
            run_rollouts(self.episodes, self.rollouts.replace(planner=planner.model_dump()), folder, told)
        return {score.episode_id: score for score in score_folder(folder / "traces")}


def _iteration(store: Store, wanted: int) -> IterationPaths:
    """The iteration whose training set is varied.

    Raises:
        UserError: it, or any, has no corrections.
    """
    if wanted:
        return store.iteration(PROGRAM, wanted)
    for folder in sorted((store.root / PROGRAM).glob("[0-9][0-9][0-9]*"), reverse=True):
        if (folder / "samples" / f"{EXPERT}.parquet").is_file():
            return store.iteration(PROGRAM, folder.name)
    raise UserError(
        f"no iteration in '{store.root}' has corrections", "run `flywheel demo --program planner --iterations 1` first"
    )


def _base(store: Store, paths: IterationPaths, refinement: RefinementSection) -> str:
    """What the iteration's own policy started from; for one that was not trained yet, what it would start from.

    Raises:
        UserError: neither is there.
    """
    try:
        summary = TrainSummary.model_validate_json((paths.policy / SUMMARY).read_bytes())
    except FileNotFoundError:
        if refinement.start == "base":
            return refinement.config.base
        before = store.iteration(PROGRAM, paths.iteration - 1).policy / MERGED_FOLDER
        if not before.is_dir():
            raise UserError(f"there is no policy in '{before.parent}' to start from", "name one: --set base=") from None
        return str(before)
    except (OSError, ValidationError) as error:
        raise UserError(f"'{paths.policy / SUMMARY}' is damaged ({error})", "name a base: --set base=") from None
    return str(summary.config["base"])


# --- rows -----------------------------------------------------------------------------------------------------------


def _name(weight: float) -> str:
    return f"expert weight {weight:g}"


def _folder_name(weight: float) -> str:
    return f"weight-{weight:g}"


def _data_rows(mixes: Mapping[float, tuple[Path, MixSummary]]) -> list[dict[str, Any]]:
    """What the trainings learned from."""
    rows = []
    for weight, (_, mix) in mixes.items():
        for source, count in mix.by_source.items():
            rows.append(row(f"{source} samples, {_name(weight)}", "samples", count))
    return rows


def _score_rows(plays: Mapping[str, Mapping[int, Scores]]) -> list[dict[str, Any]]:
    """Of every policy trained, and of what they started from: success with its interval, and seed by seed."""
    rows = []
    for name, by_seed in plays.items():
        for figure, unit in (("success", "% of plays"), ("percent_complete", "% of the task")):
            values, episodes = _figures(by_seed, figure)
            found = bootstrap_interval(values, clusters=episodes)
            title = f"{figure.replace('_', ' ')}, {name}"
            rows.append(row(title, unit, 100 * found.mean))
            rows.append(row(f"{title}: 95 % interval from", unit, 100 * found.low))
            rows.append(row(f"{title}: 95 % interval to", unit, 100 * found.high))
        if name != BEFORE:
            for seed, scores in by_seed.items():
                success = statistics.fmean(score.success for score in scores.values())
                rows.append(row(f"success, {name}: seed {seed}", "% of plays", 100 * success))
    return rows


def _difference_rows(plays: Mapping[str, Mapping[int, Scores]]) -> list[dict[str, Any]]:
    """Of every two: the points of success by which the first lies ahead, paired by episode and seed."""
    rows = []
    trained = [name for name in plays if name != BEFORE]
    pairs = [(first, second) for place, first in enumerate(trained) for second in trained[place + 1 :]]
    if BEFORE in plays:
        pairs += [(name, BEFORE) for name in trained]
    for first, second in pairs:
        seeds = list(plays[first])
        # What they started from has no seed: it is the same for all.
        other = plays[second] if second != BEFORE else dict.fromkeys(seeds, plays[BEFORE][0])
        ours, episodes = _figures(plays[first], "success")
        theirs, _ = _figures(other, "success")
        found = paired_difference(ours, theirs, clusters=episodes)
        title, unit = f"success, {first} less {second}", "points"
        sides = [100 * statistics.fmean(values) for values in (ours, theirs)]
        rows.append(row(f"success, {first} over {second}", "% of plays", sides[0], sides[1], second))
        rows.append(row(title, unit, 100 * found.difference))
        rows.append(row(f"{title}: 95 % interval from", unit, 100 * found.low))
        rows.append(row(f"{title}: 95 % interval to", unit, 100 * found.high))
        rows.append(row(f"{title}: how often chance alone gives as much", "p, two-sided", found.p_value))
    return rows


def _figures(by_seed: Mapping[int, Scores], figure: str) -> tuple[list[float], list[str]]:
    """A figure of every seed's plays, and the episode of each."""
    values, episodes = [], []
    for scores in by_seed.values():
        for episode_id, score in sorted(scores.items()):
            values.append(float(getattr(score, figure)))
            episodes.append(episode_id)
    return values, episodes


def row(
    metric: str, unit: str, ours: float, reference: float | None = None, reference_name: str | None = None
) -> dict[str, Any]:
    """One line of the result; none has a target, so that nothing holds or fails."""
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 4),
        "reference": None if reference is None else round(reference, 4),
        "reference_name": reference_name,
        "ratio": round(ours / reference, 4) if reference else None,
        "target": None,
        "holds": None,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
