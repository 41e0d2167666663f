"""What an agent that has not learned yet will come to read: games played by a hand-coded expert, as text."""

from __future__ import annotations

from collections.abc import Sequence

from hitl_ops.contracts.text_game import TextGame, TextWorld
from hitl_ops.experts.text_searcher import SearcherExpert
from hitl_ops.rollouts.text_history import TextHistory, completion


def text_corpus(games: Sequence[TextGame], world: TextWorld) -> list[str]:
    """Texts to make a tokenizer from: each game as its prompt ends, and every command that was offered, once.

    Args:
        games: which games.
        world: where they are played.

    Raises:
        UserError: a game cannot be played.
    """
    texts: list[str] = []
    offered: dict[str, None] = {}
    for game in games:
        expert, turn = SearcherExpert(), world.begin(game)
        history = TextHistory.of(game, turn)
        expert.start(game, world, turn)
        while not turn.over:
            offered |= dict.fromkeys(turn.admissible)
            command = expert.label(history, turn)
            if command is None:
                break
            turn = world.step(command)
            expert.executed(command, turn)
            history.add(command, turn.text)
        texts.append(history.prompt())
    return [*texts, *(completion(command) for command in offered)]
