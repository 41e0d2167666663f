"""From a file of preferences to a learned reward in a folder, with what it came to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, sweep_temporaries
from hitl_ops.labels.annotator_consistency import annotator_consistency
from hitl_ops.models.clip_reward import KINDS, WORTH
from hitl_ops.models.reward_model import save_reward
from hitl_ops.samples.preference_samples import read_preference_samples
from hitl_ops.training.reliability import annotator_weights
from hitl_ops.training.reward import train_reward
from hitl_ops.training.reward_config import RewardTrainConfig
from hitl_ops.training.reward_data import preference_data, read_clips
from hitl_ops.training.reward_folders import MODEL_FOLDER, REPORT_FOLDER, SUMMARY_FILE
from hitl_ops.training.reward_report import RewardReport, write_reward_report


class RewardSummary(BaseModel):
    """What stands in a reward's ``summary.json``."""

    report: RewardReport
    members: int = Field(description="networks in the ensemble")
    seconds: float
    config: dict[str, Any]


def learn_reward(samples: Path, config: RewardTrainConfig, out: Path, progress: Progress = silent) -> RewardSummary:
    """Learn a reward and publish ``model/``, ``report/`` and ``summary.json``.

    Args:
        samples: preferences, as :func:`hitl_ops.samples.preference_samples.write_preference_samples` wrote them.
        config: how.
        out: the reward's folder.
        progress: told of steps.

    Raises:
        UserError: the preferences or a clip set cannot be read, or they say nothing.
        CannotWrite: the folder cannot be written.
    """
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    (out / SUMMARY_FILE).unlink(missing_ok=True)  # where there is one, all belong together
    words, folders = read_preference_samples(samples)
    clips = read_clips(folders)
    people = annotator_consistency(words)
    weights = annotator_weights(people) if config.weigh_annotators else dict.fromkeys(people, 1.0)
    data = preference_data(words, clips, config.validation_share, weights)
    trained = train_reward(data, config, progress)
    made = {
        "annotators": weights,
        "comparisons": trained.figures.comparisons,
        WORTH: config.worth,
        KINDS: sorted({clip.facts.kind for clip in clips.values()}),
    }
    save_reward(trained.model, out / MODEL_FOLDER, made)
    report = write_reward_report(trained, list(clips.values()), out / REPORT_FOLDER, weights)
    summary = RewardSummary(
        report=report,
        members=config.model.members,
        seconds=round(time.perf_counter() - began, 2),
        config=config.model_dump(mode="json"),
    )
    publish_json(out / SUMMARY_FILE, summary)
    return summary


def read_reward_summary(folder: Path) -> RewardSummary:
    """What a learned reward came to.

    Raises:
        UserError: there is none in the folder, or it is damaged.
    """
    file = folder / SUMMARY_FILE
    try:
        return RewardSummary.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no learned reward in '{folder}'", "train one with `flywheel train-reward`") from None
    except (OSError, ValidationError) as error:
        raise UserError(f"'{file}' cannot be read: {str(error).splitlines()[0]}", "train the reward anew") from None
