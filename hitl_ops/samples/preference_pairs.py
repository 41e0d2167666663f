"""The Parquet file preference pairs live in: one row a pair, columns as the fields of :class:`PreferencePair`.

The columns ``prompt``, ``chosen`` and ``rejected`` are what trainers of direct preference optimisation read; the
others say where a pair comes from. Equal pairs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.publish import publishing

FORMAT = "flywheel-pairs-1"
_PREFIX = "flywheel."
_REMEDY = "build it again from its labels (expert_samples)"


def pairs_hash(pairs: Sequence[PreferencePair]) -> str:
    """The sha256 over the pairs, whatever their order.

    Raises:
        UserError: a pair id occurs twice.
    """
    bodies = {pair.pair_id: [pair.prompt, pair.chosen, pair.rejected, pair.weight] for pair in pairs}
    if len(bodies) != len(pairs):
        ids = [pair.pair_id for pair in pairs]
        twice = next(pair_id for pair_id in ids if ids.count(pair_id) > 1)
        raise UserError(f"preference pair '{twice}' occurs twice", "keep one pair a decision")
    return hashlib.sha256(json.dumps(bodies, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def write_preference_pairs(path: str | Path, pairs: Sequence[PreferencePair], *, prompt_style: str) -> str:
    """Publish pairs as Parquet (zstd), atomically.

    Args:
        path: the file to write.
        pairs: in the order of the rows; there may be none.
        prompt_style: the prompt dialect they were recorded in, noted in the file.

    Returns:
        Their hash, as the file's footer has it.

    Raises:
        UserError: a pair id occurs twice, the disk is full or the place cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    digest = pairs_hash(pairs)
    kinds: dict[Any, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    footer = {"format": FORMAT, "pairs_hash": digest, "prompt_style": prompt_style}
    schema = pa.schema(
        [pa.field(name, kinds[info.annotation], nullable=False) for name, info in PreferencePair.model_fields.items()],
        metadata={_PREFIX + name: text for name, text in footer.items()},
    )
    table = pa.Table.from_pylist([pair.model_dump() for pair in pairs], schema=schema)
    with publishing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return digest


def read_preference_pairs(path: str | Path) -> Iterator[PreferencePair]:
    """Yield the pairs of a file, in order, validated.

    Raises:
        UserError: the file is missing, corrupt or of another format, or a row is no pair.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path)
    if not file.is_file():
        raise UserError(f"pair file '{file}' does not exist", "materialise expert_samples first")
    try:
        table = pq.read_table(file, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"pair file '{file}' is corrupt ({' '.join(str(error).split())[:200]})", _REMEDY) from None
    if (table.schema.metadata or {}).get(f"{_PREFIX}format".encode()) != FORMAT.encode():
        raise UserError(f"pair file '{file}' is not of format {FORMAT}", _REMEDY)
    for row, values in enumerate(table.to_pylist()):
        try:
            yield PreferencePair.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"pair file '{file}', row {row}: field '{place}': {first['msg'].lower()}", _REMEDY
            ) from None
