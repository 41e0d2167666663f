"""Reading samples: what is refused, and how a prompt becomes tokens with weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.tiny_tokenizer import train_tiny_tokenizer
from hitl_ops.training.sample_reader import (
    corpus_of,
    encode_rows,
    hash_rows,
    read_sample_rows,
    split_episodes,
)

Rows = Callable[..., list[dict[str, Any]]]
Write = Callable[..., Path]


def test_rows_come_sorted_and_hash_alike_whatever_their_order(samples_file: Write, rows_of_household: Rows) -> None:
    rows = rows_of_household()
    one = read_sample_rows(samples_file(rows))
    other = read_sample_rows(samples_file(rows[::-1], "reversed.parquet"))
    assert one == other
    assert hash_rows(one) == hash_rows(other)
    rows[0]["weight"] = 2.0
    assert hash_rows(read_sample_rows(samples_file(rows, "weighted.parquet"))) != hash_rows(one)


def broken(kind: str, path: Path, rows: list[dict[str, Any]]) -> None:
    if kind == "missing":
        return
    if kind == "corrupt":
        path.write_bytes(b"PAR1 this is no Parquet")
        return
    if kind == "column":
        rows = [{key: value for key, value in row.items() if key != "weight"} for row in rows]
    elif kind == "negative":
        rows[1]["weight"] = -1.0
    elif kind == "not a number":
        rows[1]["weight"] = float("nan")
    elif kind == "infinite":
        rows[1]["weight"] = float("inf")
    elif kind == "nameless":
        rows[1]["prompt"] = None
    elif kind == "speechless":
        rows[1]["completion"] = ""
    elif kind == "twice":
        rows[1] = rows[0]
    frame = pd.DataFrame(rows)
    (frame.iloc[:0] if kind == "empty" else frame).to_parquet(path)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("missing", "does not exist"),
        ("corrupt", "Parquet"),
        ("column", "'weight'"),
        ("empty", "no samples"),
        ("negative", "0/1/distilled"),
        ("not a number", "0/1/distilled"),
        ("infinite", "0/1/distilled"),
        ("nameless", "'prompt'"),
        ("speechless", "0/1/distilled"),
        ("twice", "0/0/distilled"),
    ],
)
def test_bad_files_are_named_in_one_line(kind: str, named: str, tmp_path: Path, rows_of_household: Rows) -> None:
    path = tmp_path / "samples.parquet"
    broken(kind, path, rows_of_household())
    with pytest.raises(UserError) as error:
        read_sample_rows(path)
    assert named in error.value.what and str(path) in error.value.what
    assert error.value.remedy and "\n" not in str(error.value)


def test_the_validation_split_is_by_episode_and_a_matter_of_seed_and_name_alone() -> None:
    episodes = [f"{number:03d}" for number in range(40)]
    chosen = split_episodes(episodes, 0.25, seed=1)
    assert len(chosen) == 10 and chosen < set(episodes)
    assert split_episodes(episodes[::-1] * 3, 0.25, seed=1) == chosen
    assert split_episodes(episodes, 0.25, seed=2) != chosen
    assert split_episodes(episodes, 0.0, seed=1) == set()
    assert len(split_episodes(episodes[:2], 0.01, seed=1)) == 1
    assert split_episodes(episodes[:1], 0.5, seed=1) == set()


def test_the_corpus_says_everything_once(samples_file: Write) -> None:
    rows = read_sample_rows(samples_file(episodes=3, steps=4))
    corpus = corpus_of(rows)
    assert len(corpus) == 3
    for row in rows:
        assert any(text.startswith(row.prompt + row.completion) for text in corpus)


def encoded(samples_file: Write, **changes: Any) -> tuple[list[Any], Any, list[Any]]:
    rows = read_sample_rows(samples_file(episodes=2, steps=3))
    tokenizer = train_tiny_tokenizer(corpus_of(rows), vocab_size=500, max_positions=512)
    plain = {"max_length": 500, "overlong": "error"}
    samples, counts = encode_rows(rows, tokenizer, **{**plain, **changes})
    return samples, counts, rows


def test_only_the_completion_has_weight(samples_file: Write) -> None:
    samples, _, rows = encoded(samples_file)
    for sample, row in zip(samples, rows, strict=True):
        asked = np.flatnonzero(sample.weights)
        assert asked[-1] == len(sample.tokens) - 1
        assert 0 < len(asked) < len(sample.tokens) / 2
        assert np.array_equal(asked, np.arange(asked[0], len(sample.tokens)))
        assert set(sample.weights[asked]) == {row.weight}


def test_a_prompts_weight_counts_what_it_brings_and_nothing_twice(samples_file: Write) -> None:
    samples, _, _ = encoded(samples_file, prompt_loss_weight=0.5)
    first, second = samples[0], samples[1]
    assert set(first.weights) == {0.5, 1.0}
    known = len(first.tokens)  # the second prompt begins with all of the first sample
    assert not second.weights[:known].any()
    assert set(second.weights[known:]) == {0.5, 1.0}


def test_samples_too_long_are_refused_dropped_or_cut(samples_file: Write) -> None:
    whole, _, _ = encoded(samples_file)
    lengths = sorted(len(sample.tokens) for sample in whole)
    limit = lengths[len(lengths) // 2]
    longer = sum(length > limit for length in lengths)
    with pytest.raises(UserError, match=f"{longer} of {len(whole)} samples are longer than max_length {limit}"):
        encoded(samples_file, max_length=limit)
    kept, counts, _ = encoded(samples_file, max_length=limit, overlong="drop")
    assert counts.dropped == longer and len(kept) == len(whole) - longer
    cut, counts, _ = encoded(samples_file, max_length=limit, overlong="truncate_left")
    assert (counts.dropped, counts.truncated) == (0, longer) and len(cut) == len(whole)
    for before, after in zip(whole, cut, strict=True):
        assert len(after.tokens) == min(limit, len(before.tokens))
        assert after.tokens[0] == before.tokens[0]  # the tokenizer's opening token stays
        tail = len(after.tokens) - 1
        assert np.array_equal(after.tokens[1:], before.tokens[-tail:])
        assert after.weights.sum() == before.weights.sum()


def test_a_completion_without_room_for_its_prompt_is_never_cut(samples_file: Write) -> None:
    samples, counts, rows = encoded(samples_file, max_length=3, overlong="truncate_left")
    assert counts.dropped == len(rows) and not samples
