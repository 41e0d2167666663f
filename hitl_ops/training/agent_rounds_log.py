"""What rounds came to: per game, per round, in all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publish_text
from hitl_ops.experts.llm_ledger import LLMUsage
from hitl_ops.records.round_games import RoundGameResult, RoundPhase

ROUNDS_FILE = "rounds.jsonl"
SUMMARY_FILE = "summary.json"
CORRECTIONS_FILE = "corrections.json"


class RoundLog(BaseModel):
    """One round; a line of ``rounds.jsonl``."""

    model_config = ConfigDict(extra="forbid")

    phase: RoundPhase
    round: int
    games: int
    success: int
    fail: int
    accuracy: float = Field(description="share of games that were won")
    families: dict[str, str] = Field(description="per family, games won of games played")
    steps: float = Field(description="mean steps of a game")
    agreement: float | None = Field(description="share of labelled steps at which the agent chose as the expert")
    labelled: int = Field(description="steps with an answer of the expert")
    missing: int = Field(description="steps at which the expert had none")
    by_expert: int = Field(description="steps at which the expert's command was given")
    nothing_happened: int = Field(description="commands to which the world had no answer")
    beta: float
    latency_ms: float = Field(description="mean time the agent's choice was waited for")
    expert_latency_ms: float = Field(description="mean time the expert took")
    gradient_steps: int = Field(description="taken in the phase up to the end of the round")
    buffer: int = Field(description="rows in the replay buffer at the end of the round")
    loss: float | None = Field(default=None, description="mean over the round's gradient steps")
    NLL: float | None = None
    W_reward: float | None = None
    L_reward: float | None = None
    val_accuracy: float | None = Field(default=None, description="share of the validation games it won after the round")
    val_agreement: float | None = Field(
        default=None, description="share of their labelled steps at which it chose as the expert"
    )
    expert_usage: LLMUsage | None = Field(default=None, description="what the expert cost up to the end of the round")


class RoundsSummary(BaseModel):
    """What stands in a phase's ``summary.json``."""

    model_config = ConfigDict(extra="forbid")

    phase: RoundPhase
    finished: bool = Field(description="whether all rounds were played and learned from")
    stopped: str = Field(default="", description="why not, in one line")
    rounds: list[RoundLog]
    games: int = Field(description="games on disk, those of an unfinished round included")
    gradient_steps: int
    start: str = Field(description="policy id of the agent as the phase began")
    start_weights: str = Field(description="sha256 of its weights' file; '' where it came from no folder")
    policy_id: str = Field(description="policy id of the agent as it is now")
    agent: str = Field(description="the folder it lies in, within the phase's; '' while rounds are missing")
    expert_usage: LLMUsage | None = None
    config: dict[str, Any]


class Corrections(BaseModel):
    """What stands in a phase's ``corrections.json``: annotators' corrections of another program among its pairs."""

    model_config = ConfigDict(extra="forbid")

    used: list[str] = Field(default_factory=list, description="ids of the pairs")
    too_long: int = Field(default=0, description="corrections whose prompt is longer than the agent reads")


def round_log(
    results: Sequence[RoundGameResult],
    training: Sequence[Mapping[str, Any]],
    *,
    gradient_steps: int,
    buffer: int,
    usage: LLMUsage | None,
    validation: Sequence[RoundGameResult] = (),
) -> RoundLog:
    """Sum a round up.

    Args:
        results: how its games ended, at least one.
        training: lines of the training log that belong to it.
        gradient_steps: taken in the phase so far.
        buffer: rows in the replay buffer.
        usage: what the expert has cost so far.
        validation: how the validation games after it ended.
    """
    won, played = Counter[str](), Counter[str]()
    for result in results:
        played[result.family] += 1
        won[result.family] += result.success
    success, steps = sum(won.values()), sum(result.steps for result in results)
    labelled = sum(result.labelled for result in results)
    return RoundLog(
        phase=results[0].phase,
        round=results[0].round,
        games=len(results),
        success=success,
        fail=len(results) - success,
        accuracy=success / len(results),
        families={family: f"{won[family]}/{played[family]}" for family in sorted(played)},
        steps=steps / len(results),
        agreement=_agreement(results),
        labelled=labelled,
        missing=sum(result.missing for result in results),
        by_expert=sum(result.by_expert for result in results),
        nothing_happened=sum(result.nothing_happened for result in results),
        beta=results[0].beta,
        latency_ms=sum(result.latency_ms * result.steps for result in results) / max(1, steps),
        expert_latency_ms=sum(result.expert_latency_ms * result.steps for result in results) / max(1, steps),
        gradient_steps=gradient_steps,
        buffer=buffer,
        val_accuracy=sum(result.success for result in validation) / len(validation) if validation else None,
        val_agreement=_agreement(validation),
        expert_usage=usage,
        **{name: _mean(training, name) for name in ("loss", "NLL", "W_reward", "L_reward")},
    )


def _agreement(results: Sequence[RoundGameResult]) -> float | None:
    labelled = sum(result.labelled for result in results)
    return sum(result.agreed for result in results) / labelled if labelled else None


def _mean(lines: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(line[name]) for line in lines if line.get(name) is not None]
    return sum(values) / len(values) if values else None


def write_round(folder: Path, log: RoundLog, results: Sequence[RoundGameResult]) -> bool:
    """Publish a round's line in ``rounds.jsonl`` and its games in ``env_results_round_<round>.json``.

    Of a line of the same round that is there already, what the expert had cost by then stays.

    Returns:
        Whether the round is new.

    Raises:
        UserError: the log is damaged.
        CannotWrite: the disk is full or the place cannot be written.
    """
    games = {
        f"{result.game:04d}": {
            "name": result.game_id,
            "family": result.family,
            "is_success": result.success,
            "steps": result.steps,
            "agreement": result.agreement,
            "missing": result.missing,
        }
        for result in results
    }
    publish_json(folder / f"env_results_round_{log.round:02d}.json", games)
    known = {line.round: line for line in read_rounds(folder)}
    before = known.get(log.round)
    known[log.round] = log if before is None else log.model_copy(update={"expert_usage": before.expert_usage})
    lines = [known[number].model_dump_json() + "\n" for number in sorted(known)]
    publish_text(folder / ROUNDS_FILE, "".join(lines))
    return before is None


def read_rounds(folder: Path) -> list[RoundLog]:
    """The rounds of a phase, in order; none where nothing was finished yet.

    Raises:
        UserError: the log is damaged.
    """
    file = folder / ROUNDS_FILE
    if not file.is_file():
        return []
    try:
        return [RoundLog.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"'{file}' is damaged ({str(error).splitlines()[0]})", "remove it and run again") from None


def read_rounds_summary(folder: Path) -> RoundsSummary:
    """What a phase came to.

    Raises:
        UserError: there is none in the folder, or it is damaged.
    """
    file = folder / SUMMARY_FILE
    try:
        return RoundsSummary.model_validate(json.loads(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"there are no finished rounds in '{folder}'", "play them first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{file}' cannot be read ({str(error).splitlines()[0]})", "remove it and run again") from None


def read_corrections(phase: Path) -> Corrections:
    """The corrections among a phase's pairs; none where nobody named any.

    Raises:
        UserError: the note is damaged.
    """
    file = phase / CORRECTIONS_FILE
    try:
        return Corrections.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Corrections()
    except (OSError, ValidationError):
        raise UserError(f"'{file}' is damaged", "remove the phase's folder and play it again") from None
