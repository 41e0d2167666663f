"""How people's plays went: a row a play, and what they come to by person and by kind of task."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.partner_decisions import OVERRIDE
from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest
from hitl_ops.samples.plots import bars, histogram, publish_plots, stacked_bars
from hitl_ops.worlds.household.tools import SUCCESS

SUCCESS_ABOVE = 0.99
"""A play is a success above this percent complete: PARTNR's threshold for people's sessions."""

SCORES_FILE = "scores.parquet"
SUMMARY_FILE = "scores.json"
PLOT_FOLDER = "plots"
_MANIFEST_KEY = b"flywheel.plays"
# More bars than this can't be read; the table has them all.
_MOST_BARS = 24


class PlayScore(BaseModel):
    """One play."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    play_id: str
    session_id: str
    participant_id: str
    episode_id: str
    scene_id: str
    task_type: str
    split: str
    attempt: int = Field(ge=1)
    finish_id: int = Field(ge=0, description="place among all finished plays, in the order they finished")
    ended_by: str
    reported: bool = Field(description="somebody reported a problem with it")
    success: bool = Field(description="percent complete above 0.99")
    percent_complete: float = Field(ge=0, le=1)
    steps: int = Field(ge=0, description="simulation steps")
    seconds: float = Field(ge=0, description="seconds of play, pauses left out")
    human_actions: int = Field(ge=0, description="actions of the person's own agent")
    human_failed: int = Field(ge=0, description="those that did not succeed")
    ai_actions: int = Field(ge=0, description="actions the partner's policy chose")
    ai_failed: int = Field(ge=0, description="those that did not succeed")
    corrections: int = Field(ge=0, description="actions the person chose for the partner")
    prompt_style: str
    trace: str = Field(description="the trace, relative to the iteration's sessions folder")


class Group(BaseModel):
    """What several plays come to."""

    model_config = ConfigDict(extra="forbid")

    plays: int
    episodes: int = Field(description="different episodes")
    episodes_solved: int = Field(description="different episodes with at least one success")
    successes: int
    success: float = Field(description="share of the plays")
    percent_complete: float = Field(description="mean")
    steps: float = Field(description="mean")
    seconds: float = Field(description="mean")
    minutes: float = Field(description="in all")
    human_actions: float = Field(description="mean")
    ai_actions: float = Field(description="mean")
    corrections: int = Field(description="in all")

    @classmethod
    def of(cls, scores: Sequence[PlayScore]) -> Group:
        """Sum up plays; all zero where there are none."""

        def mean(field: str) -> float:
            return statistics.fmean(getattr(score, field) for score in scores) if scores else 0.0

        return cls(
            plays=len(scores),
            episodes=len({score.episode_id for score in scores}),
            episodes_solved=len({score.episode_id for score in scores if score.success}),
            successes=sum(score.success for score in scores),
            success=mean("success"),
            percent_complete=mean("percent_complete"),
            steps=mean("steps"),
            seconds=mean("seconds"),
            minutes=sum(score.seconds for score in scores) / 60,
            human_actions=mean("human_actions"),
            ai_actions=mean("ai_actions"),
            corrections=sum(score.corrections for score in scores),
        )


class ScoreSummary(BaseModel):
    """What an iteration's plays come to."""

    model_config = ConfigDict(extra="forbid")

    plays_hash: str = Field(description="hash of the list of plays that was scored")
    success_above: float = SUCCESS_ABOVE
    total: Group
    by_task_type: dict[str, Group]
    by_participant: dict[str, Group]
    ended_by: dict[str, int]
    broken: int = Field(description="finished plays that could not be scored")


def score_plays(manifest: PlayManifest, sessions: Path, progress: Progress = silent) -> ScoreSummary:
    """Score every play of a manifest; publishes ``scores.parquet``, ``scores.json`` and ``plots/`` in ``sessions``.

    Args:
        manifest: the iteration's plays.
        sessions: the iteration's sessions folder.
        progress: told after each play.

    Raises:
        UserError: a trace is missing or damaged by now, or the disk is full.
    """
    scores: list[PlayScore] = []
    for play in manifest.plays:
        scores.append(_score(play, sessions))
        progress(len(scores), len(manifest.plays), "plays scored")
    summary = ScoreSummary(
        plays_hash=manifest.hash,
        total=Group.of(scores),
        by_task_type=_grouped(scores, lambda score: score.task_type),
        by_participant=_grouped(scores, lambda score: score.participant_id),
        ended_by={
            name: sum(score.ended_by == name for score in scores) for name in sorted({s.ended_by for s in scores})
        },
        broken=len(manifest.broken),
    )
    _write(sessions / SCORES_FILE, scores, manifest.hash)
    publish_plots(sessions / PLOT_FOLDER, _plots(scores, summary))
    # Last: whoever finds the summary finds the rest.
    publish_json(sessions / SUMMARY_FILE, summary)
    return summary


