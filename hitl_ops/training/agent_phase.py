"""One phase of an agent's rounds from its files: the games, the agent it begins with, what earlier games taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.contracts.text_game import TextGame
from hitl_ops.rollouts.text_rounds import Collector
from hitl_ops.samples.preference_pairs import read_preference_pairs
from hitl_ops.samples.replay_buffer import ReplayRow, pairs_from_corrections
from hitl_ops.training.agent_phase_config import AgentPhaseConfig
from hitl_ops.training.agent_rounds import OtherSamples, replayed_games, train_rounds
from hitl_ops.training.agent_rounds_log import RoundsSummary
from hitl_ops.training.tracking import Tracker

if TYPE_CHECKING:
    from hitl_ops.models.vision_agent import VisionAgent

START = "start"
"""Folder of the agent that a phase made to begin with, within the phase's."""


def train_agent_phase(
    config: AgentPhaseConfig,
    games: Sequence[TextGame],
    collector: Collector,
    out: Path,
    progress: Progress = silent,
    tracker: Tracker | None = None,
    *,
    start: Path | None = None,
    replay: Mapping[str, Path] | None = None,
    pairs: Sequence[Path] = (),
    validation: Sequence[TextGame] = (),
) -> RoundsSummary:
    """Play and learn for the rounds of one phase; goes on where an earlier run stood.

    Args:
        config: how.
        games: of which rounds are made.
        collector: plays them; closed by the caller.
        out: the phase's folder, see :func:`hitl_ops.training.agent_rounds.train_rounds`; gets ``start/`` where the
            agent is new.
        progress: told of games.
        tracker: told figures.
        start: folder of the agent to begin with; None: a new one.
        replay: name → folder of an earlier phase, whose games the buffer holds at first, the oldest first.
        pairs: files of annotators' corrections, see :mod:`hitl_ops.samples.preference_pairs`; for DPO.
        validation: games that follow each round, where the configuration asks for some.

    Raises:
        UserError: there is no such agent, the expert cannot answer any more, or something on disk is damaged.
        CannotWrite: the disk is full or the place cannot be written.
    """
    if pairs and config.rounds.training.phase != "dpo":
        raise UserError("corrections are pairs, which imitation does not learn from", "leave them out, or learn by dpo")
    if not games:
        raise UserError("there are no games to play rounds of", "generate some, or name a list with games")
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    if start is None:
        start = out / START
        if not start.is_dir():
            progress(0, 1, "a new agent")
            new_agent(config, games).save(start)
    others = OtherSamples(
        games=replayed_games(replay or {}),
        pairs=_corrections(start, pairs) if pairs else (),
    )
    summary = train_rounds(
        config.rounds, start, games, collector, out, progress, tracker, others=others, validation=validation
    )
    if not summary.finished:
        raise UserError(
            f"the expert stopped: {summary.stopped}",
            f"what was played and learned is kept ({summary.games} games); run the same again to go on",
        )
    return summary


def new_agent(config: AgentPhaseConfig, games: Sequence[TextGame]) -> VisionAgent:
    """An agent that has not learned yet; what it is made of depends on the configuration and the games alone.

    Raises:
        UserError: its base cannot be had, or a game cannot be played.
    """
    from hitl_ops.models.vision_agent import VisionAgent
    from hitl_ops.models.vision_agent_config import TINY

    corpus: list[str] = []
    if config.agent.base == TINY:
        from hitl_ops.rollouts.text_corpus import text_corpus
        from hitl_ops.worlds.text_worlds import make_text_world

        name = games[0].world
        world = make_text_world(name, config.players.worlds.get(name))
        try:
            corpus = text_corpus(games[: config.corpus_games], world)
        finally:
            world.close()
    return VisionAgent.create(config.agent, corpus, config.seed)


def _corrections(start: Path, files: Sequence[Path]) -> tuple[ReplayRow, ...]:
    from hitl_ops.models.vision_agent_files import read_agent_facts

    pairs = (pair for file in files for pair in read_preference_pairs(file))
    return tuple(pairs_from_corrections(pairs, read_agent_facts(start).config.picture))
