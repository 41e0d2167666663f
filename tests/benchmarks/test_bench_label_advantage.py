"""The benchmark of labelling, in seconds: that it measures what it says, and that both label alike."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import label_advantage
from flywheel.bench import COLUMNS

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def test_labelling_is_measured_beside_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    small = label_advantage.Settings(rounds=1, episodes=3, frames=120, growth=2, growth_rounds=1)
    rows = label_advantage.bench(small)
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["target"] for row in rows] == [2.0, 10.0, 1.25, 1.25, 1.25, 1.25]
    assert [row["unit"] for row in rows] == ["s", "s", "µs", "µs", "MB", "MB"]
    assert all(row["ours"] > 0 and row["reference"] > 0 for row in rows)
    # Labels that differ are no measurement.
    monkeypatch.setattr(label_advantage, "THRESHOLD", 30.0)
    with pytest.raises(ValueError, match="not those of the reference"):
        label_advantage.bench(small)


def test_the_reference_reads_and_writes_every_column(tmp_path: Path) -> None:
    label_advantage.make_dataset(tmp_path / "set", 2, 60, 3)
    file = tmp_path / "set/data/chunk-000/episode_000001.parquet"
    before = pq.read_table(file)
    label_advantage.label_with_pandas(tmp_path / "set")
    after = pq.read_table(file)
    assert after.column_names == before.column_names
    assert str(after.schema.field("task_index").type) == "int32"
    assert set(after.column("task_index").to_pylist()) == {0, 1}
    assert after.column("action").to_pylist() == before.column("action").to_pylist()
