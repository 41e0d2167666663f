"""What people said of a station's episodes: the last word counts, a retry adds nothing, what is taken back is gone."""

from __future__ import annotations

import pytest

from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Label
from hitl_ops.labels.station_verdicts import (
    PROGRAM,
    EpisodeVerdict,
    SaidOfEpisode,
    episode_key,
    episode_target,
    station_verdicts,
)


def say(
    store: LabelStore, episode: str, said: SaidOfEpisode, key: str, by: str = "kim", epoch: int = 1, seconds: float = 2
) -> Label:
    value = EpisodeVerdict(episode_id=episode, said=said).model_dump(mode="json")
    return store.add_label(
        "verdict",
        program=PROGRAM,
        iteration=epoch,
        annotator=by,
        client_key=key,
        value=value,
        seconds=seconds,
        target=episode_target(episode),
    )


def test_the_last_word_counts_whoever_says_it(store: LabelStore) -> None:
    first = say(store, "a", "good", "k1")
    say(store, "b", "good", "k2")
    say(store, "c", "exclude", "k3")
    later = say(store, "a", "bad", "k1", by="lee")
    assert later.supersedes == first.id
    assert store.standing_label("verdict", episode_target("a")) == later
    assert store.standing_label("verdict", episode_target("z")) is None
    assert station_verdicts(store) == ({"a": "bad", "b": "good"}, {"c"})

    say(store, "b", "exclude", "k4")
    say(store, "c", "withdrawn", "k5")
    verdicts, excluded = station_verdicts(store)
    assert (verdicts, excluded) == ({"a": "bad"}, {"b"})
    assert len(store.labels("verdict", superseded=True)) == 6, "nothing is ever overwritten"


def test_a_retry_adds_nothing_and_cannot_say_something_else(store: LabelStore) -> None:
    first = say(store, "a", "good", "k1", seconds=3.5)
    assert say(store, "a", "good", "k1", seconds=9) == first
    say(store, "a", "bad", "k2")
    assert say(store, "a", "good", "k1") == first, "a late retry does not take the place of what was said since"
    with pytest.raises(LabelConflict):
        say(store, "a", "exclude", "k1")
    assert station_verdicts(store).verdicts == {"a": "bad"}
    assert len(store.labels("verdict", superseded=True)) == 2


def test_only_what_is_asked_for(store: LabelStore) -> None:
    say(store, "a", "good", "k1", epoch=1)
    say(store, "b", "bad", "k2", epoch=2)
    say(store, "gone", "exclude", "k3", epoch=2)
    store.add_label(
        "verdict", program=PROGRAM, iteration=2, annotator="x", client_key="k", value={}, target="station/z"
    )
    store.add_label("verdict", program="planner", iteration=1, annotator="x", client_key="l", value={}, target="play/1")
    assert station_verdicts(store, iteration=2) == ({"b": "bad"}, {"gone"})
    assert station_verdicts(store, among={"a", "b"}) == ({"a": "good", "b": "bad"}, set())


@pytest.mark.parametrize("odd", ["../../etc", "a b", "ü", "x" * 500, "\ud800", "line\nbreak"])
def test_any_id_has_a_plain_key(odd: str) -> None:
    assert episode_key("9f8e7d") == "9f8e7d"
    assert episode_key(odd).startswith("sha256-")
    assert len(episode_target(odd)) < 100
    assert episode_key(odd) != episode_key(odd + "x")
