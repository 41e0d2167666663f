"""How likely a language model is to complete prompts so: what training asks of an agent.

Rows that begin alike run as one sequence: what they share once, then every completion, each of which sees what comes
before it and itself. Where pictures stand before prompts these are the two answers of a preference pair; where they
stand before replies, all turns of a game.

Imported inside functions only: it needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding
from torch.nn.utils.rnn import pad_sequence

from hitl_ops.models.vision_agent_config import PicturePlace

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
        prompts: [] float32, mean log-probability of the tokens of prompts after their first, nats, what several rows
            share counted once; None where it was not asked for.
    """

    sums: Tensor
    tokens: Tensor
    hits: Tensor
    prompts: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """One completion, where it leaves the prompt that it shares with others.

    Attributes:
        row: whose completion, by its place among all rows.
        after: how many tokens of the prompt it follows.
        picture: which of the pictures its row has seen.
        completion: token ids.
    """

    row: int
    after: int
    picture: int
    completion: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """One prompt, and the completions that are asked about: after all of it, or after its beginning.

    Attributes:
        prompt: token ids.
        branches: its completions.
    """

    prompt: tuple[int, ...]
    branches: list[Branch]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sequences of prompts, pictures and completions, padded on the right.

    Attributes:
        tokens: ids, 0 in the place of pictures, int64 [S, L].
        shown: place in the flattened [S * L] of each token of a picture, int64 [P].
        pictures: which picture's, and which of its tokens, as one number: picture * queries + token, int64 [P].
        positions: place of each token in its own picture, prompt and completion, int64 [S, L].
        sight: which tokens each token sees, bool [S, 1, L, L]; None where each sees all before it.
        predictors: place in the flattened [S * L] of what predicts a completion's token, int64 [A]; completion by
            completion, sequence by sequence.
        targets: the id to predict there, int64 [A].
        counts: tokens of each completion.
        told: place in the flattened [S * L] of each token of a prompt after its first, int64 [T]; the place before it
            predicts it.
    """

    tokens: Tensor
    shown: Tensor
    pictures: Tensor
    positions: Tensor
    sight: Tensor | None
    predictors: Tensor
    targets: Tensor
    counts: list[int]
    told: Tensor


def completion_scores(
    decoder: Any,
    head: Any,
    rows: Sequence[EncodedRow],
    seen: Tensor,
    which: Sequence[int],
    place: PicturePlace = "before_prompt",
    *,
    with_prompts: bool = False,
) -> RowScores:
    """How likely a language model is to complete prompts so.

    Args:
        decoder: the language model without its head.
        head: hidden states [M, H] → logits [M, V]; asked at the positions of completions alone.
        rows: prompts and completions.
        seen: what the language model is shown of every picture [D, queries, H].
        which: per row, which of them.
        place: where it is shown that.
        with_prompts: whether prompts are asked about, too.

    Returns:
        Of N rows; the sums with gradient unless it is switched off.

    Raises:
        ValueError: a completion has no tokens.
    """
    sequences = shared_prompts(rows, which, place)
    sums: list[Tensor] = []
    hits: list[Tensor] = []
    order: list[int] = []
    told: list[Tensor] = []
    queries = int(seen.shape[1])
    for chunk in chunks_of([_length(sequence, queries, place) for sequence in sequences]):
        some = [sequences[at] for at in chunk]
        layout = lay_out(some, queries, place)
        hidden = _run(decoder, layout, seen)
        more_sums, more_hits = _completions(head, layout, hidden)
        sums += more_sums
        hits += more_hits
        if with_prompts:
            told.append(_told(head, layout, hidden))
        order += [branch.row for one in some for branch in one.branches]
    places = sorted(range(len(rows)), key=order.__getitem__)
    return RowScores(
        # Not by index_add, whose order of summation is left to chance on accelerators.
        sums=torch.stack([sums[at] for at in places]),
        tokens=torch.tensor([len(row.completion) for row in rows], device=seen.device),
        hits=torch.stack([hits[at] for at in places]),
        prompts=torch.cat(told).mean() if told else None,
    )


def chunks_of(lengths: Sequence[int]) -> list[list[int]]:
    """What runs together: of similar length, so that little is padded, and no more tokens than memory has room."""
    chunks: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        if not chunks or lengths[chunks[-1][0]] * (len(chunks[-1]) + 1) > _TOKENS_AT_ONCE:
            chunks.append([])
        chunks[-1].append(at)
    return chunks


def shared_prompts(rows: Sequence[EncodedRow], which: Sequence[int], place: PicturePlace) -> list[SharedPrompt]:
    """What can run as one sequence.

    Where pictures come before prompts: rows of the same picture and prompt. Where they come before replies: rows of
    which one's prompt is the beginning of the other's, as those of a game are.

    Args:
        rows: prompts and completions.
        which: per row, its picture.
        place: where pictures are shown.
    """
    found: list[SharedPrompt] = []
    same: dict[tuple[int, tuple[int, ...]], SharedPrompt] = {}
    for at in sorted(range(len(rows)), key=lambda at: (-len(rows[at].prompt), at)):
        prompt, picture = rows[at].prompt, which[at]
        one = same.get((picture, prompt))
        if one is None and place == "before_reply":
            one = next((other for other in found if other.prompt[: len(prompt)] == prompt), None)
        if one is None:
            one = SharedPrompt(prompt, [])
            found.append(one)
        same[picture, prompt] = one
        one.branches.append(Branch(at, len(prompt), picture, rows[at].completion))
    return found


def _length(one: SharedPrompt, queries: int, place: PicturePlace) -> int:
    """Tokens run; the last of a completion predicts nothing."""
    shown = queries * (len(one.branches) if place == "before_reply" else 1)
    return len(one.prompt) + shown + sum(len(branch.completion) - 1 for branch in one.branches)


@dataclass(slots=True)
class _Sequence:
    """A sequence in the making, token by token.

    Attributes:
        tokens: ids, 0 for those of pictures.
        owner: 0 for the prompt, else the number of the branch.
        reach: how many tokens of the prompt each sees, those before it at most.
        positions: as in :class:`Layout`.
        shown: places and numbers of pictures' tokens.
        predictors: places of what predicts the completions' tokens.
    """

    tokens: list[int] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    reach: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)

    def add(self, tokens: Sequence[int], owner: int, reach: int, first: int) -> None:
        self.tokens += tokens
        self.owner += [owner] * len(tokens)
        self.reach += [reach] * len(tokens)
        self.positions += range(first, first + len(tokens))

    def show(self, picture: int, queries: int, owner: int, reach: int, first: int) -> None:
        self.shown += [(len(self.tokens) + token, picture * queries + token) for token in range(queries)]
        self.add([0] * queries, owner, reach, first)


def lay_out(sequences: Sequence[SharedPrompt], queries: int, place: PicturePlace) -> Layout:
    """Lay prompts out, each once, with their completions side by side behind them.

    For a causal language model what it makes of a token depends on nothing but the tokens before it; a completion
    therefore sees its prompt, its picture and itself, and its places are counted as if it stood there alone.

    Args:
        sequences: prompts and completions.
        queries: tokens of a picture.
        place: before the prompt, which is then shown one picture alone, or before every completion.

    Raises:
        ValueError: a completion has no tokens, or there is nothing before it.
    """
    if any(not queries + len(one.prompt) or not all(b.completion for b in one.branches) for one in sequences):
        raise ValueError("a prompt or a completion has no tokens")
    made = [_laid(one, queries, place) for one in sequences]
    longest = max(len(one.tokens) for one in made)
    before = queries if place == "before_prompt" else 0
    plain = all(len(one.branches) == 1 for one in sequences)  # then its prompt ends where its completion begins
    owner, reach = (_padded([getattr(one, name) for one in made]) for name in ("owner", "reach"))
    shown = [(number * longest + at, which) for number, one in enumerate(made) for at, which in one.shown]
    return Layout(
        tokens=_padded([one.tokens for one in made]),
        shown=torch.tensor([at for at, _ in shown]),
        pictures=torch.tensor([which for _, which in shown]),
        positions=_padded([one.positions for one in made]),
        # Single completions see all before them, and nothing that is real comes after padding: plain causal attention.
        sight=None if plain else _sight(owner, reach),
        predictors=torch.tensor([number * longest + at for number, one in enumerate(made) for at in one.predictors]),
        targets=torch.tensor([token for one in sequences for branch in one.branches for token in branch.completion]),
        counts=[len(branch.completion) for one in sequences for branch in one.branches],
        told=torch.tensor(
            [
                number * longest + before + at
                for number, one in enumerate(sequences)
                for at in range(1, len(one.prompt))
            ],
            dtype=torch.int64,
        ),
    )


def _laid(one: SharedPrompt, queries: int, place: PicturePlace) -> _Sequence:
    made = _Sequence()
    before = queries if place == "before_prompt" else 0
    whole = before + len(one.prompt)
    if before:
        made.show(one.branches[0].picture, queries, 0, whole, 0)
    made.add(one.prompt, 0, whole, before)
    for number, branch in enumerate(one.branches, start=1):
        first = seen = before + branch.after
        last = seen - 1
        if queries > before:
            made.show(branch.picture, queries, number, seen, first)
            first += queries
            last = len(made.tokens) - 1
        # The first token is predicted by what stands before it, each other one by the one before it.
        rest = branch.completion[:-1]
        made.predictors += [last, *range(len(made.tokens), len(made.tokens) + len(rest))]
        made.add(rest, number, seen, first)
    return made


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of different length, filled up with zeros: int64 [S, L]."""
    return pad_sequence([torch.tensor(row, dtype=torch.int64) for row in rows], batch_first=True)


