"""What people said, joined with what they saw: what teaches nothing is told in one line, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import Choice, ClipFacts, ClipPair, PreferenceValue
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import Clip, content_hash, write_clip_set
from hitl_ops.samples.preference_card import read_preference_card, write_preference_card
from hitl_ops.samples.preference_samples import (
    CHANGED,
    JoinedPreferences,
    join_preferences,
    read_preference_samples,
    write_preference_samples,
)

PAIRS = 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Clip sets of iterations 0 and 1."""
    for iteration in (0, 1):
        rng = np.random.default_rng(iteration)
        clips = []
        for number in range(2 * PAIRS):
            seen, done = rng.random((2, 20), dtype=np.float32), rng.random((2, 7), dtype=np.float32)
            facts = ClipFacts(
                clip_id=f"c{iteration}-{number}",
                kind="reach",
                episode_id="reach/1",
                start=0,
                steps=2,
                fps=20,
                task="",
                policy_id="",
                content_hash=content_hash(seen, done),
            )
            clips.append(Clip(facts, seen, done))
        pairs = [
            ClipPair(
                pair_id=f"q{iteration}-{number}",
                left=clips[2 * number].facts.clip_id,
                right=clips[2 * number + 1].facts.clip_id,
                chosen_by="random",
            )
            for number in range(PAIRS)
        ]
        write_clip_set(tmp_path / f"{iteration}" / "clips", clips, pairs)
    return tmp_path


def _words(root: Path, choices: list[Choice], *, iteration: int = 0, annotator: str = "eva") -> list[Preference]:
    from hitl_ops.records.clips import open_clip_set

    found = open_clip_set(root / f"{iteration}" / "clips")
    words = []
    for number, (pair, choice) in enumerate(zip(found.pairs, choices, strict=False)):
        said = PreferenceValue(
            pair_id=pair.pair_id,
            left=pair.left,
            right=pair.right,
            left_hash=found.clips[pair.left].content_hash,
            right_hash=found.clips[pair.right].content_hash,
            choice=choice,
        )
        words.append(Preference(number + 1, "preference", iteration, annotator, said, 2.0))
    return words


def _join(root: Path, words: list[Preference], *, count: bool = False) -> JoinedPreferences:
    return join_preferences(words, lambda iteration: root / f"{iteration}" / "clips", one_sided_count=count)


def test_words_and_clips_are_found_again_wherever_the_store_lies(root: Path) -> None:
    words = [*_words(root, ["left", "tie", "cant_tell"]), *_words(root, ["right"], iteration=1, annotator="bob")]
    file = root / "1" / "samples" / "preferences.jsonl"
    joined = _join(root, words)
    write_preference_samples(joined, file)
    card = write_preference_card(words, file, joined.left_out, {"q0-0": "disagreement"})
    assert card == read_preference_card(file.parent)
    assert card.choices == {"left": 1, "right": 1, "tie": 1, "cant_tell": 1}
    assert (card.by_iteration, card.by_chosen) == ({"000": 3, "001": 1}, {"disagreement": 1, "unknown": 3})
    assert (card.comparisons, card.human_seconds, list(card.annotators)) == (4, 8.0, ["eva", "bob"])
    moved = root.with_name("moved")
    root.rename(moved)
    found, folders = read_preference_samples(moved / "1" / "samples" / "preferences.jsonl")
    assert found == words and folders == [moved / "0" / "clips", moved / "1" / "clips"]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([], "nobody has compared clips yet: compare some with `flywheel compare`"),
        (["tie"] * 3, "none of 3 comparisons says that one clip is better (ties: 3, can't tell: 0)"),
        (["tie", "cant_tell", "cant_tell"], "(ties: 1, can't tell: 2)"),
        (["left"] * PAIRS, "everybody who compared says nearly always the same side (eva)"),
    ],
)
def test_what_teaches_nothing_is_one_line(root: Path, choices: list[Choice], said: str) -> None:
    with pytest.raises(UserError) as caught:
        _join(root, _words(root, choices))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_one_sided_words_stay_where_others_speak_too_or_where_they_are_to_count(root: Path) -> None:
    alone = _words(root, ["left"] * PAIRS)
    assert len(_join(root, alone, count=True).words) == PAIRS
    other = _words(root, ["right"], annotator="bob")
    assert len(_join(root, [*alone, *other]).words) == PAIRS + 1


def test_words_about_clips_that_have_changed_are_counted_and_left_out(root: Path) -> None:
    words = _words(root, ["left", "right"])
    changed = words[0].said.model_copy(update={"left_hash": "0" * 64})
    other = Preference(9, "preference", 0, "bob", changed, 2.0)
    joined = _join(root, [*words, other])
    assert joined.words == words and joined.left_out == {CHANGED: 1}
    with pytest.raises(UserError, match="all 1 comparisons are of clips that have changed"):
        _join(root, [other])


def test_damage_is_named(root: Path) -> None:
    file = root / "preferences.jsonl"
    with pytest.raises(UserError, match="there are no preferences in"):
        read_preference_samples(file)
    write_preference_samples(_join(root, _words(root, ["left", "right"])), file)
    lines = file.read_text().splitlines()
    file.write_text(f"{lines[0]}\n{lines[1][:40]}\n")
    with pytest.raises(UserError, match=r"line 2 of .* is damaged"):
        read_preference_samples(file)
    (root / "0" / "clips" / "pairs.json").unlink()
    with pytest.raises(UserError, match=r"1 comparisons are of the clips of iteration 000, and there are no clips"):
        _join(root, _words_without_set(root))


def _words_without_set(root: Path) -> list[Preference]:
    said = PreferenceValue(
        pair_id="q0-0", left="c0-0", right="c0-1", left_hash="0" * 64, right_hash="0" * 64, choice="left"
    )
    return [Preference(1, "preference", 0, "eva", said, 1.0)]
