"""Which samples go into which step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.training.batches import plan_steps, share_out

SIZES = [3, 4, 2, 5, 1, 4, 3, 2]


def plan(**changes: object) -> list[list[tuple[int, ...]]]:
    plain = {"batch_size": 6, "gradient_accumulation": 1, "epochs": 1, "max_steps": None, "seed": 0}
    return plan_steps(SIZES, **{**plain, **changes})  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_every_epoch_sees_every_unit_once_and_no_batch_is_too_full(
    sizes: list[int], accumulation: int, epochs: int, seed: int
) -> None:
    steps = plan_steps(
        sizes, batch_size=6, gradient_accumulation=accumulation, epochs=epochs, max_steps=None, seed=seed
    )
    batches = [batch for step in steps for batch in step]
    assert all(sum(sizes[unit] for unit in batch) <= 6 for batch in batches)
    assert all(1 <= len(step) <= accumulation for step in steps)
    seen = [unit for batch in batches for unit in batch]
    for epoch in range(epochs):
        assert sorted(seen[epoch * len(sizes) : (epoch + 1) * len(sizes)]) == list(range(len(sizes)))


def test_the_order_is_the_seeds_and_differs_between_epochs() -> None:
    assert plan(epochs=2) == plan(epochs=2)
    assert plan(seed=1) != plan(seed=2)
    two = plan(epochs=2)
    assert two[: len(plan())] == plan()
    assert two[: len(plan())] != two[len(plan()) :]


@pytest.mark.parametrize("max_steps", [1, 3, 11])
def test_max_steps_is_exact_however_long_an_epoch_is(max_steps: int) -> None:
    assert len(plan(max_steps=max_steps, epochs=1)) == max_steps


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(1, 4))
def test_shares_hold_every_unit_once_and_are_even(tokens: list[int], processes: int) -> None:
    shares = share_out(tokens, processes)
    assert len(shares) == processes
    assert sorted(index for share in shares for index in share) == list(range(len(tokens)))
    loads = [sum(tokens[index] for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(tokens, default=0)
