"""From a Parquet file of samples to token sequences, each of its mistakes named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.models.tokenization import SampleEncoder, split_at_markers
from hitl_ops.samples.name_exchange import exchange_names
from hitl_ops.training.prefix_tree import EncodedSample, PrefixTree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Rows whose texts are encoded in one call; their pieces stay within what an encoder remembers.
_PREPARED_TOGETHER = 2000
_COLUMNS = ("sample_id", "episode_id", "agent", "step", "prompt", "completion", "weight")
# Tells the records of one episode apart; a file without it holds one of each.
_TRACE = "trace"


@dataclass(frozen=True)
class SampleRow:
    """What training needs of a sample."""

    sample_id: str
    episode_id: str
    agent: int
    step: int
    prompt: str
    completion: str
    weight: float
    trace: str = ""

    @property
    def group(self) -> str:
        """The episode as one agent saw it."""
        return f"{self.episode_id}/{self.agent}"


@dataclass(frozen=True)
class OverlongCounts:
    """What became of the samples that are too long."""

    dropped: int = 0
    truncated: int = 0


def read_sample_rows(path: Path) -> list[SampleRow]:
    """Read a samples file, in the order of episode, agent, trace, step and id, however its rows lie.

    Where an episode was played several times, what belongs to one play stays together: it begins alike.

    Raises:
        UserError: the file is missing, is no Parquet, lacks a column, is empty, or holds an impossible row.
    """
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise UserError(f"samples file '{path}' does not exist", "build the samples first")
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"samples file '{path}' cannot be read as Parquet", " ".join(str(error).split())[:200]
        ) from None
    missing = [column for column in _COLUMNS if column not in table.column_names]
    if missing:
        raise UserError(f"samples file '{path}' lacks the column '{missing[0]}'", "build the samples again")
    columns = [*_COLUMNS, _TRACE] if _TRACE in table.column_names else list(_COLUMNS)
    needed = table.select(columns)
    for column in columns:
        if column != "weight" and needed[column].null_count:
            raise UserError(f"samples file '{path}' has rows without '{column}'", "build the samples again")
    rows = [
        # A missing weight is as impossible as one that is no number.
        SampleRow(**{**row, "weight": float("nan") if row["weight"] is None else row["weight"]})
        for row in needed.to_pylist()
    ]
    if not rows:
        raise UserError(f"samples file '{path}' holds no samples", "build the samples again with a lower percent_cut")
    for row in rows:
        if not 0 <= row.weight < float("inf"):
            raise UserError(
                f"sample '{row.sample_id}' in '{path}' has the weight {row.weight}", "weights are 0 or more"
            )
        if not row.prompt or not row.completion:
            raise UserError(f"sample '{row.sample_id}' in '{path}' lacks prompt or completion", "build it again")
    rows.sort(key=lambda row: (row.episode_id, row.agent, row.trace, row.step, row.sample_id))
    for one, other in pairwise(sorted(row.sample_id for row in rows)):
        if one == other:
            raise UserError(f"sample '{one}' is in '{path}' twice", "build the samples again")
    return rows


def hash_rows(rows: Iterable[SampleRow]) -> str:
    """Hash over everything in the rows that training sees."""
    digest = hashlib.sha256()
    for row in rows:
        for value in (row.sample_id, row.episode_id, str(row.agent), row.prompt, row.completion, repr(row.weight)):
            digest.update(value.encode())
            digest.update(b"\0")
    return digest.hexdigest()


def split_episodes(episodes: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Choose the validation episodes: a share of all, by a hash, so that neither order nor other runs matter.

    Args:
        episodes: episode ids, repeated or not.
        fraction: share to choose; at least one where it is above 0 and there are two.
        seed: another seed chooses others.
    """
    known = sorted({original_episode_id(episode) for episode in episodes})
    if fraction <= 0 or len(known) < 2:
        return set()
    count = min(len(known) - 1, max(1, round(fraction * len(known))))
    return set(sorted(known, key=lambda episode: hashlib.sha256(f"{seed}:{episode}".encode()).digest())[:count])


