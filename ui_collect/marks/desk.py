"""What people do on the page of marks: look at a data set's episodes, mark how far they come. All is kept at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.progress_marks import (
    PROGRAM,
    EpisodeMarks,
    check_marks,
    episode_marks,
    marks_target,
    say_marks,
    standing_marks,
)
from hitl_ops.labels.rows import Annotator, Label
from ui_collect.annotate.claims import Claims
from ui_collect.background_films import BackgroundFilms
from ui_collect.film_process import film_words
from ui_collect.known_people import KnownPeople
from ui_collect.label_calls import LabelCalls
from ui_collect.marks.episodes import Episodes, MarkedEpisode, read_curves
from ui_collect.marks.film_worker import CutEpisode
from ui_collect.marks.messages import EpisodeItem, ListAnswer, MarksAnswer, MarksRequest, MarksState, PageAnswer
from ui_collect.marks.settings import MarkSettings
from ui_collect.station.messages import HereAnswer
from ui_collect.station.recordings import Curves
from ui_collect.station.video_cache import VideoCache

_Standing = tuple[Label, EpisodeMarks]


class MarkDesk:
    """Everything behind the page's requests. Waits for databases, disks and films in other threads and processes,
    never on the event loop.

    Args:
        store: where everything lies.
        settings: the server's.
        labels: the label store.
        episodes: what there is to mark.
    """

    def __init__(self, store: Store, settings: MarkSettings, labels: LabelStore, episodes: Episodes) -> None:
        self.settings = settings
        self.calls = LabelCalls(labels)
        self.people = KnownPeople(self.calls, labels, PROGRAM)
        self._labels = labels
        self._episodes = episodes
        cache_mb = settings.annotation.cache_mb
        self._cache = VideoCache.of(store, "cut", cache_mb)
        worker = film_words("ui_collect.marks.film_worker", store, "cut", cache_mb)
        self._films = BackgroundFilms("films", worker, settings.annotation, "episode")
        self._claims = Claims(settings.annotation.lease_s)
        self._at: dict[str, str] = {}
        self._one_at_a_time = threading.Lock()

    async def stop(self) -> None:
        """End what makes films, and the threads."""
        await self._films.stop()
        await asyncio.to_thread(self.calls.close)

    # --- looking ------------------------------------------------------------------------------------------

    def page(self, me: Annotator) -> PageAnswer:
        """What the page is about."""
        return PageAnswer(
            id=me.id,
            name=me.display_name,
            dataset=self._episodes.name,
            fps=self._episodes.fps,
            stages=self.settings.named,
        )

    async def listed(self, me: Annotator) -> ListAnswer:
        """Every episode, in the data set's order."""
        return await self.calls.run(self._listed, me)

    def _listed(self, me: Annotator) -> ListAnswer:
        standing, names = standing_marks(self._labels), self._names()
        return ListAnswer(
            episodes=[
                self._item(me, episode, standing.get(episode.episode_id), names)
                for episode in self._all().values()
            ]
        )  # fmt: skip

    def _item(
        self, me: Annotator, episode: MarkedEpisode, standing: _Standing | None, names: Mapping[str, str]
    ) -> EpisodeItem:
        entry = episode.entry
        return EpisodeItem(
            **self._state(me, episode, standing, names).model_dump(),
            key=episode.key,
            index=episode.index,
            task=entry.tasks[0] if entry.tasks else "",
            frames=episode.length,
            cameras=list(episode.cameras),
            verdict=entry.facts.get("advantage"),
            success=entry.facts.get("success"),
            looked_at_by=self._others(me, episode.key),
        )

    def _state(
        self, me: Annotator, episode: MarkedEpisode, standing: _Standing | None, names: Mapping[str, str]
    ) -> MarksState:
        stages = self.settings.stages
        if standing is None:
            return MarksState(label=0, marks=[], done=False, by=None, mine=False, stages=stages)
        label, said = standing
        fits = said.stages == stages and said.length == episode.length
        return MarksState(
            label=label.id,
            marks=list(said.marks) if fits else [],
            done=said.done and fits,
            by=names.get(label.annotator, label.annotator),
            mine=label.annotator == me.id,
            stages=said.stages,
        )

    def _names(self) -> dict[str, str]:
        return {one.id: one.display_name for one in self._labels.annotators(PROGRAM)}

    def _others(self, me: Annotator, key: str) -> str | None:
        claim = self._claims.of(key)
        return claim.name if claim is not None and claim.annotator != me.id else None

    def _all(self) -> dict[str, MarkedEpisode]:
        try:
            return self._episodes.all()
        except UserError:
            raise HTTPException(503, "The data set cannot be read just now.") from None

    async def _one(self, key: str) -> MarkedEpisode:
        """An episode.

        Raises:
            HTTPException: 404 there is none of that name.
        """
        found = (await self.calls.run(self._all)).get(key)
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

    async def film(self, key: str, camera: int) -> Path:
        """An episode as one camera saw it, every frame.

        Raises:
            HTTPException: 404 there is no such episode or camera, 409 it cannot be shown, 503 not now.
        """
        episode = await self._one(key)
        if camera >= len(episode.cameras):
            raise HTTPException(404, "This episode has no such camera.")
        try:
            stamp = await self.calls.run(episode.stamp, camera)
        except OSError:
            raise HTTPException(409, "The video of this episode is missing.") from None
        if not await self.calls.run(self._cache.holds, stamp):
            path, start = episode.film(camera)
            asked = CutEpisode(stamp=stamp, path=str(path), start=start, frames=episode.length, fps=episode.fps)
            await self._films.make(stamp, asked)
        return self._cache.file(stamp)

    async def curves(self, key: str) -> Curves:
        """How an episode's joints went.

        Raises:
            HTTPException: 404 there is no such episode.
            UserError: it cannot be read.
        """
        return await self.calls.run(read_curves, await self._one(key))

    # --- saying -------------------------------------------------------------------------------------------

    async def say(self, me: Annotator, asked: MarksRequest) -> MarksAnswer:
        """Keep the marks of an episode.

        Raises:
            HTTPException: 404 there is no such episode, 409 somebody else has marked it meanwhile, 422 the marks cannot
                be.
            LabelConflict: the key was used for something else.
        """
        episode = await self._one(asked.episode)
        try:
            check_marks(asked.marks, episode.length, self.settings.stages, f"Episode {episode.index}")
        except UserError as error:
            raise HTTPException(422, f"{error}.") from None
        return await self.calls.run(self._keep, me, asked, episode)

    def _keep(self, me: Annotator, asked: MarksRequest, episode: MarkedEpisode) -> MarksAnswer:
        value = EpisodeMarks(
            episode_id=episode.episode_id,
            length=episode.length,
            stages=self.settings.stages,
            marks=tuple(asked.marks),
            done=asked.done,
        )
        target = marks_target(episode.episode_id)
        with self._one_at_a_time:
            label = self._labels.label_by_key(me.id, asked.key)
            if label is None:
                self._refuse_unseen(me, asked, target)
                label = say_marks(
                    self._labels, value, annotator=me.id, client_key=asked.key, seconds=asked.seconds
                )  # fmt: skip
            elif label.target != target or episode_marks(label) != value:
                raise LabelConflict(asked.key, label.id)
            standing = _read(self._labels.standing_label("progress", target))
        return MarksAnswer(**self._state(me, episode, standing, self._names()).model_dump(), kept=label.id)

    def _refuse_unseen(self, me: Annotator, asked: MarksRequest, target: str) -> None:
        standing = _read(self._labels.standing_label("progress", target))
        if standing is None or standing[0].annotator == me.id or standing[0].id == asked.seen:
            return
        who = self._names().get(standing[0].annotator, "Somebody")
        raise HTTPException(409, f"{who} has marked this episode meanwhile. Look again, and mark once more to differ.")


def _read(label: Label | None) -> _Standing | None:
    value = episode_marks(label) if label is not None else None
    return (label, value) if label is not None and value is not None else None
