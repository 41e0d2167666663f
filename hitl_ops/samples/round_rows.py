"""What rounds of games taught an agent, row by row: answers to imitate, or pairs of a better and a worse one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.publish import publish_json, publish_text, publishing
from hitl_ops.records.round_games import RoundGame, RoundPhase, list_round_games, read_round_game
from hitl_ops.samples.replay_buffer import imitated_rows, pairs_from_corrections, preferred_rows

PAIRS_FILE = "pairs.jsonl"
CARD_FILE = "data_card.json"
PLOT_FILE = "pairs.png"
_REMEDY = "materialise preference_pairs again"

RowSource = Literal["rounds", "replay", "corrections"]


class LearnedRow(BaseModel):
    """One row, told by texts; the picture stays with its game."""

    model_config = ConfigDict(extra="forbid")

    row_id: str = Field(description="as in the replay buffer")
    source: RowSource = Field(description="rounds: of this phase; replay: of an earlier one; corrections: annotators'")
    game_id: str
    game: str = Field(description="the game's folder; '' for corrections")
    family: str
    round: int | None = Field(description="None for corrections")
    step: int
    policy_id: str = Field(description="whose answer was judged")
    expert: str = Field(description="who said what is better")
    prompt: str = Field(description="what was read before the answers, the thought that led to them included")
    better: str = Field(description="what completes it: a command, or a thought after `think:`")
    worse: str | None = Field(description="None where the better answer is imitated")
    label_ids: str = Field(default="", description="of corrections: the labels that say so, between commas")


class PairsCard(BaseModel):
    """What stands in ``data_card.json`` beside pairs."""

    model_config = ConfigDict(extra="forbid")

    pairs: int
    games: int = Field(description="games that gave a pair")
    sources: dict[str, int]
    rounds: dict[str, int] = Field(description="pairs of this phase by round")
    families: dict[str, int]
    labelled: int = Field(description="steps of this phase that the expert labelled")
    agreed: int = Field(description="of these, where the agent chose as the expert: they give no pair")
    missing: int = Field(description="steps of this phase at which the expert had no answer")
    alike: int = Field(description="pairs that say the same as an earlier one: prompt, better and worse answer")
    too_long: int = Field(description="corrections left out because the agent cannot read their prompt")
    content_hash: str = Field(description="sha256 of the file of pairs")


def phase_rows(phase: RoundPhase, games: Path, *, replay: Iterable[tuple[str, Path]] = ()) -> list[LearnedRow]:
    """What the games of a phase taught, those that were in its buffer before first.

    Args:
        phase: what was learned in: bc imitates, dpo prefers.
        games: folder of the phase's games.
        replay: name and folder of each earlier game.

    Raises:
        UserError: a game cannot be read.
    """
    rows = [row for name, folder in replay for row in _rows(phase, read_round_game(folder), name)]
    return rows + [row for folder in list_round_games(games, phase) for row in _rows(phase, read_round_game(folder))]


def _rows(phase: RoundPhase, game: RoundGame, source: str = "") -> list[LearnedRow]:
    head = f"{source}/" if source else ""
    return [
        LearnedRow(
            row_id=head + row.row_id,
            source="replay" if source else "rounds",
            game_id=game.result.game_id,
            game=game.name,
            family=game.result.family,
            round=game.result.round,
            step=row.step,
            policy_id=game.result.agent,
            expert=game.result.expert,
            prompt=row.prompt,
            better=row.answers[0].strip(),
            worse=row.answers[1].strip() if phase == "dpo" else None,
        )
        for row in (preferred_rows if phase == "dpo" else imitated_rows)(game)
    ]


def correction_rows(pairs: Sequence[PreferencePair], used: Sequence[str]) -> list[LearnedRow]:
    """Annotators' corrections as rows, those that were used.

    Args:
        pairs: corrections.
        used: ids of the rows made of them that an agent learned from.
    """
    texts = {row.row_id.partition("/")[2]: row for row in pairs_from_corrections(pairs, 1)}
    found = []
    for pair in pairs:
        row = texts.get(pair.pair_id)
        if row is None or row.row_id not in used:
            continue
        found.append(
            LearnedRow(
                row_id=row.row_id,
                source="corrections",
                game_id=pair.episode_id,
                game="",
                family=pair.task_type,
                round=None,
                step=pair.step,
                policy_id=pair.policy_id,
                expert="people",
                prompt=row.prompt,
                better=row.answers[0].strip(),
                worse=row.answers[1].strip(),
                label_ids=pair.label_ids,
            )
        )
    return found


def rows_hash(rows: Iterable[LearnedRow]) -> str:
    """Hash over what was learned, whatever the order."""
    told = sorted(json.dumps([row.row_id, row.prompt, row.better, row.worse]) for row in rows)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def write_pairs(
    folder: Path, rows: Sequence[LearnedRow], *, labelled: int, agreed: int, missing: int, too_long: int = 0
) -> PairsCard:
    """Publish ``pairs.jsonl``, ``data_card.json`` and ``pairs.png``.

    Args:
        folder: where to.
        rows: the pairs.
        labelled: steps of the phase with an answer of the expert.
        agreed: of these, where both chose the same.
        missing: steps without an answer of the expert.
        too_long: corrections that were left out.

    Raises:
        CannotWrite: the place cannot be written.
    """
    text = "".join(row.model_dump_json() + "\n" for row in rows)
    publish_text(folder / PAIRS_FILE, text)
    card = PairsCard(
        pairs=len(rows),
        games=len({row.game_id for row in rows}),
        sources=dict(sorted(Counter[str](row.source for row in rows).items())),
        rounds=dict(sorted(Counter(f"{row.round:02d}" for row in rows if row.source == "rounds").items())),
        families=dict(sorted(Counter(row.family for row in rows).items())),
        labelled=labelled,
        agreed=agreed,
        missing=missing,
        alike=len(rows) - len({(row.prompt, row.better, row.worse) for row in rows}),
        too_long=too_long,
        content_hash=hashlib.sha256(text.encode()).hexdigest(),
    )
    _draw(card, folder / PLOT_FILE)
    publish_json(folder / CARD_FILE, card)
    return card


def read_pairs(folder: Path) -> tuple[list[LearnedRow], PairsCard]:
    """Pairs and their card.

    Raises:
        UserError: a file is missing or damaged.
    """
    try:
        text = (folder / PAIRS_FILE).read_text(encoding="utf-8")
        rows = [LearnedRow.model_validate_json(line) for line in text.split("\n") if line]
        return rows, PairsCard.model_validate_json((folder / CARD_FILE).read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"there are no pairs: '{error.filename}' does not exist", _REMEDY) from None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"pairs in '{folder}' are damaged ({str(error).splitlines()[0]})", _REMEDY) from None


def _draw(card: PairsCard, path: Path) -> None:
    """Draw pairs by round and by family."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, told, title in zip(
        figure.subplots(1, 2), (card.rounds, card.families), ("pairs by round", "pairs by family"), strict=True
    ):
        axes.barh([name.replace("_", " ") for name in told], list(told.values()), color="#0072b2")
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
        axes.invert_yaxis()
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
