"""A tokenizer for small planners, trained on the prompts they will read.

What it is made for: few tokens to a prompt, and one token for one word wherever it stands. ``coffee table`` in
an instruction and ``coffee_table_12`` in an action share the tokens ``coffee`` and ``table``, so a small model
can copy instead of learning a spelling for every name. Separators are therefore kept out of the words and,
where one of them is the rule, out of the sequence altogether:

* between two words a space goes without saying, ``_`` and others are written;
* inside a name that ends in a number ``_`` goes without saying, a space before the name is written;
* between a number and a word ``", "`` goes without saying.

``Place[mug_1, on, coffee_table_12, None, None]`` becomes
``Place [ mug _1 on ", " coffee table _12 None ", " None ]``.
Frequent fixed wording (``Action Result: Successful execution!``) becomes a single token. Everything is a
reversible rewriting over bytes, so any text comes back exactly and nothing is ever unknown; a word not met in
training is spelled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import ACTION_MARKER, END_OF_ACTION
from hitl_ops.models.tokenization import split_at_markers

if TYPE_CHECKING:
    from tokenizers.decoders import Decoder
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerFast

PAD, OPENING = "<pad>", "<s>"
SPECIAL_TOKENS = (PAD, OPENING, ACTION_MARKER, END_OF_ACTION)

# Opens every word and stands for a separator left out. It is no letter of the byte alphabet (bytes are written
# as the characters U+0021 to U+0143 before any other rule runs), so text cannot contain it.
_MARK = "▁"
_SPACE = "Ġ"  # the byte 0x20 in that alphabet

_NAME_ENDS = f"[A-Za-z]+(?:{_MARK}[A-Za-z]+)*_[0-9]"
_ENCODE = (
    # coffee_table_12: the underscores between the words of a numbered name
    (r"(?<=[A-Za-z])_(?=[A-Za-z]+(?:_[A-Za-z]+)*_[0-9])", _MARK),
    # a space between words, unless the second opens a numbered name: there the mark would read as "_"
    (f"(?<=[A-Za-z]){_SPACE}(?=[A-Za-z])(?!{_NAME_ENDS})", _MARK),
    (f"(?<=[0-9]),{_SPACE}(?=[A-Za-z])", _MARK),
    # every other word start; letters glued to a digit get none, so that the mark after a digit stays free
    (f"(?<![A-Za-z0-9{_MARK}])(?=[A-Za-z])", _MARK),
)
_DECODE = (
    (f"(?<=[A-Za-z]){_MARK}(?={_NAME_ENDS})", "_"),
    (f"(?<=[A-Za-z]){_MARK}", _SPACE),
    (f"(?<=[0-9]){_MARK}", f",{_SPACE}"),
    (_MARK, ""),
)
_PIECE = f"{_MARK}[A-Za-z]+|_[0-9]+|[\\s\\S]"
_NAME = re.compile(r"(?<![A-Za-z0-9_])([a-z]+(?:_[a-z]+)*)_[0-9]+")


def train_tiny_tokenizer(
    corpus: Iterable[str], *, vocab_size: int, max_positions: int, phrase_share: float = 0.5, word_count: int = 2
) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same corpus always gives the same one.

    Args:
        corpus: prompts, completions, or both joined.
        vocab_size: upper limit; what is left out is spelled.
        max_positions: the model's longest sequence, tokens.
        phrase_share: fixed wording becomes one token if it occurs at least this many times per corpus text.
        word_count: a word becomes a token if it occurs in at least this many different stretches of text;
            rarer ones are spelled, which also gives the letters something to learn from. Tools always do.

    Returns:
        The tokenizer; it opens every text with ``<s>``, ends at ``<end_act>`` and pads with ``<pad>``.

    Raises:
        UserError: the corpus is empty or ``vocab_size`` leaves no room for a word.
    """
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    stretches: Counter[str] = Counter()
    texts = 0
    for text in corpus:
        texts += 1
        stretches.update(piece for piece in split_at_markers(text) if piece not in SPECIAL_TOKENS)
    if not stretches:
        raise UserError("the tokenizer's corpus is empty", "build samples first, or choose a pretrained base model")

    normalizer = _normalizer()
    normal = Counter({normalizer.normalize_str(text): count for text, count in stretches.items()})
    varying = {word for text in stretches for name in _NAME.findall(text) for word in name.split("_")}
    phrases = _frequent_wording(normal, varying, at_least=max(2.0, phrase_share * texts))

    vocabulary = [*SPECIAL_TOKENS, *_byte_alphabet(), _MARK]
    if vocab_size <= len(vocabulary) + len(phrases):
        raise UserError(
            f"vocab_size {vocab_size} leaves no room for words", f"choose more than {len(vocabulary) + len(phrases)}"
        )
    vocabulary += phrases
    split = re.compile(_pattern(phrases))
    met_in: Counter[str] = Counter()
    for text in normal:
        met_in.update({piece for piece in split.findall(text) if len(piece) > 1})
    for phrase in phrases:
        del met_in[phrase]
    tools = {tool for text in normal for tool in re.findall(f"{_MARK}[A-Za-z]+(?=\\[)", text)}
    kept = (word for word, count in met_in.items() if count >= word_count or word in tools)
    words = sorted(kept, key=lambda w: (-met_in[w], w))
    vocabulary += words[: vocab_size - len(vocabulary)]

    tokenizer = Tokenizer(
        models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[], ignore_merges=True)
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = _pre_tokenizer(phrases)
    tokenizer.decoder = _decoder()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{OPENING} $A", pair=f"{OPENING} $A $B", special_tokens=[(OPENING, SPECIAL_TOKENS.index(OPENING))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=OPENING,
        eos_token=END_OF_ACTION,
        additional_special_tokens=[ACTION_MARKER],
        clean_up_tokenization_spaces=False,
        model_max_length=max_positions,
        padding_side="left",
    )


