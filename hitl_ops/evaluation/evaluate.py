"""Score the traces of one or several policies and publish what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publish_json_lines_gz
from hitl_ops.evaluation.metrics import MISSING, EpisodeScore, missing_score, score_folder
from hitl_ops.evaluation.summary import (
    Comparison,
    EvaluationConfig,
    EvaluationSummary,
    SplitScores,
    VideoPicks,
    check_policy_names,
)
from hitl_ops.records.traces import list_traces

SUMMARY_FILE = "summary.json"
SCORES_FILE = "scores.jsonl.gz"
Scores = dict[str, dict[str, EpisodeScore]]


class _ScoreLine(BaseModel):
    policy: str
    score: EpisodeScore


def summarise(
    policies: Mapping[str, Path],
    out: Path,
    config: EvaluationConfig,
    progress: Progress = silent,
    *,
    expected: Iterable[Episode] = (),
) -> EvaluationSummary:
    """Score the traces of every policy, compare them and write ``summary.json`` and ``scores.jsonl.gz`` into ``out``.

    An episode counts against a policy that has no trace of it: if it is among ``expected``, or if another policy
    played it and this one played others of the same split. The same traces and configuration give the same bytes.

    Args:
        policies: name → folder of traces, e.g. ``{"teacher": …, "student": …}``.
        out: the evaluation folder.
        config: splits, comparison, resampling.
        progress: told after each trace.
        expected: episodes every policy should have played.

    Returns:
        What was written.

    Raises:
        UserError: a folder is missing or holds no trace, a trace is corrupt, an episode is there twice or differs
            between policies, or the primary split was not played.
    """
    check_policy_names(list(policies))
    totals = {name: len(list_traces(folder)) for name, folder in policies.items()}
    for name, total in totals.items():
        if total == 0:
            raise UserError(f"trace folder '{policies[name]}' of policy '{name}' holds no trace", "run its rollouts")
    due = list(expected)
    scores: Scores = {}
    for name, folder in policies.items():
        before = sum(totals[earlier] for earlier in scores)

        def told(done: int, total: int, note: str = "", name: str = name, before: int = before) -> None:
            progress(before + done, sum(totals.values()), f"{name}: {note}")

        scores[name] = _by_episode(name, score_folder(folder, config.roles, told))
    _add_missing(scores, [_unplayed(episode) for episode in due])
    return publish_evaluation(scores, out, config, _episode_sets(due))


def publish_evaluation(
    scores: Scores, out: Path, config: EvaluationConfig, episode_sets: dict[str, str]
) -> EvaluationSummary:
    """Summarise scores of policies on the same episodes, and write ``summary.json`` and ``scores.jsonl.gz``.

    Args:
        scores: policy → episode id → score.
        out: the evaluation folder.
        config: splits, comparison, resampling.
        episode_sets: split → hash over the episodes that were to be played.

    Raises:
        UserError: the primary split was not played, or the disk is full.
    """
    summary = _summarise(scores, config, episode_sets)
    lines = [_ScoreLine(policy=name, score=score) for name, rows in scores.items() for score in rows.values()]
    publish_json_lines_gz(out / SCORES_FILE, list(lines))
    publish_json(out / SUMMARY_FILE, summary.as_json())
    return summary


def read_evaluation(folder: Path) -> tuple[EvaluationSummary, Scores]:
    """Read back what :func:`summarise` wrote.

    Returns:
        The summary, and policy → episode id → score.

    Raises:
        UserError: a file is missing or corrupt.
    """
    import gzip
    import zlib

    try:
        summary = EvaluationSummary.from_json(json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8")))
        scores: Scores = {name: {} for name in summary.policies}
        for line in gzip.decompress((folder / SCORES_FILE).read_bytes()).splitlines():
            row = _ScoreLine.model_validate_json(line)
            scores[row.policy][row.score.episode_id] = row.score
    except FileNotFoundError as error:
        raise UserError(f"evaluation file '{error.filename}' does not exist", "run the evaluation first") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        what = f"{error.error_count()} invalid fields" if isinstance(error, ValidationError) else error
        raise UserError(f"evaluation in '{folder}' is corrupt ({what})", "run the evaluation again") from None
    return summary, scores


def pick_videos(scores: Iterable[EpisodeScore]) -> VideoPicks:
    """Choose the best, the median and the worst episode: by success, percent complete, steps, then episode id.

    Raises:
        ValueError: no episode was played.
    """
    played = [score for score in scores if score.played]
    if not played:
        raise ValueError("no episode was played")
    ranked = sorted(
        played, key=lambda score: (not score.success, -score.percent_complete, score.sim_steps or 0, score.episode_id)
    )
    return VideoPicks(
        best=ranked[0].episode_id,
        median=ranked[(len(ranked) - 1) // 2].episode_id,
        worst=ranked[-1].episode_id,
    )


def _by_episode(name: str, scores: Iterable[EpisodeScore]) -> dict[str, EpisodeScore]:
    found: dict[str, EpisodeScore] = {}
    for score in scores:
        if score.episode_id in found:
            raise UserError(f"policy '{name}' has two traces of episode '{score.episode_id}'", "keep one of them")
        found[score.episode_id] = score
    return found


def _unplayed(episode: Episode) -> EpisodeScore:
    return EpisodeScore(
        episode_id=episode.episode_id,
        task_type=episode.task_type,
        split=episode.split,
        scene_id=episode.scene_id,
        instruction=episode.instruction,
        success=False,
        percent_complete=0.0,
        sim_steps=None,
        ended_by=MISSING,
    )


def _add_missing(scores: Scores, expected: Sequence[EpisodeScore]) -> None:
    """Give every policy a failure for each episode it should have played, and sort by episode id."""
    known: dict[str, EpisodeScore] = {}
    for name, rows in scores.items():
        for score in rows.values():
            other = known.setdefault(score.episode_id, score)
            if (other.scene_id, other.instruction, other.split) != (score.scene_id, score.instruction, score.split):
                raise UserError(
                    f"episode '{score.episode_id}' of policy '{name}' is another task than the others played",
                    "run all policies on the same episode file",
                )
    for name, rows in scores.items():
        splits = {score.split for score in rows.values()}
        due = [score for score in known.values() if score.split in splits] + list(expected)
        for score in due:
            if score.episode_id not in rows:
                rows[score.episode_id] = missing_score(score)
        scores[name] = dict(sorted(rows.items()))


def _episode_sets(episodes: Sequence[Episode]) -> dict[str, str]:
    """Of each split the hash over its episodes, whatever their order: equal hashes, equal tasks."""
    bodies: dict[str, list[str]] = {}
    for episode in episodes:
        bodies.setdefault(episode.split, []).append(json.dumps(episode.model_dump(mode="json"), sort_keys=True))
    return {
        split: hashlib.sha256("\n".join(sorted(rows)).encode("utf-8")).hexdigest()
        for split, rows in sorted(bodies.items())
    }


def _policy_ids(scores: Scores) -> dict[str, str]:
    found = {name: {score.policy_id for score in rows.values() if score.played} for name, rows in scores.items()}
    return {name: ids.pop() for name, ids in found.items() if len(ids) == 1}


def _summarise(scores: Scores, config: EvaluationConfig, episode_sets: dict[str, str]) -> EvaluationSummary:
    splits = {
        # The primary split first, wherever splits are listed.
        name: sorted({score.split for score in rows.values()}, key=lambda split: (split != config.primary_split, split))
        for name, rows in scores.items()
    }
    for name, own in splits.items():
        if config.primary_split not in own:
            raise UserError(
                f"policy '{name}' has no episode of the split '{config.primary_split}'",
                f"set primary_split to one of: {', '.join(own)}",
            )
    reference = config.reference if config.reference in scores else None
    comparisons: dict[str, dict[str, Comparison]] = {}
    for name, rows in scores.items():
        if reference is None or name == reference:
            continue
        by_split = {}
        for split in splits[name]:
            pairs = [
                (score, scores[reference][score.episode_id])
                for score in rows.values()
                if score.split == split and score.episode_id in scores[reference]
            ]
            if pairs:
                by_split[split] = Comparison.of((name, reference), split, pairs, config)
        comparisons[f"{name}_over_{reference}"] = by_split
    videos = {}
    for name, rows in scores.items():
        primary = [score for score in rows.values() if score.split == config.primary_split]
        if any(score.played for score in primary):
            videos[name] = pick_videos(primary)
    return EvaluationSummary(
        primary_split=config.primary_split,
        reference=reference,
        policies={
            name: {
                split: SplitScores.of([score for score in rows.values() if score.split == split], config)
                for split in splits[name]
            }
            for name, rows in scores.items()
        },
        comparisons=comparisons,
        videos=videos,
        config=config,
        policy_ids=_policy_ids(scores),
        episode_sets=episode_sets,
    )
