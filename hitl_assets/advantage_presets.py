"""The advantage program's scales, by name: the same code path at each, only the figures differ.

Plain configuration, no Dagster: the command line starts from the same presets as the asset graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hitl_assets.named_preset import named_preset
from hitl_assets.station_presets import STATION_PRESETS
from hitl_ops.contracts.config import StrictConfig, apply_overrides
from hitl_ops.evaluation.robot_evaluation import RobotEvaluationConfig
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.experts.scripted_marker import ScriptedMarkerConfig
from hitl_ops.models.action_model import ActionModelConfig
from hitl_ops.models.estimator_config import EstimatorConfig
from hitl_ops.rollouts.demonstrations import DemonstrationsConfig
from hitl_ops.samples.advantage_labels import AdvantageLabelConfig
from hitl_ops.samples.estimated_advantages import EstimationConfig
from hitl_ops.samples.progress import PROGRESS, ProgressConfig
from hitl_ops.samples.station_dataset import StationDatasetConfig
from hitl_ops.training.advantage_config import AdvantagePoliciesConfig
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_presets import ESTIMATOR_PRESETS

AdvantagePresetName = Literal["laptop", "paper", "tiny_ci"]


class RecordingsSection(StrictConfig):
    """Where episodes come from: those whose progress is marked, and those that nobody has looked at."""

    marked_dataset: str = Field(
        default="", description="LeRobot data set of your own to be marked; empty: a scripted hand plays, as below"
    )
    new_dataset: str = Field(
        default="", description="LeRobot data set of your own to be estimated and learned from; empty: likewise"
    )
    marked: DemonstrationsConfig = Field(
        default=DemonstrationsConfig(), description="the scripted hand's episodes that are marked"
    )
    new: DemonstrationsConfig = Field(
        default=DemonstrationsConfig(), description="the scripted hand's episodes that nobody looks at"
    )


class MarkingSection(StrictConfig):
    """Who says how far an episode has come."""

    by: Literal["scripted", "people"] = Field(
        default="scripted",
        description="scripted: somebody who looks at what the simulator knows (bimanual only); people: whoever marks "
        "on the page of `flywheel mark-progress`",
    )
    marker: ScriptedMarkerConfig = Field(default=ScriptedMarkerConfig(), description="the scripted person")


class AdvantageCheckLimits(StrictConfig):
    """What the asset checks let pass."""

    least_share_positive: float = Field(
        default=0.02, ge=0, le=1, description="share of good frames below which to look"
    )
    largest_share_positive: float = Field(default=0.9, ge=0, le=1, description="… and above which")
    least_correlation: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="of estimated and true advantage, held out, below which to look",
    )
    least_episodes: int = Field(default=50, ge=1, description="evaluation episodes below which figures say little")


class AdvantagePreset(StrictConfig):
    """One scale of the advantage program."""

    recordings: RecordingsSection = Field(default=RecordingsSection(), description="where episodes come from")
    dataset: StationDatasetConfig = Field(
        default=StationDatasetConfig(unlabelled="keep"), description="how recordings become a data set"
    )
    marking: MarkingSection = Field(default=MarkingSection(), description="who marks progress")
    progress: ProgressConfig = Field(default=ProgressConfig(), description="how far episodes are, and by what")
    labels: AdvantageLabelConfig = Field(
        default=AdvantageLabelConfig(progress_column=PROGRESS), description="labels of the marked episodes"
    )
    estimator: EstimatorTrainConfig = Field(default=EstimatorTrainConfig(), description="the estimator's training")
    processes: int = Field(default=1, ge=1, description="processes that train the estimator together (torchrun)")
    estimation: EstimationConfig = Field(default=EstimationConfig(), description="estimation of the new episodes")
    estimated_labels: AdvantageLabelConfig = Field(
        default=AdvantageLabelConfig(advantage_source="absolute_advantage", threshold=30.0),
        description="labels of the new episodes",
    )
    policies: AdvantagePoliciesConfig = Field(
        default=AdvantagePoliciesConfig(), description="the policy that is told of them, and its baselines"
    )
    evaluation: RobotEvaluationConfig = Field(
        default=RobotEvaluationConfig(), description="their examination, in simulation"
    )
    checks: AdvantageCheckLimits = Field(default=AdvantageCheckLimits(), description="what the asset checks let pass")

    @property
    def scripted(self) -> bool:
        """Whether all episodes are a scripted hand's, so that the truth about each frame is known."""
        return not self.recordings.marked_dataset and not self.recordings.new_dataset

    @model_validator(mode="after")
    def _scenes_of_their_own(self) -> Self:
        recorded, examination = self.recordings, self.evaluation
        played = [("evaluation.seed", range(examination.seed, examination.seed + examination.episodes))]
        for name, own, given in (
            ("recordings.marked.seed", recorded.marked, recorded.marked_dataset),
            ("recordings.new.seed", recorded.new, recorded.new_dataset),
        ):
            if not given:
                played.append((name, range(own.seed, own.seed + own.episodes)))
        for number, (name, own_range) in enumerate(played):
            for other, theirs in played[number + 1 :]:
                if max(own_range.start, theirs.start) < min(own_range.stop, theirs.stop):
                    raise ValueError(
                        f"{name} and {other} give the same scenes; what is learned from is no examination; set them "
                        "further apart"
                    )
        return self

    @model_validator(mode="after")
    def _somebody_can_mark(self) -> Self:
        own = self.recordings.marked_dataset or self.recordings.marked.world != "bimanual"
        if self.progress.source == "marks" and self.marking.by == "scripted" and own:
            raise ValueError(
                "marking.by=scripted looks at what the simulator of the bimanual world knows; set marking.by=people, "
                "or progress.source=verdicts or column"
            )
        return self


