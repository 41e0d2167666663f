"""From what a training left to a policy that robots are served with: weights, provenance, and the card beside them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json, publishing, sweep_temporaries
from hitl_ops.models.action_model import WEIGHTS_FILE, read_policy_facts
from hitl_ops.models.planner_lm import CARD_FILE
from hitl_ops.models.robot_policy import WEIGHTS_FOLDER
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.provenance import PROVENANCE_FILE
from hitl_ops.training.action_policy import ActionTrainSummary

DEMONSTRATION, STATION = "demonstration", "station"


def publish_robot_policy(
    trained: ActionTrainSummary,
    dataset: Path,
    folder: Path,
    *,
    program: str,
    iteration: int,
    code_version: str,
    parent: str,
) -> PolicyCard:
    """Publish what was trained as ``folder/merged``, ``folder/provenance.parquet``, ``folder/card.json``.

    The card is written last, and an older one is taken away first: where there is a card, all three belong together.

    Args:
        trained: what the training in ``folder`` did.
        dataset: the LeRobot data set it learned from.
        folder: the training's folder; afterwards a policy that can be served.
        program: the program the policy belongs to.
        iteration: the iteration it belongs to.
        code_version: version of the code that trained it.
        parent: policy id, or base model, that the training started from.

    Raises:
        UserError: the training has not come to its end, its weights or the data set are gone, or the disk is full.
    """
    source = folder / trained.trained
    if not trained.finished or not (source / WEIGHTS_FILE).is_file():
        raise UserError(f"the training in '{folder}' has not come to its end", "go on with it: run it again")
    sweep_temporaries(folder)
    (folder / CARD_FILE).unlink(missing_ok=True)
    with publishing(folder / WEIGHTS_FOLDER) as temporary:
        # Linked, not copied: a vision-language-action policy is gigabytes.
        shutil.copytree(source, temporary, copy_function=_link)
    _write_provenance(dataset, folder / PROVENANCE_FILE)
    counts = {"good": trained.frames_good, "bad": trained.frames_bad, "untold": trained.frames_untold}
    figures = {"train_loss": trained.train_loss, "validation_loss": trained.validation_loss}
    card = PolicyCard(
        program=program,
        iteration=iteration,
        parent=parent,
        samples_hash=trained.data_hash,
        sample_counts={name: count for name, count in counts.items() if count},
        config=trained.config,
        prompt_style=_prompt_style(source),
        metrics={name: float(value) for name, value in figures.items() if value is not None},
        code_version=code_version,
    )
    publish_json(folder / CARD_FILE, card)
    return card


def _prompt_style(weights: Path) -> str:
    """How a policy is told to act well: ``plain`` never, ``advantage`` by a verdict's words, else the very prompt."""
    facts = read_policy_facts(weights)
    if facts.advantage == "none":
        return "plain"
    return "advantage" if facts.style.name == "verdict" else facts.style.prompt(facts.task, True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _write_provenance(dataset: Path, file: Path) -> None:
    """One row an episode: which recording, by which policy, in which iteration, and what was said of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for entry in open_lerobot(dataset).entries():
        facts = entry.facts
        episode, iteration = str(facts.get("episode_id", entry.index)), int(facts.get("iteration", 0))
        rows.append(
            {
                "sample_id": episode,
                "source": STATION if iteration else DEMONSTRATION,
                "iteration": iteration,
                "episode_id": episode,
                "trace": str(facts.get("file", "")),
                "step": 0,
                "policy_id": str(facts.get("policy_id", "")),
                "label_id": str(facts.get("label_id", "")),
                "weight": 1.0,
                "frames": entry.length,
                "advantage": facts.get("advantage"),
            }
        )
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("sample_id", "source")),
            ("iteration", pa.int64()),
            *((name, pa.string()) for name in ("episode_id", "trace")),
            ("step", pa.int64()),
            *((name, pa.string()) for name in ("policy_id", "label_id")),
            ("weight", pa.float64()),
            ("frames", pa.int64()),
            ("advantage", pa.bool_()),
        ]
    )
    with publishing(file) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd", write_page_checksum=True)
