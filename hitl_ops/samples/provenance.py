"""What a policy learned from, row by row: which sample, out of which record, made by which label.

The texts stay in the sample file; this is what is left to trace them by. It is frozen with the policy, so that every
weight can be led back to the people who made it after the samples have been built anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.samples.parquet import read_sample_table

if TYPE_CHECKING:
    import pyarrow as pa

PROVENANCE_FILE = "provenance.parquet"
Row = dict[str, Any]
_OF_PEOPLE = ("human_gold", "expert")
_TRACE = ".jsonl.gz"
_REMEDY = "publish the policy again: materialise planner_policy"
COLUMNS = ["sample_id", "source", "iteration", "episode_id", "trace", "step", "policy_id", "label_id", "weight"]


def write_provenance(samples: Path, file: Path) -> int:
    """Publish the provenance of every sample of a file, in its order.

    Args:
        samples: the Parquet file a policy learned from.
        file: the Parquet file to write.

    Returns:
        How many rows it has.

    Raises:
        UserError: the samples are missing or damaged, or the disk is full.
    """
    import pyarrow.parquet as pq

    table = read_sample_table(samples, COLUMNS)
    with publishing(file) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return int(table.num_rows)


def read_provenance(folder: Path) -> pa.Table:
    """The provenance of the policy in a folder.

    Raises:
        UserError: it is missing (policies that an earlier version published have none) or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / PROVENANCE_FILE
    if not file.is_file():
        raise UserError(f"policy '{folder}' has no {PROVENANCE_FILE}", _REMEDY)
    try:
        return pq.read_table(file, columns=COLUMNS, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:  # a damaged footer fails in many ways
        raise UserError(f"provenance '{file}' is corrupt ({' '.join(str(error).split())[:200]})", _REMEDY) from None


def play_of(row: Row) -> str:
    """The play that the sample of a row was cut from; empty for one out of a teacher's rollout."""
    return str(row["trace"]).removesuffix(_TRACE) if row["source"] in _OF_PEOPLE else ""