_SEEN: dict[str, Any] = {"cameras": ["cam_high", "cam_right_wrist"], "height": 96, "width": 96}

# Two cores, no GPU, no network, minutes. One careful hand and two that are careless in every episode: a third of the
# episodes succeed, so that whoever copies all of them copies mostly failures.
_LAPTOP = AdvantagePreset(
    recordings=RecordingsSection(
        marked=DemonstrationsConfig(
            world_options=_SEEN, episodes=60, noises=(0.0, 1.0, 1.0), constancy=0.5, seed=30_000
        ),
        new=DemonstrationsConfig(world_options=_SEEN, episodes=120, noises=(0.0, 1.0, 1.0), constancy=0.5, seed=40_000),
    ),
    estimator=ESTIMATOR_PRESETS["laptop"].replace(steps=1000, brightness=0.1, shift=2),
    # A fifth of these frames bring anything. What two moments say together is steadier than the difference of what
    # each says alone (as the paper on χ₀ has it too).
    estimated_labels=AdvantageLabelConfig(advantage_source="relative_advantage", threshold=20.0),
    policies=AdvantagePoliciesConfig(
        training=STATION_PRESETS["laptop"].refinement.training.replace(
            indicator_dropout=0.3,
            advantage_column="relative_advantage",
            model={**STATION_PRESETS["laptop"].refinement.training.model.model_dump(), "cameras": []},
        )
    ),
    evaluation=RobotEvaluationConfig(
        world_options={"cameras": []}, episodes=100, scoring=EvaluationConfig(reference="bc_0")
    ),
)

# kai0's and π*0.6's own figures: the estimator from published pi05 weights, three cameras, 100,000 steps; a policy
# from the same weights that reads its advantage, told nothing in 30 % of its lessons, the best 30 % being good.
_PAPER_PICTURES: dict[str, Any] = {"cameras": ["cam_high", "cam_left_wrist", "cam_right_wrist"]}
_PAPER = AdvantagePreset(
    recordings=RecordingsSection(
        marked=DemonstrationsConfig(
            world_options=_PAPER_PICTURES, episodes=300, noises=(0.0, 1.0, 1.0), constancy=0.5, seed=30_000
        ),
        new=DemonstrationsConfig(
            world_options=_PAPER_PICTURES, episodes=600, noises=(0.0, 1.0, 1.0), constancy=0.5, seed=40_000
        ),
    ),
    estimator=ESTIMATOR_PRESETS["paper"].replace(
        model={**ESTIMATOR_PRESETS["paper"].model.model_dump(), "cameras": _PAPER_PICTURES["cameras"]}
    ),
    policies=AdvantagePoliciesConfig(
        training=STATION_PRESETS["pi05"].training.replace(
            steps=30_000,
            model=ActionModelConfig(
                kind="pi05", pretrained="lerobot/pi05_base", chunk=50, advantage="prompt"
            ).model_dump(),
        )
    ),
    evaluation=RobotEvaluationConfig(
        world_options=_PAPER_PICTURES, episodes=100, processes=1, scoring=EvaluationConfig(reference="bc_0")
    ),
)

# Seconds, for tests: every step of the graph does its work, and nothing is learned.
_TINY_SEEN: dict[str, Any] = {"cameras": ["cam_high"], "height": 32, "width": 32}
_TINY_CI = AdvantagePreset(
    recordings=RecordingsSection(
        marked=DemonstrationsConfig(
            world_options=_TINY_SEEN, episodes=4, noises=(0.0, 1.0), constancy=0.5, seed=30_000, processes=1
        ),
        new=DemonstrationsConfig(
            world_options=_TINY_SEEN, episodes=2, noises=(0.0, 1.0), constancy=0.5, seed=40_000, processes=1
        ),
    ),
    estimator=EstimatorTrainConfig(
        model=EstimatorConfig(image_size=32, features=16, hidden=16),
        steps=4,
        episodes_per_batch=2,
        frames_per_episode=3,
        validation_fraction=0.3,
        eval_every=2,
        save_interval=2,
        log_every=1,
        device="cpu",
    ),
    policies=AdvantagePoliciesConfig(
        seeds=(0,),
        at_once=1,
        training=STATION_PRESETS["tiny_ci"].training.replace(
            indicator_dropout=0.3,
            model={**STATION_PRESETS["tiny_ci"].training.model.model_dump(), "cameras": []},
        ),
    ),
    evaluation=RobotEvaluationConfig(
        world_options={"cameras": []},
        episodes=2,
        chunk_steps=10,
        blend_steps=5,
        processes=1,
        scoring=EvaluationConfig(reference="bc_0", resamples=100),
    ),
    checks=AdvantageCheckLimits(least_episodes=2, least_correlation=-1.0),
)

ADVANTAGE_PRESETS: Mapping[AdvantagePresetName, AdvantagePreset] = {
    "laptop": _LAPTOP,
    "paper": _PAPER,
    "tiny_ci": _TINY_CI,
}


def chosen_advantage_preset(name: str, overrides: Sequence[str]) -> AdvantagePreset:
    """The preset ``name`` with ``section.key=value`` laid over it.

    Args:
        name: the preset.
        overrides: what is laid over it; values are YAML.

    Raises:
        UserError: there is no such preset, or an override's key or value is not accepted.
    """
    return apply_overrides(named_preset(ADVANTAGE_PRESETS, name), list(overrides))
