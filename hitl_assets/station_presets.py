"""The station program's scales, by name: the same code path at each, only the figures differ.

Plain configuration, no Dagster: the command line starts from the same presets as the asset graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hitl_assets.named_preset import named_preset
from hitl_ops.contracts.config import StrictConfig, apply_overrides
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import NAME, SEEDS_PER_EPOCH
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.evaluation.robot_evaluation import RobotEvaluationConfig
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.models.action_model import ActionModelConfig, PolicyKind
from hitl_ops.rollouts.demonstrations import DemonstrationsConfig
from hitl_ops.samples.station_dataset import StationDatasetConfig
from hitl_ops.training.action_config import ActionTrainConfig

StationPresetName = Literal["laptop", "paper", "smolvla", "pi0", "pi05", "tiny_ci"]
StationWorldName = Literal["bimanual", "aloha"]
SEEDS_PER_STATION = 10_000_019
"""How far apart the scenes of simulated stations begin."""


class DemonstrationsSection(DemonstrationsConfig):
    """Where the base policy's demonstrations come from."""

    recordings: str = Field(
        default="",
        description="folder of recordings of your own (*.hdf5), to be used as they are; empty: a scripted hand "
        "demonstrates in simulation, as the other keys say",
    )

    @property
    def scripted(self) -> DemonstrationsConfig:
        """What the scripted hand is told."""
        return DemonstrationsConfig.model_validate(self.model_dump(exclude={"recordings"}))


class RefinementSection(StrictConfig):
    """How the policy is trained in the iterations after the first."""

    start: Literal["previous", "base"] = Field(
        default="base",
        description="previous: from the policy that served when the iteration was opened; base: from the weights "
        "that iteration 0 started from, anew on everything",
    )
    training: ActionTrainConfig = Field(default=ActionTrainConfig(), description="what the training is told")


class CollectionSection(StrictConfig):
    """What stations collect, and when an epoch is complete."""

    task: str = Field(default="lift_lid", pattern=NAME, description="short name of the task; folders carry it")
    description: str = Field(
        default="Lift the lid off the bowl", min_length=1, max_length=500, description="the task in words"
    )
    stations: tuple[str, ...] = Field(
        default=(),
        description="names of the stations (data.station) whose epochs are waited for; empty: the first one to come "
        "is all there is",
    )
    episodes: int = Field(
        default=50, ge=1, le=100_000, description="episodes of an epoch: what is asked of a station, and looked for"
    )
    refused_epochs: Literal["keep", "leave_out"] = Field(
        default="keep",
        description="whether later data sets hold what was collected for a policy that the gate refused; verdicts said "
        "anew may mend it",
    )
    simulated_seed: int = Field(
        default=2_000_000, ge=0, le=2**30, description="where the scenes of a simulated station begin"
    )

    @field_validator("stations")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        import re

        if len(set(names)) != len(names) or not all(re.match(NAME, name) for name in names):
            raise ValueError("stations need names of their own, of letters, digits, - and _")
        return names


class StationLoopSection(StrictConfig):
    """How far the loop turns by itself."""

    iterations: int = Field(default=5, ge=0, description="the last iteration that opens without anybody asking for it")


class StationCheckLimits(StrictConfig):
    """What the asset checks let pass."""

    least_episodes: int = Field(default=50, ge=1, description="evaluation episodes below which figures say little")
    least_label_share: float = Field(
        default=0.1, ge=0, le=0.5, description="share of good, and of bad, below which an epoch is lopsided"
    )
    largest_unjudged_share: float = Field(
        default=0.0, ge=0, le=1, description="share of an epoch's episodes without a verdict above which to look"
    )
    largest_aborted_share: float = Field(
        default=0.2, ge=0, le=1, description="share of aborted episodes above which to look at the station"
    )


