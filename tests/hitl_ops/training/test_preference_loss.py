"""What people said of pairs, as a loss: against the formula, and against the mistakes that would be easy to make."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.training.preference_loss import left_wins, preference_loss

WORTH = st.floats(-20, 20)


def loss(left: float, right: float, said: float, **options: float) -> float:
    values = (torch.tensor([value], dtype=torch.float64) for value in (left, right, said))
    return preference_loss(*values, **options).item()


@given(WORTH, WORTH, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.1, 0.4]))
def test_it_is_the_cross_entropy_of_bradley_and_terry(left, right, said, noise):
    won = math.exp(left) / (math.exp(left) + math.exp(right))
    mixed = noise / 2 + (1 - noise) * won
    if 1e-12 < mixed < 1 - 1e-12:
        expected = -said * math.log(mixed) - (1 - said) * math.log(1 - mixed)
        assert loss(left, right, said, noise=noise) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(WORTH, WORTH, st.sampled_from([0.0, 0.5, 1.0]))
def test_sides_changed_say_the_same(left, right, said):
    assert loss(left, right, said) == pytest.approx(loss(right, left, 1 - said), rel=1e-9, abs=1e-12)


@given(WORTH, WORTH)
def test_a_tie_is_half_a_win_for_either_side(left, right):
    half = (loss(left, right, 1.0) + loss(left, right, 0.0)) / 2
    assert loss(left, right, 0.5) == pytest.approx(half, rel=1e-9)
    assert loss(left, right, 0.5) >= loss(left, left, 0.5) - 1e-12
    # Counted as a win, it would pull one way.
    pull = torch.tensor([left], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([left], dtype=torch.float64)
    preference_loss(pull, other, torch.tensor([0.5], dtype=torch.float64)).sum().backward()
    assert pull.grad is not None and abs(pull.grad.item()) < 1e-12


def test_a_wrong_answer_costs_no_more_than_it_may():
    surely = loss(1e6, 0.0, 0.0, clip=50.0)
    assert surely == pytest.approx(50.0, rel=1e-6) and math.isfinite(surely)
    assert loss(1e6, 0.0, 0.0, noise=0.1, clip=50.0) == pytest.approx(-math.log(0.05), rel=1e-6)
    assert left_wins(torch.tensor(50.0), torch.tensor(0.0), noise=0.1).item() == pytest.approx(0.95)
