"""What rounds ask of an agent, and how much of a game it is told: as much as it can read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hitl_ops.rollouts.text_history import TextHistory, after_thought


class AgentAnswer(Protocol):
    """What an agent chose: its raw text, the command it stands for, and figures."""

    @property
    def text(self) -> str:
        """What it wrote."""
        ...

    @property
    def action(self) -> str:
        """The command."""
        ...

    @property
    def logprob(self) -> float:
        """Log-probability of the answer, nats."""
        ...

    @property
    def latency_ms(self) -> float:
        """How long its asker has waited."""
        ...


class GameAgent(Protocol):
    """Chooses commands by task, prompt and picture; ``models.vision_agent.VisionAgent`` is one."""

    @property
    def policy_id(self) -> str:
        """Who chooses; may be slow to find out."""
        ...

    def fits(
        self, prompts: Sequence[str], admissible: Sequence[Sequence[str]], opening: str | None = None
    ) -> Sequence[bool]:
        """Whether each prompt leaves room for its commands, after a line that begins with ``opening`` if not None."""
        ...

    def choose(
        self,
        prompts: Sequence[str],
        tasks: Sequence[str],
        pictures: NDArray[np.uint8],
        admissible: Sequence[Sequence[str]],
    ) -> Sequence[AgentAnswer]:
        """One answer for each prompt, the same as if it were the only one; pictures are uint8 [N, size, size, 3]."""
        ...

    def write(
        self, prompts: Sequence[str], tasks: Sequence[str], pictures: NDArray[np.uint8], opening: str = ""
    ) -> Sequence[AgentAnswer]:
        """One free line for each prompt, which begins with ``opening``; asked for thoughts only."""
        ...


def longest_prompts(
    agent: GameAgent,
    histories: Sequence[TextHistory],
    admissible: Sequence[Sequence[str]],
    limit_turns: int,
    opening: str | None = None,
) -> list[str]:
    """What an agent reads of games: their last turns, of which the oldest are left out until it can read the rest.

    Args:
        agent: who reads.
        histories: the games.
        admissible: the commands of each that can be carried out now.
        limit_turns: how many turns are told at most.
        opening: what a thought that it writes first begins with; None: it writes none.

    Returns:
        The prompts; the opening alone where even that is too long, of which the agent complains by itself.
    """
    prompts = [history.prompt(limit_turns) for history in histories]
    fitting = agent.fits(prompts, admissible, opening)
    for place, fits in enumerate(fitting):
        if not fits:
            history, commands = histories[place], admissible[place]

            def too_long(turns: int, history: TextHistory = history, commands: Sequence[str] = commands) -> bool:
                return not agent.fits([history.prompt(turns)], [commands], opening)[0]

            told = min(limit_turns, len(history.turns))
            prompts[place] = history.prompt(max(0, bisect_left(range(told), True, key=too_long) - 1))
    return prompts


def readable_thoughts(
    agent: GameAgent, prompts: Sequence[str], thoughts: Sequence[str], admissible: Sequence[Sequence[str]]
) -> list[str]:
    """Thoughts behind which a prompt can still be read with any of its commands; "" in the place of others.

    Args:
        agent: who reads.
        prompts: what it has read.
        thoughts: its own or somebody else's, "" where there is none.
        admissible: the commands of each game that can be carried out now.
    """
    behind = [after_thought(*both) if both[1] else both[0] for both in zip(prompts, thoughts, strict=True)]
    fitting = agent.fits(behind, admissible)
    return [thought if fits else "" for thought, fits in zip(thoughts, fitting, strict=True)]
