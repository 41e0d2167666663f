"""DPO says what TRL's says, of the same answers under the same model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hitl_ops.training.dpo import dpo_loss, dpo_nll_loss, nll_per_token

ANSWERS = [
    ("you see a bed , a desk and a lamp", " go to desk 1", " look"),
    ("you open the fridge", " take mug 1 from fridge 1", " go to fridge 1 and then to desk 1"),
    ("nothing happens", " look", " put mug 1 in / on desk 1"),
    ("you are at the desk and hold a mug", " put mug 1 in / on desk 1", " open desk 1"),
]
BETAS = (0.05, 0.1, 0.5)
CLOSE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}


@dataclass
class Sides:
    """What TRL and we made of one batch."""

    loss: torch.Tensor
    chosen_rewards: float
    rejected_rewards: float
    accuracy: float
    margin: float
    gradients: dict[str, torch.Tensor]


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,  # answers differ enough for rewards to do so
        attn_implementation="eager",
    )
    return LlamaForCausalLM(shape)


def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for row in ANSWERS for text in row for word in text.split()})
    known = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<pad>", "</s>", *words])}))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=known, pad_token="<pad>", eos_token="</s>")


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trl_side(folder: Path, pairs: slice, **options: Any) -> tuple[Sides, list[dict[str, Any]]]:
    """TRL's own trainer on a batch its own collator made."""
    trl = pytest.importorskip("trl", reason="TRL is not installed (extra 'bench')")

    columns = zip(*ANSWERS[pairs], strict=True)
    trainer = trl.DPOTrainer(
        model=llama(1),
        ref_model=llama(2),
        args=trl.DPOConfig(
            output_dir=str(folder),
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
            **options,
        ),
        train_dataset=Dataset.from_dict(dict(zip(("prompt", "chosen", "rejected"), map(list, columns), strict=True))),
        processing_class=tokenizer(),
    )
    rows = list(trainer.train_dataset)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    figures = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    sides = Sides(
        loss.detach(),
        figures["rewards/chosen"],
        figures["rewards/rejected"],
        figures["rewards/accuracies"],
        figures["rewards/margins"],
        gradients(trainer.model),
    )
    return sides, rows


