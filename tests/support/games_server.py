"""A real server of the games page in a process of its own, games to show, and somebody who asks for them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from hitl_ops.contracts.store import Store
from hitl_ops.records.round_games import RoundGame, RoundGameResult, RoundPhase, RoundStep, write_round_game
from tests.support.server_process import ServerProcess, running

TASK = "put a clean mug in desk."
OPENING = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a countertop 1, a desk 1, "
    f"a fridge 1 and a sinkbasin 1.\n\nYour task is to: {TASK}"
)
# What the agent does, what the expert would have done, and what the world says to what is done.
COURSE: tuple[tuple[str, str | None, str], ...] = (
    ("go to countertop 1", "go to countertop 1", "On the countertop 1, you see a apple 1, a knife 1 and a mug 2."),
    ("take apple 1 from countertop 1", "take mug 2 from countertop 1", "You pick up the mug 2 from the countertop 1."),
    ("go to fridge 1", None, "The fridge 1 is closed."),
    ("clean mug 2 with fridge 1", "go to sinkbasin 1", "Nothing happens."),
    ("go to sinkbasin 1", "go to sinkbasin 1", "On the sinkbasin 1, you see nothing."),
    ("clean mug 2 with sinkbasin 1", "clean mug 2 with sinkbasin 1", "You clean the mug 2 using the sinkbasin 1."),
    ("go to desk 1", "go to desk 1", "On the desk 1, you see a book 1."),
    ("put mug 2 in/on desk 1", "put mug 2 in/on desk 1", "You put the mug 2 in/on the desk 1."),
)
BY_EXPERT = 1
"""The step at which the expert's command was given."""


def games_folder(home: Path, iteration: int = 0, part: str = "") -> Path:
    """Where the games of an iteration's part lie."""
    return Store.at(home).iteration("dagger", iteration).rollouts / part / "games"


def painted(step: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture that tells its step by its colour, uint8 [size, size, 3]."""
    picture = np.full((size, size, 3), 60, dtype=np.uint8)
    picture[: size // 2] = (10 * step + 5, 120, 200)
    picture[size // 4 : size // 2, size // 4 : size // 2] = (250, 210, 40)
    return picture


def shown_game(
    home: Path,
    game: int = 0,
    *,
    iteration: int = 0,
    part: str = "",
    phase: RoundPhase = "bc",
    round_number: int = 0,
    won: bool = True,
    course: Sequence[tuple[str, str | None, str]] = COURSE,
    thoughts: bool = False,
    task: str = TASK,
    size: int = 64,
) -> RoundGame:
    """Write a finished game."""
    steps: list[RoundStep] = []
    prompt = OPENING.replace(TASK, task)
    for number, (agent, expert, response) in enumerate(course):
        by_expert = number == BY_EXPERT and expert is not None
        executed = expert if by_expert and expert is not None else agent
        steps.append(
            RoundStep(
                step=number,
                prompt=f"{prompt}\n>",
                turn=steps[-1].response if steps else prompt,
                admissible=tuple(sorted({agent, expert or "look", "inventory", "examine desk 1", "look"})),
                agent_reply=f" {agent}",
                agent_action=agent,
                agent_thought=f"agent's thought {number}" if thoughts else "",
                expert_action=expert,
                expert_thought=f"expert's thought {number}" if thoughts and expert is not None else "",
                executed_by="expert" if by_expert else "agent",
                executed=executed,
                response=response,
                latency_ms=12.5 + number,
                expert_latency_ms=0.4,
                logprob=-0.25 * (number + 1),
            )
        )
        prompt += f"\n> {executed}\n{response}"
    labelled = [step for step in steps if step.expert_action is not None]
    result = RoundGameResult(
        game_id=f"shown-{game}",
        family="pick_clean_then_place_in_recep",
        split="train",
        world="household",
        task=task,
        phase=phase,
        round=round_number,
        game=game,
        success=won,
        steps=len(steps),
        labelled=len(labelled),
        missing=len(steps) - len(labelled),
        agreed=sum(bool(step.agrees) for step in labelled),
        by_expert=sum(step.executed_by == "expert" for step in steps),
        nothing_happened=sum(step.response == "Nothing happens." for step in steps),
        beta=0.2,
        agent="dagger-000-3f9c1a",
        agent_step=120,
        expert="searcher-0",
        latency_ms=16.0,
        expert_latency_ms=0.4,
        seed=0,
    )
    pictures = np.stack([painted(step.step, size) for step in steps])
    return write_round_game(games_folder(home, iteration, part), steps, pictures, result)


class GamesServer(ServerProcess):
    """``flywheel games`` as somebody would start it.

    Args:
        home: the store's root.
        options: further words of the command line.
        settings: ``--set`` values.
        port: where it listens; 0 takes a free one.
    """

    log_name = "games"
    start_within_s = 120.0

    def __init__(self, home: Path, *options: str, port: int = 0, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(home, ["games", "--port", str(port), *options], settings, page=True)

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"games +(https?://[^\s/]+)/games#(\S+)", said)
        if address is None:
            return False
        self.url, self.invitation = address[1], address[2]
        return True

    @property
    def link(self) -> str:
        """Lets people in."""
        return f"{self.url}/games#{self.invitation}"

    def ask(self, path: str, **keywords: Any) -> httpx.Response:
        """A request below ``/api/games/``, with the token."""
        headers = {"authorization": f"Bearer {self.invitation}"}
        return httpx.get(f"{self.url}/api/games/{path}", headers=headers, timeout=30, **keywords)

    def listed(self, **wanted: Any) -> list[str]:
        """The ids of the games that the list tells."""
        answer = self.ask("list", params=wanted)
        assert answer.status_code == 200, answer.text
        return [game["id"] for game in answer.json()["games"]]


@contextlib.contextmanager
def games_server(home: Path, *options: str, **keywords: Any) -> Iterator[GamesServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    with running(GamesServer(home, *options, **keywords)) as server:
        yield server