def _normalizer() -> Normalizer:
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [normalizers.ByteLevel(), *(normalizers.Replace(Regex(pattern), content) for pattern, content in _ENCODE)]
    )


def _decoder() -> Decoder:
    from tokenizers import Regex, decoders

    steps = [decoders.Replace(Regex(pattern), content) for pattern, content in _DECODE]
    return decoders.Sequence([decoders.Fuse(), *steps, decoders.ByteLevel()])


def _pre_tokenizer(phrases: list[str]) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(_pattern(phrases)), behavior="isolated")


def _byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _pattern(phrases: list[str]) -> str:
    """The pattern of one token: the longest fitting phrase, else a word, a number, a character."""
    guarded = []
    for phrase in sorted(phrases, key=lambda p: (-len(p), p)):
        guard = "(?![A-Za-z])" if phrase[-1].isascii() and phrase[-1].isalpha() else ""
        guarded.append(re.escape(phrase) + guard)
    return "|".join([*guarded, _PIECE])


def _frequent_wording(normal: Counter[str], varying: set[str], *, at_least: float) -> list[str]:
    """Find the runs of pieces worth a token of their own: pairs are merged while they occur often enough.

    Runs end at everything that varies (numbers, words of names, tools), so that no phrase swallows one of them:
    a frequent tool glued to the wording before it would leave a rare tool in a context never trained.
    """
    piece = re.compile(_PIECE)
    runs: Counter[tuple[str, ...]] = Counter()
    for text, count in normal.items():
        run: list[str] = []
        parts = piece.findall(text)
        for part, after in zip(parts, [*parts[1:], ""], strict=True):
            varies = part.lstrip(_MARK) in varying or any(c.isdigit() for c in part)
            if varies or after == "[":
                runs[tuple(run)] += count
                run = []
            if not varies:
                run.append(part)
            if part == "[":
                runs[tuple(run)] += count
                run = []
        runs[tuple(run)] += count
    weights = [count for run, count in runs.items() if len(run) > 1]
    merged = [list(run) for run in runs if len(run) > 1]
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for parts, weight in zip(merged, weights, strict=True):
            for pair in pairwise(parts):
                pairs[pair] += weight
        best = max(pairs.items(), key=lambda item: (item[1], item[0]), default=None)
        if best is None or best[1] < at_least:
            break
        for parts in merged:
            _merge(parts, best[0])
    used: Counter[str] = Counter()
    for parts, weight in zip(merged, weights, strict=True):
        for part in parts:
            if len(piece.findall(part)) > 1:
                used[part] += weight
    return sorted(phrase for phrase, count in used.items() if count >= at_least)


def _merge(parts: list[str], pair: tuple[str, str]) -> None:
    at = 0
    while at < len(parts) - 1:
        if (parts[at], parts[at + 1]) == pair:
            parts[at : at + 2] = ["".join(pair)]
        at += 1
