"""What people do on the compare page: they are asked which of two clips is better, and say so. All is kept at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import Choice, ClipPair, PreferenceValue
from hitl_ops.contracts.store import Store
from hitl_ops.labels.annotator_consistency import annotator_consistency
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import preference, preference_target, say_preference
from hitl_ops.labels.rows import Annotator
from hitl_ops.labels.standing_words import StandingWords
from hitl_ops.records.clips import ClipSet
from hitl_ops.samples.comparison_queue import ComparisonQueue, Question
from ui_collect.annotate.claims import Claims
from ui_collect.compare.films import FILM_WORKER, ClipFilms, Wanted
from ui_collect.compare.messages import (
    ChoiceAnswer,
    ChoiceRequest,
    OverviewAnswer,
    PageAnswer,
    PersonItem,
    ProgressItem,
    QuestionItem,
    QuestionsAnswer,
    QuestionsRequest,
    Shown,
    Standing,
)
from ui_collect.compare.served_clips import ClipShelf, ServedClips
from ui_collect.compare.settings import CompareSettings
from ui_collect.known_people import KnownPeople
from ui_collect.label_calls import LabelCalls

PEOPLE = "preference"
"""The program whose people are let in, whosever clips they compare."""
_LINES = 20


class CompareDesk:
    """Everything behind the page's requests. Waits for databases, disks and films in other threads and processes,
    never on the event loop.

    Args:
        store: where everything lies.
        settings: the server's.
        labels: the label store.
        shelf: where clips are found.
        worker: the module that makes films.
    """

    def __init__(
        self, store: Store, settings: CompareSettings, labels: LabelStore, shelf: ClipShelf, worker: str = FILM_WORKER
    ) -> None:
        self.settings = settings
        self.calls = LabelCalls(labels)
        self.people = KnownPeople(self.calls, labels, PEOPLE)
        self._labels = labels
        self._shelf = shelf
        self._words = StandingWords(labels, settings.program)
        self._films = ClipFilms(store, settings, self.calls, worker)
        # Questions are handed out in threads, one at a time: no two people get the same pair.
        self._claims = Claims(settings.annotation.lease_s)
        self._handing_out = threading.Lock()
        self._keeping = threading.Lock()

    def start(self) -> None:
        """Begin to make films before anybody asks."""
        self._films.keep_ahead(self._next_clips)

    async def stop(self) -> None:
        """End what makes films, and the threads."""
        await self._films.stop()
        await asyncio.to_thread(self.calls.close)

    def page(self, me: Annotator) -> PageAnswer:
        """What the page is about."""
        return PageAnswer(id=me.id, name=me.display_name, program=self.settings.program)

    # --- asking -------------------------------------------------------------------------------------------

    async def questions(self, me: Annotator, asked: QuestionsRequest) -> QuestionsAnswer:
        """Hand out what somebody is asked next; what they hold stays theirs."""
        await self.calls.run(self._labels.annotator_active, me.id, asked.seconds)
        answer = await self.calls.run(self._hand_out, me, asked)
        self._films.look()
        return answer

    def _hand_out(self, me: Annotator, asked: QuestionsRequest) -> QuestionsAnswer:
        held = [(shown, self._still_asked(shown)) for shown in asked.held]
        gone = [shown for shown, there in held if not there]
        try:
            served = self._shelf.now()
        except UserError:
            return QuestionsAnswer(standing="unreadable", questions=[], gone=gone, progress=None, left_out=[])
        if served is None:
            return QuestionsAnswer(standing="no_clips", questions=[], gone=gone, progress=None, left_out=[])
        with self._handing_out:
            for shown, there in held:
                if there:
                    self._claims.take(_claim(shown.iteration, shown.pair), me.id, me.display_name)
            queue = self._queue(served)
            taken = {pair.pair_id for pair in queue.pairs if self._is_taken(served, pair, me)}
            besides = {shown.question for shown in asked.held}
            found = queue.next_for(me.id, asked.count, taken=taken, besides=besides)
            for question in found:
                self._claims.take(_claim(served.iteration, question.pair.pair_id), me.id, me.display_name)
        left_out = served.left_out()
        told = [f"Pair {pair} is left out: one of its clips cannot be shown." for pair in left_out]
        if len(told) > _LINES:
            told = [*told[:_LINES], f"{len(told) - _LINES} more pairs are left out."]
        return QuestionsAnswer(
            standing=_standing(served, queue, bool(found) or len(held) > len(gone), bool(taken), me),
            questions=[_item(served, question) for question in found],
            gone=gone,
            progress=_progress(served, queue, me),
            left_out=told,
        )

    def _is_taken(self, served: ServedClips, pair: ClipPair, me: Annotator) -> bool:
        claim = self._claims.of(_claim(served.iteration, pair.pair_id))
        return claim is not None and claim.annotator != me.id

    def _queue(self, served: ServedClips) -> ComparisonQueue:
        return ComparisonQueue(served.clip_set, self._words.all(), self.settings.queue, served.left_out())

    def _still_asked(self, shown: Shown) -> bool:
        served = self._set_of(shown.iteration)
        return served is not None and _said(shown, None, served.clip_set) is not None

    def _set_of(self, iteration: int) -> ServedClips | None:
        try:
            return self._shelf.at(iteration)
        except UserError:
            return None

    # --- films --------------------------------------------------------------------------------------------

    async def video(self, stamp: str) -> Path:
        """A clip's film.

        Raises:
            HTTPException: 404 there is no such clip, 409 it cannot be shown, 503 not now.
        """
        return await self._films.video(stamp, self._shelf.of_film(stamp))

    async def sheet(self, stamp: str) -> Path:
        """The sheet of a clip's moments.

        Raises:
            HTTPException: as :meth:`video`.
        """
        return await self._films.sheet(stamp, self._shelf.of_film(stamp))

    def _next_clips(self) -> list[Wanted]:
        try:
            served = self._shelf.now()
        except UserError:
            return []
        if served is None:
            return []
        found: list[Wanted] = []
        free = 0
        for pair in self._queue(served).unfinished():
            # Whatever somebody has in their hands is wanted first of all, and does not count as ahead.
            free += self._claims.of(_claim(served.iteration, pair.pair_id)) is None
            if free > self.settings.films_ahead:
                break
            found += [(served, pair.left), (served, pair.right)]
        return found

    # --- saying -------------------------------------------------------------------------------------------

    async def say(self, me: Annotator, asked: ChoiceRequest) -> ChoiceAnswer:
        """Keep what somebody says of a pair, or that they take it back.

        Raises:
            HTTPException: 409 the clips they saw are not there any more.
            LabelConflict: the key was used for something else.
        """
        return await self.calls.run(self._keep, me, asked)

    def _keep(self, me: Annotator, asked: ChoiceRequest) -> ChoiceAnswer:
        with self._keeping:
            # What was kept before is acknowledged again, whatever has become of the clips.
            known = self._labels.label_by_key(me.id, asked.key)
            before = None if known is None else preference(known)
            said = self._asked(me, asked) if before is None else before.said.model_copy(update=_seen(asked))
            label = say_preference(
                self._labels,
                said,
                program=self.settings.program,
                iteration=asked.iteration,
                annotator=me.id,
                client_key=asked.key,
                seconds=asked.seconds,
            )
        claim = _claim(asked.iteration, said.pair_id)
        if said.choice is None:
            self._claims.take(claim, me.id, me.display_name)
        else:
            self._claims.give_back(claim, me.id)
        try:
            served = self._shelf.now()
        except UserError:
            served = None
        progress = _progress(served, self._queue(served), me) if served is not None else None
        return ChoiceAnswer(kept=label.id, progress=progress)

    def _asked(self, me: Annotator, asked: ChoiceRequest) -> PreferenceValue:
        """What somebody says, of clips that are there; refused where they were not asked."""
        served = self._set_of(asked.iteration)
        said = None if served is None else _said(asked, asked.choice, served.clip_set)
        if said is None:
            raise HTTPException(409, "These clips have been replaced meanwhile. Your choice on them is not needed.")
        if said.repeat:
            target = preference_target(said.model_copy(update={"repeat": False}), me.id)
            label = self._labels.standing_label("preference", target)
            first = None if label is None else preference(label)
            if first is None or first.said.choice is None:
                raise HTTPException(409, "This pair was not asked of you before.")
        return said

    # --- how people answer --------------------------------------------------------------------------------

    async def overview(self, me: Annotator) -> OverviewAnswer:
        """How everybody answers, over all sets of the program."""
        return await self.calls.run(self._overview, me)

    def _overview(self, me: Annotator) -> OverviewAnswer:
        found = annotator_consistency(self._words.all())
        names = {one.id: one.display_name for one in self._labels.annotators(PEOPLE)}
        people = [
            PersonItem(
                name=names.get(one.annotator, one.annotator),
                mine=one.annotator == me.id,
                answers=one.answers,
                shares=dict(one.shares),
                seconds_per_answer=one.seconds_per_answer,
                repeats=one.repeats,
                repeats_alike=one.repeats_alike,
                with_others=sum(other.pairs for other in one.with_others.values()),
                with_others_alike=sum(other.alike for other in one.with_others.values()),
                one_sided=one.one_sided,
            )
            for one in found.values()
        ]
        return OverviewAnswer(people=sorted(people, key=lambda one: (-one.answers, one.name)))


def _claim(iteration: int, pair: str) -> str:
    return f"{iteration}/{pair}"


def _seen(asked: ChoiceRequest) -> dict[str, Any]:
    """What a choice says of what was seen, but for the clips' names, which no page is told."""
    told = asked.model_dump(include={"left_hash", "right_hash", "choice", "repeat"})
    return told | {"pair_id": asked.pair}


