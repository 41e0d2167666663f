"""Rounds of playing and learning: the agent acts, the expert labels, and after every game the agent takes some steps.

Algorithm 1 of EMAC+ (a phase of imitation, then one of preferences), on DAgger's loop (Ross, Gordon and Bagnell 2011,
arXiv 1011.0686). Where a phase stands is a matter of what lies on disk: finished games, and the newest checkpoint. A
run that was cut off at any moment reads those games instead of playing them again and ends as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, sweep_temporaries
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.contracts.text_game import TextGame
from hitl_ops.records.round_games import RoundGame, game_name, list_round_games, read_round_game
from hitl_ops.rollouts.text_rounds import Collector, ExpertStopped, RoundBatch
from hitl_ops.samples.replay_buffer import BCReplayBuffer, DPOReplayBuffer, ReplayRow
from hitl_ops.training.agent_rounds_config import AgentRoundsConfig
from hitl_ops.training.agent_rounds_log import (
    CORRECTIONS_FILE,
    SUMMARY_FILE,
    Corrections,
    RoundsSummary,
    read_rounds,
    read_rounds_summary,
    round_log,
    write_round,
)
from hitl_ops.training.agent_rows import AgentRow, BCRow, DPORow
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_log import read_log

if TYPE_CHECKING:
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.training.agent_training import AgentTrainer

GAMES = "games"
VAL_GAMES = "val_games"
AGENT = "agent"
FACTS_FILE = "phase.json"


@dataclass(frozen=True)
class OtherSamples:
    """What the replay buffer holds before the first game, oldest first.

    Attributes:
        games: folders of finished games of earlier phases or iterations, each with a name that sets its rows apart.
        pairs: in DPO, pairs that come from elsewhere, e.g. ``replay_buffer.pairs_from_corrections``; those that the
            agent cannot read are left out.
    """

    games: tuple[tuple[str, Path], ...] = ()
    pairs: tuple[ReplayRow, ...] = ()


def replayed_games(phases: Mapping[str, Path]) -> tuple[tuple[str, Path], ...]:
    """The games of earlier phases, as :class:`OtherSamples` has them.

    Args:
        phases: name → the phase's folder, the oldest first.
    """
    return tuple((name, game) for name, phase in phases.items() for game in list_round_games(phase / GAMES))


class _PhaseFacts(BaseModel):
    """What a phase's folder belongs to."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]
    games: str = Field(description="hash of the games that rounds are made of")
    others: str = Field(description="hash of what the buffer held at first")
    start: str = Field(description="policy id of the agent as the phase began")
    start_weights: str = Field(description="sha256 of its weights' file; '' where it came from no folder")


def train_rounds(
    config: AgentRoundsConfig,
    agent: VisionAgent | Path,
    games: Sequence[TextGame],
    collector: Collector,
    out: Path,
    progress: Progress = silent,
    tracker: Tracker | None = None,
    *,
    others: OtherSamples | None = None,
    validation: Sequence[TextGame] = (),
) -> RoundsSummary:
    """Play and learn for the rounds of one phase; goes on where an earlier run stood.

    Args:
        config: how.
        agent: as the phase begins, also where it goes on, or the folder of such an agent: the DPO phase is handed
            ``<out of the BC phase>/agent``, which is its start and its reference. An agent is changed in place.
        games: of which rounds are made.
        collector: plays them, see :class:`hitl_ops.rollouts.text_rounds.RoundPlayer`; closed by the caller.
        out: the phase's folder. Gets ``games/``, ``val_games/``, the trainer's files, ``rounds.jsonl``,
            ``env_results_round_….json`` and, after the last round, ``agent/`` and ``summary.json``.
        progress: told of games.
        tracker: told figures of steps and of rounds.
        others: what the replay buffer holds at first.
        validation: games of which the first ``config.val_games`` are played after each round.

    Returns:
        What came of it. Where the expert's budget is spent or its endpoint gone, ``finished`` is false and
        ``stopped`` says why; what was played and learned is kept, and the same call goes on from there.

    Raises:
        UserError: the folder holds another phase, a game cannot be played, or something on disk is damaged.
        CannotWrite: the disk is full or the place cannot be written.
    """
    if not games:
        raise UserError("there are no games to play rounds of", "generate some, or name a list with games")
    if len(validation) < config.val_games:
        raise UserError(
            f"there are {len(validation)} validation games, not {config.val_games}", "lower val_games, or name more"
        )
    validation = validation[: config.val_games]
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    others = others or OtherSamples()
    name, weights = _identity(agent)
    facts = _PhaseFacts(
        config=config.decisive(),
        games=_hash([[game.game_id, game.seed, game.world] for game in [*games, *validation]]),
        others=_hash([[[source, game.name] for source, game in others.games], [pair.row_id for pair in others.pairs]]),
        start=name,
        start_weights=weights,
    )
    _check_facts(out, facts)
    if (done := _finished(out, config)) is not None:
        return done
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.training.agent_training import AgentTrainer

    tracker = tracker or NullTracker()
    opened = VisionAgent.load(agent) if isinstance(agent, Path) else agent
    total = config.steps_of(len(games))
    with AgentTrainer(opened, config.training, out, tracker, total=total) as trainer:
        phase = _Phase(config, opened, games, validation, collector, out, progress, tracker, trainer, facts)
        phase.take_in(others)
        return phase.run()


