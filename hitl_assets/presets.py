"""The planner program's scales, by name: the same code path at each, only the figures differ.

Plain configuration, no Dagster: the command line starts from the same presets as the asset graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from hitl_assets.named_preset import named_preset
from hitl_ops.contracts.config import StrictConfig, apply_overrides
from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.evaluation.play_film import FilmConfig
from hitl_ops.evaluation.session_videos import SessionVideosConfig
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.models.base_models import TinyConfig
from hitl_ops.rollouts.episode_sets import EpisodeSetConfig
from hitl_ops.rollouts.planners import PlannerConfig
from hitl_ops.rollouts.run import RolloutConfig
from hitl_ops.samples.annotation_queue import QueueConfig
from hitl_ops.samples.build import SampleConfig
from hitl_ops.samples.expert import ExpertConfig
from hitl_ops.samples.human_gold import HumanGoldConfig
from hitl_ops.samples.scripted_expert import ScriptedExpertConfig
from hitl_ops.samples.training_mix import MixConfig
from hitl_ops.training.train_config import LoraShape, TrainConfig, partnr_paper
from hitl_ops.worlds.habitat.config import SceneConfig

PresetName = Literal["laptop", "laptop_loop", "paper", "tiny_ci"]
Split = Literal["val", "test"]


class TrainingSection(StrictConfig):
    """How the student is trained."""

    config: TrainConfig = Field(default=TrainConfig(), description="what the training is told")
    processes: int = Field(default=1, ge=1, description="processes that train together (torchrun)")
    export_texts: bool = Field(default=True, description="also write every sample as PARTNR's sample_*.txt")


class EvaluationSection(StrictConfig):
    """How the student is scored against the teacher."""

    splits: tuple[Split, ...] = Field(default=("val", "test"), min_length=1, description="homes both play in")
    scoring: EvaluationConfig = Field(default=EvaluationConfig(), description="intervals and comparison")
    processes: int = Field(default=0, ge=0, description="episodes played at once; 0: one per CPU core")
    max_episodes: int = Field(default=0, ge=0, description="episodes of each split; 0: all")
    decision_limit: int = Field(default=50, ge=1, description="decisions each agent may make in an episode")
    decode: Literal["greedy", "score"] = Field(
        default="greedy", description="how the student chooses among the admissible actions, as planner.decode"
    )
    videos: bool = Field(default=True, description="record the student's best, median and worst episode")


class CollectionSection(StrictConfig):
    """How much people are to play before the loop goes on."""

    target: int = Field(default=100, ge=1, description="finished plays of an iteration at which it is taken up")
    step: int = Field(
        default=100, ge=1, description="further plays after which it is taken up again; sooner only by hand"
    )


class AnnotationSection(StrictConfig):
    """What annotators are shown, how much of it they are to go through, and what of their words is taught."""

    target: int = Field(
        default=30, ge=1, description="reviewed plays of an iteration at which it is gone on with; sooner where all are"
    )
    queue: QueueConfig = Field(default=QueueConfig(), description="what makes a play worth a look")
    expert: ExpertConfig = Field(default=ExpertConfig(), description="what of corrections is taught")


class RefinementSection(StrictConfig):
    """How the policy is trained and scored in the iterations after the first."""

    start: Literal["previous", "base"] = Field(
        default="previous",
        description="previous: from the policy that served when the iteration was opened; base: from config.base anew",
    )
    config: TrainConfig = Field(default=TrainConfig(), description="what the training is told; base as start says")
    processes: int = Field(default=1, ge=1, description="processes that train together (torchrun)")
    mix: MixConfig = Field(default=MixConfig(), description="what the training set is made of; for the first one too")
    evaluation_splits: tuple[Split, ...] = Field(
        default=("val",), min_length=1, description="homes the policies play in; test stays untouched while we choose"
    )


class LoopSection(StrictConfig):
    """How far the loop turns by itself."""

    iterations: int = Field(default=5, ge=0, description="the last iteration that opens without anybody asking for it")


class ScriptedCrowd(StrictConfig):
    """Scripted people, who play where `flywheel demo --iterations` and `flywheel iterate --scripted` need some."""

    people: int = Field(default=30, ge=1, le=200, description="how many play at once")
    speed: float = Field(default=1.0, gt=0, le=100, description="how quick they are: their pauses are divided by it")
    skill: float = Field(default=1.0, ge=0, le=1, description="share of their acts that serve the task")
    overrides: float = Field(
        default=0.05, ge=0, le=1, description="chance at each of the partner's decisions to put another in its place"
    )
    patience_s: float = Field(default=90.0, gt=0, le=3600, description="seconds after which they call a task done")
    agent: Literal[0, 1, "alternate"] = Field(
        default="alternate", description="whose place they play in; alternate: either's, from task to task"
    )
    seed: int = Field(default=0, ge=0, description="everything they choose depends on it, and on the iteration")


class ScriptedSection(StrictConfig):
    """Stand-ins for people."""

    crowd: ScriptedCrowd = Field(default=ScriptedCrowd(), description="who plays")
    expert: ScriptedExpertConfig = Field(default=ScriptedExpertConfig(), description="who corrects")


class CheckLimits(StrictConfig):
    """What the asset checks let pass."""

    gate_ratio: float = Field(
        default=0.9, ge=0, description="least success of the student over the teacher's, on the primary split"
    )
    gate_severity: Literal["WARN", "ERROR"] = Field(
        default="WARN", description="WARN shows a policy below the gate in yellow; ERROR in red, and promotes nothing"
    )
    least_teacher_success: float = Field(
        default=0.5, ge=0, le=1, description="below it a teacher is not worth learning from"
    )
    largest_tool_share: float = Field(
        default=0.8, gt=0, le=1, description="above it one tool drowns all others among the samples"
    )
    least_samples: int = Field(default=100, ge=1, description="fewer are no training set")
    largest_broken_share: float = Field(
        default=0.05, ge=0, le=1, description="share of people's plays without a sound record that stops the loop"
    )
    least_human_success: float = Field(
        default=0.5, ge=0, le=1, description="success of people's plays below which a look at them is asked for"
    )
    least_human_samples: int = Field(default=20, ge=1, description="fewer out of people's plays teach nothing")
    largest_dropped_share: float = Field(
        default=0.2, ge=0, le=1, description="share of corrected decisions that cannot be taught above which to look"
    )


class PlannerPreset(StrictConfig):
    """One scale of the planner program."""

    scene: SceneConfig = Field(default=SceneConfig(), description="what the homes are played in, by all who play")
    episodes: EpisodeSetConfig = Field(default=EpisodeSetConfig(), description="the tasks, per split")
    rollouts: RolloutConfig = Field(default=RolloutConfig(), description="the teacher at work")
    samples: SampleConfig = Field(default=SampleConfig(), description="what of its work is taught")
    training: TrainingSection = Field(default=TrainingSection(), description="the student's lessons")
    evaluation: EvaluationSection = Field(default=EvaluationSection(), description="the student's examination")
    collection: CollectionSection = Field(default=CollectionSection(), description="how much people are to play")
    human_gold: HumanGoldConfig = Field(default=HumanGoldConfig(), description="what of people's plays is taught")
    videos: SessionVideosConfig = Field(default=SessionVideosConfig(), description="which plays are filmed, and how")
    annotation: AnnotationSection = Field(default=AnnotationSection(), description="how much annotators are to review")
    refinement: RefinementSection = Field(default=RefinementSection(), description="the iterations after the first")
    gate: GateConfig = Field(default=GateConfig(), description="when a policy may take the place of another")
    loop: LoopSection = Field(default=LoopSection(), description="how far the loop turns by itself")
    scripted: ScriptedSection = Field(default=ScriptedSection(), description="stand-ins for people, where asked for")
    checks: CheckLimits = Field(default=CheckLimits(), description="what the asset checks let pass")

    @property
    def played_rollouts(self) -> RolloutConfig:
        """The teacher at work, in this preset's scene; one that ``rollouts`` names itself comes first."""
        if self.rollouts.scene != SceneConfig():
            return self.rollouts
        return self.rollouts.replace(scene=self.scene.model_dump())


