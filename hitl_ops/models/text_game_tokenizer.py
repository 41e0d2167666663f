"""A tokenizer for small agents in text games, trained on what they will read.

One token for one word with the space before it, one for a number, so that ``fridge`` and `` 1`` stand in an
observation as they stand in a command and can be copied. Wording that is nearly always the same (``, you see a``)
becomes one token; it never spans a line, a number or a name that a number follows, so that a command has the same
tokens in the history as in a reply. All of it works on bytes: any text comes back exactly, nothing is unknown, and
a word not met in training is spelled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, OPENING, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
SPECIAL_TOKENS = (PAD, OPENING, END, IMAGE)

# Written in the byte alphabet (tokenizers' ByteLevel), where a space is Ġ and the end of a line Ċ.
_PIECE = "Ċ>|Ġ?[A-Za-z]+|Ġ?[0-9]+|[\\s\\S]"
_NUMBER = re.compile("Ġ?[0-9]+")
_LINE_EDGE = ("Ċ", "Ċ>")


def train_text_game_tokenizer(
    corpus: Iterable[str], *, vocabulary: int, max_positions: int, phrase_share: float = 0.5, word_count: int = 2
) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same corpus always gives the same one.

    Args:
        corpus: prompts and completions.
        vocabulary: most tokens; what is left out is spelled, the rarest first.
        max_positions: the model's longest sequence, tokens.
        phrase_share: fixed wording becomes one token if it occurs at least this many times per corpus text.
        word_count: a word or number becomes a token if it occurs at least this often.

    Returns:
        The tokenizer; it opens a text with ``<s>``.

    Raises:
        UserError: the corpus is empty or ``vocabulary`` leaves no room for a word.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.ByteLevel()
    piece = re.compile(_PIECE)
    texts = [piece.findall(normalizer.normalize_str(text)) for text in corpus]
    met = Counter(part for parts in texts for part in parts)
    if not met:
        raise UserError("the tokenizer's corpus is empty", "play games first, or choose a pretrained base model")
    phrases = _fixed_wording(texts, at_least=max(2.0, phrase_share * len(texts)))
    fixed = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *phrases]
    if vocabulary <= len(fixed):
        raise UserError(f"a vocabulary of {vocabulary} leaves no room for words", f"choose more than {len(fixed)}")
    words = [part for part, count in met.items() if len(part) > 1 and count >= word_count]
    words.sort(key=lambda part: (-met[part], part))
    tokens = [*fixed, *words[: vocabulary - len(fixed)]]

    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], ignore_merges=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern(phrases)), behavior="isolated")
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{OPENING} $A", special_tokens=[(OPENING, SPECIAL_TOKENS.index(OPENING))]
    )
    return as_text_game_tokenizer(tokenizer, max_positions=max_positions)


def as_text_game_tokenizer(tokenizer: Tokenizer, *, max_positions: int) -> PreTrainedTokenizerFast:
    """Give a trained tokenizer the manners of transformers' tokenizers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=OPENING,
        eos_token=END,
        additional_special_tokens=[IMAGE],
        clean_up_tokenization_spaces=False,
        model_max_length=max_positions,
        padding_side="right",
    )


def _fixed_wording(texts: Iterable[list[str]], *, at_least: float) -> list[str]:
    """Runs of pieces between those that vary, where they are frequent; sorted."""
    runs: Counter[tuple[str, ...]] = Counter()
    for parts in texts:
        run: list[str] = []
        for part, after in zip(parts, [*parts[1:], ""], strict=True):
            varies = part in _LINE_EDGE or bool(_NUMBER.fullmatch(part)) or bool(_NUMBER.fullmatch(after))
            if not varies:
                run.append(part)
            if varies or not after:
                runs[tuple(run)] += 1
                run = []
    return sorted("".join(run) for run, count in runs.items() if len(run) > 1 and count >= at_least)


def _pattern(phrases: list[str]) -> str:
    """The pattern of one token: the longest fitting phrase, else a word, a number, a character."""
    guarded = []
    for phrase in sorted(phrases, key=lambda p: (-len(p), p)):
        guard = "(?![A-Za-z])" if phrase[-1].isascii() and phrase[-1].isalpha() else ""
        guarded.append(re.escape(phrase) + guard)
    return "|".join([*guarded, _PIECE])
