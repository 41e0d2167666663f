"""What people do on the verdict page: look at stations' episodes and say good or bad. Everything is kept at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

from starlette.exceptions import HTTPException

from hitl_ops.contracts.store import Store
from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Annotator, Label
from hitl_ops.labels.station_verdicts import (
    PROGRAM,
    EpisodeVerdict,
    SaidOfEpisode,
    episode_target,
    episode_verdict,
    standing_verdicts,
)
from hitl_ops.records.station_hdf5 import Verdict
from hitl_ops.samples.epoch_proposals import people_agreement
from ui_collect.annotate.claims import Claims
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.known_people import KnownPeople
from ui_collect.label_calls import LabelCalls
from ui_collect.station.messages import (
    AgreementItem,
    EpisodeItem,
    EpisodeState,
    HereAnswer,
    ListAnswer,
    VerdictAnswer,
    VerdictRequest,
)
from ui_collect.station.proposals import ProposalBook
from ui_collect.station.recordings import Curves, Recording, Recordings, read_curves
from ui_collect.station.video_cache import Made
from ui_collect.station.videos import Videos

_Standing = tuple[Label, EpisodeVerdict]


class VerdictDesk:
    """Everything behind the verdict page's requests. Waits for databases, disks and videos in other threads and
    processes, never on the event loop.

    Args:
        store: where everything lies.
        settings: the page's.
        labels: the label store.
        recordings: what there is to judge.
    """

    def __init__(self, store: Store, settings: AnnotationSettings, labels: LabelStore, recordings: Recordings) -> None:
        self.settings = settings
        self.calls = LabelCalls(labels)
        self.people = KnownPeople(self.calls, labels, PROGRAM)
        self._labels = labels
        self._recordings = recordings
        self._proposals = ProposalBook(store)
        self._videos: dict[Made, Videos] = {
            "video": Videos(store, "video", settings, self.calls),
            "poster": Videos(store, "poster", settings, self.calls),
        }
        self._claims = Claims(settings.lease_s)
        self._at: dict[str, str] = {}
        self._one_at_a_time = threading.Lock()

    async def stop(self) -> None:
        """End what makes videos, and the threads."""
        await asyncio.gather(*(videos.stop() for videos in self._videos.values()))
        await asyncio.to_thread(self.calls.close)

    # --- looking ------------------------------------------------------------------------------------------

    async def listed(self, me: Annotator) -> ListAnswer:
        """Every episode: those without a verdict first, then by epoch."""
        return await self.calls.run(self._listed, me)

    def _listed(self, me: Annotator) -> ListAnswer:
        standing = standing_verdicts(self._labels)
        names = self._names()
        items = [
            self._item(me, recording, standing.get(recording.facts.episode_id), names)
            for recording in self._recordings.all().values()
        ]
        # Sorting keeps the order of what is alike: tasks, epochs, numbers.
        items.sort(key=lambda item: (item.verdict is not None or item.excluded, item.epoch))
        agreed = people_agreement(said for _, said in standing.values())
        told = AgreementItem(same=agreed.same, decided=agreed.decided) if agreed.decided else None
        return ListAnswer(episodes=items, agreed=told)

    def _item(
        self, me: Annotator, recording: Recording, standing: _Standing | None, names: Mapping[str, str]
    ) -> EpisodeItem:
        facts = recording.facts
        state = _state(me, recording, standing, names)
        return EpisodeItem(
            **state.model_dump(),
            key=recording.key,
            task=facts.task or recording.folder,
            epoch=recording.epoch,
            number=recording.number,
            file=recording.path.name,
            station=facts.verdict,
            success=facts.success,
            aborted=(facts.reason or "no reason given") if facts.status == "aborted" else None,
            policy=facts.policy_id,
            seconds=recording.seconds,
            cameras=list(recording.cameras),
            looked_at_by=self._others(me, recording.key),
            proposal=self._proposals.of(recording),
        )

    def _names(self) -> dict[str, str]:
        return {one.id: one.display_name for one in self._labels.annotators(PROGRAM)}

    def _others(self, me: Annotator, key: str) -> str | None:
        claim = self._claims.of(key)
        return claim.name if claim is not None and claim.annotator != me.id else None

    async def _one(self, key: str) -> Recording:
        """A recording.

        Raises:
            HTTPException: 404 there is none of that name.
        """
        found = await self.calls.run(self._recordings.one, key)
        if found is None:
            raise HTTPException(404, "There is no such episode here any more.")
        return found

    async def here(self, me: Annotator, key: str, seconds: float) -> HereAnswer:
        """Note that somebody looks at an episode; whoever came first is named to the others."""
        await self._one(key)
        await self.calls.run(self._labels.annotator_active, me.id, seconds)
        if self._at.get(me.id, key) != key:
            self._claims.give_back(self._at[me.id], me.id)
        self._at[me.id] = key
        self._claims.take(key, me.id, me.display_name)
        return HereAnswer(looked_at_by=self._others(me, key), lease_s=self._claims.lease_s)

    async def file(self, key: str, made: Made) -> Path:
        """An episode's video, or its small picture.

        Raises:
            HTTPException: 404 there is no such episode, 409 it cannot be shown, 503 not now.
        """
        return await self._videos[made].file(await self._one(key))

    async def curves(self, key: str) -> Curves:
        """How an episode's joints went, and how much of the task an estimator finds done.

        Raises:
            HTTPException: 404 there is no such episode.
            UserError: it cannot be read.
        """
        return await self.calls.run(self._curves, await self._one(key))

    def _curves(self, recording: Recording) -> Curves:
        return read_curves(recording).model_copy(update={"value": self._proposals.value(recording)})

    # --- saying -------------------------------------------------------------------------------------------

    async def say(self, me: Annotator, asked: VerdictRequest) -> VerdictAnswer:
        """Keep what somebody says of an episode.

        Raises:
            HTTPException: 404 there is no such episode, 409 somebody else has said something of it meanwhile.
            LabelConflict: the key was used for something else.
        """
        recording = await self._one(asked.episode)
        answer = await self.calls.run(self._keep, me, asked, recording)
        self._claims.give_back(recording.key, me.id)
        return answer

    def _keep(self, me: Annotator, asked: VerdictRequest, recording: Recording) -> VerdictAnswer:
        value = EpisodeVerdict(episode_id=recording.facts.episode_id, said=asked.said, proposal=asked.proposal)
        target = episode_target(value.episode_id)
        with self._one_at_a_time:
            label = self._labels.label_by_key(me.id, asked.key)
            if label is None:
                self._refuse_unseen(me, asked, value.episode_id)
                label = self._labels.add_label(
                    "verdict",
                    program=PROGRAM,
                    iteration=recording.epoch,
                    annotator=me.id,
                    client_key=asked.key,
                    value=value.model_dump(mode="json", exclude_none=True),
                    seconds=asked.seconds,
                    target=target,
                )
            elif label.target != target or episode_verdict(label) != value:
                raise LabelConflict(asked.key, label.id)
            standing = self._labels.standing_label("verdict", target)
        state = _state(me, recording, _read(standing), self._names())
        return VerdictAnswer(**state.model_dump(), kept=label.id)

    def _refuse_unseen(self, me: Annotator, asked: VerdictRequest, episode_id: str) -> None:
        standing = _read(self._labels.standing_label("verdict", episode_target(episode_id)))
        if standing is None or standing[0].annotator == me.id or standing[0].id == asked.seen:
            return
        label, value = standing
        who = self._names().get(label.annotator, "Somebody")
        raise HTTPException(409, f"{who} {_WORDS[value.said]} meanwhile. Look again, and press once more to differ.")


_WORDS: dict[SaidOfEpisode, str] = {
    "good": "said good",
    "bad": "said bad",
    "exclude": "said that it is not to be used",
    "withdrawn": "took a verdict back",
}


def _read(label: Label | None) -> _Standing | None:
    value = episode_verdict(label) if label is not None else None
    return (label, value) if label is not None and value is not None else None


def _state(me: Annotator, recording: Recording, standing: _Standing | None, names: Mapping[str, str]) -> EpisodeState:
    said: SaidOfEpisode | None = None
    verdict: Verdict | None = recording.facts.verdict
    if standing is not None:
        said = standing[1].said
        if said == "good" or said == "bad":
            verdict = said
    label = standing[0] if standing is not None else None
    return EpisodeState(
        label=label.id if label is not None else 0,
        said=said,
        by=names.get(label.annotator, label.annotator) if label is not None else None,
        mine=label is not None and label.annotator == me.id,
        verdict=verdict,
        excluded=said == "exclude",
    )
