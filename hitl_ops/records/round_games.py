"""Finished text games of a round: one folder a game, published whole and never changed.

``steps.jsonl`` has a line for each step, ``pictures.safetensors`` what the agent saw at each, ``result.json`` how it
ended. A folder that is there is a finished game; a game cut off leaves none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publishing

STEPS_FILE = "steps.jsonl"
PICTURES_FILE = "pictures.safetensors"
RESULT_FILE = "result.json"
PICTURES = "pictures"
_NAME = re.compile(r"^(bc|dpo)-(\d{2,})-(\d{4,})$")
_REMEDY = "remove the game's folder; it is then played again"

RoundPhase = Literal["bc", "dpo"]


class RoundStep(BaseModel):
    """One step of a game: what was seen, what the agent and the expert would do, what was done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0, description="from 0")
    prompt: str = Field(description="as the agent read it")
    turn: str = Field(description="what the world had said last")
    admissible: tuple[str, ...] = Field(description="commands that could be carried out")
    agent_reply: str = Field(description="the agent's raw text")
    agent_action: str = Field(description="the command it stands for")
    agent_thought: str = ""
    expert_action: str | None = Field(description="the label; None = the expert had no answer")
    expert_thought: str = ""
    executed_by: Literal["agent", "expert"]
    executed: str = Field(description="the command that was given")
    response: str = Field(description="what the world answered")
    latency_ms: float = Field(ge=0, description="of the agent's choice; a batch's time is shared out")
    expert_latency_ms: float = Field(default=0.0, ge=0)
    logprob: float | None = Field(default=None, description="log-probability of the agent's answer, nats")

    @property
    def agrees(self) -> bool | None:
        """Whether the agent would have done as the expert; None where there is no label."""
        return None if self.expert_action is None else self.agent_action == self.expert_action


