"""From prompts and completions to token ids, the same way in training and in acting.

A prompt of the append-only dialect is a prefix of the next one as text. That it is one as token ids too, for
any tokenizer, is what lets several samples share one training sequence and one decision reuse the work of the
last. Merges across a piece's edge would break it, so text is cut at the literal markers ``<act>`` and
``<end_act>`` and each piece is encoded on its own.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import ACTION_MARKER, END_OF_ACTION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKERS = re.compile(f"({re.escape(ACTION_MARKER)}|{re.escape(END_OF_ACTION)})")


def split_at_markers(text: str) -> list[str]:
    """Cut ``text`` before and after every marker; the pieces, none empty, join to ``text`` again."""
    return [piece for piece in _MARKERS.split(text) if piece]


class SampleEncoder:
    """Encodes prompts and completions for one tokenizer, remembering pieces it has met.

    An append-only prompt repeats all its earlier pieces, so only what is new costs time.

    Args:
        tokenizer: any tokenizer of transformers; it needs none of our special tokens.
        remembered: how many pieces to remember.

    Raises:
        UserError: the tokenizer turns a marker into nothing.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, remembered: int = 16384) -> None:
        self._tokenizer = tokenizer
        self._remembered = remembered
        self._pieces: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        opening = tokenizer("").input_ids
        # Llama-like tokenizers open every text with a token of its own; GPT-like ones do not.
        self.opening: list[int] = [i for i in opening[:1] if i == tokenizer.bos_token_id and i is not None]
        if not self._piece(ACTION_MARKER) or not self._piece(END_OF_ACTION):
            raise UserError(
                f"tokenizer '{tokenizer.name_or_path}' drops the action markers", "choose another base model"
            )

    def _piece(self, piece: str) -> tuple[int, ...]:
        known = self._pieces.get(piece)
        if known is not None:
            self._pieces.move_to_end(piece)
            return known
        ids = tuple(self._tokenizer(piece, add_special_tokens=False, verbose=False).input_ids)
        self._remember(piece, ids)
        return ids

    def _remember(self, piece: str, ids: tuple[int, ...]) -> None:
        self._pieces[piece] = ids
        if len(self._pieces) > self._remembered:
            self._pieces.popitem(last=False)

    def prepare(self, texts: Iterable[str]) -> None:
        """Encode what is new in many texts at once, on all cores; each by itself then costs next to nothing.

        Args:
            texts: prompts and completions, of no more different pieces than are remembered.
        """
        new = dict.fromkeys(piece for text in texts for piece in split_at_markers(text) if piece not in self._pieces)
        if new:
            rows = self._tokenizer(list(new), add_special_tokens=False, verbose=False).input_ids
            for piece, ids in zip(new, rows, strict=True):
                self._remember(piece, tuple(ids))

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, with the tokenizer's opening token if it has one."""
        ids = list(self.opening)
        for piece in split_at_markers(text):
            ids.extend(self._piece(piece))
        return ids

    def completion(self, text: str) -> list[int]:
        """Token ids of what follows a prompt, e.g. ``Pick[mug_1]<end_act>``."""
        ids: list[int] = []
        for piece in split_at_markers(text):
            ids.extend(self._piece(piece))
        return ids


def encode_sample(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Encode one sample; over many samples, keep a :class:`SampleEncoder` instead, which is faster.

    Args:
        tokenizer: any tokenizer of transformers.
        prompt: text that ends with ``<act>``.
        completion: what follows it, ending with ``<end_act>``.

    Returns:
        Token ids of the prompt and of the completion. Where one prompt and completion are a prefix of the next
        prompt as text, cut at a marker, their ids are a prefix of its ids.
    """
    encoder = SampleEncoder(tokenizer)
    return encoder.prompt(prompt), encoder.completion(completion)