class StationPreset(StrictConfig):
    """One scale of the station program."""

    demonstrations: DemonstrationsSection = Field(
        default=DemonstrationsSection(), description="what the base policy learns from"
    )
    dataset: StationDatasetConfig = Field(
        default=StationDatasetConfig(unlabelled="keep"), description="how recordings become a data set"
    )
    training: ActionTrainConfig = Field(default=ActionTrainConfig(), description="the base policy's training")
    refinement: RefinementSection = Field(default=RefinementSection(), description="the iterations after the first")
    processes: int = Field(default=1, ge=1, description="processes that train together (torchrun)")
    evaluation: RobotEvaluationConfig = Field(
        default=RobotEvaluationConfig(), description="the policy's examination, in simulation"
    )
    gate: GateConfig = Field(default=GateConfig(), description="when a policy may take the place of another")
    collection: CollectionSection = Field(default=CollectionSection(), description="what stations collect")
    loop: StationLoopSection = Field(default=StationLoopSection(), description="how far the loop turns by itself")
    checks: StationCheckLimits = Field(default=StationCheckLimits(), description="what the asset checks let pass")

    @model_validator(mode="after")
    def _one_world(self) -> Self:
        hand, examination = self.demonstrations, self.evaluation
        if not hand.recordings and (hand.world, hand.world_options) != (examination.world, examination.world_options):
            raise ValueError("demonstrations and evaluation are of different worlds; set world and world_options alike")
        if self.refinement.start == "previous" and self.refinement.training.model != self.training.model:
            raise ValueError("refinement.start=previous needs refinement.training.model as in training.model")
        return self

    @model_validator(mode="after")
    def _scenes_of_their_own(self) -> Self:
        hand, examination = self.demonstrations, self.evaluation
        played = [("evaluation.seed", range(examination.seed, examination.seed + examination.episodes))]
        if not hand.recordings:
            played.append(("demonstrations.seed", range(hand.seed, hand.seed + hand.episodes)))
        taken = [*played[1:]]
        for station in range(max(1, len(self.collection.stations))):
            first = self.collection.simulated_seed + SEEDS_PER_STATION * station
            for epoch in range(1, self.loop.iterations + 1):
                begin = first + SEEDS_PER_EPOCH * epoch
                taken.append(("collection.simulated_seed", range(begin, begin + self.collection.episodes)))
        for name, own in played:
            for other, theirs in taken:
                if name != other and max(own.start, theirs.start) < min(own.stop, theirs.stop):
                    raise ValueError(
                        f"{name} and {other} give the same scenes (from seed {max(own.start, theirs.start)}); what "
                        "is learned from is no examination; set them further apart"
                    )
        return self

    @property
    def world(self) -> str:
        """The simulated robot."""
        return self.evaluation.world

    @property
    def config_name(self) -> str:
        """What the training's configuration is called where others ask for a name: ``act_bimanual``."""
        return f"{self.training.model.kind}_{self.world}"

    def in_world(self, name: str, options: Mapping[str, Any] | None = None) -> Self:
        """The same scale in another world, with that world's usual task.

        Args:
            name: the world.
            options: its settings; by default those that fit the presets here.

        Raises:
            UserError: there is no such world.
        """
        known = next((facts for world, facts in STATION_WORLDS.items() if world == name), None)
        if known is None:
            raise UserError(f"world '{name}' is unknown", f"choose one of {', '.join(STATION_WORLDS)}")
        # Pictures stay off where the scale does without them.
        chosen = dict(known.options if options is None else options)
        if options is None and self.evaluation.world_options.get("cameras"):
            chosen["cameras"] = list(known.cameras)
        named = {"world": name, "world_options": chosen}
        return self.replace(
            demonstrations={**self.demonstrations.model_dump(), **named},
            evaluation={**self.evaluation.model_dump(), **named},
            collection={**self.collection.model_dump(), "task": known.task, "description": known.description},
        )


@dataclass(frozen=True)
class StationWorld:
    """What a world's task is called, and how it is seen.

    Attributes:
        task: short name of its task.
        description: the task in words, as the world says it.
        options: its settings at scales without pictures.
        cameras: its cameras at scales with pictures.
    """

    task: str
    description: str
    options: Mapping[str, Any]
    cameras: tuple[str, ...]


STATION_WORLDS: Mapping[StationWorldName, StationWorld] = {
    "bimanual": StationWorld(
        "lift_lid",
        "Lift the lid off the bowl",
        {"cameras": []},
        ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"),
    ),
    "aloha": StationWorld(
        "transfer_cube",
        "Pick up the cube with the right arm and transfer it to the left arm",
        {"task": "transfer_cube", "cameras": []},
        ("top",),
    ),
}
_NO_PICTURES: dict[str, Any] = {"cameras": []}

# Two cores, no GPU, no network, minutes: an ACT of half a million weights that is told joints and where things lie.
# 60 demonstrations of careless hands, of which some 40 % succeed. The base policy is trained as one is before anybody
# has judged anything: briefly, and told no verdict. From the first epoch on verdicts count, those of the
# demonstrations too. Found in scenes that neither evaluation nor stations use.
_LAPTOP_LESSONS = ActionTrainConfig(
    model=ActionModelConfig(
        kind="act",
        chunk=50,
        options={
            "dim_model": 128,
            "n_heads": 4,
            "dim_feedforward": 512,
            "n_encoder_layers": 2,
            "n_decoder_layers": 1,
            "use_vae": False,
            "dropout": 0.05,
        },
    ),
    steps=600,
    batch_size=64,
)
_LAPTOP = StationPreset(
    demonstrations=DemonstrationsSection(
        world_options=_NO_PICTURES, episodes=60, noises=(1.0,), seed=10_000, judged=True
    ),
    training=_LAPTOP_LESSONS.replace(steps=250, indicator_dropout=1.0),
    refinement=RefinementSection(start="previous", training=_LAPTOP_LESSONS),
    evaluation=RobotEvaluationConfig(world_options=_NO_PICTURES, episodes=100),
    collection=CollectionSection(episodes=40),
    loop=StationLoopSection(iterations=5),
)