def _sight(owner: Tensor, reach: Tensor) -> Tensor:
    """Each token sees as much of the prompt as it follows, and its own branch as far as itself.

    Padding counts as the prompt's and so sees itself and the prompt; a token that saw nothing at all would be no
    number.

    Args:
        owner: 0 for the prompt, else which branch, int64 [S, L].
        reach: how many tokens of the prompt are seen, int64 [S, L].

    Returns:
        bool [S, 1, L, L].
    """
    length = owner.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    prompt = (owner[:, None, :] == 0) & (torch.arange(length)[None, None, :] < reach[:, :, None])
    return (causal & (prompt | (owner[:, None, :] == owner[:, :, None])))[:, None]


def _run(decoder: Any, layout: Layout, seen: Tensor) -> Tensor:
    """What the language model makes of each place: [S * L, H]."""
    device = seen.device
    text = decoder.get_input_embeddings()(layout.tokens.to(device))
    # Everything in one table, then everything from its place there: the text's own, but where a picture is shown.
    table = torch.cat([text.flatten(0, 1), seen.to(text.dtype).flatten(0, 1)])
    places = torch.arange(layout.tokens.numel())
    places[layout.shown] = layout.tokens.numel() + layout.pictures
    inputs: dict[str, Any] = {}
    if layout.sight is not None:
        inputs = {"attention_mask": layout.sight.to(device), "position_ids": layout.positions.to(device)}
    embeds = _picked(table, places.to(device)).view_as(text)
    hidden: Tensor = decoder(inputs_embeds=embeds, use_cache=False, **inputs).last_hidden_state
    return hidden.flatten(0, 1)


def _completions(head: Any, layout: Layout, hidden: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The sum of each completion's token log-probabilities, and its hits, sequence by sequence."""
    logits = head(_picked(hidden, layout.predictors.to(hidden.device))).float()
    targets = layout.targets.to(hidden.device)
    logprobs = -cross_entropy(logits, targets, reduction="none")
    likeliest = logits.detach().argmax(-1) == targets
    sums, hits = (found.split(layout.counts) for found in (logprobs, likeliest))
    return [part.sum() for part in sums], [part.sum() for part in hits]


def _told(head: Any, layout: Layout, hidden: Tensor) -> Tensor:
    """Log-probabilities of the prompts' tokens: [T]."""
    logits = head(_picked(hidden, (layout.told - 1).to(hidden.device))).float()
    return -cross_entropy(logits, layout.tokens.flatten()[layout.told].to(hidden.device), reduction="none")


def _picked(table: Tensor, places: Tensor) -> Tensor:
    """Rows of a table [R, W]: [A, W].

    Not by indexing: where a place comes several times, its gradients would be summed in an order that is left to
    chance when several threads do it.
    """
    return embedding(places, table)
