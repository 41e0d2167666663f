"""Choosing one of a list of completions with a causal language model, and nothing outside the list.

Greedy decoding walks the trie of the completions: the model is asked only where the trie branches, and tokens
that are forced are run together with what follows, in one pass. Scoring runs all nodes of the trie in one pass
under a tree-shaped attention mask and compares whole completions. Either way, the keys and values of the last
prompt are kept, and of the next one only the part that differs is run.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.token_trie import TokenTrie
from hitl_ops.models.tokenization import SampleEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Trie nodes run in one pass when scoring; bounds the logits to this many rows of the vocabulary.
_NODES_PER_PASS = 256


@dataclass(frozen=True)
class Choice:
    """Which completion was chosen, and how surely.

    Attributes:
        index: position in the list of completions.
        logprob: natural logarithm of its probability among the completions.
        entropy: in nats, over the tokens at the first branch (greedy) or over all completions (score).
        prompt_tokens: length of the prompt.
        new_tokens: tokens the model ran for this choice, prompt included.
        passes: forward passes.
    """

    index: int
    logprob: float
    entropy: float
    prompt_tokens: int
    new_tokens: int
    passes: int


@dataclass
class _Prefix:
    """Tokens already run, and what the model remembers of them."""

    ids: list[int]
    cache: Any


@dataclass
class _Walk:
    """One completion being chosen, token by token."""

    trie: TokenTrie
    pending: list[int]
    temperature: float
    rng: random.Random
    node: int = 0
    logprob: float = 0.0
    entropy: float = math.nan
    ran: int = 0
    passes: int = 0

    def __post_init__(self) -> None:
        self._go(0)

    def _go(self, node: int) -> None:
        forced, self.node = self.trie.follow(node)
        self.pending.extend(forced)

    @property
    def done(self) -> bool:
        return self.trie.completion(self.node) is not None

    def take(self, logits: torch.Tensor) -> None:
        """Choose a branch by the logits (vocabulary) of the position before it."""
        branches = self.trie.children(self.node)
        tokens = list(branches)
        logprobs = torch.log_softmax(logits[tokens].double(), dim=-1).tolist()
        if math.isnan(self.entropy):
            self.entropy = _entropy(logprobs)
        at = _draw(logprobs, self.temperature, self.rng)
        self.logprob += logprobs[at]
        self.pending = [tokens[at]]
        self._go(branches[tokens[at]])

    def choice(self, prompt_tokens: int) -> Choice:
        entropy = 0.0 if math.isnan(self.entropy) else self.entropy
        index = self.trie.completion(self.node)
        assert index is not None
        return Choice(index, self.logprob, entropy, prompt_tokens, self.ran, self.passes)


def _entropy(logprobs: list[float]) -> float:
    return -sum(math.exp(p) * p for p in logprobs if p > -math.inf) + 0.0


def _draw(logprobs: list[float], temperature: float, rng: random.Random) -> int:
    """Index of the likeliest, or one drawn at ``temperature``; of equals the first."""
    best = max(range(len(logprobs)), key=logprobs.__getitem__)
    if temperature == 0.0:
        return best
    weights = [math.exp((p - logprobs[best]) / temperature) for p in logprobs]
    return rng.choices(range(len(weights)), weights)[0]


@dataclass
class ConstrainedDecoder:
    """Chooses completions with one model; not for several threads at once.

    Args:
        model: any causal language model of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        decode: ``"greedy"``: the likeliest branch at every fork of the trie; ``"score"``: the completion that is
            likeliest as a whole. Score compares whole texts, so it needs one large pass instead of a few small.
        temperature: 0 for the likeliest; above, branches or completions are drawn. What is drawn depends on
            ``seed`` and the prompt alone, neither on order nor on batching.
        seed: see ``temperature``.
        kept_prefixes: for how many keys the state of the last prompt is kept.

    Raises:
        UserError: the model cannot be scored, see ``decode``.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    decode: Literal["greedy", "score"] = "greedy"
    temperature: float = 0.0
    seed: int = 0
    kept_prefixes: int = 4
    _prefixes: OrderedDict[Hashable, _Prefix] = field(default_factory=OrderedDict, init=False)

    def __post_init__(self) -> None:
        self.encoder = SampleEncoder(self.tokenizer)
        self._limit = getattr(self.model.config, "max_position_embeddings", None) or math.inf
        self._takes_positions = "position_ids" in inspect.signature(self.model.forward).parameters
        self._keeps_logits = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        # Windowed and recurrent layers drop what they no longer need, so there is no going back in them.
        self._can_go_back = all(type(layer) is DynamicLayer for layer in self._nothing().cache.layers)
        if self.decode == "score" and not (self._can_go_back and self._takes_positions):
            kind = self.model.config.model_type
            raise UserError(f"decode 'score' does not work with {kind} models", "choose decode 'greedy'")

    def forget(self, keys: Callable[[Hashable], bool] | None = None) -> None:
        """Drop what is kept of earlier prompts: of those whose key ``keys`` is true for, or of all."""
        for key in [key for key in self._prefixes if keys is None or keys(key)]:
            del self._prefixes[key]

    @torch.inference_mode()
    def choose(self, prompt: str, completions: Sequence[str], key: Hashable = None) -> Choice:
        """Choose how ``prompt`` goes on.

        Args:
            prompt: the text before the completion.
            completions: what may follow, each ending with the end marker.
            key: whose prompt this is; the state kept is that of the last prompt with the same key.

        Raises:
            UserError: prompt and completions are longer than the model can read.
        """
        ids, trie = self._encode(prompt, completions)
        prefix = self._prefixes.pop(key, None) or self._nothing()
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prefix.ids, ids, strict=False)))
        # The last token is run again even if it is known: its logits were not kept.
        prefix = self._cut(prefix, min(same, len(ids) - 1))
        choice = self._choose(ids, trie, prefix, self._rng(prompt))
        self._prefixes[key] = prefix
        while len(self._prefixes) > self.kept_prefixes:
            self._prefixes.popitem(last=False)
        return choice

    @torch.inference_mode()
    def choose_batch(self, prompts: Sequence[str], completions: Sequence[Sequence[str]]) -> list[Choice]:
        """Choose for several prompts at once; the choices are those :meth:`choose` makes one by one.

        Greedy walks go side by side, padded on the left; scoring goes prompt by prompt, for each of its passes
        is a large one already. Nothing is kept of these prompts.

        Args:
            prompts: the texts before the completions.
            completions: per prompt, what may follow.

        Raises:
            UserError: a prompt and its completions are longer than the model can read.
        """
        rows = [self._encode(prompt, texts) for prompt, texts in zip(prompts, completions, strict=True)]
        rngs = [self._rng(prompt) for prompt in prompts]
        if self.decode == "score" or not self._takes_positions:
            return [self._choose(ids, trie, self._nothing(), rng) for (ids, trie), rng in zip(rows, rngs, strict=True)]
        walks = [_Walk(trie, list(ids), self.temperature, rng) for (ids, trie), rng in zip(rows, rngs, strict=True)]
        cache = DynamicCache(config=self.model.config)
        mask = torch.zeros(len(walks), 0, dtype=torch.long)
        while not all(walk.done for walk in walks):
            chunks = [[] if walk.done else walk.pending for walk in walks]
            width = max(map(len, chunks))
            ids_in, positions, real = (torch.zeros(len(walks), width, dtype=torch.long) for _ in range(3))
            for row, (walk, chunk) in enumerate(zip(walks, chunks, strict=True)):
                if chunk:
                    ids_in[row, -len(chunk) :] = torch.tensor(chunk)
                    positions[row, -len(chunk) :] = torch.arange(walk.ran, walk.ran + len(chunk))
                    real[row, -len(chunk) :] = 1
            mask = torch.cat([mask, real], dim=1)
            logits = self._forward(ids_in, cache, attention_mask=mask, position_ids=positions)[:, -1].cpu()
            for row, (walk, chunk) in enumerate(zip(walks, chunks, strict=True)):
                if chunk:
                    walk.ran += len(chunk)
                    walk.passes += 1
                    walk.take(logits[row])
        return [walk.choice(len(ids)) for walk, (ids, _) in zip(walks, rows, strict=True)]

    def _encode(self, prompt: str, completions: Sequence[str]) -> tuple[list[int], TokenTrie]:
        ids = self.encoder.prompt(prompt)
        trie = TokenTrie([self.encoder.completion(text) for text in completions])
        if len(ids) + trie.height > self._limit:
            raise UserError(
                f"a prompt of {len(ids)} tokens is longer than the model reads ({self._limit})",
                "choose a model with more positions, or end episodes after fewer decisions",
            )
        return ids, trie

    def _rng(self, prompt: str) -> random.Random:
        return random.Random(hashlib.sha256(f"{self.seed}|{prompt}".encode()).digest())

    def _nothing(self) -> _Prefix:
        return _Prefix([], DynamicCache(config=self.model.config))

    def _cut(self, prefix: _Prefix, length: int) -> _Prefix:
        """Keep the first ``length`` tokens; all or nothing where the model's memory cannot be cut."""
        surplus = len(prefix.ids) - length
        if surplus == 0:
            return prefix
        if length == 0 or not self._can_go_back:
            return self._nothing()
        prefix.cache.crop(-surplus)
        del prefix.ids[length:]
        return prefix

    def _forward(self, ids: torch.Tensor, cache: Any, *, keep: int | torch.Tensor = 1, **inputs: Any) -> torch.Tensor:
        """Run tokens (batch × length) after what the cache holds; logits of the last or of the named positions."""
        device = self.model.device
        moved = {name: value.to(device) for name, value in inputs.items()}
        if self._keeps_logits:
            moved["logits_to_keep"] = keep if isinstance(keep, int) else keep.to(device)
        logits = self.model(input_ids=ids.to(device), past_key_values=cache, use_cache=True, **moved).logits
        if self._keeps_logits:
            return logits
        return logits[:, -keep:] if isinstance(keep, int) else logits[:, keep.to(device)]

    def _choose(self, ids: list[int], trie: TokenTrie, prefix: _Prefix, rng: random.Random) -> Choice:
        if self.decode == "score" and trie.completion(trie.follow(0)[1]) is None:
            return self._score(ids, trie, prefix, rng)
        return self._follow(ids, trie, prefix, rng)

    def _follow(self, ids: list[int], trie: TokenTrie, prefix: _Prefix, rng: random.Random) -> Choice:
        """Walk down the trie; ``prefix`` grows by the tokens run."""
        walk = _Walk(trie, ids[len(prefix.ids) :], self.temperature, rng)
        while not walk.done:
            chunk = walk.pending
            logits = self._forward(torch.tensor([chunk]), prefix.cache)[0, -1]
            prefix.ids.extend(chunk)
            walk.ran += len(chunk)
            walk.passes += 1
            walk.take(logits)
        return walk.choice(len(ids))

    def _score(self, ids: list[int], trie: TokenTrie, prefix: _Prefix, rng: random.Random) -> Choice:
        """Compare whole completions; ``prefix`` grows to the prompt."""
        inner = [node for node in trie.nodes()[1:] if trie.children(node)]
        column = {node: at for at, node in enumerate(inner)}
        sees = torch.eye(len(inner), dtype=torch.bool)
        for node in inner:
            if trie.parent[node]:
                sees[column[node]] |= sees[column[trie.parent[node]]]
        total = [0.0] * len(trie.nodes())
        new = ids[len(prefix.ids) :]
        ran, passes = 0, 0
        for first in range(0, max(len(inner), 1), _NODES_PER_PASS):
            nodes = inner[first : first + _NODES_PER_PASS]
            past = len(ids) - len(new) + first
            tokens = torch.tensor([new + [trie.token[node] for node in nodes]])
            seen = torch.zeros(len(new) + len(nodes), past + tokens.shape[1], dtype=torch.bool)
            seen[:, : len(ids)] = torch.ones(len(seen), len(ids)).tril(len(ids) - len(new)).bool()
            seen[len(new) :, len(ids) :] = sees[first : first + len(nodes), : first + len(nodes)]
            bias = torch.zeros(seen.shape, dtype=self.model.dtype)
            bias.masked_fill_(~seen, torch.finfo(self.model.dtype).min)
            positions = list(range(len(ids) - len(new), len(ids))) + [len(ids) + trie.depth[n] - 1 for n in nodes]
            read = ([0] if new else []) + nodes
            keep = torch.arange(tokens.shape[1] - len(read), tokens.shape[1])
            logits = self._forward(
                tokens,
                prefix.cache,
                keep=keep,
                attention_mask=bias[None, None],
                position_ids=torch.tensor([positions]),
            )[0]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            edges = [(row, node, token) for row, node in enumerate(read) for token in trie.children(node)]
            picked = logprobs[[row for row, _, _ in edges], [token for _, _, token in edges]].double().tolist()
            for (_, node, token), logprob in zip(edges, picked, strict=True):
                total[trie.children(node)[token]] = total[node] + logprob
            ran, passes, new = ran + tokens.shape[1], passes + 1, []
        prefix.ids[:] = ids
        if inner:
            prefix.cache.crop(-len(inner))
        leaves = sorted((i, node) for node in trie.nodes() if (i := trie.completion(node)) is not None)
        logprobs_of = torch.log_softmax(torch.tensor([total[node] for _, node in leaves]).double(), dim=-1).tolist()
        at = _draw(logprobs_of, self.temperature, rng)
        return Choice(leaves[at][0], logprobs_of[at], _entropy(logprobs_of), len(ids), ran, passes)
