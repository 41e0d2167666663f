"""The store at a glance: what a dashboard shows."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, case, distinct, func, select
from sqlalchemy.orm import Session, aliased

from hitl_ops.labels.database import LabelDatabase
from hitl_ops.labels.rows import IterationFigures, Overview
from hitl_ops.labels.schema import (
    EpisodePlayRecord,
    InvitationRecord,
    LabelRecord,
    ParticipantRecord,
    SessionRecord,
)

_Figures = defaultdict[tuple[str, int], dict[str, Any]]


class Glance(LabelDatabase):
    """Counts over the whole store."""

    def overview(self) -> Overview:
        """What people gave to every iteration so far, counted in the database."""
        with self._transaction() as session:
            figures: _Figures = defaultdict(_empty)
            _count_sessions(session, figures)
            _count_plays(session, figures)
            _count_labels(session, figures)
            return Overview(
                taken_at=self.now(),
                invitations=session.scalar(select(func.count()).select_from(InvitationRecord)) or 0,
                participants=session.scalar(select(func.count()).select_from(ParticipantRecord)) or 0,
                iterations=[
                    IterationFigures(program=program, iteration=iteration, **figures[program, iteration])
                    for program, iteration in sorted(figures)
                ],
            )


def _empty() -> dict[str, Any]:
    counts = (
        "sessions_paused plays_open plays_finished plays_successful plays_reported episodes_finished"
        " episodes_successful human_seconds label_seconds"
    )
    return {"sessions_by_stage": {}, "labels_by_kind": {}, **dict.fromkeys(counts.split(), 0)}


def _number_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _count_sessions(session: Session, figures: _Figures) -> None:
    this = SessionRecord
    query = select(
        this.program,
        this.iteration,
        this.stage,
        func.count(),
        _number_where(this.paused_at.is_not(None) & this.ended_at.is_(None)),
        func.sum(this.seconds_active),
    ).group_by(this.program, this.iteration, this.stage)
    for program, iteration, stage, number, paused, seconds in session.execute(query):
        of = figures[program, iteration]
        of["sessions_by_stage"][stage] = number
        of["sessions_paused"] += paused
        of["human_seconds"] += seconds


def _count_plays(session: Session, figures: _Figures) -> None:
    this = EpisodePlayRecord
    finished, successful = this.finished_at.is_not(None), this.success.is_(True)
    query = (
        select(
            SessionRecord.program,
            SessionRecord.iteration,
            _number_where(~finished),
            _number_where(finished),
            _number_where(successful),
            _number_where(this.reported.is_(True)),
            func.count(distinct(case((finished, this.episode_id)))),
            func.count(distinct(case((successful, this.episode_id)))),
        )
        .join(SessionRecord, SessionRecord.id == this.session_id)
        .where(this.tutorial.is_(False), this.withdrawn_at.is_(None))
        .group_by(SessionRecord.program, SessionRecord.iteration)
    )
    names = (
        "plays_open",
        "plays_finished",
        "plays_successful",
        "plays_reported",
        "episodes_finished",
        "episodes_successful",
    )
    for program, iteration, *counts in session.execute(query):
        figures[program, iteration].update(zip(names, counts, strict=True))


def _count_labels(session: Session, figures: _Figures) -> None:
    this, later = LabelRecord, aliased(LabelRecord)
    superseded = select(later.id).where(later.supersedes == this.id).exists()
    query = select(
        this.program, this.iteration, this.kind, _number_where(~superseded), func.sum(this.seconds)
    ).group_by(this.program, this.iteration, this.kind)
    for program, iteration, kind, standing, seconds in session.execute(query):
        of = figures[program, iteration]
        of["labels_by_kind"][kind] = standing
        of["label_seconds"] += seconds
