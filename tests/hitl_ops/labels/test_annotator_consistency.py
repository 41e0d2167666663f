"""How people answer is told from what they say: sides from clips, agreement with oneself and with others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.preference import CHOICES, Choice, PreferenceValue
from hitl_ops.labels.annotator_consistency import annotator_consistency, sides_by_chance
from hitl_ops.labels.preferences import Preference

GOOD, BAD = "a" * 64, "b" * 64
SWAPPED: dict[Choice, Choice] = {"left": "right", "right": "left", "tie": "tie", "cant_tell": "cant_tell"}


def word(
    pair: int, choice: Choice, *, good_left: bool = True, repeat: bool = False, who: str = "Kim", seconds: float = 2.0
) -> Preference:
    """Something said of a pair whose clips are ``good`` and ``bad``."""
    clips = ("good", "bad") if good_left else ("bad", "good")
    hashes = (GOOD, BAD) if good_left else (BAD, GOOD)
    said = PreferenceValue(
        pair_id=f"pair-{pair}",
        left=f"{clips[0]}-{pair}",
        right=f"{clips[1]}-{pair}",
        left_hash=hashes[0],
        right_hash=hashes[1],
        choice=choice,
        repeat=repeat,
    )
    return Preference(0, "preference", 0, who, said, seconds)


def by_clip(
    pair: int, good_left: bool, right_often: float, chance: random.Random, *, repeat: bool = False
) -> Preference:
    """What somebody says who means the better clip, mostly."""
    better: Choice = "left" if good_left else "right"
    return word(
        pair, better if chance.random() < right_often else SWAPPED[better], good_left=good_left, repeat=repeat
    )  # fmt: skip


def test_always_left_is_flagged_whoever_is_asked_nothing_again_or_says_otherwise() -> None:
    always = [word(pair, "left", good_left=pair % 2 == 0) for pair in range(20)]
    found = annotator_consistency(always)["Kim"]
    assert found.one_sided and found.left_share == 1.0 and found.shares["left"] == 1.0
    assert not annotator_consistency(always[:19])["Kim"].one_sided, "of so few, nothing is said"
    again = [word(pair, "left", good_left=pair % 2 == 1, repeat=True) for pair in range(4)]
    found = annotator_consistency([*always, *again])["Kim"]
    assert (found.repeats, found.repeats_alike, found.one_sided, found.answers) == (4, 0, True, 24)
    right = [word(pair, "right", good_left=pair % 2 == 0) for pair in range(20)]
    assert annotator_consistency(right)["Kim"].one_sided
    mostly = [word(pair, "left" if pair % 10 else "tie") for pair in range(40)]
    assert annotator_consistency(mostly)["Kim"].one_sided


def test_an_honest_person_who_leans_left_is_not_flagged() -> None:
    # The better clip happened to stand on the left nearly always, and asked again they say the other side.
    leaning = [word(pair, "left" if pair % 10 else "right") for pair in range(60)]
    assert annotator_consistency(leaning)["Kim"].one_sided, "without repeats nothing shows it"
    again = [word(pair, "right", good_left=False, repeat=True) for pair in (1, 2, 3)]
    found = annotator_consistency([*leaning, *again])["Kim"]
    assert (found.repeats, found.repeats_alike, found.one_sided) == (3, 3, False)
    # Two of three to the left is within chance.
    slight = [word(pair, "left" if pair % 3 else "right") for pair in range(45)]
    assert not annotator_consistency(slight)["Kim"].one_sided
    assert not annotator_consistency([word(pair, "tie") for pair in range(50)])["Kim"].one_sided


@pytest.mark.slow  # importing SciPy's tests takes seconds
def test_chance_is_that_of_the_binomial_test() -> None:
    from scipy.stats import binomtest

    for left, sided in ((0, 1), (5, 10), (7, 10), (20, 20), (4, 31), (150, 260), (0, 900)):
        assert sides_by_chance(left, sided) == pytest.approx(binomtest(left, sided).pvalue, rel=1e-9)
    assert sides_by_chance(0, 0) == 1.0


@pytest.mark.parametrize("right_often", [1.0, 0.9])
def test_people_who_look_at_clips_are_not_flagged(right_often: float) -> None:
    chance = random.Random(7)
    flagged = 0
    for _ in range(60):
        words = [by_clip(pair, chance.random() < 0.5, right_often, chance) for pair in range(30)]
        flagged += annotator_consistency(words)["Kim"].one_sided
    assert flagged <= 1


def test_agreement_with_oneself_minds_the_changed_sides() -> None:
    words = [
        word(1, "left"), word(1, "right", good_left=False, repeat=True),  # the same clip
        word(2, "left"), word(2, "left", good_left=False, repeat=True),  # the same side, another clip
        word(3, "tie"), word(3, "tie", good_left=False, repeat=True),
        word(4, "cant_tell"), word(4, "cant_tell", good_left=False, repeat=True),
        word(5, "left"), word(5, "tie", good_left=False, repeat=True),
        word(6, "left", good_left=False, repeat=True),  # what was said at first was taken back
    ]  # fmt: skip
    found = annotator_consistency(words)["Kim"]
    assert (found.answers, found.repeats, found.repeats_alike) == (11, 5, 3)


def test_agreement_with_others_leaves_out_what_nobody_could_tell() -> None:
    words = [
        word(1, "left"), word(1, "right", good_left=False, who="Lee"),  # alike
        word(2, "left"), word(2, "right", who="Lee"),
        word(3, "tie"), word(3, "left", who="Lee"),
        word(4, "cant_tell"), word(4, "left", who="Lee"),
        word(5, "left"),
        word(1, "left", who="Ada"), word(2, "left", who="Ada", repeat=True),
    ]  # fmt: skip
    found = annotator_consistency(words)
    assert list(found) == ["Kim", "Lee", "Ada"]
    kim, lee = found["Kim"].with_others, found["Lee"].with_others
    assert (kim["Lee"].pairs, kim["Lee"].alike) == (lee["Kim"].pairs, lee["Kim"].alike) == (3, 1)
    assert (kim["Ada"].pairs, kim["Ada"].alike) == (1, 1), "what was said again is no second opinion"
    assert "Kim" not in kim
    assert annotator_consistency([]) == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(CHOICES), st.booleans(), st.booleans(), st.sampled_from("KLM")),
        max_size=60,
    )
)
def test_nothing_depends_on_which_side_a_clip_stood(drawn: Sequence[tuple[int, Choice, bool, bool, str]]) -> None:
    last = {(pair, repeat, who): (choice, left) for pair, choice, left, repeat, who in drawn}
    said, mirrored = (
        [
            word(pair, SWAPPED[choice] if swap else choice, good_left=left != swap, repeat=repeat, who=who)
            for (pair, repeat, who), (choice, left) in last.items()
        ]
        for swap in (False, True)
    )
    one, other = annotator_consistency(said), annotator_consistency(mirrored)
    for who, found in one.items():
        assert sum(found.shares.values()) == pytest.approx(1.0)
        assert found.repeats_alike <= found.repeats <= found.answers
        assert (found.repeats, found.repeats_alike) == (other[who].repeats, other[who].repeats_alike)
        assert found.with_others == other[who].with_others
        assert found.one_sided == other[who].one_sided
        assert found.shares["left"] == other[who].shares["right"]
        assert found.seconds_per_answer == pytest.approx(2.0)
