"""Which clips are compared with which where only some go together: plays of one episode, attempts at one task."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.preference import ClipFacts, ClipPair
from hitl_ops.records.clips import Clip
from hitl_ops.samples.clip_queries import ClipWorth, QueryConfig, choose_pairs

Of = Callable[[ClipFacts], str]
"""Something by which clips go together."""


def comparable_pairs(
    clips: Sequence[ClipFacts], within: Of, apart: Sequence[Of], rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Every pair that can be asked about, by lot; the ones that tell most stand first.

    Args:
        clips: what there is.
        within: clips are compared only where this is the same.
        apart: what should differ, the most important first; pairs that differ in it come before those that do not.
        rng: of all chance.

    Returns:
        Groups of pairs, those that tell most first, none of them empty: places in ``clips``, [M, 2]. Clips with the
        same numbers are no pair.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, facts in enumerate(clips):
        groups[within(facts)].append(place)
    found = [
        (left, right)
        for places in groups.values()
        for number, left in enumerate(places)
        for right in places[number + 1 :]
        if clips[left].content_hash != clips[right].content_hash
    ]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)[rng.permutation(len(found))]
    # As digits: what is most important weighs more than all after it.
    ranks = np.array(
        [
            sum((of(clips[left]) == of(clips[right])) << place for place, of in enumerate(reversed(apart)))
            for left, right in pairs
        ],
        dtype=np.int64,
    )
    return [pairs[ranks == rank] for rank in np.unique(ranks)]


def ask_comparable(
    clips: Sequence[Clip],
    within: Of,
    apart: Sequence[Of],
    count: int,
    seed: int,
    prefix: str,
    worth: ClipWorth | None = None,
) -> list[ClipPair]:
    """Choose which pairs to ask where only some go together; none where nothing can be compared.

    Among pairs that tell as much, those are asked first on which an ensemble disagrees most; without one, by lot. No
    clip is asked about a second time while there are pairs of others, nor a third time while there are pairs of those.

    Args:
        clips: what there is.
        within: as of :func:`comparable_pairs`.
        apart: likewise.
        count: how many pairs; fewer where there are fewer.
        seed: of all chance.
        prefix: what the pairs' ids begin with.
        worth: what an ensemble says of clips; None: by lot.
    """
    comparable = comparable_pairs([clip.facts for clip in clips], within, apart, np.random.default_rng([seed, 1]))
    if not comparable:
        return []
    asked = choose_pairs(clips, QueryConfig(pairs=count, uses=1, seed=seed), prefix, worth, comparable)
    known = {clip.facts.clip_id: clip.facts for clip in clips}
    return [pair.model_copy(update={"pair_id": pair_id(prefix, known[pair.left], known[pair.right])}) for pair in asked]


def pair_id(prefix: str, left: ClipFacts, right: ClipFacts) -> str:
    """An id that no other two clips have, in whatever set and on whichever side: what is said is said of these two."""
    told = " ".join(sorted(f"{one.clip_id} {one.content_hash}" for one in (left, right)))
    return f"{prefix}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