class RoundGameResult(BaseModel):
    """How a game ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    game_id: str
    family: str
    split: str
    world: str
    task: str
    phase: RoundPhase
    round: int = Field(ge=0)
    game: int = Field(ge=0, description="number within the round")
    success: bool
    steps: int = Field(ge=0)
    labelled: int = Field(ge=0, description="steps with an answer of the expert")
    missing: int = Field(ge=0, description="steps at which the expert had no answer")
    agreed: int = Field(ge=0, description="labelled steps at which the agent chose the same")
    by_expert: int = Field(ge=0, description="steps at which the expert's command was given")
    nothing_happened: int = Field(ge=0, description="commands to which the world had no answer")
    beta: float = Field(ge=0, le=1, description="mixing coefficient the game was played with")
    agent: str = Field(description="policy id of the agent")
    agent_step: int = Field(ge=0, description="gradient steps it had taken")
    expert: str = Field(description="policy id of the expert")
    latency_ms: float = Field(ge=0, description="mean time of the agent's choices")
    expert_latency_ms: float = Field(ge=0, description="mean time of the expert's answers")
    seed: int

    @property
    def agreement(self) -> float | None:
        """Share of labelled steps at which the agent chose as the expert; None without labels."""
        return self.agreed / self.labelled if self.labelled else None


@dataclass(frozen=True, eq=False)
class RoundGame:
    """A finished game.

    Attributes:
        name: ``<phase>-<round>-<game>``, its folder's name.
        steps: in order.
        result: how it ended.
        folder: where it lies.
    """

    name: str
    steps: tuple[RoundStep, ...]
    result: RoundGameResult
    folder: Path

    def step_id(self, step: int) -> str:
        """The step's stable id: phase/round/game/step."""
        return f"{self.result.phase}/{self.result.round:02d}/{self.result.game:04d}/{step:03d}"

    def pictures(self, steps: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """What the agent saw at the named steps (all by default), uint8 [n, size, size, 3].

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_pictures(self.folder, steps)


def game_name(phase: RoundPhase, round_number: int, game: int) -> str:
    """The name of a game's folder."""
    return f"{phase}-{round_number:02d}-{game:04d}"


def write_round_game(
    folder: Path, steps: Sequence[RoundStep], pictures: NDArray[np.uint8], result: RoundGameResult
) -> RoundGame:
    """Publish a finished game as ``<folder>/<phase>-<round>-<game>``, whole or not at all.

    Args:
        folder: where the games lie.
        steps: in order.
        pictures: uint8 [len(steps), size, size, 3].
        result: how it ended.

    Raises:
        ValueError: steps, pictures and result do not belong together.
        CannotWrite: the disk is full or the place cannot be written.
    """
    from safetensors.numpy import save_file

    if [step.step for step in steps] != list(range(len(steps))) or len(steps) != result.steps:
        raise ValueError(f"game {result.game_id}: {len(steps)} steps out of order, {result.steps} in the result")
    _check_pictures(pictures, len(steps))
    target = folder / game_name(result.phase, result.round, result.game)
    with publishing(target) as temporary:
        temporary.mkdir()
        text = "".join(step.model_dump_json() + "\n" for step in steps)
        (temporary / STEPS_FILE).write_text(text, encoding="utf-8")
        save_file({PICTURES: np.ascontiguousarray(pictures)}, temporary / PICTURES_FILE)
        publish_json(temporary / RESULT_FILE, result)
    return RoundGame(target.name, tuple(steps), result, target)


def read_round_game(folder: Path) -> RoundGame:
    """Read a finished game; its pictures stay on disk until they are asked for.

    Raises:
        UserError: a file is missing or damaged, or they do not belong together.
    """
    result = read_result(folder)
    steps: list[RoundStep] = []
    try:
        # Not splitlines: a reply may hold what Unicode takes for a line's end.
        lines = (folder / STEPS_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{folder / STEPS_FILE}' cannot be read ({_brief(error)})", _REMEDY) from None
    for number, line in enumerate(lines, start=1):
        try:
            steps.append(RoundStep.model_validate_json(line))
        except ValidationError as error:
            raise UserError(f"'{folder / STEPS_FILE}', line {number}: {_brief(error)}", _REMEDY) from None
    if [step.step for step in steps] != list(range(result.steps)):
        raise UserError(f"game '{folder}' has {len(steps)} steps, its result says {result.steps}", _REMEDY)
    return RoundGame(folder.name, tuple(steps), result, folder)


def read_result(folder: Path) -> RoundGameResult:
    """How a finished game ended.

    Raises:
        UserError: the file is missing or damaged, or the folder bears another game's name.
    """
    file = folder / RESULT_FILE
    try:
        result = RoundGameResult.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"'{file}' cannot be read ({_brief(error)})", _REMEDY) from None
    if game_name(result.phase, result.round, result.game) != folder.name:
        raise UserError(f"game '{folder}' bears another game's name", _REMEDY)
    return result


def read_pictures(folder: Path, steps: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Pictures of a finished game, uint8 [n, size, size, 3]; only those asked for are read.

    Raises:
        UserError: the file is missing or damaged, or has no such step.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / PICTURES_FILE
    try:
        with safe_open(str(path), framework="numpy") as file:
            whole = file.get_slice(PICTURES)
            count, *shape = whole.get_shape()
            wanted = range(count) if steps is None else steps
            if any(not 0 <= step < count for step in wanted):
                raise UserError(f"'{path}' has {count} pictures, not number {max(wanted)}", _REMEDY)
            found: NDArray[Any] = np.empty((len(wanted), *shape), dtype=np.uint8)
            for place, step in enumerate(wanted):
                found[place] = whole[step : step + 1][0]
    except (OSError, SafetensorError) as error:
        raise UserError(f"the pictures '{path}' cannot be read ({_brief(error)})", _REMEDY) from None
    return found


def list_round_games(folder: Path, phase: RoundPhase | None = None) -> list[Path]:
    """Folders of finished games, by round and game; what killed writers left is passed over."""
    if not folder.is_dir():
        return []
    named = ((_NAME.match(path.name), path) for path in folder.iterdir() if path.is_dir())
    found = [
        ((match[1], int(match[2]), int(match[3])), path) for match, path in named if match and phase in (None, match[1])
    ]
    return [path for _, path in sorted(found)]


def _check_pictures(pictures: NDArray[np.uint8], count: int) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[0] != count or pictures.shape[3] != 3:
        raise ValueError(f"{count} pictures uint8 [size, size, 3] are wanted, got {pictures.dtype} {pictures.shape}")


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"field '{place}': {first['msg']}" if place else first["msg"]
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