# Two cores, no GPU, no network, minutes: a small Llama from scratch learns from the oracle. Figures found on held-out
# training episodes. The oracle searches (`partial`), so that its prompts say why it acts, and is now and then
# disturbed; the student trains under exchanged names as well. 400 tasks, each played four times over, were learned
# to 98 %, and 87 % of tasks in new homes: what lacked was other tasks, not other words for the same.
_LAPTOP_LESSONS = TrainConfig(
    base="tiny",
    tiny=TinyConfig(hidden_size=128, layers=3, heads=4, kv_heads=4, intermediate_size=384),
    method="full",
    optimizer="muon",
    schedule="linear_end",
    learning_rate=6e-3,
    final_learning_rate_share=0.03,
    warmup_steps=60,
    beta2=0.98,
    weight_decay=0.05,
    batch_size=72,
    pack_tokens=4096,
    precision="bf16",
    max_steps=3000,
    exchanged_copies=6,
    prompt_loss_weight=0.1,
    validation_fraction=0.05,
    eval_every=200,
    checkpoint_every=200,
)
_LAPTOP = PlannerPreset(
    episodes=EpisodeSetConfig(train=1600),
    rollouts=RolloutConfig(planner=PlannerConfig(observability="partial"), disturbance=0.08, keep_world_graph=False),
    samples=SampleConfig(percent_cut=0.99),
    training=TrainingSection(
        config=_LAPTOP_LESSONS,
        export_texts=False,  # one file a sample: minutes of fsync that the demo does not need
    ),
    # Whole actions compared: a small model is surer of an action than of its first token.
    evaluation=EvaluationSection(decode="score"),
    # From the policy before: fewer steps, and smaller ones. The end of a play that dragged on does not fit, and would
    # teach little.
    refinement=RefinementSection(
        config=_LAPTOP_LESSONS.replace(
            max_steps=800, learning_rate=2e-3, warmup_steps=30, eval_every=100, overlong="drop"
        )
    ),
)

