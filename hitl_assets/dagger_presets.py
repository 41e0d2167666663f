"""The dagger program's scales, by name: the same code path at each, only the figures differ.

Plain configuration, no Dagster: the command line starts from the same presets as the asset graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from hitl_assets.named_preset import named_preset
from hitl_ops.contracts.config import StrictConfig, apply_overrides
from hitl_ops.contracts.text_game import TextGame, TextWorldName
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.evaluation.text_evaluation import TextEvaluationConfig, TextExaminationConfig
from hitl_ops.experts.llm_client import LLMClientConfig
from hitl_ops.experts.text_llm import LLMTextConfig
from hitl_ops.experts.text_searcher import SearchOrder
from hitl_ops.models.vision_agent_config import LAPTOP_AGENT, PAPER_AGENT, TINY_CI_AGENT, VisionAgentConfig
from hitl_ops.rollouts.beta_schedule import BetaSchedule
from hitl_ops.rollouts.text_game_sets import TextGamesConfig
from hitl_ops.rollouts.text_players import TextExpertName, TextPlayersConfig
from hitl_ops.rollouts.text_rounds import RoundPlayConfig
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_phase_config import AgentPhaseConfig
from hitl_ops.training.agent_rounds_config import PAPER_ROUNDS_BC, PAPER_ROUNDS_DPO, AgentRoundsConfig
from hitl_ops.worlds.alfworld.config import AlfworldConfig
from hitl_ops.worlds.household_text.config import HouseholdTextConfig

DaggerPresetName = Literal["laptop", "paper", "tiny_ci"]
_ITERATIONS_APART = 1000
"""How many iterations seeds are kept apart for."""


class ExpertSection(StrictConfig):
    """Who says what would have been better."""

    kind: TextExpertName = Field(
        default="searcher",
        description="searcher: hand-coded, knows what was told; oracle: knows everything; llm: a language model",
    )
    llm: LLMTextConfig | None = Field(default=None, description="the language model, where the expert is one")
    seed: int = Field(default=0, ge=0, description="of the searcher: the order in which it looks")
    order: SearchOrder = Field(
        default="shuffled",
        description="of the searcher: whether it looks into equally likely places by its seed, or as they were told",
    )


class ReplaySection(StrictConfig):
    """What the preferring phase's replay buffer holds before its first game."""

    bc_games: bool = Field(
        default=False, description="the imitating phase's games: where the agent of then differed from the expert"
    )
    earlier_iterations: bool = Field(default=False, description="the preferring phases' games of earlier iterations")
    corrections: bool = Field(
        default=False, description="annotators' corrections of the planner program, of all its iterations so far"
    )


class DaggerControlSection(StrictConfig):
    """What preferring is compared with."""

    enabled: bool = Field(
        default=True, description="whether imitation goes on beside it, from the same agent, for as many rounds"
    )


class DaggerLoopSection(StrictConfig):
    """How the loop turns."""

    iterations: int = Field(default=2, ge=0, description="the last iteration that opens without anybody asking for it")
    imitate_again: bool = Field(
        default=False, description="whether later iterations imitate before they prefer; else they go on preferring"
    )


class DaggerCheckLimits(StrictConfig):
    """What the asset checks let pass."""

    least_games: int = Field(default=60, ge=1, description="test games below which figures say little")
    least_pairs: int = Field(default=20, ge=1, description="pairs below which there is little to prefer")
    most_alike: float = Field(default=0.5, ge=0, le=1, description="share of pairs that say the same as an earlier one")
    most_missing: float = Field(default=0.1, ge=0, le=1, description="share of steps the expert has no answer to")


