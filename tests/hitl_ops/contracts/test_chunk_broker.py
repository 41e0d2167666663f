from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.chunk_broker import ChunkBroker


def chunk(first: float, horizon: int = 10, dim: int = 2) -> np.ndarray:
    """Action k holds ``first + k`` in every joint."""
    return np.repeat((first + np.arange(horizon, dtype=np.float32))[:, None], dim, axis=1)


def carried_out(broker: ChunkBroker, ticks: int) -> list[float | None]:
    actions = [broker.next_action() for _ in range(ticks)]
    return [None if action is None else float(action[0]) for action in actions]


def test_holds_until_the_first_chunk_and_then_begins_with_its_first_action() -> None:
    broker = ChunkBroker(chunk_steps=5, blend_steps=4)
    assert broker.wants_chunk()
    broker.asked()
    assert not broker.wants_chunk()
    assert carried_out(broker, 3) == [None, None, None]
    # Nothing was carried out meanwhile, so nothing of the chunk has passed.
    assert broker.receive(chunk(0)) == 0
    assert carried_out(broker, 4) == [0, 1, 2, 3]


def test_asks_after_chunk_steps_drops_what_passed_and_blends_old_into_new() -> None:
    broker = ChunkBroker(chunk_steps=4, blend_steps=100)
    broker.asked()
    broker.receive(chunk(0))
    assert carried_out(broker, 4) == [0, 1, 2, 3]
    assert broker.wants_chunk()
    broker.asked()
    assert carried_out(broker, 2) == [4, 5]
    # The new chunk answers action 4: its first two have passed. Left of the old one: 6, 7, 8, 9.
    assert broker.receive(chunk(104)) == 2
    old, new = np.array([6, 7, 8, 9]), np.array([106, 107, 108, 109])
    weight = np.array([1, 2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(carried_out(broker, 4), weight * old + (1 - weight) * new, rtol=1e-6)
    assert carried_out(broker, 5) == [110, 111, 112, 113, None]


def test_without_blending_the_new_chunk_takes_over_at_once() -> None:
    broker = ChunkBroker(chunk_steps=2, blend_steps=0)
    broker.asked()
    broker.receive(chunk(0))
    carried_out(broker, 2)
    broker.asked()
    broker.receive(chunk(50))
    assert carried_out(broker, 2) == [50, 51]


def test_a_chunk_that_comes_after_all_its_actions_have_passed_changes_nothing() -> None:
    broker = ChunkBroker(chunk_steps=1, blend_steps=5)
    broker.asked()
    broker.receive(chunk(0, horizon=10))
    carried_out(broker, 1)
    broker.asked()
    carried_out(broker, 4)
    assert broker.receive(chunk(90, horizon=3)) == 4
    assert carried_out(broker, 2) == [5, 6]
    assert broker.wants_chunk()


def test_time_spent_holding_drops_nothing() -> None:
    broker = ChunkBroker(chunk_steps=9, blend_steps=5)
    broker.asked()
    broker.receive(chunk(0))
    carried_out(broker, 9)
    broker.asked()
    assert carried_out(broker, 4) == [9, None, None, None]
    # One action passed while the policy was thinking; the robot stood for the rest of the time.
    assert broker.receive(chunk(20)) == 1
    assert carried_out(broker, 1) == [21]


def test_reset_forgets_the_plan_and_the_question() -> None:
    broker = ChunkBroker(chunk_steps=5, blend_steps=5)
    broker.asked()
    broker.receive(chunk(0))
    broker.asked()
    broker.reset()
    assert broker.left == 0
    assert broker.next_action() is None
    assert broker.wants_chunk()


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 20)), min_size=1, max_size=12),
    st.integers(1, 15),
    st.integers(0, 20),
)
def test_whatever_comes_when_it_stays_between_old_and_new(
    arrivals: list[tuple[int, int]], chunk_steps: int, blend_steps: int
) -> None:
    """Every action lies between what the newest chunk and the plan before it say for that very moment."""
    broker = ChunkBroker(chunk_steps=chunk_steps, blend_steps=blend_steps)
    passed = 0
    # A policy that is right: it says for every moment, counted in actions, that moment's number. Blending agreeing
    # chunks must change nothing, whatever is dropped and whenever it comes.
    for latency, horizon in arrivals:
        if not broker.wants_chunk():
            assert broker.next_action() is not None
            passed += 1
            continue
        broker.asked()
        asked_at = passed
        for _ in range(latency):
            action = broker.next_action()
            if action is not None:
                np.testing.assert_allclose(action, passed, atol=1e-4)
                passed += 1
        assert broker.receive(chunk(asked_at, horizon)) == passed - asked_at
    while (action := broker.next_action()) is not None:
        np.testing.assert_allclose(action, passed, atol=1e-4)
        passed += 1
