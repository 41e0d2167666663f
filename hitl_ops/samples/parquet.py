"""The Parquet file samples live in: one row per sample, columns as the fields of :class:`Sample`.

The footer carries the manifest hash, the prompt style and whatever the writer noted, so that a file found alone
still says what it is. Equal samples give equal bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing
from hitl_ops.contracts.sample import Sample

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "flywheel-samples-1"
_ROWS_PER_GROUP = 1024
_REMEDY = "build it again from its traces"
_PREFIX = "flywheel."


@dataclass(slots=True)
class SampleManifest:
    """What a set of samples is, whatever order it is kept in.

    Attributes:
        hash: sha256 over the sorted sample ids, each with its prompt, completion and weight.
        samples: how many there are.
        notes: what the writer noted in the file: prompt style, configuration.
    """

    hash: str
    samples: int
    notes: dict[str, str] = field(default_factory=dict)


class _Digests:
    """Collects one digest a sample, so that the manifest needs no second look at the texts."""

    def __init__(self) -> None:
        self._by_id: dict[str, str] = {}

    def add(self, sample: Sample) -> None:
        if sample.sample_id in self._by_id:
            raise UserError(
                f"sample '{sample.sample_id}' occurs twice (again in trace '{sample.trace}')",
                "keep one trace per episode and source",
            )
        body = json.dumps([sample.prompt, sample.completion, sample.weight], separators=(",", ":"))
        self._by_id[sample.sample_id] = hashlib.sha256(body.encode("utf-8")).hexdigest()

    def manifest(self) -> SampleManifest:
        total = hashlib.sha256()
        for sample_id in sorted(self._by_id):
            total.update(json.dumps([sample_id, self._by_id[sample_id]]).encode("utf-8"))
        return SampleManifest(total.hexdigest(), len(self._by_id))


def manifest_hash(samples: Iterable[Sample]) -> str:
    """The sha256 over the sorted sample ids, each with its prompt, completion and weight.

    Raises:
        UserError: a sample id occurs twice.
    """
    digests = _Digests()
    for sample in samples:
        digests.add(sample)
    return digests.manifest().hash


def sample_schema() -> pa.Schema:
    """The Arrow schema of a sample file: text as string, counts as int64, weight as float64."""
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64()}
    return pa.schema(
        [
            pa.field(name, kinds.get(info.annotation, pa.string()), nullable=False)  # type: ignore[arg-type]
            for name, info in Sample.model_fields.items()
        ]
    )


def write_samples(
    path: str | Path, samples: Iterable[Sample], *, prompt_style: str, notes: dict[str, str] | None = None
) -> SampleManifest:
    """Publish samples as Parquet (zstd), atomically; at most a thousand are in memory at a time.

    Args:
        path: the file to write.
        samples: the samples, in the order of the rows.
        prompt_style: the prompt dialect they were recorded in, noted in the file.
        notes: further lines for the file's footer; read when the last sample has been written.

    Returns:
        The manifest, as the file's footer has it.

    Raises:
        UserError: a sample id occurs twice, the disk is full or the place cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = sample_schema()
    digests = _Digests()
    with (
        publishing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for sample in samples:
            digests.add(sample)
            rows.append(sample.model_dump())
            if len(rows) == _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        manifest = digests.manifest()
        manifest.notes = {"format": FORMAT, "prompt_style": prompt_style, **(notes or {})}
        footer = {**manifest.notes, "manifest_hash": manifest.hash, "samples": str(manifest.samples)}
        writer.add_key_value_metadata({_PREFIX + key: value for key, value in sorted(footer.items())})
    return manifest


def read_manifest(path: str | Path) -> SampleManifest:
    """The manifest in the footer of a sample file, without reading its rows.

    Raises:
        UserError: the file is missing, corrupt, or not a sample file of ours.
    """
    file = Path(path)
    with _opened(file) as parquet:
        footer = {
            key.decode("utf-8").removeprefix(_PREFIX): value.decode("utf-8")
            for key, value in (parquet.metadata.metadata or {}).items()
            if key.decode("utf-8").startswith(_PREFIX)
        }
    if footer.get("format") != FORMAT:
        raise UserError(f"sample file '{file}' carries no manifest of format {FORMAT}", _REMEDY)
    return SampleManifest(footer.pop("manifest_hash"), int(footer.pop("samples")), footer)


def sample_batches(path: str | Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a sample file's rows in batches, in order.

    Args:
        path: the Parquet file.
        columns: fields of :class:`Sample` to read; all by default.

    Raises:
        UserError: the file is missing or corrupt, or a column is missing or of the wrong type.
    """
    file = Path(path)
    schema = sample_schema()
    with _opened(file) as parquet:
        missing = [name for name in schema.names if name not in parquet.schema_arrow.names]
        if missing:
            raise UserError(f"sample file '{file}' lacks the column(s) {', '.join(missing)}", _REMEDY)
        wanted = schema.names if columns is None else columns
        target = sample_schema().empty_table().select(wanted).schema
        for batch in parquet.iter_batches(batch_size=_ROWS_PER_GROUP, columns=wanted):
            for name in wanted:
                if batch.column(name).null_count:
                    raise UserError(f"sample file '{file}', column '{name}' has empty cells", _REMEDY)
            yield batch.select(wanted).cast(target)


def read_sample_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read a sample file as an Arrow table.

    Raises:
        UserError: the file is missing or corrupt, or a column is missing or of the wrong type.
    """
    import pyarrow as pa

    schema = sample_schema()
    target = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return pa.Table.from_batches(list(sample_batches(path, columns)), schema=target)


def read_samples(path: str | Path) -> Iterator[Sample]:
    """Yield the samples of a file one by one, validated.

    Raises:
        UserError: the file is missing or corrupt, a column is missing or of the wrong type, or a row is no sample.
    """
    row = 0
    for batch in sample_batches(path):
        for values in batch.to_pylist():
            try:
                yield Sample.model_validate(values)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise UserError(
                    f"sample file '{path}', row {row}: field '{place}': {first['msg'].lower()}", _REMEDY
                ) from None
            row += 1


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise UserError(f"sample file '{file}' does not exist", "build it first, or check the path")
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, ValueError) as error:  # a damaged footer fails in many ways
        raise UserError(f"sample file '{file}' is corrupt ({' '.join(str(error).split())})", _REMEDY) from None
