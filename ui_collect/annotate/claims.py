"""Who looks at which play now, so that two annotators do not take the same one without knowing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A play in somebody's hands.

    Attributes:
        annotator: their id.
        name: what to call them.
        until: seconds (monotonic) at which it is free again, without a sign of them.
    """

    annotator: str
    name: str
    until: float


class Claims:
    """Leases on plays, in memory: after a restart the first sign of whoever looks takes the play again.

    Args:
        lease_s: seconds a claim lasts without a sign.
        clock: seconds; monotonic.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._claims: dict[str, Claim] = {}

    def take(self, play_id: str, annotator: str, name: str) -> Claim:
        """Take a play, or hold on to it; returns who has it then: somebody else's claim stays theirs."""
        now = self._clock()
        # Oldest first, and each renewal goes to the end: what is over stands in front.
        for over in [first for first, claim in itertools.islice(self._claims.items(), 2) if claim.until <= now]:
            del self._claims[over]
        claim = self._claims.get(play_id)
        if claim is None or claim.until <= now or claim.annotator == annotator:
            self._claims.pop(play_id, None)
            claim = self._claims[play_id] = Claim(annotator, name, now + self.lease_s)
        return claim

    def give_back(self, play_id: str, annotator: str) -> None:
        """Let go of a play, if one has it."""
        claim = self._claims.get(play_id)
        if claim is not None and claim.annotator == annotator:
            del self._claims[play_id]

    def of(self, play_id: str) -> Claim | None:
        """Who has a play now; None for nobody."""
        claim = self._claims.get(play_id)
        return claim if claim is not None and claim.until > self._clock() else None