def _identity(agent: VisionAgent | Path) -> tuple[str, str]:
    """An agent's policy id, and the hash of its weights' file where it lies in a folder."""
    if not isinstance(agent, Path):
        return agent.policy_id, ""
    from hitl_ops.models.vision_agent_files import WEIGHTS_FILE, read_agent_facts

    facts = read_agent_facts(agent)
    try:
        return facts.policy_id, sha256_of(agent / WEIGHTS_FILE)
    except OSError as error:
        raise UserError(f"agent '{agent}' cannot be read ({error.strerror})", "train it again, or restore it") from None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check_facts(out: Path, facts: _PhaseFacts) -> None:
    """Note what the folder belongs to, or see that it still does."""
    file = out / FACTS_FILE
    if not file.is_file():
        publish_json(file, facts)
        return
    try:
        known = _PhaseFacts.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        raise UserError(f"'{file}' is damaged", "play into another folder") from None
    elsewhere = "play into another folder, or go on with what it was begun with"
    if known.start_weights != facts.start_weights or known.start != facts.start:
        raise UserError(f"'{out}' began with agent {known.start}, not {facts.start}", elsewhere)
    if known.games != facts.games or known.others != facts.others:
        raise UserError(f"'{out}' was begun with other games", elsewhere)
    for key in sorted(known.config.keys() | facts.config.keys()):
        was, now = known.config.get(key), json.loads(json.dumps(facts.config.get(key)))
        if was != now:
            raise UserError(f"'{out}' was begun with {key}={was}, not {now}", elsewhere)


def _finished(out: Path, config: AgentRoundsConfig) -> RoundsSummary | None:
    """What the phase came to, where all its rounds are done."""
    if not (out / SUMMARY_FILE).is_file():
        return None
    summary = read_rounds_summary(out)
    whole = summary.finished and len(summary.rounds) == config.rounds and (out / AGENT).is_dir()
    return summary if whole else None