class DaggerPreset(StrictConfig):
    """One scale of the dagger program."""

    world: TextWorldName = Field(default="household", description="household, or alfworld (an extra)")
    household: HouseholdTextConfig = Field(default=HouseholdTextConfig(), description="the household's games")
    alfworld: AlfworldConfig = Field(default=AlfworldConfig(), description="ALFWorld's games")
    games: TextGamesConfig = Field(default=TextGamesConfig(), description="how many games")
    corpus_games: int = Field(default=64, ge=1, description="games that a tiny agent's tokenizer is made from")
    agent: VisionAgentConfig = Field(default=LAPTOP_AGENT, description="the agent")
    agent_seed: int = Field(default=0, ge=0, description="of a new agent's first weights")
    expert: ExpertSection = Field(default=ExpertSection(), description="who says what would have been better")
    link: Literal["in_process", "http"] = Field(
        default="in_process", description="whether games are played where the agent learns, or in a process beside it"
    )
    bc: AgentRoundsConfig = Field(
        default=AgentRoundsConfig(training=AgentTrainConfig(phase="bc")), description="the phase that imitates"
    )
    dpo: AgentRoundsConfig = Field(
        default=AgentRoundsConfig(training=AgentTrainConfig(phase="dpo")), description="the phase that prefers"
    )
    replay: ReplaySection = Field(default=ReplaySection(), description="what is preferred besides its own games")
    control: DaggerControlSection = Field(
        default=DaggerControlSection(), description="what preferring is compared with"
    )
    evaluation: TextEvaluationConfig = Field(default=TextEvaluationConfig(), description="the examination")
    gate: GateConfig = Field(default=GateConfig(split="val"), description="when a policy may take the place of another")
    loop: DaggerLoopSection = Field(default=DaggerLoopSection(), description="how the loop turns")
    checks: DaggerCheckLimits = Field(default=DaggerCheckLimits(), description="what the asset checks let pass")

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if (self.bc.training.phase, self.dpo.training.phase) != ("bc", "dpo"):
            raise ValueError("bc.training.phase is bc, dpo.training.phase is dpo")
        if self.expert.kind == "llm" and self.expert.llm is None:
            raise ValueError("expert.kind llm needs expert.llm")
        if max(self.bc.val_games, self.dpo.val_games) > self.games.val:
            raise ValueError(f"there are {self.games.val} games of val; val_games of a phase cannot be more")
        if self.gate.split not in ("val", "test"):
            raise ValueError(f"gate.split {self.gate.split} is not examined: val or test")
        if self.evaluation.scoring.primary_split not in ("val", "test"):
            raise ValueError("evaluation.scoring.primary_split is val or test")
        return self

    @property
    def world_config(self) -> HouseholdTextConfig | AlfworldConfig:
        """The configuration of the world that is played."""
        return self.household if self.world == "household" else self.alfworld

    @property
    def players(self) -> TextPlayersConfig:
        """The world and the expert of rounds."""
        return TextPlayersConfig(
            expert=self.expert.kind,
            llm=self.expert.llm,
            seed=self.expert.seed,
            order=self.expert.order,
            worlds={self.world: self.world_config.model_dump(mode="json")},
        )

    @property
    def examination(self) -> TextExaminationConfig:
        """What agents are examined with."""
        return TextExaminationConfig(players=self.players, evaluation=self.evaluation)

    def imitates(self, iteration: int) -> bool:
        """Whether an iteration imitates before it prefers."""
        return iteration == 0 or self.loop.imitate_again

    def bc_phase(self, iteration: int) -> AgentPhaseConfig:
        """The phase that imitates."""
        return self._phase(self.bc, iteration)

    def dpo_phase(self, iteration: int) -> AgentPhaseConfig:
        """The phase that prefers."""
        return self._phase(self.dpo, iteration)

    def control_phase(self, iteration: int) -> AgentPhaseConfig:
        """Imitation that goes on beside it: the same rounds of the same games, steps and rates, other lessons."""
        taken = ("rounds", "games_per_round", "fresh_games", "play", "val_games")
        games = {name: value for name, value in self.dpo.model_dump().items() if name in taken}
        pace = self.dpo.training.model_dump(include={"gradient_steps", "learning_rate", "warmup", "schedule"})
        return self._phase(self.bc.replace(**games, training=self.bc.training.replace(**pace).model_dump()), iteration)

    def _phase(self, rounds: AgentRoundsConfig, iteration: int) -> AgentPhaseConfig:
        def apart(seed: int) -> int:
            return seed * _ITERATIONS_APART + iteration

        return AgentPhaseConfig(
            agent=self.agent,
            seed=self.agent_seed,
            corpus_games=self.corpus_games,
            players=self.players,
            rounds=rounds.replace(
                play=rounds.play.replace(seed=apart(rounds.play.seed)).model_dump(),
                training=rounds.training.replace(seed=apart(rounds.training.seed)).model_dump(),
            ),
            link=self.link,
        )

    def games_to_prefer(self, games: Sequence[TextGame], iteration: int) -> list[TextGame]:
        """An iteration's games in the order in which the second phase takes them.

        Where rounds take fresh games, the second phase goes on where the first one stopped.
        """
        played = 0
        if self.imitates(iteration) and self.bc.fresh_games and self.dpo.fresh_games:
            played = self.bc.rounds * (self.bc.games_per_round or len(games)) % len(games)
        return [*games[played:], *games[:played]]