def answers_logprobs(
    model: LlamaForCausalLM, rows: list[dict[str, Any]], answer: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every answer by itself, without padding."""
    sums = []
    for row in rows:
        prompt, ids = row["prompt_ids"], row[answer]
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0]
        logprobs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        sums.append(logprobs.gather(1, torch.tensor(ids)[:, None]).sum())
    return torch.stack(sums), torch.tensor([len(row[answer]) for row in rows])


def our_side(rows: list[dict[str, Any]], beta: float, smoothing: float = 0.0, nll_weight: float = 0.0) -> Sides:
    policy, reference = llama(1), llama(2)
    chosen, tokens = answers_logprobs(policy, rows, "chosen_ids")
    rejected, _ = answers_logprobs(policy, rows, "rejected_ids")
    with torch.no_grad():
        known = [answers_logprobs(reference, rows, answer)[0] for answer in ("chosen_ids", "rejected_ids")]
    terms = dpo_loss(chosen, rejected, *known, beta, smoothing)
    loss = dpo_nll_loss(terms, nll_per_token(chosen, tokens), nll_weight)
    loss.backward()
    return Sides(
        loss.detach(),
        terms.chosen_rewards.mean().item(),
        terms.rejected_rewards.mean().item(),
        terms.hits.mean().item(),
        terms.margins.mean().item(),
        gradients(policy),
    )


def assert_same(ours: Sides, theirs: Sides) -> None:
    assert_close(ours.loss, theirs.loss, **CLOSE)
    for name in ("chosen_rewards", "rejected_rewards", "accuracy", "margin"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-5), name
    assert abs(theirs.chosen_rewards) > 1e-2 and abs(theirs.margin) > 1e-2  # there is something to compare
    assert ours.gradients.keys() == theirs.gradients.keys()
    assert max(gradient.abs().max() for gradient in theirs.gradients.values()) > 1e-3
    for name, gradient in theirs.gradients.items():
        assert_close(ours.gradients[name], gradient, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


@pytest.mark.parametrize("beta", BETAS)
def test_the_loss_its_rewards_and_gradients_are_trls(tmp_path: Path, beta: float) -> None:
    theirs, rows = trl_side(tmp_path, slice(None), beta=beta, loss_type=["sigmoid"])
    assert len({len(row["chosen_ids"]) for row in rows}) > 2 and len({len(row["prompt_ids"]) for row in rows}) > 2
    assert_same(our_side(rows, beta), theirs)


@pytest.mark.parametrize("nll_weight", [0.5, 1.0])
def test_the_mix_with_the_likelihood_is_trls(tmp_path: Path, nll_weight: float) -> None:
    theirs, rows = trl_side(
        tmp_path, slice(None), beta=0.1, loss_type=["sigmoid", "sft"], loss_weights=[1.0, nll_weight]
    )
    assert_same(our_side(rows, 0.1, nll_weight=nll_weight), theirs)


@pytest.mark.parametrize("pair", range(len(ANSWERS)))
def test_label_smoothing_is_trls(tmp_path: Path, pair: int) -> None:
    # TRL's "sigmoid" has no smoothing; its "aot" is smoothed DPO with differences sorted within the batch, which in a
    # batch of one pair is smoothed DPO itself.
    theirs, rows = trl_side(tmp_path, slice(pair, pair + 1), beta=0.3, loss_type=["aot"], label_smoothing=0.1)
    assert_same(our_side(rows, 0.3, smoothing=0.1), theirs)


# --- properties -----------------------------------------------------------------------------------------------------

LOGPROB = st.floats(-80, 0, width=32)
PAIRS = st.lists(st.tuples(LOGPROB, LOGPROB, LOGPROB, LOGPROB), min_size=1, max_size=8)
BETA = st.floats(0.01, 1)
SMOOTHING = st.floats(0, 0.49)


def columns(pairs: list[tuple[float, ...]]) -> Iterator[torch.Tensor]:
    return iter(torch.tensor(pairs, dtype=torch.float64).unbind(1))


@given(PAIRS, BETA, SMOOTHING)
def test_swapped_answers_swap_their_rewards_and_turn_the_gradient_round(
    pairs: list[tuple[float, ...]], beta: float, smoothing: float
) -> None:
    chosen, rejected, known_chosen, known_rejected = columns(pairs)
    one = dpo_loss(chosen, rejected, known_chosen, known_rejected, beta, smoothing)
    other = dpo_loss(rejected, chosen, known_rejected, known_chosen, beta, smoothing)
    assert_close(one.chosen_rewards, other.rejected_rewards)
    assert_close(one.rejected_rewards, other.chosen_rewards)
    assert_close(one.margins, -other.margins)
    # -ln σ(m) + ln σ(-m) = -m: swapping costs the margin, less so the likelier it is that labels are wrong.
    assert_close(one.losses - other.losses, -(1 - 2 * smoothing) * one.margins)


@given(PAIRS, BETA, SMOOTHING)
def test_where_policy_and_reference_are_one_nothing_is_known(
    pairs: list[tuple[float, ...]], beta: float, smoothing: float
) -> None:
    chosen, rejected, _, _ = columns(pairs)
    terms = dpo_loss(chosen, rejected, chosen, rejected, beta, smoothing)
    assert_close(terms.losses, torch.full_like(chosen, math.log(2)))
    assert not terms.chosen_rewards.any() and not terms.hits.any()


@given(st.lists(st.tuples(LOGPROB, st.integers(1, 9)), min_size=2, max_size=6))
@settings(max_examples=50)
def test_a_weight_of_two_is_an_answer_given_twice(answers: list[tuple[float, int]]) -> None:
    sums = torch.tensor([one for one, _ in answers], dtype=torch.float64)
    tokens = torch.tensor([count for _, count in answers])
    weights = torch.ones(len(answers), dtype=torch.float64)
    weights[0] = 2
    twice = nll_per_token(torch.cat([sums, sums[:1]]), torch.cat([tokens, tokens[:1]]))
    assert_close(nll_per_token(sums, tokens, weights), twice)


@pytest.mark.parametrize(("beta", "smoothing"), [(0.0, 0.0), (-1.0, 0.0), (0.1, 0.5), (0.1, -0.1)])
def test_figures_out_of_range_are_refused(beta: float, smoothing: float) -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="beta"):
        dpo_loss(one, one, one, one, beta, smoothing)
