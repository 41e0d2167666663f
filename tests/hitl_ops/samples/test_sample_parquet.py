"""The sample file keeps every field, in order, and a broken one is named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import Sample
from hitl_ops.samples.parquet import (
    manifest_hash,
    read_manifest,
    read_sample_table,
    read_samples,
    sample_schema,
    write_samples,
)

TEXT = st.text(max_size=30)
SAMPLES = st.lists(
    st.builds(
        Sample,
        sample_id=TEXT,
        episode_id=TEXT,
        split=TEXT,
        scene_id=TEXT,
        task_type=TEXT,
        step=st.integers(0, 10**6),
        agent=st.integers(0, 1),
        source=st.sampled_from(["distilled", "human_gold", "expert", "dagger"]),
        iteration=st.integers(0, 999),
        prompt=TEXT,
        completion=TEXT,
        weight=st.floats(0, 100),
        policy_id=TEXT,
        trace=TEXT,
        label_id=TEXT,
    ),
    max_size=6,
    unique_by=lambda sample: sample.sample_id,
)


def sample(number: int = 0, **changes: object) -> Sample:
    values: dict[str, object] = {
        "sample_id": f"e/{number}/distilled",
        "episode_id": "e",
        "split": "train",
        "scene_id": "home_1",
        "task_type": "spatial",
        "step": number,
        "agent": 0,
        "source": "distilled",
        "iteration": 0,
        "prompt": "Next Agent_Action:<act>",
        "completion": "Wait[]<end_act>",
        "weight": 0.5,
        "policy_id": "oracle",
        "trace": "e.jsonl.gz",
    }
    return Sample(**(values | changes))  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_round_trip_and_manifest(samples: list[Sample], random: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.parquet"
        manifest = write_samples(path, samples, prompt_style="incremental")
        assert list(read_samples(path)) == samples
        assert read_manifest(path) == manifest
        shuffled = list(samples)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert manifest_hash(shuffled) == manifest.hash
        if samples:
            changed = samples[0].model_copy(update={"completion": samples[0].completion + "x"})
            assert manifest_hash([changed, *samples[1:]]) != manifest.hash


def test_row_groups_keep_the_order(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    write_samples(path, (sample(number) for number in range(2500)), prompt_style="incremental")
    assert pq.ParquetFile(path).num_row_groups == 3
    assert [row.step for row in read_samples(path)] == list(range(2500))
    table = read_sample_table(path, ["weight", "step"])
    assert table.column_names == ["weight", "step"] and table.num_rows == 2500
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    write_samples(path, [sample()], prompt_style="incremental")
    pq.write_table(pq.read_table(path).drop_columns(["prompt", "weight"]), path)
    with pytest.raises(UserError, match=r"s\.parquet' lacks the column\(s\) prompt, weight: build it again"):
        list(read_samples(path))


def test_wrong_types_empty_cells_and_bad_values_are_named(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    schema = sample_schema()
    row = sample().model_dump()
    table = pa.Table.from_pylist([row], schema=schema)
    words = table.set_column(5, "step", pa.array(["three"]))
    pq.write_table(words, path)
    with pytest.raises(UserError, match=r"s\.parquet' is corrupt \(.*three"):
        list(read_samples(path))
    loose = pa.schema([field.with_nullable(True) for field in schema])
    pq.write_table(pa.Table.from_pylist([row | {"prompt": None}], schema=loose), path)
    with pytest.raises(UserError, match=r"column 'prompt' has empty cells"):
        list(read_samples(path))
    pq.write_table(pa.Table.from_pylist([row, row | {"weight": -1.0}], schema=schema), path)
    with pytest.raises(UserError, match=r"row 1: field 'weight'"):
        list(read_samples(path))
    with pytest.raises(UserError, match="carries no manifest"):
        read_manifest(path)


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    rows = [sample(number, prompt=f"{number * 7919 % 1009} <act>") for number in range(50)]
    write_samples(path, rows, prompt_style="incremental")
    content = path.read_bytes()
    with pytest.raises(UserError, match="does not exist"):
        read_manifest(tmp_path / "none.parquet")
    for length in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"s\.parquet' is corrupt"):
            list(read_samples(path))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    noticed = 0
    for position in range(4, len(content), 29):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            read = list(read_samples(path))
        except UserError:
            noticed += 1
        else:
            # The pages carry checksums; statistics and encodings noted in page headers and the footer do not.
            assert position > footer or read == rows
    assert noticed > 20


def test_duplicate_ids_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="occurs twice"):
        write_samples(tmp_path / "s.parquet", [sample(), sample()], prompt_style="incremental")
    assert list(tmp_path.iterdir()) == []
