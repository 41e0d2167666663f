"""From what PPO left to a policy that can serve: where it comes from, and the card beside its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json, publishing, sweep_temporaries
from hitl_ops.labels.preferences import Preference
from hitl_ops.models.planner_lm import CARD_FILE
from hitl_ops.models.reach_policy import WEIGHTS_FOLDER
from hitl_ops.samples.provenance import PROVENANCE_FILE
from hitl_ops.training.ppo import SUMMARY_FILE, PPOSummary

if TYPE_CHECKING:
    from hitl_ops.training.reward_data import PreferenceData

SOURCE, HELD_OUT, LEFT_OUT = "preference", "preference_held_out", "preference_left_out"
"""What a comparison was to a reward: learned from, kept to see how well it learned, or nothing to learn from."""


def read_ppo_summary(folder: Path) -> PPOSummary:
    """What a training in a folder came to.

    Raises:
        UserError: it has not come to its end, or its summary is damaged.
    """
    file = folder / SUMMARY_FILE
    try:
        return PPOSummary.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no finished training in '{folder}'", "go on with it: run it again") from None
    except (OSError, ValidationError) as error:
        raise UserError(f"'{file}' cannot be read: {str(error).splitlines()[0]}", "train the policy anew") from None


def publish_reach_policy(
    folder: Path,
    words: Sequence[Preference],
    data: PreferenceData | None,
    *,
    program: str,
    iteration: int,
    code_version: str,
) -> PolicyCard:
    """Publish ``provenance.parquet`` and ``card.json`` beside the weights of a finished training.

    The card is written last, and an older one is taken away first: where there is a card, all belong together.

    Args:
        folder: the training's.
        words: the comparisons that its reward was given; none where it was the world's own.
        data: what the reward made of them; None where there are none.
        program: the program the policy belongs to.
        iteration: the iteration it belongs to.
        code_version: version of the code that trained it.

    Raises:
        UserError: the training has not come to its end.
        CannotWrite: the folder cannot be written.
    """
    trained = read_ppo_summary(folder)
    if not (folder / WEIGHTS_FOLDER).is_dir():
        raise UserError(f"there are no weights in '{folder}'", "go on with the training: run it again")
    sweep_temporaries(folder)
    (folder / CARD_FILE).unlink(missing_ok=True)
    rows = provenance_rows(words, data)
    _write_provenance(rows, folder / PROVENANCE_FILE)
    figures = {"reward": trained.reward_mean, "true_return": trained.true_return, "spread": trained.spread}
    card = PolicyCard(
        program=program,
        iteration=iteration,
        parent=trained.parent,
        samples_hash=trained.reward,
        sample_counts=dict(Counter(row["source"] for row in rows)),
        config={"ppo": trained.config, "world": trained.world},
        prompt_style="plain",
        metrics={name: float(value) for name, value in figures.items() if value is not None},
        code_version=code_version,
    )
    publish_json(folder / CARD_FILE, card)
    return card


def provenance_rows(words: Sequence[Preference], data: PreferenceData | None) -> list[dict[str, Any]]:
    """One row a comparison: which pair, in which iteration, by which label, and how much the reward made of it.

    Args:
        words: the comparisons.
        data: what was learned from them; None where there are none.
    """
    used: dict[int, tuple[str, float]] = {}
    if data is not None:
        held_out = [bool(one) for one in data.validation]
        for label, weight, out in zip(data.label_ids, data.weights, held_out, strict=True):
            used[label] = (HELD_OUT, 0.0) if out else (SOURCE, round(float(weight), 6))
    rows = []
    for word in words:
        source, weight = used.get(word.label_id, (LEFT_OUT, 0.0))
        rows.append(
            {
                "sample_id": f"{word.said.pair_id}{'/again' if word.said.repeat else ''}/{word.annotator}",
                "source": source,
                "iteration": word.iteration,
                "episode_id": word.said.pair_id,
                "trace": "",
                "step": 0,
                "policy_id": "",
                "label_id": str(word.label_id),
                "weight": weight,
            }
        )
    return rows


def _write_provenance(rows: list[dict[str, Any]], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("sample_id", "source", "episode_id", "trace", "policy_id", "label_id")
    numbers = {"iteration": pa.int64(), "step": pa.int64(), "weight": pa.float64()}
    order = ("sample_id", "source", "iteration", "episode_id", "trace", "step", "policy_id", "label_id", "weight")
    schema = pa.schema([(name, pa.string() if name in texts else numbers[name]) for name in order])
    with publishing(file) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd", write_page_checksum=True)