def with_exchanged_copies(rows: Sequence[SampleRow], copies: int, seed: int) -> list[SampleRow]:
    """The rows and ``copies`` of each with exchanged names, episode by episode the same exchange.

    Args:
        rows: as from :func:`read_sample_rows`; those of a group follow each other.
        copies: 0 leaves the rows as they are.
        seed: another seed exchanges other names.
    """
    every = list(rows)
    for copy in range(1, copies + 1):
        group, known = "", dict[str, str]()
        for row in rows:
            if row.group != group:
                group, known = row.group, {}
            names = f"{seed}:{copy}:{group}"
            every.append(
                replace(
                    row,
                    sample_id=f"{row.sample_id}/names-{copy}",
                    episode_id=f"{row.episode_id}~names-{copy}",
                    prompt=_exchanged(row.prompt, names, known),
                    completion=_exchanged(row.completion, names, known),
                )
            )
    return every


def _exchanged(text: str, names: str, known: dict[str, str]) -> str:
    """Exchange names turn by turn: most turns of a prompt were in the prompt before it."""
    pieces = []
    for piece in split_at_markers(text):
        if piece not in known:
            known[piece] = exchange_names(piece, names)
        pieces.append(known[piece])
    return "".join(pieces)


def corpus_of(rows: Sequence[SampleRow]) -> list[str]:
    """The texts a tokenizer is trained on: every sample that no later one of its group continues."""
    texts: list[str] = []
    group = ""
    for row in rows:
        text = row.prompt + row.completion
        if texts and group == row.group and text.startswith(texts[-1]):
            texts[-1] = text
        else:
            texts.append(text)
        group = row.group
    return texts


def encode_rows(
    rows: Sequence[SampleRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    overlong: Literal["error", "drop", "truncate_left"],
    prompt_loss_weight: float = 0.0,
) -> tuple[list[EncodedSample], OverlongCounts]:
    """Turn rows into tokens and the weight of predicting each.

    Args:
        rows: as from :func:`read_sample_rows`.
        tokenizer: the base model's.
        max_length: most tokens of prompt and completion together.
        overlong: what to do with more. A completion that does not fit by itself is always dropped or an error.
        prompt_loss_weight: factor on the weight of a prompt's tokens. A token counts once as part of a prompt,
            with the weight of the first sample that brings it, and not at all where an earlier completion brought it.

    Raises:
        UserError: samples are too long and ``overlong`` is ``"error"``.
    """
    encoder = SampleEncoder(tokenizer)
    opening = len(encoder.opening)
    encoded: list[EncodedSample] = []
    too_long, longest, dropped, truncated = 0, 0, 0, 0
    tree, group = PrefixTree(), ""
    for number, row in enumerate(rows):
        if number % _PREPARED_TOGETHER == 0:
            coming = rows[number : number + _PREPARED_TOGETHER]
            encoder.prepare(text for ahead in coming for text in (ahead.prompt, ahead.completion))
        prompt, completion = encoder.prompt(row.prompt), encoder.completion(row.completion)
        excess = len(prompt) + len(completion) - max_length
        if excess > 0:
            too_long, longest = too_long + 1, max(longest, len(prompt) + len(completion))
            # At least one token must stay before the completion, or nothing predicts its first.
            if overlong != "truncate_left" or excess >= len(prompt) - opening:
                dropped += 1
                continue
            prompt = prompt[:opening] + prompt[opening + excess :]
            truncated += 1
        weights = np.zeros(len(prompt) + len(completion))
        weights[len(prompt) :] = row.weight
        sample = EncodedSample(np.array(prompt + completion, np.int64), weights, row.group, row.episode_id)
        if prompt_loss_weight > 0:
            if group != row.group:
                tree, group = PrefixTree(), row.group
            known = tree.insert(sample)
            weights = weights.copy()
            weights[known : len(prompt)] = prompt_loss_weight * row.weight
            sample = replace(sample, weights=weights)
        encoded.append(sample)
    if too_long and overlong == "error":
        raise UserError(
            f"{too_long} of {len(rows)} samples are longer than max_length {max_length}",
            f"the longest has {longest} tokens: raise max_length, or set overlong to drop or truncate_left",
        )
    return encoded, OverlongCounts(dropped, truncated)