def read_score_summary(sessions: Path) -> ScoreSummary:
    """What the plays came to.

    Raises:
        UserError: it is missing or not what it should be.
    """
    file = sessions / SUMMARY_FILE
    try:
        return ScoreSummary.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "materialise session_scores first") from None
    except (OSError, ValidationError) as error:
        raise UserError(f"'{file}' is corrupt ({_first_line(error)})", "materialise session_scores again") from None


def read_scores(sessions: Path) -> tuple[list[PlayScore], str]:
    """The rows of ``scores.parquet``, in order, and the hash of the list of plays they were made from.

    Raises:
        UserError: the file is missing, corrupt, or a row is no score.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = sessions / SCORES_FILE
    if not file.is_file():
        raise UserError(f"score file '{file}' does not exist", "materialise session_scores first")
    try:
        table = pq.read_table(file, page_checksum_verification=True)
        scores = [PlayScore.model_validate(row) for row in table.to_pylist()]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"score file '{file}' is corrupt ({_first_line(error)})", "materialise session_scores again"
        ) from None
    return scores, (table.schema.metadata or {}).get(_MANIFEST_KEY, b"").decode()


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _score(play: CollectedPlay, sessions: Path) -> PlayScore:
    trace = read_trace(play.trace(sessions))
    human = [decision for decision in trace.decisions if decision.role == "human"]
    corrections = [decision for decision in trace.decisions if decision.stats.get(OVERRIDE)]
    ai = [decision for decision in trace.decisions if decision.role == "ai" and not decision.stats.get(OVERRIDE)]
    return PlayScore(
        **play.model_dump(include=set(PlayScore.model_fields) & set(CollectedPlay.model_fields) - {"success"}),
        success=play.percent_complete > SUCCESS_ABOVE,
        steps=play.sim_steps,
        human_actions=len(human),
        human_failed=_failed(human),
        ai_actions=len(ai),
        ai_failed=_failed(ai),
        corrections=len(corrections),
        trace=trace.path.relative_to(sessions).as_posix(),
    )


def _failed(decisions: Sequence[Decision]) -> int:
    return sum(decision.action != "Done[]" and not decision.response.startswith(SUCCESS) for decision in decisions)


def _grouped(scores: Sequence[PlayScore], key: Callable[[PlayScore], str]) -> dict[str, Group]:
    return {
        name: Group.of([score for score in scores if key(score) == name]) for name in sorted({key(s) for s in scores})
    }


def _write(file: Path, scores: Sequence[PlayScore], manifest: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    fields = [
        pa.field(name, kinds[info.annotation], nullable=False)  # type: ignore[index]
        for name, info in PlayScore.model_fields.items()
    ]
    table = pa.Table.from_pylist(
        [score.model_dump() for score in scores], schema=pa.schema(fields, metadata={_MANIFEST_KEY: manifest.encode()})
    )
    with publishing(file) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def _plots(scores: Sequence[PlayScore], summary: ScoreSummary) -> dict[str, Any]:
    # The busiest people; beyond that no bar could be read.
    people = sorted(summary.by_participant, key=lambda name: -summary.by_participant[name].plays)[:_MOST_BARS]
    return {
        "success_by_task_type": bars(
            {name.replace("_", " "): group.success for name, group in summary.by_task_type.items()},
            "Success by task type",
            "share of plays",
            form="{:.0%}",
        ),
        "success_by_participant": bars(
            {name[:8]: summary.by_participant[name].success for name in people},
            "Success by participant",
            "share of plays",
            form="{:.0%}",
        ),
        "actions": stacked_bars(
            {
                "person": [summary.by_participant[name].human_actions for name in people],
                "partner": [summary.by_participant[name].ai_actions for name in people],
            },
            [name[:8] for name in people],
            "Who acts, by participant",
            "actions a play",
        ),
        "percent_complete": histogram(
            [score.percent_complete for score in scores], "Percent complete", "plays", unit="share of the task"
        ),
        "minutes": histogram([score.seconds / 60 for score in scores], "Time of play", "plays", unit="minutes"),
    }
