"""How likely a language model is to complete prompts so: what training asks of an agent.

Rows with the same picture, task and prompt (the two answers of a preference pair) run as one sequence: the prompt
once, then every completion, each of which sees the prompt and itself.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding
from torch.nn.utils.rnn import pad_sequence

_TOKENS_AT_ONCE = 8192
"""Sequences of one pass together are no longer than this, padding included."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A prompt and what completes it, as token ids.

    Attributes:
        prompt: what the language model reads after the picture.
        completion: with its end.
        task: what the Q-Former reads.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    task: tuple[int, ...]


class RowScores(NamedTuple):
    """How likely completions are.

    Attributes:
        sums: [N] float32, log-probability of each completion, summed over its tokens, nats.
        tokens: [N] int64, how many tokens each has, its end included.
        hits: [N] int64, how many of these were the likeliest at their place.
    """

    sums: Tensor
    tokens: Tensor
    hits: Tensor


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """One prompt after one picture, and the completions that are asked about.

    Attributes:
        picture: which of the pictures.
        prompt: token ids.
        rows: whose completions, by their place among all rows.
        completions: theirs.
    """

    picture: int
    prompt: tuple[int, ...]
    rows: list[int]
    completions: list[tuple[int, ...]]

    @property
    def length(self) -> int:
        """Tokens run, without the picture's; the last of a completion predicts nothing."""
        return len(self.prompt) + sum(len(completion) - 1 for completion in self.completions)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sequences of a picture, a prompt and its completions, padded on the right.

    Attributes:
        tokens: ids after the picture, int64 [S, T].
        positions: place of each token in its own picture, prompt and completion, int64 [S, L]; L counts the picture.
        sight: which tokens each token sees, bool [S, 1, L, L]; None where each sees all before it.
        predictors: place in the flattened [S * L] of what predicts a completion's token, int64 [A]; completion by
            completion, sequence by sequence.
        targets: the id to predict there, int64 [A].
        counts: tokens of each completion.
    """

    tokens: Tensor
    positions: Tensor
    sight: Tensor | None
    predictors: Tensor
    targets: Tensor
    counts: list[int]


def completion_scores(
    decoder: Any, head: Any, rows: Sequence[EncodedRow], seen: Tensor, which: Sequence[int]
) -> RowScores:
    """How likely a language model is to complete prompts so.

    Args:
        decoder: the language model without its head.
        head: hidden states [M, H] → logits [M, V]; asked at the positions of completions alone.
        rows: prompts and completions.
        seen: what stands before prompts, for every picture [D, queries, H].
        which: per row, which of them.

    Returns:
        Of N rows; the sums with gradient unless it is switched off.

    Raises:
        ValueError: a completion has no tokens.
    """
    sequences = _shared_prompts(rows, which)
    sums: list[Tensor] = []
    hits: list[Tensor] = []
    order: list[int] = []
    for chunk in chunks_of([sequence.length for sequence in sequences]):
        some = [sequences[at] for at in chunk]
        numbers = torch.tensor([sequence.picture for sequence in some], device=seen.device)
        more_sums, more_hits = _run(decoder, head, some, _picked(seen.flatten(1), numbers).view(-1, *seen.shape[1:]))
        sums += more_sums
        hits += more_hits
        order += [row for one in some for row in one.rows]
    place = sorted(range(len(rows)), key=order.__getitem__)
    return RowScores(
        # Not by index_add, whose order of summation is left to chance on accelerators.
        sums=torch.stack([sums[at] for at in place]),
        tokens=torch.tensor([len(row.completion) for row in rows], device=seen.device),
        hits=torch.stack([hits[at] for at in place]),
    )


def chunks_of(lengths: Sequence[int]) -> list[list[int]]:
    """What runs together: of similar length, so that little is padded, and no more tokens than memory has room."""
    chunks: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if not chunks or lengths[chunks[-1][0]] * (len(chunks[-1]) + 1) > _TOKENS_AT_ONCE:
            chunks.append([])
        chunks[-1].append(at)
    return chunks


def lay_out(sequences: Sequence[SharedPrompt], pictures: int) -> Layout:
    """Lay prompts out, each once, with their completions side by side behind them.

    For a causal language model what it makes of a token depends on nothing but the tokens before it; a completion
    therefore sees the prompt and itself, and its places are counted as if it stood there alone.

    Args:
        sequences: prompts and completions.
        pictures: places that the picture takes before each prompt.

    Raises:
        ValueError: a completion has no tokens, or there is nothing before it.
    """
    if any(not pictures + len(one.prompt) or not all(one.completions) for one in sequences):
        raise ValueError("a prompt or a completion has no tokens")
    longest = pictures + max(one.length for one in sequences)
    ids: list[Tensor] = []
    branches: list[Tensor] = []
    positions: list[Tensor] = []
    predictors: list[int] = []
    for number, one in enumerate(sequences):
        prompt = pictures + len(one.prompt)
        tokens, branch, position = list(one.prompt), [0] * prompt, list(range(prompt))
        for which, completion in enumerate(one.completions, start=1):
            first, more = number * longest + pictures + len(tokens), len(completion) - 1
            # The first token is predicted by the prompt's last, each other one by the one before it.
            predictors += [number * longest + prompt - 1, *range(first, first + more)]
            tokens += completion[:-1]
            branch += [which] * more
            position += range(prompt, prompt + more)
        ids.append(torch.tensor(tokens, dtype=torch.int64))
        branches.append(torch.tensor(branch))
        positions.append(torch.tensor(position))
    shared = any(len(one.completions) > 1 for one in sequences)
    return Layout(
        tokens=pad_sequence(ids, batch_first=True),
        positions=pad_sequence(positions, batch_first=True),
        # Single completions see all before them, and nothing that is real comes after padding: plain causal attention.
        sight=_sight(pad_sequence(branches, batch_first=True)) if shared else None,
        predictors=torch.tensor(predictors),
        targets=torch.tensor([token for one in sequences for ids in one.completions for token in ids]),
        counts=[len(ids) for one in sequences for ids in one.completions],
    )


def _sight(branches: Tensor) -> Tensor:
    """Each token sees the prompt, which is branch 0, and its own branch as far as itself: [S, L] → bool [S, 1, L, L].

    Padding counts as branch 0 and so sees the prompt; a token that saw nothing at all would be no number.
    """
    causal = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool).tril()
    mine = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])
    return (causal & mine)[:, None]


def _shared_prompts(rows: Sequence[EncodedRow], which: Sequence[int]) -> list[SharedPrompt]:
    found: dict[tuple[int, tuple[int, ...]], SharedPrompt] = {}
    for at, (row, picture) in enumerate(zip(rows, which, strict=True)):
        one = found.setdefault((picture, row.prompt), SharedPrompt(picture, row.prompt, [], []))
        one.rows.append(at)
        one.completions.append(row.completion)
    return list(found.values())


def _run(
    decoder: Any, head: Any, sequences: Sequence[SharedPrompt], seen: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The sum of each completion's token log-probabilities, and its hits, sequence by sequence."""
    device = seen.device
    layout = lay_out(sequences, seen.shape[1])
    text = decoder.get_input_embeddings()(layout.tokens.to(device))
    inputs: dict[str, Any] = {}
    if layout.sight is not None:
        inputs = {"attention_mask": layout.sight.to(device), "position_ids": layout.positions.to(device)}
    embeds = torch.cat([seen.to(text.dtype), text], dim=1)
    hidden = decoder(inputs_embeds=embeds, use_cache=False, **inputs).last_hidden_state
    logits = head(_picked(hidden.flatten(0, 1), layout.predictors.to(device))).float()
    targets = layout.targets.to(device)
    logprobs = -cross_entropy(logits, targets, reduction="none")
    likeliest = logits.detach().argmax(-1) == targets
    sums, hits = (found.split(layout.counts) for found in (logprobs, likeliest))
    return [part.sum() for part in sums], [part.sum() for part in hits]


def _picked(table: Tensor, places: Tensor) -> Tensor:
    """Rows of a table [R, W]: [A, W].

    Not by indexing: where a place comes several times, its gradients would be summed in an order that is left to
    chance when several threads do it.
    """
    return embedding(places, table)
