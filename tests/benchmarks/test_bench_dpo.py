"""The benchmark of DPO, small: that it measures what it says, and that one model says what two say."""

from __future__ import annotations

import pytest

from benchmarks import dpo
from flywheel.bench import COLUMNS

pytestmark = [pytest.mark.slow, pytest.mark.integration]


@pytest.mark.parametrize("trainable", [("projection",), ("qformer", "projection", "language")])
def test_one_model_is_measured_beside_two(trainable: tuple[str, ...]) -> None:
    small = {"language_hidden": 64, "language_layers": 2, "vision_hidden": 32, "vision_layers": 2, "turns": 3}
    rows = dpo.bench(dpo.Settings(rounds=1, steps=3, pairs=3, trainable=trainable, **small))
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["target"] for row in rows] == [0.6, None, None, 0.75, None, None, None, None, 1e-4]
    assert all(row["ours"] > 0 and row["reference"] > 0 for row in (*rows[:6], rows[7]))
    full, shared, known, asked = (row["ours"] for row in rows[3:7])
    assert full == pytest.approx(known + asked, abs=1e-6) and shared == pytest.approx(known + asked / 5, abs=1e-6)
    assert rows[8]["holds"]
