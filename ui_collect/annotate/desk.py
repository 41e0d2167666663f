"""What annotators do: look at plays, say what was wrong in them, see what others say. Everything is kept at once."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException

from hitl_ops.contracts.action import Action
from hitl_ops.contracts.correction import AnnotationFinished, DecisionCorrection, PlayReview, prompt_hash
from hitl_ops.contracts.store import Store
from hitl_ops.labels.errors import LabelConflict
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.opinions import (
    Opinions,
    PlayOpinions,
    agreement,
    annotation_target,
    opinions_of_play,
    review_target,
)
from hitl_ops.labels.rows import Annotator, EpisodePlay, Label
from ui_collect.annotate.claims import Claims
from ui_collect.annotate.film_service import Film, FilmService
from ui_collect.annotate.messages import (
    Figures,
    Filter,
    FinishAnswer,
    JoinAnswer,
    MarkAnswer,
    MarkRequest,
    OpenAnswer,
    PlayAnswer,
    PlayDecision,
    PlayState,
    QueueAnswer,
    QueueItem,
    Review,
    ReviewAnswer,
    ReviewRequest,
)
from ui_collect.annotate.play_queue import NOT_RANKED, Candidate, PlayQueue
from ui_collect.annotate.reviewed_play import ReviewedDecision, ReviewedPlay
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.annotate.standing import Standing
from ui_collect.annotate.what_people_say import marked_by, marks, reviews
from ui_collect.home_files import HomeFiles
from ui_collect.label_calls import LabelCalls

_NO_SUCH_PLAY = "There is no such play in your iteration."
_NO_SUCH_DECISION = "There is no such decision in this play."


class AnnotationDesk:
    """Everything behind the annotation page's requests. Waits for databases, disks and replays in other threads and
    processes, never on the event loop; the threads are its own, so that nobody who plays waits for an annotator.

    Args:
        store: where everything lies.
        settings: the page's.
        labels: the label store.
        homes: what the page draws homes from.
    """

    def __init__(self, store: Store, settings: AnnotationSettings, labels: LabelStore, homes: HomeFiles) -> None:
        self.settings = settings
        self.calls = LabelCalls(labels)
        self._store = labels
        self._queue = PlayQueue(store, labels)
        self._standing = Standing(store, labels)
        self._films = FilmService(store, settings, self.calls)
        self._claims = Claims(settings.lease_s)
        self._homes = homes

    async def stop(self) -> None:
        """End what makes films, and the threads."""
        await self._films.stop()
        await asyncio.to_thread(self.calls.close)

    # --- coming in ----------------------------------------------------------------------------------------

    async def join(self, token: str, name: str) -> JoinAnswer:
        """Let somebody in by an invitation.

        Raises:
            InvitationRefused: it lets nobody in.
        """
        admitted = await self.calls.run(self._store.admit_annotator, token, name)
        annotator = admitted.annotator
        return JoinAnswer(
            token=admitted.token,
            annotator=annotator.id,
            name=annotator.display_name,
            program=annotator.program,
            iteration=annotator.iteration,
        )

    async def annotator(self, token: str) -> Annotator | None:
        """Whom a token belongs to."""
        return await self.calls.run(self._store.annotator_by_token, token)

    # --- looking ------------------------------------------------------------------------------------------

    async def queue(self, me: Annotator, which: Filter, chosen: list[str]) -> QueueAnswer:
        """The plays there are to look at."""
        return await self.calls.run(self._listed, me, which, set(chosen))

    def _listed(self, me: Annotator, which: Filter, chosen: set[str]) -> QueueAnswer:
        said = self._standing.opinions(me.program, me.iteration)
        items = [
            self._item(me, candidate, said.plays.get(candidate.play.id) or PlayOpinions(candidate.play.id))
            for candidate in self._queue.candidates(me.program, me.iteration)
            if which == "all"
            or (which == "failed" and not candidate.play.success)
            or (which == "chosen" and candidate.play.id in chosen)
        ]
        return QueueAnswer(items=items, iteration=me.iteration, finished=bool(said.closed_by))

    def _item(self, me: Annotator, candidate: Candidate, said: PlayOpinions) -> QueueItem:
        play, ranked = candidate.play, candidate.ranked
        claim = self._claims.of(play.id)
        mine = said.reviews.get(me.id)
        state: PlayState = "open"
        if mine is not None:
            state = "reviewed_by_me"
        elif claim is not None and claim.annotator != me.id:
            state = "taken"
        elif said.reviewers:
            state = "reviewed"
        return QueueItem(
            play=play.id,
            episode_id=play.episode_id,
            instruction=candidate.instruction,
            success=bool(play.success),
            percent_complete=play.percent_complete or 0.0,
            value=ranked.value if ranked is not None else 0.0,
            reasons=ranked.reasons if ranked is not None else [NOT_RANKED],
            look_at=ranked.decisions_worth_a_look if ranked is not None else [],
            state=state,
            by=claim.name if claim is not None else None,
            mine=claim is not None and claim.annotator == me.id,
            my_review=mine.status if mine is not None else None,
            reviews=len(said.reviewers),
            corrections=said.errors,
        )

    async def open(self, me: Annotator, play_id: str) -> OpenAnswer:
        """Take a play, unless somebody else has it; they are named then."""
        await self._play(me, play_id)
        return self._taken(me, play_id)

    async def alive(self, me: Annotator, play_id: str, seconds: float) -> OpenAnswer:
        """Hold on to a play; the seconds of attention are kept with the annotator."""
        await self._play(me, play_id)
        await self.calls.run(self._store.annotator_active, me.id, seconds)
        return self._taken(me, play_id)

    def _taken(self, me: Annotator, play_id: str) -> OpenAnswer:
        claim = self._claims.take(play_id, me.id, me.display_name)
        others = claim.name if claim.annotator != me.id else None
        return OpenAnswer(play=play_id, taken_by=others, lease_s=self._claims.lease_s)

    async def _play(self, me: Annotator, play_id: str) -> EpisodePlay:
        """A play of the annotator's own iteration.

        Raises:
            HTTPException: 404: there is none, it is not finished, it was withdrawn, or it is another iteration's.
        """
        play = await self.calls.run(self._store.finished_play, me.program, me.iteration, play_id)
        if play is None:
            raise HTTPException(404, _NO_SUCH_PLAY)
        return play

    async def show(self, me: Annotator, play_id: str) -> PlayAnswer:
        """A play with everything that is said about it."""
        reviewed = await self._films.play(await self._play(me, play_id), me)
        self._homes.keep(reviewed.episode.scene)
        return await self.calls.run(self._shown, me, reviewed)

    def _shown(self, me: Annotator, reviewed: ReviewedPlay) -> PlayAnswer:
        said = opinions_of_play(self._store, reviewed.play_id)
        names = self._names(me)
        ranked = self._queue.order(me.program, me.iteration).get(reviewed.play_id)
        worth = set(ranked.decisions_worth_a_look) if ranked is not None else set()
        decisions = []
        for decision in reviewed.decisions:
            mine, others = marks(said, decision.index, me, names)
            shown = decision.model_dump(exclude={"prompt"})
            decisions.append(
                PlayDecision(**shown, worth_a_look=decision.index in worth, mine=mine, others=others)
            )  # fmt: skip
        alike = agreement(
            Opinions(me.program, me.iteration, {reviewed.play_id: said}), {reviewed.play_id: reviewed.judged}
        ).alike
        claim = self._claims.of(reviewed.play_id)
        return PlayAnswer(
            episode=reviewed.episode,
            ticks=reviewed.ticks,
            ticks_per_second=reviewed.ticks_per_second,
            decisions=decisions,
            review=reviews(said, me, names),
            agreement=alike,
            taken_by=claim.name if claim is not None and claim.annotator != me.id else None,
        )

    def _names(self, me: Annotator) -> dict[str, str]:
        return {one.id: one.display_name for one in self._store.annotators(me.program, me.iteration)}

    async def prompt(self, me: Annotator, play_id: str, index: int) -> str:
        """What a decision was made from, to the letter."""
        reviewed = await self._films.play(await self._play(me, play_id), me)
        return _decision(reviewed, index).prompt

    async def film(self, me: Annotator, play_id: str) -> Film:
        """A play's film."""
        return await self._films.film(await self._play(me, play_id), me)

    # --- saying -------------------------------------------------------------------------------------------

    async def mark(self, me: Annotator, asked: MarkRequest) -> MarkAnswer:
        """Keep that a decision was wrong and what would have been right, or that one takes that back.

        Raises:
            HTTPException: 404 there is no such decision, 422 it cannot be corrected so.
            LabelConflict: the key was used for something else.
        """
        play = await self._play(me, asked.play)
        decision = _decision(await self._films.play(play, me), asked.decision)
        corrected = _right_action(asked, decision)
        value = DecisionCorrection(
            verdict=asked.verdict,
            original=decision.action,
            corrected=corrected,
            reason=asked.reason,
            policy_id=decision.policy_id,
            prompt_hash=prompt_hash(decision.prompt),
        )
        answer = await self.calls.run(self._keep_mark, me, asked, value)
        self._claims.take(play.id, me.id, me.display_name)
        return answer

    def _keep_mark(self, me: Annotator, asked: MarkRequest, value: DecisionCorrection) -> MarkAnswer:
        label = self._store.add_label(
            "correction",
            program=me.program,
            iteration=me.iteration,
            annotator=me.id,
            client_key=asked.key,
            value=value.model_dump(mode="json"),
            seconds=asked.seconds,
            episode_play_id=asked.play,
            decision_index=asked.decision,
        )
        said = opinions_of_play(self._store, asked.play)
        mine, others = marks(said, asked.decision, me, self._names(me))
        return MarkAnswer(
            label_id=label.id, decision=asked.decision, mine=mine, others=others, corrections=marked_by(me, said)
        )

    async def review(self, me: Annotator, asked: ReviewRequest) -> ReviewAnswer:
        """Keep that one is through with a play, and let go of it.

        Raises:
            HTTPException: 404 there is no such play.
            LabelConflict: the key was used for something else.
        """
        play = await self._play(me, asked.play)
        label = await self.calls.run(self._keep_review, me, asked)
        self._claims.give_back(play.id, me.id)
        kept = PlayReview.model_validate(label.value)
        return ReviewAnswer(label_id=label.id, mine=Review(status=kept.status, errors=kept.errors))

    def _keep_review(self, me: Annotator, asked: ReviewRequest) -> Label:
        # How many errors stand may have changed since: a retry is told what was kept, not compared with it.
        earlier = self._store.label_by_key(me.id, asked.key)
        if earlier is not None:
            if earlier.target != review_target(asked.play) or earlier.value.get("status") != asked.status:
                raise LabelConflict(asked.key, earlier.id)
            return earlier
        said = opinions_of_play(self._store, asked.play)
        return self._store.add_label(
            "verdict",
            program=me.program,
            iteration=me.iteration,
            annotator=me.id,
            client_key=asked.key,
            value=PlayReview(status=asked.status, errors=marked_by(me, said)).model_dump(mode="json"),
            seconds=asked.seconds,
            episode_play_id=asked.play,
            target=review_target(asked.play),
        )

    async def finish(self, me: Annotator, key: str) -> FinishAnswer:
        """Keep that the iteration's annotation is closed.

        Raises:
            LabelConflict: the key was used for something else.
        """
        label = await self.calls.run(
            self._store.add_label,
            "verdict",
            program=me.program,
            iteration=me.iteration,
            annotator=me.id,
            client_key=key,
            value=AnnotationFinished().model_dump(mode="json"),
            target=annotation_target(me.program, me.iteration),
        )
        return FinishAnswer(label_id=label.id)

    # --- counting -----------------------------------------------------------------------------------------

    async def figures(self, me: Annotator) -> Figures:
        """How far the iteration's annotation is."""
        return await self.calls.run(self._counted, me)

    def _counted(self, me: Annotator) -> Figures:
        said = self._standing.opinions(me.program, me.iteration)
        plays = {one.play.id: one.play for one in self._queue.candidates(me.program, me.iteration)}
        alike = self._standing.agreement(said, plays)
        about = [said.plays[play_id] for play_id in plays if play_id in said.plays]
        return Figures(
            reviewed=sum(bool(one.reviews) for one in about),
            queued=len(plays),
            corrections=sum(one.errors for one in about),
            seconds=said.seconds,
            agreement=alike.alike,
            kappa=alike.kappa,
            target=self.settings.target,
            my_reviewed=sum(me.id in one.reviews for one in about),
            my_corrections=sum(marked_by(me, one) for one in about),
            my_seconds=self._store.label_seconds(me.id),
            annotators=len(self._names(me)),
            finished=bool(said.closed_by),
        )


def _decision(reviewed: ReviewedPlay, index: int) -> ReviewedDecision:
    found = reviewed.decision(index)
    if found is None:
        raise HTTPException(404, _NO_SUCH_DECISION)
    return found


def _right_action(asked: MarkRequest, decision: ReviewedDecision) -> str:
    """The action that would have been right, as ``Tool[args]``; empty where a mark is taken back.

    Raises:
        HTTPException: 422: it was not possible then, is what was done, or the decision is not a policy's.
    """
    if not decision.can_be_marked:
        raise HTTPException(422, "Only what the partner's policy decided can be corrected.")
    if asked.verdict == "withdrawn":
        return ""
    action = str(Action(asked.tool, tuple(asked.args)))
    if action not in decision.admissible:
        raise HTTPException(422, "That could not be done at that moment. Choose one of the actions listed.")
    if action == decision.action:
        raise HTTPException(422, "That is what the partner did. Choose another action, or take the mark back.")
    return action
