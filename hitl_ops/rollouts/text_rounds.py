"""Plays text games in which an agent acts and an expert says at every step what it would have done.

DAgger's way to collect (Ross, Gordon and Bagnell 2011, arXiv 1011.0686): the states are those the agent comes to, the
labels are the expert's. Several games go on side by side, a step each in turn, so that the agent chooses for all of
them in one pass; each game's course depends on (seed, round, game) alone, never on what is played beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.text_game import NOTHING_HAPPENS, TextExpert, TextGame, TextTurn, TextWorld
from hitl_ops.experts.llm_ledger import LLMUsage
from hitl_ops.records.round_games import RoundGame, RoundGameResult, RoundPhase, RoundStep, write_round_game
from hitl_ops.rollouts.beta_schedule import BetaSchedule, expert_acts
from hitl_ops.rollouts.game_agent import AgentAnswer, GameAgent, longest_prompts, readable_thoughts
from hitl_ops.rollouts.text_history import THINK, TextHistory, after_thought, thought_of


class RoundPlayConfig(StrictConfig):
    """How games are played."""

    beta: BetaSchedule = Field(
        default=BetaSchedule(), description="probability that the expert's command is executed, round by round"
    )
    games_at_once: int = Field(
        default=1, ge=1, le=64, description="games played side by side; the agent learns after all of them have ended"
    )
    enable_tc: bool = Field(
        default=False,
        description="thought chains: expert and agent say a line of thought before each command, and both are learned",
    )
    seed: int = Field(default=0, ge=0, description="of who acts, where both may")


class ExpertStopped(UserError):
    """The expert cannot answer any more (budget, endpoint). Whoever runs rounds stops and keeps what is finished."""


@dataclass(frozen=True)
class Players:
    """Makes what a game needs beside the agent.

    Attributes:
        world: a world of this name; closed when the last game is over.
        expert: an expert for games of the world of this name; each game under way has its own.
        usage: what the experts have asked and paid for so far; None where they cost nothing.
        waits: whether experts wait for somebody else to answer; they are then asked in threads, while the agent
            chooses. Others may use what belongs to the process or to a thread, so they are asked one by one.
    """

    world: Callable[[str], TextWorld]
    expert: Callable[[str], TextExpert]
    usage: Callable[[], LLMUsage | None] = lambda: None
    waits: bool = False


class RoundBatch(BaseModel):
    """Games to be played side by side.

    Attributes:
        phase: what the agent learns in.
        round: from 0.
        games: number within the round, and the game.
        beta: mixing coefficient.
        agent_step: gradient steps the agent has taken.
        picture: edge of the pictures, pixels.
        history_turns: turns the agent's prompt tells at most.
        play: how they are played.
        agent: policy id of who acts, where it is known and stays so; "": whoever acts is asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: RoundPhase
    round: int
    games: tuple[tuple[int, TextGame], ...]
    beta: float
    agent_step: int
    picture: int
    history_turns: int
    play: RoundPlayConfig
    agent: str = ""


