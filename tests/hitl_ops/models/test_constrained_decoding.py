from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from hitl_ops.contracts.errors import UserError
from hitl_ops.models import constrained_decoding
from hitl_ops.models.constrained_decoding import ConstrainedDecoder

ACTIONS = st.lists(
    st.builds(
        "{}[{}]<end_act>".format,
        st.sampled_from(["Pick", "Open", "Navigate", "Fly"]),
        st.sampled_from(["mug_1", "mug_2", "mug_12", "coffee_table_1", "coffee_1", "zeppelin_1", ""]),
    ),
    min_size=1,
    max_size=12,
)


def completions_of(turn) -> list[str]:
    return [f"{action}<end_act>" for action in turn.admissible]


def next_logprobs(decoder: ConstrainedDecoder, ids: list[int]) -> torch.Tensor:
    """By one plain forward pass, with nothing kept: the reference for everything below."""
    with torch.no_grad():
        logits = decoder.model(input_ids=torch.tensor([ids])).logits[0, -1]
    return torch.log_softmax(logits.double(), dim=-1)


def greedy_by_hand(decoder: ConstrainedDecoder, prompt: str, completions: list[str]) -> tuple[int, float, float]:
    ids = decoder.encoder.prompt(prompt)
    alive = {index: decoder.encoder.completion(text) for index, text in enumerate(completions)}
    logprob, entropy = 0.0, None
    for depth in range(max(map(len, alive.values()))):
        tokens = sorted({c[depth] for c in alive.values() if len(c) > depth})
        if not tokens:
            break
        if len(tokens) > 1:
            branch = torch.log_softmax(next_logprobs(decoder, ids)[tokens], dim=-1)
            if entropy is None:
                entropy = float(-(branch.exp() * branch).sum())
            best = int(branch.argmax())
            logprob += float(branch[best])
            tokens = [tokens[best]]
        alive = {index: c for index, c in alive.items() if c[depth] == tokens[0]}
        ids.append(tokens[0])
    return min(alive), logprob, entropy or 0.0


def scores_by_hand(decoder: ConstrainedDecoder, prompt: str, completions: list[str]) -> list[float]:
    totals = []
    for text in completions:
        ids, total = decoder.encoder.prompt(prompt), 0.0
        for token in decoder.encoder.completion(text):
            total += float(next_logprobs(decoder, ids)[token])
            ids.append(token)
        totals.append(total)
    return totals


def assert_same(one, other) -> None:
    assert one.index == other.index
    assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    assert one.entropy == pytest.approx(other.entropy, abs=1e-4)
    assert one.prompt_tokens == other.prompt_tokens


@settings(max_examples=60, deadline=None)
@given(
    actions=ACTIONS,
    prompt=st.text(st.characters(codec="utf-8"), max_size=20),
    decode=st.sampled_from(["greedy", "score"]),
    temperature=st.sampled_from([0.0, 1.0, 50.0]),
    seed=st.integers(0, 1000),
)
def test_only_admissible_actions_are_ever_chosen(decisive, actions, prompt, decode, temperature, seed):
    decoder = ConstrainedDecoder(decisive.model, decisive.tokenizer, decode, temperature, seed)
    choice = decoder.choose(prompt + "<act>", actions)
    assert actions[choice.index] in actions
    assert actions.index(actions[choice.index]) == choice.index, "of equals, the first"
    assert choice.logprob <= 0 and choice.entropy >= 0
    if len(set(actions)) == 1:
        assert choice.logprob == 0 and choice.entropy == 0


def test_greedy_is_what_plain_forward_passes_say(decisive, play_episode):
    decoder = ConstrainedDecoder(decisive.model, decisive.tokenizer)
    chosen = set()
    for turn in play_episode(700) + play_episode(701):
        completions = completions_of(turn)
        choice = decoder.choose(turn.prompt, completions)
        index, logprob, entropy = greedy_by_hand(decoder, turn.prompt, completions)
        assert choice.index == index
        assert choice.logprob == pytest.approx(logprob, abs=1e-4)
        assert choice.entropy == pytest.approx(entropy, abs=1e-4)
        chosen.add(completions[index])
    assert len(chosen) > 3, "a model that always says the same would prove little"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "nodes_per_pass"), [("tiny", 7), ("tiny", 256), ("gpt2", 256)])
def test_score_is_what_plain_forward_passes_say(decisive, play_episode, monkeypatch, kind, nodes_per_pass):
    monkeypatch.setattr(constrained_decoding, "_NODES_PER_PASS", nodes_per_pass)
    model = decisive.model if kind == "tiny" else foreign(kind, len(decisive.tokenizer))
    decoder = ConstrainedDecoder(model, decisive.tokenizer, "score")
    for turn in play_episode(702, turns=2, furniture=6):
        completions = completions_of(turn)
        choice = decoder.choose(turn.prompt, completions)
        logprobs = torch.log_softmax(torch.tensor(scores_by_hand(decoder, turn.prompt, completions)).double(), dim=-1)
        assert choice.index == int(logprobs.argmax())
        assert choice.logprob == pytest.approx(float(logprobs.max()), abs=1e-4)
        assert choice.entropy == pytest.approx(float(-(logprobs.exp() * logprobs).sum()), abs=1e-4)


