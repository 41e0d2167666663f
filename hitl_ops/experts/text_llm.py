"""The ``llm`` expert of household text games: a chat model that reads what was said and names the next command.

It sees text only: finished games of the same family, then the game so far (the form of ReAct, Yao et al. 2023, arXiv
2210.03629). Its answer is a label, so where it has none that can be carried out, there is none: nothing is made up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.text_game import GameHistory, TextGame, TextTurn, TextWorld
from hitl_ops.experts.llm_client import LLMClientConfig, Message
from hitl_ops.experts.text_few_shot import few_shot_games
from hitl_ops.experts.text_reply import parse_text_reply

if TYPE_CHECKING:
    from hitl_ops.experts.llm_client import LLMClient
    from hitl_ops.experts.llm_ledger import LLMUsage

_COMMANDS = """\
Commands: go to PLACE; take THING from PLACE; put THING in/on PLACE; open PLACE; close PLACE; clean THING with PLACE;
heat THING with PLACE; cool THING with PLACE; use LIGHT; examine THING; look; inventory.
Say names as the game does, each with its number: mug 1, fridge 1. You can hold one thing at a time."""

SYSTEM_PROMPT = f"""\
You are the player of a household text game. You are shown the game up to now; write the command to enter next.
Write exactly one command on one line. Leave out the ">", explanations, quotes, Markdown and everything that would \
come later.
{_COMMANDS}"""

THOUGHT_PROMPT = f"""\
You are the player of a household text game. You are shown the game up to now; write what you think and the command to \
enter next.
Write exactly two lines: first "think: " and one short sentence, then exactly one command. Leave out the ">", \
explanations, quotes, Markdown and everything that would come later.
{_COMMANDS}"""


class LLMTextConfig(StrictConfig):
    """A language model that labels household text games."""

    client: LLMClientConfig = Field(description="the endpoint; max_tokens of 100 is plenty for a line")
    few_shot: int = Field(default=2, ge=0, le=8, description="finished games of the same family that it is shown first")
    temperatures: tuple[float, ...] = Field(
        default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        min_length=1,
        max_length=6,
        description="temperature of each try at one label, while answers are empty or cannot be carried out",
    )
    explain_refusals: bool = Field(
        default=True,
        description="before the next try, show the model its answer and the commands that can be carried out; what was "
        "said so is forgotten afterwards",
    )
    thoughts: bool = Field(
        default=False, description="ask for a line of thought before the command (thought chains; enable_tc)"
    )


class LLMTextExpert:
    """Labels one game at a time; several experts may share a client.

    Args:
        config: how it is asked.
        client: the endpoint.
        few_shot: finished games of a family as text; by default those of ``text_few_shot``, as many as configured.

    Attributes:
        thinks: whether it is asked for thoughts.
        thought: what the model thought before its last answer; "" where it did not say.
        labels: questions it had an answer to.
        missing: questions it had none to.
        tries: requests made, answers from the cache included.
    """

    def __init__(self, config: LLMTextConfig, client: LLMClient, few_shot: Callable[[str], str] | None = None) -> None:
        self.config = config
        self.client = client
        self.policy_id = f"llm:{config.client.model}"
        self.thinks = config.thoughts
        self.thought = ""
        self.labels = 0
        self.missing = 0
        self.tries = 0
        self._examples = few_shot or functools.partial(few_shot_games, count=config.few_shot, thoughts=config.thoughts)
        self._few_shot = ""

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """Begin a game; the world is not looked into."""
        self._few_shot = self._examples(game.family)
        self.thought = ""

    def label(self, history: GameHistory, turn: TextTurn) -> str | None:
        """The command the model would enter now.

        Returns:
            One of ``turn.admissible``; None where none of the tries named one.

        Raises:
            BudgetExhausted: the budget does not suffice for another request.
            UserError: the endpoint fails for good.
        """
        self.thought = ""
        system = THOUGHT_PROMPT if self.config.thoughts else SYSTEM_PROMPT
        messages: list[Message] = [
            {"role": "system", "content": system},
            {"role": "user", "content": history.expert_prompt(self._few_shot)},
        ]
        aside: list[Message] = []
        for attempt, temperature in enumerate(self.config.temperatures):
            # No stop sequences: answers that begin with a line break would come back empty.
            answer = self.client.complete([*messages, *aside], temperature=temperature, attempt=attempt)
            self.tries += 1
            reply = parse_text_reply(answer.text, turn.admissible)
            if reply.command is not None:
                self.thought = reply.thought if self.config.thoughts else ""
                self.labels += 1
                return reply.command
            if self.config.explain_refusals and answer.text.strip():
                aside = [
                    {"role": "assistant", "content": answer.text.strip()},
                    {"role": "user", "content": refusal(turn)},
                ]
        self.missing += 1
        return None

    def executed(self, command: str, turn: TextTurn) -> None:
        """Nothing to remember: the history tells what was done."""

    def usage(self) -> LLMUsage:
        """What all who share the client have asked and paid for so far, reruns included."""
        return self.client.usage()


def refusal(turn: TextTurn) -> str:
    """What the model is told when its answer cannot be carried out."""
    return (
        "That is not a command that can be carried out now. These can:\n"
        + "\n".join(turn.admissible)
        + "\nWrite one of them, on one line, and nothing else."
    )