class Collector(Protocol):
    """Plays batches of games, in this process or in another."""

    def play(
        self, batch: RoundBatch, agent: GameAgent, folder: Path, on_step: Callable[[int, int], None]
    ) -> list[RoundGame]:
        """See :meth:`RoundPlayer.play`."""
        ...

    def usage(self) -> LLMUsage | None:
        """What the experts have asked and paid for so far; None where they cost nothing."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass
class _Seat:
    """A game under way."""

    number: int
    game: TextGame
    world: TextWorld
    expert: TextExpert
    turn: TextTurn
    history: TextHistory
    steps: list[RoundStep] = field(default_factory=list)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Label:
    action: str | None
    thought: str
    latency_ms: float


class RoundPlayer:
    """Plays batches of games; keeps its worlds and experts from one batch to the next.

    Args:
        players: makes worlds and experts.
    """

    def __init__(self, players: Players) -> None:
        self._players = players
        self._worlds: dict[tuple[str, int], TextWorld] = {}
        self._experts: dict[tuple[str, int], TextExpert] = {}

    def usage(self) -> LLMUsage | None:
        """What the experts have asked and paid for so far; None where they cost nothing."""
        return self._players.usage()

    def close(self) -> None:
        """Give back what the worlds hold."""
        for world in self._worlds.values():
            world.close()
        self._worlds.clear()

    def play(
        self,
        batch: RoundBatch,
        agent: GameAgent,
        folder: Path,
        on_step: Callable[[int, int], None] = lambda running, steps: None,
    ) -> list[RoundGame]:
        """Play games to their ends and publish each in a folder of its own as soon as it is over.

        Args:
            batch: which games.
            agent: who acts.
            folder: where the games' folders lie.
            on_step: told after each step how many games still run and how many steps were made in all.

        Returns:
            The games, in the order of ``batch.games``.

        Raises:
            ExpertStopped: the expert has no more budget or its endpoint is gone; games that have ended are kept.
            UserError: a game cannot be played, its opening is too long for the agent, or thoughts are asked of an
                expert that tells none.
            CannotWrite: the disk is full or the place cannot be written.
        """
        seats = [self._seat(place, number, game) for place, (number, game) in enumerate(batch.games)]
        for seat in seats:
            if batch.play.enable_tc and not getattr(seat.expert, "thinks", False):
                raise UserError(
                    f"expert '{seat.expert.policy_id}' tells no thoughts",
                    "set enable_tc to false, or take the expert llm with llm.thoughts on",
                )
        running, name = list(seats), batch.agent or agent.policy_id
        done: dict[int, RoundGame] = {}
        with ThreadPoolExecutor(len(seats), "label") as threads:  # experts answer while the agent chooses
            while running:
                self._step(running, batch, agent, threads)
                for seat in [seat for seat in running if seat.turn.over]:
                    running.remove(seat)
                    done[seat.number] = _publish(seat, batch, name, folder)
                on_step(len(running), sum(len(seat.steps) for seat in seats))
        return [done[number] for number, _ in batch.games]

    def _seat(self, place: int, number: int, game: TextGame) -> _Seat:
        key = (game.world, place)
        if key not in self._worlds:
            self._worlds[key] = self._players.world(game.world)
            self._experts[key] = self._players.expert(game.world)
        world, expert = self._worlds[key], self._experts[key]
        turn = world.begin(game)
        expert.start(game, world, turn)
        return _Seat(number, game, world, expert, turn, TextHistory.of(game, turn))

    def _step(self, seats: Sequence[_Seat], batch: RoundBatch, agent: GameAgent, threads: ThreadPoolExecutor) -> None:
        """One step of every game: all are seen and labelled, the agent chooses for all, then each goes on."""
        admissible = [seat.turn.admissible for seat in seats]
        opening = f" {THINK}" if batch.play.enable_tc else None
        prompts = longest_prompts(agent, [seat.history for seat in seats], admissible, batch.history_turns, opening)
        # Drawn before anybody else looks at the worlds: a renderer belongs to its thread.
        pictures = np.stack([seat.world.picture(batch.picture) for seat in seats])
        ask = threads.submit if self._players.waits else _at_once
        labels = [ask(_labelled, seat) for seat in seats]
        tasks = [seat.game.task for seat in seats]
        thoughts = [""] * len(seats)
        if opening is not None:
            written = agent.write(prompts, tasks, pictures, opening)
            thoughts = readable_thoughts(agent, prompts, [thought_of(answer.text) for answer in written], admissible)
        asked = [after_thought(*both) if both[1] else both[0] for both in zip(prompts, thoughts, strict=True)]
        answers = agent.choose(asked, tasks, pictures, admissible)
        found = _results(labels)
        if opening is not None:
            said = readable_thoughts(agent, prompts, [label.thought for label in found], admissible)
            found = [replace(label, thought=thought) for label, thought in zip(found, said, strict=True)]
        for seat, prompt, picture, thought, answer, label in zip(
            seats, prompts, pictures, thoughts, answers, found, strict=True
        ):
            self._go_on(seat, batch, prompt, picture, thought, answer, label)

    def _go_on(
        self,
        seat: _Seat,
        batch: RoundBatch,
        prompt: str,
        picture: NDArray[np.uint8],
        thought: str,
        answer: AgentAnswer,
        label: _Label,
    ) -> None:
        """Execute one of the two commands and keep the step."""
        step, turn = len(seat.steps), seat.turn
        by_expert = label.action is not None and expert_acts(
            batch.beta, seed=batch.play.seed, round_number=batch.round, game=seat.number, step=step
        )
        command = label.action if by_expert and label.action is not None else answer.action
        seat.turn = seat.world.step(command)
        seat.expert.executed(command, seat.turn)
        said = label.thought if batch.play.enable_tc else ""
        seat.history.add(command, seat.turn.text, said if by_expert else thought)
        seat.pictures.append(picture)
        seat.steps.append(
            RoundStep(
                step=step,
                prompt=prompt,
                turn=turn.text,
                admissible=turn.admissible,
                agent_reply=answer.text,
                agent_action=answer.action,
                agent_thought=thought,
                expert_action=label.action,
                expert_thought=said,
                executed_by="expert" if by_expert else "agent",
                executed=command,
                response=seat.turn.text,
                latency_ms=answer.latency_ms,
                expert_latency_ms=label.latency_ms,
                logprob=answer.logprob,
            )
        )


def _labelled(seat: _Seat) -> _Label:
    """Ask the expert.

    Raises:
        ExpertStopped: it cannot answer any more.
    """
    began = time.perf_counter()
    try:
        action = seat.expert.label(seat.history, seat.turn)
    except CannotWrite:
        raise
    except UserError as error:
        raise ExpertStopped(error.what, error.remedy) from None
    if action is not None and action not in seat.turn.admissible:
        raise AssertionError(f"expert {seat.expert.policy_id} answers {action!r}, which is not admissible")
    thought = str(getattr(seat.expert, "thought", "")) if action is not None else ""
    return _Label(action, thought, (time.perf_counter() - began) * 1000)


def _at_once(ask: Callable[[_Seat], _Label], seat: _Seat) -> Future[_Label]:
    """Ask here and now."""
    label: Future[_Label] = Future()
    try:
        label.set_result(ask(seat))
    except ExpertStopped as stop:
        label.set_exception(stop)
    return label


def _results(labels: Sequence[Future[_Label]]) -> list[_Label]:
    """All answers; waits for every one, so that none is still asked for when a round stops.

    Raises:
        ExpertStopped: one of the experts cannot answer any more.
    """
    errors = [error for label in labels if (error := label.exception()) is not None]
    if errors:
        raise errors[0]
    return [label.result() for label in labels]


def _publish(seat: _Seat, batch: RoundBatch, agent: str, folder: Path) -> RoundGame:
    steps = seat.steps
    labelled = [step for step in steps if step.expert_action is not None]
    result = RoundGameResult(
        game_id=seat.game.game_id,
        family=seat.game.family,
        split=seat.game.split,
        world=seat.game.world,
        task=seat.game.task,
        phase=batch.phase,
        round=batch.round,
        game=seat.number,
        success=seat.turn.won,
        steps=len(steps),
        labelled=len(labelled),
        missing=len(steps) - len(labelled),
        agreed=sum(bool(step.agrees) for step in labelled),
        by_expert=sum(step.executed_by == "expert" for step in steps),
        nothing_happened=sum(step.response.strip() == NOTHING_HAPPENS for step in steps),
        beta=batch.beta,
        agent=agent,
        agent_step=batch.agent_step,
        expert=seat.expert.policy_id,
        latency_ms=_mean([step.latency_ms for step in steps]),
        expert_latency_ms=_mean([step.expert_latency_ms for step in steps]),
        seed=batch.play.seed,
    )
    return write_round_game(folder, steps, np.stack(seat.pictures), result)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
