from __future__ import annotations

from itertools import pairwise

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.tokenization import SampleEncoder, encode_sample, split_at_markers


def gpt_like(corpus: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE that merges across punctuation and newlines, without any special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus[:40], trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, max_token_length=20)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def llama_like(corpus: list[str]) -> PreTrainedTokenizerFast:
    """Puts a space before every text and a token of its own before that."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator(corpus[:40], trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>"]))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(params=["tiny", "gpt_like", "llama_like"])
def tokenizer(request, corpus, tiny_base):
    if request.param == "tiny":
        return tiny_base.tokenizer
    return {"gpt_like": gpt_like, "llama_like": llama_like}[request.param](corpus)


def test_pieces_join_to_the_text():
    text = "a<act>Pick[mug_1]<end_act>\nb<act>"
    assert split_at_markers(text) == ["a", "<act>", "Pick[mug_1]", "<end_act>", "\nb", "<act>"]
    assert split_at_markers("") == []


def test_prompt_and_completion_are_a_prefix_of_the_next_prompt(tokenizer, play_episode):
    for seed in range(600, 604):
        encoded = [encode_sample(tokenizer, turn.prompt, turn.completion) for turn in play_episode(seed)]
        for (prompt, completion), (after, _) in pairwise(encoded):
            assert after[: len(prompt) + len(completion)] == prompt + completion


def test_the_opening_token_comes_once(tokenizer, play_episode):
    turn = play_episode(1)[-1]
    prompt, completion = encode_sample(tokenizer, turn.prompt, turn.completion)
    expected = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert SampleEncoder(tokenizer).opening == expected
    assert [i for i in prompt + completion if i == tokenizer.bos_token_id] == expected


def test_a_remembering_encoder_gives_the_same_as_a_fresh_one(tokenizer, play_episode):
    remembering = SampleEncoder(tokenizer, remembered=5)
    for turn in play_episode(2):
        expected = encode_sample(tokenizer, turn.prompt, turn.completion)
        assert (remembering.prompt(turn.prompt), remembering.completion(turn.completion)) == expected


def test_a_tokenizer_that_drops_the_markers_is_refused():
    tokenizer = Tokenizer(models.BPE({"m": 0}, []))  # what is not in the vocabulary is left out
    with pytest.raises(UserError, match="drops the action markers"):
        SampleEncoder(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def test_texts_prepared_together_are_encoded_as_each_by_itself(tokenizer, play_episode):
    turns = play_episode(600)
    prepared = SampleEncoder(tokenizer)
    prepared.prepare(text for turn in turns for text in (turn.prompt, turn.completion))
    for turn in turns:
        assert (prepared.prompt(turn.prompt), prepared.completion(turn.completion)) == encode_sample(
            tokenizer, turn.prompt, turn.completion
        )