# Two cores, no GPU, no network, minutes. All turns of a game run as one sequence (a step of 64 labels takes half a
# second), so that many games are seen once rather than few often. Tried on training games that no phase plays: two
# heads of 64 had a held-out loss of 0.19 after 300 steps, four of 32 had 0.22; 1.5e-2 was worse than 6e-3; the
# shuffled searcher is a coin that nobody can learn. An agent this small imitates best in the expert's own states: after
# 1250 steps on games that the expert played it won 62 % (of 120), where its own share of the commands rose to 76 %,
# 48 %. Its own states come with preferring, whose push has to end somewhere: with dpo_beta 0.1, without smoothing and
# without agreements, 48 % became 18 %; with agreements 39 %; as it stands here 53 %, more imitation instead 50 %.
_LAPTOP = DaggerPreset(
    household=HouseholdTextConfig(rooms=1, objects_per_room=3, max_steps=20),
    games=TextGamesConfig(train=1600, val=40, test=80),
    corpus_games=200,
    agent=LAPTOP_AGENT.replace(
        tiny=LAPTOP_AGENT.tiny.replace(language_heads=2).model_dump(),
        picture_place="before_reply",
        history_turns=20,
        max_tokens=2048,
        dtype="bfloat16",
    ),
    expert=ExpertSection(order="told"),
    bc=AgentRoundsConfig(
        rounds=5,
        games_per_round=240,
        fresh_games=True,
        val_games=40,
        capacity=30_000,
        play=RoundPlayConfig(beta=BetaSchedule(kind="constant", start=1.0), games_at_once=32),
        training=AgentTrainConfig(
            phase="bc",
            batch_size=64,
            accumulation=1,
            gradient_steps=1,
            draw="games",
            optimizer="muon",
            learning_rate=6e-3,
            warmup=30,
            schedule="linear_end",
            prompt_weight=0.3,
        ),
    ),
    dpo=AgentRoundsConfig(
        rounds=3,
        games_per_round=80,
        fresh_games=True,
        val_games=40,
        capacity=30_000,
        play=RoundPlayConfig(games_at_once=32),
        training=AgentTrainConfig(
            phase="dpo",
            batch_size=64,
            accumulation=1,
            gradient_steps=2,
            draw="games",
            optimizer="muon",
            learning_rate=2e-3,
            warmup=10,
            schedule="linear_end",
            dpo_beta=0.5,
            nll_weight=5.0,
            agreements=True,
            label_smoothing=0.1,
        ),
    ),
    replay=ReplaySection(bc_games=True),
    loop=DaggerLoopSection(iterations=0),
)

# EMAC+ on ALFWorld: InstructBLIP over Vicuna-7B of which only the projection trains, a language model as expert that is
# asked up to six times, 134 games a round, 6 rounds of imitation and 12 of preference.
_PAPER = DaggerPreset(
    world="alfworld",
    games=TextGamesConfig(train=134, val=60, test=134),
    agent=PAPER_AGENT,
    expert=ExpertSection(
        kind="llm",
        llm=LLMTextConfig(
            client=LLMClientConfig(
                model="gpt-5.2-2025-12-11", max_tokens=100, max_tokens_field="max_completion_tokens", send_stop=False
            )
        ),
    ),
    bc=PAPER_ROUNDS_BC,
    dpo=PAPER_ROUNDS_DPO,
    # Asking the language model at every step of the examination as well would cost as much as three rounds.
    evaluation=TextEvaluationConfig(expert="none"),
    loop=DaggerLoopSection(iterations=0),
)

# Seconds, for tests: every step of the graph does its work, and nothing is learned.
_TINY_ROUNDS = RoundPlayConfig(games_at_once=2)
_TINY_CI = DaggerPreset(
    household=HouseholdTextConfig(rooms=1, objects_per_room=2, max_steps=12, renderer="pybullet"),
    games=TextGamesConfig(train=4, val=3, test=4),
    corpus_games=3,
    # A tokenizer made from few games spells the words that others have.
    agent=TINY_CI_AGENT.replace(max_tokens=2048, history_turns=6),
    bc=AgentRoundsConfig(
        rounds=2,
        games_per_round=2,
        fresh_games=True,
        val_games=2,
        play=_TINY_ROUNDS.replace(beta={"kind": "exponential", "start": 1.0}),
        training=AgentTrainConfig(
            phase="bc", batch_size=4, accumulation=1, gradient_steps=1, learning_rate=3e-3, warmup=1
        ),
    ),
    dpo=AgentRoundsConfig(
        rounds=2,
        games_per_round=2,
        fresh_games=True,
        val_games=2,
        play=_TINY_ROUNDS,
        training=AgentTrainConfig(
            phase="dpo", batch_size=2, accumulation=2, gradient_steps=1, learning_rate=1e-3, warmup=1
        ),
    ),
    replay=ReplaySection(bc_games=True),
    evaluation=TextEvaluationConfig(
        games_at_once=4, scoring=EvaluationConfig(primary_split="test", reference="bc", resamples=100)
    ),
    gate=GateConfig(split="val", resamples=200),
    loop=DaggerLoopSection(iterations=1),
    checks=DaggerCheckLimits(least_games=4, least_pairs=1, most_alike=1.0),
)

DAGGER_PRESETS: Mapping[DaggerPresetName, DaggerPreset] = {"laptop": _LAPTOP, "paper": _PAPER, "tiny_ci": _TINY_CI}


def chosen_dagger_preset(name: str, overrides: Sequence[str]) -> DaggerPreset:
    """The preset ``name`` with ``section.key=value`` laid over it.

    Args:
        name: the preset.
        overrides: what is laid over it; values are YAML.

    Raises:
        UserError: there is no such preset, or an override's key or value is not accepted.
    """
    return apply_overrides(named_preset(DAGGER_PRESETS, name), list(overrides))