@dataclass
class _Phase:
    """A phase under way."""

    config: AgentRoundsConfig
    agent: VisionAgent
    games: Sequence[TextGame]
    validation: Sequence[TextGame]
    collector: Collector
    out: Path
    progress: Progress
    tracker: Tracker
    trainer: AgentTrainer
    facts: _PhaseFacts
    played: int = 0
    target: int = 0
    buffer: BCReplayBuffer | DPOReplayBuffer = field(init=False)

    def __post_init__(self) -> None:
        size, training = self.agent.config.picture, self.config.training
        if training.phase == "dpo":
            self.buffer = DPOReplayBuffer(self.config.capacity, size, agreements=training.agreements)
        else:
            self.buffer = BCReplayBuffer(self.config.capacity, size)

    def take_in(self, others: OtherSamples) -> None:
        """Fill the buffer with what comes from elsewhere."""
        if others.pairs and isinstance(self.buffer, DPOReplayBuffer):
            fitting = [pair for pair in others.pairs if _readable(self.agent, pair)]
            self.buffer.add_pairs(fitting)
            used = [pair.row_id for pair in fitting]
            publish_json(self.out / CORRECTIONS_FILE, Corrections(used=used, too_long=len(others.pairs) - len(fitting)))
        for source, folder in others.games:
            self.buffer.add_game(folder, source)

    def run(self) -> RoundsSummary:
        """Play and learn until all rounds are done or the expert stops."""
        try:
            for number in range(self.config.rounds):
                self._round(number)
        except ExpertStopped as stop:
            return self._summary(stopped=str(stop))
        self.agent.save(self.out / AGENT)
        summary = self._summary()
        publish_json(self.out / SUMMARY_FILE, summary)
        return summary

    def _round(self, number: int) -> None:
        begun_at = self.target
        found: list[RoundGame] = []
        for batch in self._batches(number):
            games = self._collected(batch, GAMES)
            found += games
            self.played += len(games)
            for game in games:
                self.buffer.add_game(game)
            self._learn(len(games))
            self.progress(self.played, self._total, f"round {number + 1} of {self.config.rounds}")
        results = [game.result for game in found]
        validation = [game.result for batch in self._val_batches(number) for game in self._collected(batch, VAL_GAMES)]
        lines = [line for line in read_log(self.out / "train_log.jsonl") if begun_at < line["step"] <= self.target]
        usage = self.collector.usage()
        held = len(self.buffer)
        log = round_log(results, lines, gradient_steps=self.target, buffer=held, usage=usage, validation=validation)
        if not write_round(self.out, log, results):
            return
        figures = log.model_dump(include={"accuracy", "agreement", "missing", "steps", "val_accuracy", "val_agreement"})
        told = {f"round/{name}": float(value) for name, value in figures.items() if value is not None}
        self.tracker.log_metrics(told, self.trainer.step)

    def _batches(self, number: int) -> Iterator[RoundBatch]:
        """A round's games, in the batches in which they are played."""
        count = self.config.games_per_round or len(self.games)
        first = number * count if self.config.fresh_games else 0
        chosen = [self.games[(first + place) % len(self.games)] for place in range(count)]
        return self._batched(number, chosen, self.config.play.beta.at(number, self.config.rounds))

    def _val_batches(self, number: int) -> Iterator[RoundBatch]:
        """The validation games that follow a round; the agent plays them alone."""
        return self._batched(number, self.validation, 0.0)

    def _batched(self, number: int, games: Sequence[TextGame], beta: float) -> Iterator[RoundBatch]:
        at_once = self.config.play.games_at_once
        for start in range(0, len(games), at_once):
            yield RoundBatch(
                phase=self.config.training.phase,
                round=number,
                games=tuple(enumerate(games))[start : start + at_once],
                beta=beta,
                agent_step=self.trainer.step,
                picture=self.agent.config.picture,
                history_turns=self.agent.config.history_turns,
                play=self.config.play,
            )

    def _collected(self, batch: RoundBatch, where: str) -> list[RoundGame]:
        """The batch's games: those on disk are read, the others played."""
        folder = self.out / where
        places = {number: folder / game_name(batch.phase, batch.round, number) for number, _ in batch.games}
        missing = tuple(game for game in batch.games if not places[game[0]].is_dir())
        found: dict[int, RoundGame] = {}
        if missing:
            head = f"round {batch.round + 1} of {self.config.rounds}" + (", validation" if where == VAL_GAMES else "")

            def on_step(running: int, steps: int) -> None:
                self.progress(self.played, self._total, f"{head}: {running} games under way, {steps} steps")

            rest = batch.model_copy(update={"games": missing})
            found = {game.result.game: game for game in self.collector.play(rest, self.agent, folder, on_step)}
        games = [found.get(number) or read_round_game(places[number]) for number, _ in batch.games]
        for game, (_, wanted) in zip(games, batch.games, strict=True):
            if game.result.game_id != wanted.game_id:
                raise UserError(f"'{game.folder}' is of another game", "remove it; the game is then played again")
        return games

    def _learn(self, games: int) -> None:
        """Take the steps that so many games are followed by, those already taken left out."""
        if not len(self.buffer):
            return
        self.target += games * self.config.training.gradient_steps
        if self.trainer.step < self.target:
            self.trainer.steps(self._draw, self.target - self.trainer.step)
            self.trainer.checkpoint()

    def _draw(self, step: int, count: int, seed: int) -> list[AgentRow]:
        return [_as_row(row) for row in self.buffer.sample(step, count, seed, draw=self.config.training.draw)]

    @property
    def _total(self) -> int:
        return self.config.rounds * (self.config.games_per_round or len(self.games))

    def _summary(self, stopped: str = "") -> RoundsSummary:
        return RoundsSummary(
            phase=self.config.training.phase,
            finished=not stopped,
            stopped=stopped,
            rounds=read_rounds(self.out),
            games=len(list_round_games(self.out / GAMES, self.config.training.phase)),
            gradient_steps=self.trainer.step,
            start=self.facts.start,
            start_weights=self.facts.start_weights,
            policy_id=self.agent.policy_id,
            agent="" if stopped else AGENT,
            expert_usage=self.collector.usage(),
            config=self.config.model_dump(mode="json"),
        )


def _readable(agent: VisionAgent, row: ReplayRow) -> bool:
    try:
        for answer in row.answers:
            agent.encode(row.prompt, answer, row.task)
    except UserError:
        return False
    return True


def _as_row(row: ReplayRow) -> AgentRow:
    if len(row.answers) == 1:
        return BCRow(row.picture, row.prompt, row.task, row.answers[0])
    winner, loser = row.answers
    return DPORow(row.row_id, row.picture, row.prompt, row.task, winner, loser)
