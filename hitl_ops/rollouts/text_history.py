"""A text game as it is read: by the agent, within bounds, and by a language model that labels it, whole.

Both readings are completion prompts in the form of ReAct's ALFWorld prompts (Yao et al. 2023, arXiv 2210.03629): what
the world says on lines of its own, commands after ``>``. A prompt ends with ``>``; what completes it is one line with
a space before it. With thoughts, a line ``> think: …`` stands before the command it led to, and is completed by
itself in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from hitl_ops.contracts.text_game import TextGame, TextTurn

PROMPT_END = "\n>"
DROPPED = "..."
THINK = "think:"


@dataclass(frozen=True, slots=True)
class PastTurn:
    """One command and what came of it.

    Attributes:
        command: what was done, one line.
        answer: what the world said to it.
        thought: what led to it; "" where nobody said.
    """

    command: str
    answer: str
    thought: str = ""

    def render(self) -> str:
        """The turn's lines."""
        thought = f"> {THINK} {self.thought}\n" if self.thought else ""
        return f"{thought}> {self.command}\n{self.answer}"


class TextHistory:
    """What has happened in a game so far.

    Args:
        task: the goal, as in ``TextGame.task``.
        opening: what the world said first; it ends with the task.
    """

    def __init__(self, task: str, opening: str) -> None:
        self._task = task
        self.opening = opening.strip()
        self.turns: list[PastTurn] = []

    @classmethod
    def of(cls, game: TextGame, turn: TextTurn) -> TextHistory:
        """That of a game that has just begun with ``turn``."""
        return cls(game.task, turn.text)

    @property
    def task(self) -> str:
        """The goal, as in ``TextGame.task``."""
        return self._task

    def add(self, command: str, answer: str, thought: str = "") -> None:
        """Take in a command, by whomever, and what came of it."""
        self.turns.append(PastTurn(one_line(command), answer.strip(), one_line(thought)))

    def prompt(self, limit_turns: int | None = None) -> str:
        """What the agent reads.

        Args:
            limit_turns: how many of the last turns are told; None = all. The opening with the task always is; turns
                left out are noted by a line ``...``.
        """
        kept = self.turns if limit_turns is None else self.turns[max(0, len(self.turns) - limit_turns) :]
        gap = [] if len(kept) == len(self.turns) else [DROPPED]
        return "\n".join([self.opening, *gap, *(turn.render() for turn in kept)]) + PROMPT_END

    def expert_prompt(self, few_shot: str) -> str:
        """What a language model reads: finished games of the same kind, then all of this one.

        Args:
            few_shot: the finished games as text; may be empty.
        """
        return f"{few_shot.strip()}\n\n{self.prompt()}" if few_shot.strip() else self.prompt()


def completion(command: str) -> str:
    """A command as what completes a prompt: one line after a space."""
    return f" {one_line(command)}"


def thought_completion(thought: str) -> str:
    """A thought as what completes a prompt."""
    return f" {THINK} {one_line(thought)}"


def after_thought(prompt: str, thought: str) -> str:
    """The prompt that goes on after a thought: the same one with its line, ending with ``>`` again."""
    return f"{prompt}{thought_completion(thought)}{PROMPT_END}"


def thought_of(line: str) -> str:
    """The thought of a line that an agent wrote; "" where it wrote none."""
    return one_line(one_line(line).removeprefix(THINK))


def one_line(text: str) -> str:
    """Text without line breaks and double spaces."""
    return " ".join(text.split())
