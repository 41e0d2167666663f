"""Sharing prefixes and packing change the cost, never the loss or the gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from hitl_ops.training.batches import build_units
from hitl_ops.training.block_attention import prepare_attention
from hitl_ops.training.loss import mean_loss, rows_of, weighted_loss
from hitl_ops.training.prefix_tree import EncodedSample, build_sequence

CPU = torch.device("cpu")
VOCABULARY = 30


def planner(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.3,  # far from uniform, so that a token seen too much or too little shows
        )
    ).double()


def sample(prompt: Sequence[int], completion: Sequence[int], weight: float = 1.0, group: str = "a") -> EncodedSample:
    weights = np.array([0.0] * len(prompt) + [weight] * len(completion))
    return EncodedSample(np.array([*prompt, *completion], np.int64), weights, group, group)


def one_by_one(samples: Sequence[EncodedSample]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What each sample gives by itself, through transformers' own attention; nothing of ours is used."""
    model = planner()
    total = torch.zeros((), dtype=torch.float64)
    for one in samples:
        tokens = torch.from_numpy(one.tokens)
        logits = model(input_ids=tokens[None]).logits[0, :-1]
        surprise = -logits.log_softmax(-1)[torch.arange(len(tokens) - 1), tokens[1:]]
        total = total + (surprise * torch.from_numpy(one.weights)[1:]).sum()
    total.backward()
    return total.detach(), gradients(model)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def packed(
    samples: Sequence[EncodedSample], packing: str, pack_tokens: int, kind: str | None = None, align: int = 1
) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    model = planner()
    attention = prepare_attention(model, 100)
    assert attention == "blocks"
    if kind == "mask":
        model.set_attn_implementation("sdpa")
        attention = "mask"
    units = build_units(samples, batch_size=100, packing=packing)  # type: ignore[arg-type]
    total = torch.zeros((), dtype=torch.float64)
    rows = rows_of(units, pack_tokens, CPU, align)
    for row in rows:
        loss = weighted_loss(model, row, attention)  # type: ignore[arg-type]
        loss.backward()
        total += loss.detach()
    return total, gradients(model), len(rows)


def chain(steps: int = 4) -> list[EncodedSample]:
    draw = np.random.default_rng(1)
    text: list[int] = draw.integers(1, VOCABULARY, 9).tolist()
    samples = []
    for step in range(steps):
        completion = draw.integers(1, VOCABULARY, 3).tolist()
        samples.append(sample(text, completion, weight=1.0 + step))
        text = [*text, *completion, *draw.integers(1, VOCABULARY, 4).tolist()]
    return samples


def snapshots() -> list[EncodedSample]:
    draw = np.random.default_rng(2)
    head = draw.integers(1, VOCABULARY, 8).tolist()
    return [sample([*head, *draw.integers(1, VOCABULARY, 2 + i).tolist()], [3, i + 1], 0.5 + i) for i in range(4)]


CASES = {
    "chain": chain(),
    "snapshots": snapshots(),
    "corrected and original": [sample([1, 2, 3], [4, 5], 5.0), sample([1, 2, 3], [4, 6], 1.0)],
    "the same twice": [sample([1, 2, 3], [4, 5], 5.0), sample([1, 2, 3], [4, 5], 0.5)],
    "nothing shared": [sample([1, 2], [3]), sample([4, 5, 6], [7, 8]), sample([9], [10, 11])],
    "fork at the first token": [sample([1], [2, 3]), sample([1], [3, 2]), sample([2], [1])],
    "several groups": [*chain(3), *(EncodedSample(s.tokens, s.weights, "b", "b") for s in snapshots())],
}


@pytest.mark.parametrize(
    ("packing", "pack_tokens", "align", "kind"),
    [
        ("tree", 1, 1, "blocks"),
        ("tree", 500, 1, "blocks"),
        ("tree", 500, 8, "blocks"),
        ("tree", 500, 8, "mask"),
        ("rows", 20, 1, "blocks"),
        ("rows", 500, 1, "mask"),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_those_of_each_sample_alone(
    case: str, packing: str, pack_tokens: int, align: int, kind: str
) -> None:
    # Double precision but for the norms and rotations, which transformers computes in single.
    wanted, wanted_gradients = one_by_one(CASES[case])
    loss, found, _ = packed(CASES[case], packing, pack_tokens, kind, align)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    assert wanted_gradients.keys() == found.keys()
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


def test_agreement_in_single_precision_is_within_a_hundred_thousandth() -> None:
    samples = CASES["several groups"]
    results = []
    for packing in ("tree", "none"):
        model = planner().float()
        attention = prepare_attention(model, 100)
        pack_tokens = 1 if packing == "none" else 500
        total = 0.0
        units = build_units(samples, batch_size=100, packing=packing)  # type: ignore[arg-type]
        weight = sum(unit.total_weight for unit in units)
        for row in rows_of(units, pack_tokens, CPU):
            loss = weighted_loss(model, row, attention) / weight
            loss.backward()
            total += float(loss.detach())
        results.append((total, gradients(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    for name, gradient in results[0][1].items():
        assert float((gradient - results[1][1][name]).abs().max()) <= 1e-5, name


@pytest.mark.slow
@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 3), min_size=1, max_size=6),
            st.lists(st.integers(1, 3), min_size=1, max_size=3),
            st.sampled_from([0.5, 1.0, 5.0]),
        ),
        min_size=1,
        max_size=7,
    )
)
def test_any_samples_in_any_tree_agree(drawn: list[tuple[list[int], list[int], float]]) -> None:
    # Three different tokens only: forks, repetitions and prefixes in every shape.
    samples = [sample(prompt, completion, weight) for prompt, completion, weight in drawn]
    wanted, wanted_gradients = one_by_one(samples)
    loss, found, _ = packed(samples, "tree", 500)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


def test_a_chain_becomes_one_block_without_repetition() -> None:
    samples = chain(5)
    sequence = build_sequence(samples)
    assert len(sequence.blocks) == 1
    assert len(sequence) == len(samples[-1].tokens)
    assert sequence.sample_tokens == sum(len(s.tokens) for s in samples)
    assert len(sequence.targets) == 5 * 3


def test_snapshots_share_their_header_and_start_counting_after_it() -> None:
    samples = snapshots()
    sequence = build_sequence(samples)
    assert len(sequence) == sum(len(s.tokens) for s in samples) - 3 * 8
    assert sequence.blocks[0].stop - sequence.blocks[0].start == 8
    for block in sequence.blocks[1:]:
        assert block.sees[0] == (0, 8)
        assert sequence.positions[block.start] == 8


def test_bfloat16_attention_by_products_stays_near_single_precision() -> None:
    samples = CASES["several groups"]
    units = build_units(samples, batch_size=100, packing="tree")
    model = planner().float()
    attention = prepare_attention(model, 100)
    exact, weight = mean_loss(model, units, attention, pack_tokens=500, align=1, device=CPU)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = mean_loss(model, units, attention, pack_tokens=500, align=32, device=CPU)
    assert rough != exact
    assert rough / weight == pytest.approx(exact / weight, rel=0.02)


def test_long_sequences_get_rows_of_their_own_and_short_ones_share() -> None:
    draw = np.random.default_rng(3)
    samples = [
        sample(draw.integers(1, VOCABULARY, length - 1).tolist(), [1], group=str(i))
        for i, length in enumerate([30, 5, 4, 12, 3])
    ]
    _, _, rows = packed(samples, "tree", 16)
    assert rows == 3  # 30 | 12 + 4 | 5 + 3