# What the documents of openpi's pipelines say of an H1-2: pi0-FAST from its published weights, four cameras, 1000
# steps for the base checkpoint (999) and 400 an epoch (399), 400 epochs. Learning rate and decay are openpi's.
_PAPER_LESSONS = ActionTrainConfig(
    model=ActionModelConfig(kind="pi0_fast", pretrained="lerobot/pi0fast-base", chunk=50, advantage="prompt"),
    steps=400,
    batch_size=32,
    learning_rate=2.5e-5,
    warmup_steps=50,
    final_learning_rate_share=0.1,
    weight_decay=0.01,
    beta2=0.95,
    indicator_dropout=0.3,
    precision="bf16",
    eval_every=200,
    save_interval=200,
    keep_period=100,
    workers=4,
)
_PICTURES: dict[str, Any] = {"cameras": list(STATION_WORLDS["bimanual"].cameras)}
_PAPER = StationPreset(
    demonstrations=DemonstrationsSection(world_options=_PICTURES, episodes=200, judged=True),
    # A station with cameras tells a policy nothing else of its surroundings.
    dataset=StationDatasetConfig(unlabelled="keep", environment_state=False),
    training=_PAPER_LESSONS.replace(steps=1000),
    refinement=RefinementSection(training=_PAPER_LESSONS),
    evaluation=RobotEvaluationConfig(world_options=_PICTURES, episodes=100, processes=1),
    collection=CollectionSection(episodes=50),
    loop=StationLoopSection(iterations=400),
)


def _of_lerobot(kind: PolicyKind, pretrained: str) -> StationPreset:
    """The paper's scale with another of LeRobot's vision-language-action policies, from its published weights."""
    lessons = _PAPER_LESSONS.replace(
        model=ActionModelConfig(kind=kind, pretrained=pretrained, chunk=50, advantage="prompt").model_dump()
    )
    return _PAPER.replace(
        training=lessons.replace(steps=1000).model_dump(), refinement=RefinementSection(training=lessons).model_dump()
    )


# Seconds, for tests: every step of the graph does its work, and nothing is learned.
_TINY_LESSONS = ActionTrainConfig(
    model=ActionModelConfig(
        kind="act",
        chunk=20,
        options={
            "dim_model": 16,
            "n_heads": 2,
            "dim_feedforward": 32,
            "n_encoder_layers": 1,
            "n_decoder_layers": 1,
            "use_vae": False,
        },
    ),
    steps=4,
    batch_size=8,
    eval_every=2,
    save_interval=2,
    log_every=1,
    device="cpu",
)
_TINY_CI = StationPreset(
    demonstrations=DemonstrationsSection(
        world_options=_NO_PICTURES, episodes=3, noises=(0.0, 1.0), judged=True, processes=1
    ),
    training=_TINY_LESSONS,
    refinement=RefinementSection(training=_TINY_LESSONS),
    evaluation=RobotEvaluationConfig(
        world_options=_NO_PICTURES,
        episodes=2,
        chunk_steps=10,
        blend_steps=5,
        processes=1,
        scoring=EvaluationConfig(reference="serving", resamples=100),
    ),
    gate=GateConfig(resamples=200),
    collection=CollectionSection(episodes=2),
    loop=StationLoopSection(iterations=1),
    checks=StationCheckLimits(least_episodes=2),
)

STATION_PRESETS: Mapping[StationPresetName, StationPreset] = {
    "laptop": _LAPTOP,
    "paper": _PAPER,
    "smolvla": _of_lerobot("smolvla", "lerobot/smolvla_base"),
    "pi0": _of_lerobot("pi0", "lerobot/pi0_base"),
    "pi05": _of_lerobot("pi05", "lerobot/pi05_base"),
    "tiny_ci": _TINY_CI,
}


def chosen_station_preset(name: str, overrides: Sequence[str], world: str = "") -> StationPreset:
    """The preset ``name`` with ``section.key=value`` laid over it.

    Args:
        name: the preset.
        overrides: values laid over it.
        world: the world to play it in; "" for its own.

    Raises:
        UserError: the preset, the world, a key or a value is not accepted.
    """
    preset = named_preset(STATION_PRESETS, name)
    return apply_overrides(preset.in_world(world) if world else preset, list(overrides))
