"""Token by token through a reply: down the tree of admissible commands, or freely to the end of a line.

Many walks go side by side through one language model. A prompt runs once, in embeddings, because a picture stands in
it; after that only new tokens run, and those that are forced run together with the one that was chosen.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from hitl_ops.models.token_trie import TokenTrie


class Walk(Protocol):
    """One reply in the making.

    Attributes:
        pending: tokens decided but not run yet.
        logprob: natural logarithm of the probability of what was chosen so far.
    """

    pending: list[int]
    logprob: float

    @property
    def done(self) -> bool:
        """Whether the reply is complete."""
        ...

    def take(self, logits: Tensor) -> None:
        """Choose what comes next by the logits [V] of the position before it."""
        ...


class TrieWalk:
    """A walk down the tree of admissible replies: the model is asked only where it forks.

    Args:
        replies: token ids of each, none a prefix of another.
        temperature: 0 takes the likeliest branch, of equals the first; above, branches are drawn.
        rng: draws.
    """

    def __init__(self, replies: Sequence[Sequence[int]], temperature: float, rng: random.Random) -> None:
        self._trie = TokenTrie(replies)
        self._temperature, self._rng = temperature, rng
        self.pending: list[int] = []
        self.logprob = 0.0
        self._go(0)

    def _go(self, node: int) -> None:
        forced, self._node = self._trie.follow(node)
        self.pending.extend(forced)

    @property
    def done(self) -> bool:
        """Whether a leaf is reached."""
        return self._trie.completion(self._node) is not None

    @property
    def chosen(self) -> int:
        """Which of the replies was chosen.

        Raises:
            ValueError: that is still open.
        """
        index = self._trie.completion(self._node)
        if index is None:
            raise ValueError("the walk has not ended")
        return index

    @property
    def height(self) -> int:
        """Tokens of the longest reply."""
        return self._trie.height

    def take(self, logits: Tensor) -> None:
        """Choose a branch; its probability is that among the branches."""
        branches = self._trie.children(self._node)
        tokens = list(branches)
        logprobs = torch.log_softmax(logits[tokens].double(), dim=-1)
        at = draw(logprobs, self._temperature, self._rng)
        self.logprob += float(logprobs[at])
        self.pending = [tokens[at]]
        self._go(branches[tokens[at]])


class LineWalk:
    """A free reply, up to the end of a line.

    Args:
        opening: tokens it begins with, given.
        end: the token that ends a reply.
        breaks: whether a token has the end of a line in it.
        forbidden: tokens that are no text.
        limit: longest reply, tokens.
        temperature: 0 takes the likeliest token; above, tokens are drawn.
        rng: draws.
    """

    def __init__(
        self,
        opening: Sequence[int],
        *,
        end: int,
        breaks: Callable[[int], bool],
        forbidden: Sequence[int],
        limit: int,
        temperature: float,
        rng: random.Random,
    ) -> None:
        self.ids = list(opening)
        self.pending = list(opening)
        self.logprob = 0.0
        self.done = False
        self._end, self._breaks, self._forbidden, self._limit = end, breaks, list(forbidden), limit
        self._temperature, self._rng = temperature, rng

    def take(self, logits: Tensor) -> None:
        """Choose the next token of all there are."""
        logprobs = logits.double().clone()
        logprobs[self._forbidden] = -math.inf
        logprobs = torch.log_softmax(logprobs, dim=-1)
        token = draw(logprobs, self._temperature, self._rng)
        self.logprob += float(logprobs[token])
        ends = token == self._end
        if not ends:
            self.ids.append(token)
            self.pending = [token]
        self.done = ends or self._breaks(token) or len(self.ids) >= self._limit


def walk_rng(seed: int, prompt: str) -> random.Random:
    """Chance that depends on the seed and the prompt alone."""
    return random.Random(hashlib.sha256(f"{seed}|{prompt}".encode()).digest())


def draw(logprobs: Tensor, temperature: float, rng: random.Random) -> int:
    """Index of the likeliest, of equals the first; or one drawn at ``temperature``."""
    if temperature == 0.0:
        return int(logprobs.argmax())
    weights = torch.exp((logprobs - logprobs.max()) / temperature).tolist()
    return rng.choices(range(len(weights)), weights)[0]


def run_walks(decoder: Any, head: Any, prompts: Sequence[Tensor], walks: Sequence[Walk]) -> None:
    """Take every walk to its end.

    Args:
        decoder: the language model without its head.
        head: hidden states [..., H] → logits [..., V].
        prompts: per walk, what is before the reply, as embeddings [L, H].
        walks: each is asked as soon as what it has pending has run.
    """
    if all(walk.done for walk in walks):
        return
    embed = decoder.get_input_embeddings()
    device, count = prompts[0].device, len(walks)
    cache = DynamicCache(config=decoder.config)
    # What was decided before the model is asked runs with the prompt.
    begun = [embed(torch.tensor(walk.pending, device=device, dtype=torch.long)) for walk in walks]
    rows = [torch.cat([prompt, reply]) for prompt, reply in zip(prompts, begun, strict=True)]
    lengths = torch.tensor([len(row) for row in rows])
    # Padded on the right: causal attention keeps padding out of every real position without a mask.
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    hidden = decoder(inputs_embeds=padded, past_key_values=cache, use_cache=True).last_hidden_state
    seen = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    active = [row for row, walk in enumerate(walks) if not walk.done]
    last = hidden[active, lengths[active] - 1]
    while True:
        for row, logits in zip(active, head(last).float().cpu(), strict=True):
            walks[row].take(logits)
        active = [row for row in active if not walks[row].done]
        if not active:
            return
        width = max(len(walks[row].pending) for row in active)
        ids, real = (torch.zeros(count, width, dtype=torch.long) for _ in range(2))
        for row in active:
            new = walks[row].pending
            ids[row, : len(new)] = torch.tensor(new)
            real[row, : len(new)] = 1
        positions = lengths[:, None] + torch.arange(width)
        lengths += real.sum(1)
        seen = torch.cat([seen, real], dim=1)
        hidden = decoder(
            input_ids=ids.to(device),
            past_key_values=cache,
            attention_mask=seen.to(device) if count > 1 else None,
            position_ids=positions.to(device),
            use_cache=True,
        ).last_hidden_state
        last = hidden[active, real.sum(1)[active] - 1]
