"""Samples that begin alike share what they have in common.

The prompts of one episode repeat each other: in the append-only dialect every prompt and its completion are a
prefix of the next prompt, in the snapshot dialect header and furniture are. For a causal language model the
hidden state at a token depends on nothing but the tokens before it, so computing a shared prefix once gives the
very loss and gradients of computing it for every sample. A group of samples becomes a prefix tree, the tree one
sequence, in which each stretch of tokens (a *block*) sees itself and the blocks on the way to its root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedSample:
    """One sample as tokens.

    Attributes:
        tokens: ids of prompt and completion, int64 ``[length]``.
        weights: what it counts to predict each of them, float64 ``[length]``; 0 where nothing is to be learnt.
        group: samples of one group may share prefixes: one episode as one agent saw it.
        episode: episode id; decides on which side of the validation split the sample falls.
    """

    tokens: NDArray[np.int64]
    weights: NDArray[np.float64]
    group: str
    episode: str


@dataclass(frozen=True)
class Block:
    """A stretch of a sequence without a fork in it, and what it sees besides itself.

    Attributes:
        start: first token, counted in the sequence.
        stop: one past the last token.
        sees: stretches ``(start, stop)`` of the same sequence that come before it, root first.
    """

    start: int
    stop: int
    sees: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PackedSequence:
    """A sequence to run a model on, and what is asked of it.

    Attributes:
        tokens: ids, int64 ``[length]``.
        positions: place of each token in its own sample, int64 ``[length]``.
        blocks: cover the sequence in order.
        predictors: index of the token whose output is asked, int64 ``[asked]``, ascending; one token may be asked
            several times, where the tree forks.
        targets: the id to predict there, int64 ``[asked]``.
        weights: what that prediction counts, float64 ``[asked]``.
        samples: number of samples in it.
        sample_tokens: their tokens, had each been trained by itself.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    blocks: tuple[Block, ...]
    predictors: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float64]
    samples: int
    sample_tokens: int

    @property
    def total_weight(self) -> float:
        """Sum of all weights: this sequence's share in a loss's denominator."""
        return float(self.weights.sum())

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass
class _Node:
    tokens: NDArray[np.int64]
    weights: NDArray[np.float64]
    children: dict[int, _Node] = field(default_factory=dict)


class PrefixTree:
    """Samples merged by what they begin with; a token's weight is the sum of the weights of its samples."""

    def __init__(self) -> None:
        self._root = _Node(np.empty(0, np.int64), np.empty(0, np.float64))

    def insert(self, sample: EncodedSample) -> int:
        """Add a sample; returns how many of its first tokens were there already."""
        tokens, weights = sample.tokens, sample.weights
        node, at = self._root, 0
        while at < len(tokens):
            child = node.children.get(int(tokens[at]))
            if child is None:
                node.children[int(tokens[at])] = _Node(tokens[at:], weights[at:])
                return at
            shared = _common_length(child.tokens, tokens[at:])
            if shared < len(child.tokens):
                _split(child, shared)
            child.weights = child.weights + weights[at : at + shared]
            node, at = child, at + shared
        return at

    @property
    def branches(self) -> list[_Node]:
        """What hangs on the root."""
        return list(self._root.children.values())


def build_sequence(samples: Sequence[EncodedSample]) -> PackedSequence:
    """Merge samples into one sequence that yields the same loss and gradients as each by itself.

    Args:
        samples: at least one; those that begin alike share tokens, the others stand side by side.
    """
    tree = PrefixTree()
    for sample in samples:
        tree.insert(sample)

    tokens: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    blocks: list[Block] = []
    predictors: list[NDArray[np.int64]] = []
    targets: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float64]] = []
    length = 0
    # Depth first, so that a block mostly follows what it sees; a stack, since chains can be long.
    stack: list[tuple[_Node, tuple[tuple[int, int], ...], int]] = [
        (branch, (), 0) for branch in reversed(tree.branches)
    ]
    while stack:
        node, sees, depth = stack.pop()
        node_tokens, node_weights, children = _without_forks(node)
        start, size = length, len(node_tokens)
        length += size
        tokens.append(node_tokens)
        positions.append(np.arange(depth, depth + size))
        blocks.append(Block(start, length, sees))
        before = np.arange(start - 1, length - 1)
        before[0] = sees[-1][1] - 1 if sees else -1
        asked = node_weights > 0
        asked[0] &= bool(sees)  # nothing predicts the first token of a sample
        predictors.append(before[asked])
        targets.append(node_tokens[asked])
        weights.append(node_weights[asked])
        below = _joined(sees, (start, length))
        stack += [(child, below, depth + size) for child in reversed(children)]

    ask = np.concatenate(predictors)
    order = np.argsort(ask, kind="stable")
    return PackedSequence(
        tokens=np.concatenate(tokens),
        positions=np.concatenate(positions),
        blocks=tuple(blocks),
        predictors=ask[order],
        targets=np.concatenate(targets)[order],
        weights=np.concatenate(weights)[order],
        samples=len(samples),
        sample_tokens=sum(len(sample.tokens) for sample in samples),
    )


def _without_forks(node: _Node) -> tuple[NDArray[np.int64], NDArray[np.float64], list[_Node]]:
    """Tokens and weights from ``node`` to the next fork or leaf, and what hangs there."""
    path = [node]
    while len(path[-1].children) == 1:
        path += path[-1].children.values()
    tokens, weights = (np.concatenate(arrays) for arrays in zip(*((n.tokens, n.weights) for n in path), strict=True))
    return tokens, weights, list(path[-1].children.values())


def _joined(sees: tuple[tuple[int, int], ...], new: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    if sees and sees[-1][1] == new[0]:
        return (*sees[:-1], (sees[-1][0], new[1]))
    return (*sees, new)


def _common_length(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    size = min(len(a), len(b))
    differs = np.flatnonzero(a[:size] != b[:size])
    return int(differs[0]) if len(differs) else size


def _split(node: _Node, at: int) -> None:
    rest = _Node(node.tokens[at:], node.weights[at:], node.children)
    node.tokens, node.weights = node.tokens[:at], node.weights[:at]
    node.children = {int(rest.tokens[0]): rest}
