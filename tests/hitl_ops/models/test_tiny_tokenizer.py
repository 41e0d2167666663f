from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.tiny_tokenizer import train_tiny_tokenizer

# Everything the rewriting rules look at, in the orders that could confuse them, and their own signs.
WORDS = ["a", "mug", "coffee", "table", "Agent", "Pick", "in", " in ", "Next", "Agent_Action:", "<act>", "<end_act>"]
SIGNS = ["_", "__", "_1", "_12", "3", ",", ", ", ":", ": ", "[", "]", " ", "  ", "\n", "<", "é", "▁", "Ġ", "Ċ"]
AWKWARD = st.lists(st.sampled_from(WORDS + SIGNS), max_size=25).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return tiny_base.tokenizer


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def words_of(tokenizer, text: str) -> list[str]:
    return [token.lstrip("▁") for token in tokenizer.convert_ids_to_tokens(ids_of(tokenizer, text))]


@settings(max_examples=400, deadline=None)
@given(text=AWKWARD | st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_comes_back_exactly(tokenizer, text):
    assert tokenizer.decode(ids_of(tokenizer, text)) == text


def test_prompts_come_back_exactly_and_open_with_the_opening_token(tokenizer, play_episode):
    for seed in range(500, 510):
        for turn in play_episode(seed):
            ids = tokenizer(turn.prompt + turn.completion).input_ids
            assert ids[0] == tokenizer.bos_token_id
            assert tokenizer.decode(ids[1:]) == turn.prompt + turn.completion


def test_a_word_is_one_token_wherever_it_stands(tokenizer):
    for text in ["coffee table", "coffee_table_12", "Pick[coffee_table_1]", "the coffee table,", "\ncoffee_table_3: "]:
        ids = ids_of(tokenizer, text)
        (coffee,), (table,) = ids_of(tokenizer, "coffee"), ids_of(tokenizer, "table")
        assert ids[ids.index(coffee) + 1] == table, text
    assert ids_of(tokenizer, " mug") [-1:] == ids_of(tokenizer, "mug") == ids_of(tokenizer, "_mug")[-1:]  # fmt: skip


def test_names_take_no_token_for_what_goes_without_saying(tokenizer):
    assert words_of(tokenizer, "coffee_table_2") == ["coffee", "table", "_2"]
    assert words_of(tokenizer, "floor_kitchen_1") == ["floor", "kitchen", "_1"]
    assert words_of(tokenizer, "table_1, desk_1, mug_2") == ["table", "_1", "desk", "_1", "mug", "_2"]


def test_prompts_are_short(tokenizer, play_episode):
    prompts = [turn.prompt for seed in range(500, 520) for turn in play_episode(seed)]
    tokens = sum(len(ids_of(tokenizer, prompt)) for prompt in prompts)
    assert sum(map(len, prompts)) / tokens > 6, "characters per token"


def test_unseen_words_are_spelled_not_unknown(tokenizer):
    ids = ids_of(tokenizer, "Pick[zeppelin_1]")
    assert tokenizer.unk_token is None
    assert len(ids) == 1 + 1 + len("zeppelin") + 2
    assert tokenizer.decode(ids) == "Pick[zeppelin_1]"


def test_markers_are_single_tokens(tokenizer):
    assert ids_of(tokenizer, "<end_act>") == [tokenizer.eos_token_id]
    assert len(ids_of(tokenizer, "<act>")) == 1
    assert tokenizer.pad_token == "<pad>"


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path, play_episode):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for turn in play_episode(7):
        assert loaded(turn.prompt).input_ids == tokenizer(turn.prompt).input_ids
        assert loaded.decode(loaded(turn.prompt).input_ids) == "<s>" + turn.prompt
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    )


def test_the_same_corpus_gives_the_same_tokenizer(corpus, tokenizer):
    again = train_tiny_tokenizer(corpus, vocab_size=4096, max_positions=4096)
    assert again.get_vocab() == tokenizer.get_vocab()


def test_vocabulary_is_bounded_and_the_rest_spelled(corpus, tokenizer):
    small = train_tiny_tokenizer(corpus, vocab_size=len(tokenizer) - 20, max_positions=64)
    assert len(small) == len(tokenizer) - 20
    assert small.decode(ids_of(small, corpus[0])) == corpus[0]
    assert len(ids_of(small, corpus[0])) > len(ids_of(tokenizer, corpus[0]))


def test_no_phrase_swallows_a_tool_or_a_word_of_a_name(tokenizer):
    phrases = [token for token in tokenizer.get_vocab() if token.count("▁") > 1]
    assert any("Successful" in phrase for phrase in phrases)
    for word in ("Pick", "Navigate", "kitchen", "mug", "table"):
        assert not [phrase for phrase in phrases if f"▁{word}" in phrase]


@pytest.mark.parametrize(
    ("texts", "vocab_size", "message"), [([], 4096, "corpus is empty"), (["Pick[mug_1]"], 100, "no room for words")]
)
def test_what_cannot_be_trained_is_said(texts, vocab_size, message):
    with pytest.raises(UserError, match=message):
        train_tiny_tokenizer(texts, vocab_size=vocab_size, max_positions=64)


def test_a_tool_is_a_word_even_if_it_is_always_called_the_same_way():
    """``Wait[]`` is one stretch of text however often it is said, yet no rare word."""
    trained = train_tiny_tokenizer(
        ["Task: rest<act>Wait[]<end_act>", "Task: doze<act>Wait[]<end_act>"], vocab_size=400, max_positions=64
    )
    assert words_of(trained, "Wait[]")[0].startswith("Wait")
    assert words_of(trained, "rest") == ["", "r", "e", "s", "t"]