@pytest.mark.parametrize("decode", ["greedy", "score"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_kept_changes_nothing_but_the_work(decisive, play_episode, decode, temperature):
    keeping = ConstrainedDecoder(decisive.model, decisive.tokenizer, decode, temperature)
    turns = [turn for pair in zip(play_episode(703), play_episode(704), strict=True) for turn in pair]
    for step, turn in enumerate(turns):
        fresh = ConstrainedDecoder(decisive.model, decisive.tokenizer, decode, temperature)
        kept = keeping.choose(turn.prompt, completions_of(turn), key=step % 2)
        cold = fresh.choose(turn.prompt, completions_of(turn), key=0)
        assert_same(kept, cold)
        if step >= 2:
            # All but the last turn's text is known: what differs is at least the previous prompt, less a token.
            earlier = len(keeping.encoder.prompt(turns[step - 2].prompt))
            assert cold.new_tokens - kept.new_tokens >= earlier - 1


def test_prompts_that_do_not_extend_the_last_one_are_read_right(decisive, play_episode):
    keeping = ConstrainedDecoder(decisive.model, decisive.tokenizer)
    turns = play_episode(705) + play_episode(706)
    random.Random(0).shuffle(turns)
    for turn in [*turns, turns[-1]]:  # the last twice: nothing new to run but its last token
        fresh = ConstrainedDecoder(decisive.model, decisive.tokenizer)
        assert_same(keeping.choose(turn.prompt, completions_of(turn)), fresh.choose(turn.prompt, completions_of(turn)))


def test_no_more_prefixes_are_kept_than_asked_for(decisive, play_episode):
    decoder = ConstrainedDecoder(decisive.model, decisive.tokenizer, kept_prefixes=2)
    first, second, *_ = play_episode(707)
    for key in ("a", "b", "c"):
        decoder.choose(first.prompt, completions_of(first), key=key)
    known = decoder.choose(second.prompt, completions_of(second), key="c")
    dropped = decoder.choose(second.prompt, completions_of(second), key="a")
    assert known.new_tokens < dropped.new_tokens
    decoder.forget()
    assert decoder.choose(second.prompt, completions_of(second), key="c").new_tokens == dropped.new_tokens


@pytest.mark.parametrize("decode", ["greedy", "score"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_chooses_what_each_would(decisive, play_episode, decode, temperature):
    decoder = ConstrainedDecoder(decisive.model, decisive.tokenizer, decode, temperature)
    turns = [turn for seed in range(708, 711) for turn in play_episode(seed, turns=4)]
    rows = [completions_of(turn) for turn in turns]
    rows[2] = rows[2][:1]  # done before it begins
    batch = decoder.choose_batch([turn.prompt for turn in turns], rows)
    for turn, row, choice in zip(turns, rows, batch, strict=True):
        decoder.forget()
        single = decoder.choose(turn.prompt, row)
        assert_same(choice, single)
        assert (choice.new_tokens, choice.passes) == (single.new_tokens, single.passes)


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["greedy", "score"])
def test_draws_follow_the_probabilities_and_the_seed(decisive, decode):
    actions = ["Pick[mug_1]<end_act>", "Open[mug_1]<end_act>", "Wait[]<end_act>"]
    prompt = "Task: Bring the mug.\nNext Agent_Action:<act>"

    def draw(seed: int):
        return ConstrainedDecoder(decisive.model, decisive.tokenizer, decode, 1.0, seed).choose(prompt, actions)

    drawn = [draw(seed) for seed in range(200)]
    assert [draw(seed) for seed in range(5)] == drawn[:5]
    share = Counter(choice.index for choice in drawn)
    assert len(share) > 1
    for choice in drawn:
        assert share[choice.index] / 200 == pytest.approx(math.exp(choice.logprob), abs=0.12)


def foreign(kind: str, vocab: int):
    torch.manual_seed(0)
    if kind == "gpt2":  # learned positions, another cache layout
        return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=512)).eval()
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 16}
    return MistralForCausalLM(MistralConfig(vocab_size=vocab, **shape, **heads)).eval()


@pytest.mark.parametrize("kind", ["gpt2", "sliding_window"])
def test_other_architectures_decode_the_same_kept_and_batched(tiny_base, play_episode, kind):
    decoder = ConstrainedDecoder(foreign(kind, len(tiny_base.tokenizer)), tiny_base.tokenizer)
    turns = play_episode(720, turns=4)
    batch = decoder.choose_batch([turn.prompt for turn in turns], [completions_of(turn) for turn in turns])
    for turn, batched in zip(turns, batch, strict=True):
        kept = decoder.choose(turn.prompt, completions_of(turn))
        index, logprob, _ = greedy_by_hand(decoder, turn.prompt, completions_of(turn))
        assert batched.index == kept.index == index
        assert batched.logprob == pytest.approx(logprob, abs=1e-4)
        assert kept.logprob == pytest.approx(logprob, abs=1e-4)


def test_scoring_under_a_sliding_window_is_refused(tiny_base):
    with pytest.raises(UserError, match="'score' does not work with mistral"):
        ConstrainedDecoder(foreign("sliding_window", len(tiny_base.tokenizer)), tiny_base.tokenizer, "score")


def test_a_prompt_too_long_for_the_model_is_said(tiny_base):
    decoder = ConstrainedDecoder(foreign("gpt2", len(tiny_base.tokenizer)), tiny_base.tokenizer)
    with pytest.raises(UserError, match=r"513 tokens is longer than the model reads \(512\)"):
        decoder.choose("1" * 512, ["Wait[]<end_act>"])