def _said(shown: Shown, choice: Choice | None, clip_set: ClipSet) -> PreferenceValue | None:
    """What is said of a pair of a set; None where the set has no such pair of clips."""
    pair = clip_set.pairs_by_id.get(shown.pair)
    if pair is None:
        return None
    hashes = {name: clip_set.clips[name].content_hash for name in (pair.left, pair.right)}
    for left, right in ((pair.left, pair.right), (pair.right, pair.left)):
        if (hashes[left], hashes[right]) == (shown.left_hash, shown.right_hash):
            return PreferenceValue(
                pair_id=shown.pair,
                left=left,
                right=right,
                left_hash=shown.left_hash,
                right_hash=shown.right_hash,
                choice=choice,
                repeat=shown.repeat,
            )
    return None


def _item(served: ServedClips, question: Question) -> QuestionItem:
    clips = served.clip_set.clips
    left, right = clips[question.left], clips[question.right]
    return QuestionItem(
        iteration=served.iteration,
        pair=question.pair.pair_id,
        left_hash=left.content_hash,
        right_hash=right.content_hash,
        repeat=question.repeat,
        task=left.task if left.task == right.task else f"Left: {left.task} Right: {right.task}",
        left_film=served.stamps[question.left],
        right_film=served.stamps[question.right],
    )


def _progress(served: ServedClips, queue: ComparisonQueue, me: Annotator) -> ProgressItem:
    so_far = queue.so_far
    return ProgressItem(
        iteration=served.iteration, answers=so_far.answers, wanted=so_far.wanted, mine=queue.said_by(me.id)
    )


def _standing(served: ServedClips, queue: ComparisonQueue, has_some: bool, taken: bool, me: Annotator) -> Standing:
    if has_some:
        return "asking"
    if not served.clip_set.pairs:
        return "no_pairs"
    if not queue.pairs:
        return "left_out"
    mine = {word.said.pair_id for word in queue.words if word.annotator == me.id}
    return "others" if any(pair.pair_id not in mine for pair in queue.unfinished()) and taken else "done"
