"""From what a phase of rounds left to a policy that can serve: weights, where they come from, and the card."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import disk_errors_named, publish_json, publishing, sweep_temporaries
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card
from hitl_ops.samples.provenance import PROVENANCE_FILE
from hitl_ops.samples.round_rows import LearnedRow, rows_hash
from hitl_ops.training.agent_rounds import AGENT
from hitl_ops.training.agent_rounds_log import read_rounds_summary

_TEXTS = ("sample_id", "source", "episode_id", "trace", "policy_id", "label_id")
_ORDER = ("sample_id", "source", "iteration", "episode_id", "trace", "step", "policy_id", "label_id", "weight")


def publish_agent_policy(
    phase: Path,
    policy: Path,
    rows: Sequence[LearnedRow],
    *,
    program: str,
    iteration: int,
    parent: str,
    code_version: str,
) -> PolicyCard:
    """Publish a finished phase's agent as a policy: ``merged/``, ``provenance.parquet`` and ``card.json``.

    The card is written last, and an older one is taken away first: where there is a card, all belong together.

    Args:
        phase: the phase's folder.
        policy: the policy's; of this policy alone.
        rows: what the phase learned from.
        program: the program the policy belongs to.
        iteration: the iteration it belongs to.
        parent: id of the policy or the base model the phase began with.
        code_version: version of the code that trained it.

    Raises:
        UserError: the phase has not come to its end.
        CannotWrite: the folder cannot be written.
    """
    summary = read_rounds_summary(phase)
    agent = phase / AGENT
    if not summary.finished or not agent.is_dir():
        raise UserError(f"the rounds in '{phase}' are not through", "go on with them: run them again")
    from hitl_ops.models.vision_agent_files import read_agent_facts

    facts = read_agent_facts(agent)
    policy.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(policy)
    (policy / CARD_FILE).unlink(missing_ok=True)
    _copy(agent, policy / MERGED_FOLDER)
    _write_provenance(rows, iteration, policy / PROVENANCE_FILE)
    last = summary.rounds[-1]
    metrics = {"round_success": last.accuracy, "round_agreement": last.agreement, "loss": last.loss}
    card = PolicyCard(
        program=program,
        iteration=iteration,
        parent=parent,
        samples_hash=rows_hash(rows),
        sample_counts=dict(sorted(Counter(sample_source(row) for row in rows).items())),
        config={
            "rounds": summary.config,
            "agent": facts.config.model_dump(mode="json"),
            "weights": facts.policy_id,
            "start": summary.start,
        },
        prompt_style="text_game",
        metrics={name: round(float(value), 6) for name, value in metrics.items() if value is not None},
        code_version=code_version,
    )
    publish_json(policy / CARD_FILE, card)
    return card


def take_over_policy(source: Path, policy: Path) -> PolicyCard:
    """Publish a policy that is there already in another folder, as it is.

    Args:
        source: folder of the policy: weights, card, provenance.
        policy: the folder to fill.

    Raises:
        UserError: the source is not whole.
        CannotWrite: the folder cannot be written.
    """
    card = read_card(source)
    if not (source / MERGED_FOLDER).is_dir():
        raise UserError(f"the weights of '{card.policy_id}' are gone ('{source}')", "restore them")
    policy.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(policy)
    (policy / CARD_FILE).unlink(missing_ok=True)
    _copy(source / MERGED_FOLDER, policy / MERGED_FOLDER)
    (policy / PROVENANCE_FILE).unlink(missing_ok=True)
    if (source / PROVENANCE_FILE).is_file():
        with publishing(policy / PROVENANCE_FILE) as temporary:
            shutil.copyfile(source / PROVENANCE_FILE, temporary)
    publish_json(policy / CARD_FILE, card)
    return card


def sample_source(row: LearnedRow) -> str:
    """What a row is called in provenance: ``imitation`` or ``preference``, and where it is not of the phase's own
    games, whence it comes.
    """
    kind = "imitation" if row.worse is None else "preference"
    return kind if row.source == "rounds" else f"{kind}_{row.source}"


def _copy(source: Path, target: Path) -> None:
    with disk_errors_named(target), publishing(target) as temporary:
        shutil.copytree(source, temporary, copy_function=shutil.copyfile)


def _write_provenance(rows: Sequence[LearnedRow], iteration: int, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {**dict.fromkeys(_TEXTS, pa.string()), "iteration": pa.int64(), "step": pa.int64(), "weight": pa.float64()}
    told = [
        {
            "sample_id": row.row_id,
            "source": sample_source(row),
            "iteration": _iteration_of(row, iteration),
            "episode_id": row.game_id,
            "trace": row.game,
            "step": row.step,
            "policy_id": row.policy_id,
            "label_id": row.label_ids,
            "weight": 1.0,
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(told, pa.schema([(name, kinds[name]) for name in _ORDER]))
    with publishing(file) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _iteration_of(row: LearnedRow, iteration: int) -> int:
    """The iteration a row's game was played in: an earlier one's games are named after it, ``000-bc/…``."""
    head = row.row_id.partition("-")[0]
    return int(head) if row.source == "replay" and head.isascii() and head.isdigit() else iteration