# The laptop's scale for watching people make a policy better: a teacher's 150 tasks and few steps leave much to learn.
# Figures found on held-out training episodes, from a policy that solved 24 % of them. People's own acts taught it 36 %;
# what the weak partner did beside them, taught along, 18 %: two thirds of it was wrong. Of a play the expert corrects
# the first two mistakes, for what follows a mistake is seldom met again; at weight 5 these few samples crowd out the
# rest (27 %, at weight 1 33 %). A training from the base does not get off the ground in this time (1 %).
_LAPTOP_LOOP = _LAPTOP.replace(
    rollouts=_LAPTOP.rollouts.replace(max_episodes=150).model_dump(),
    training=_LAPTOP.training.replace(config=_LAPTOP_LESSONS.replace(max_steps=1000).model_dump()).model_dump(),
    evaluation=_LAPTOP.evaluation.replace(splits=("val",), videos=False).model_dump(),
    collection=CollectionSection(target=200, step=200).model_dump(),
    human_gold=HumanGoldConfig(
        samples=SampleConfig(source="human_gold", roles=("human",), admissible_only=True)
    ).model_dump(),
    annotation=AnnotationSection(target=60).model_dump(),
    videos=SessionVideosConfig(most_plays=6).model_dump(),
    refinement=RefinementSection(
        config=_LAPTOP_LESSONS.replace(max_steps=1200, learning_rate=4e-3, warmup_steps=30, overlong="drop"),
        mix=MixConfig(expert=1.0),
    ).model_dump(),
    scripted=ScriptedSection(
        crowd=ScriptedCrowd(people=75, speed=1.5), expert=ScriptedExpertConfig(max_corrections_per_play=2)
    ).model_dump(),
)

# PARTNR's own scale (arXiv 2411.00081): Llama-3.1-70B, asked in a conversation, teaches Llama-3-8B.
_PAPER = PlannerPreset(
    rollouts=RolloutConfig(
        planner=PlannerConfig(kind="openai", endpoint={"client": {"model": "meta-llama/Meta-Llama-3.1-70B-Instruct"}}),
        prompt_style="snapshot",
    ),
    samples=SampleConfig(prompt_style="snapshot"),
    training=TrainingSection(config=partnr_paper(), processes=4),
    refinement=RefinementSection(config=partnr_paper().replace(max_steps=10_000), processes=4),
)

# Seconds, for tests: every step of the graph does its work, and nothing is learned.
_TINY_LESSONS = TrainConfig(
    base="tiny",
    tiny=TinyConfig(hidden_size=32, layers=1, heads=2, kv_heads=2, intermediate_size=64, vocab_size=512),
    method="lora",
    lora=LoraShape(rank=2),
    max_steps=2,
    eval_every=1,
    checkpoint_every=1,
    device="cpu",
)
_TINY_CI = PlannerPreset(
    episodes=EpisodeSetConfig(train=8, val=2, test=2),
    rollouts=RolloutConfig(processes=1, decision_limit=20, keep_world_graph=False),
    training=TrainingSection(config=_TINY_LESSONS),
    evaluation=EvaluationSection(
        scoring=EvaluationConfig(resamples=100), processes=1, max_episodes=1, decision_limit=12, videos=True
    ),
    collection=CollectionSection(target=2, step=2),
    videos=SessionVideosConfig(
        most_plays=1, processes=1, film=FilmConfig(frames_per_second=1, most_frames=3, width=640, height=240)
    ),
    annotation=AnnotationSection(target=2),
    refinement=RefinementSection(config=_TINY_LESSONS),
    gate=GateConfig(resamples=200),
    loop=LoopSection(iterations=1),
    scripted=ScriptedSection(crowd=ScriptedCrowd(people=2, speed=4.0)),
    # Two plays of two scripted people may be walks for the most part.
    checks=CheckLimits(least_samples=10, least_human_samples=5, largest_tool_share=1.0),
)

PRESETS: Mapping[PresetName, PlannerPreset] = {
    "laptop": _LAPTOP,
    "laptop_loop": _LAPTOP_LOOP,
    "paper": _PAPER,
    "tiny_ci": _TINY_CI,
}


def chosen_preset(name: str, overrides: list[str]) -> PlannerPreset:
    """The preset ``name`` with ``section.key=value`` laid over it.

    Raises:
        UserError: the preset, a key or a value is not accepted.
    """
    return apply_overrides(named_preset(PRESETS, name), overrides)


def collection_target() -> int | None:
    """The plays an iteration is to have, as ``FLYWHEEL_COLLECTION_TARGET`` says; None where it says nothing.

    Raises:
        UserError: the variable holds no number above 0.
    """
    target = os.environ.get("FLYWHEEL_COLLECTION_TARGET", "").strip()
    if not target:
        return None
    if not (target.isdecimal() and int(target)):
        raise UserError(f"FLYWHEEL_COLLECTION_TARGET '{target}' is no number", "write it as 100")
    return int(target)
