"""``flywheel train --program preference``: the arm's policy learns by PPO, on a learned reward or the world's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flywheel.late_tracker import LateTracker
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.training.ppo import PPOSummary
    from hitl_ops.training.reach_config import ReachTrainConfig

TRUE = "true"
"""In place of a reward's folder: the world's own."""


@dataclass(frozen=True)
class ReachTraining:
    """What the command line says.

    Attributes:
        reward: folder of a learned reward, or "true".
        out: folder of this training alone.
        base: folder of a policy to go on from; None: first weights.
        steps: steps of all arms, in place of the configuration's.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.
        track: record in MLflow.
        experiment: MLflow experiment.
        tags: of the MLflow run.
    """

    reward: str
    out: Path
    base: Path | None
    steps: int | None
    preset: str
    config: Path | None
    overrides: list[str]
    track: bool
    experiment: str
    tags: dict[str, str]


def train_reach(asked: ReachTraining) -> None:
    """Train, as the verb does.

    Raises:
        UserError: the reward, the policy to go on from or the configuration cannot be used.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_assets.preference_presets import PREFERENCE_PRESETS
    from hitl_ops.training.reach_config import ReachTrainConfig

    with reporting() as report:
        wanted = resolve_config(
            ReachTrainConfig,
            {name: ReachTrainConfig(world=one.world, ppo=one.ppo) for name, one in PREFERENCE_PRESETS.items()},
            preset=asked.preset,
            file=asked.config,
            overrides=asked.overrides,
            options={"ppo.total_steps": asked.steps},
        )
        tracker = _tracker(asked) if asked.track else None
        with progress_bar("train") as bar:
            summary = train_by(wanted, asked.reward, asked.base, asked.out, both(bar, report.progress), tracker)
        report.finished({**summary.model_dump(mode="json"), **(tracker.where() if tracker else {})})
    _print_summary(summary, asked.out)


def _paid_by(reward: str) -> Path | None:
    """The folder of a learned reward's weights; None: the world's own.

    Raises:
        UserError: there is no such folder.
    """
    from flywheel.learned_reward import REMEDY, reward_folder

    return None if reward == TRUE else reward_folder(Path(reward).expanduser(), f"{REMEDY}, or say --reward {TRUE}")


def _tracker(asked: ReachTraining) -> LateTracker:
    from flywheel.late_tracker import mlflow_run

    return mlflow_run(asked.out, asked.experiment, {"folder": str(asked.out.resolve()), **asked.tags})


def train_by(
    config: ReachTrainConfig,
    reward: str,
    base: Path | None,
    out: Path,
    progress: Progress,
    tracker: LateTracker | None = None,
) -> PPOSummary:
    """Train as told by names: of a reward's folder, of a policy's folder.

    Args:
        config: how.
        reward: folder of a learned reward, or "true".
        base: folder of a policy to go on from, or of its weights; None: first weights.
        out: folder of this training alone.
        progress: told of rollouts.
        tracker: told of figures.

    Raises:
        UserError: the reward or the policy cannot be used.
    """
    paid = _paid_by(reward)  # looked for before anything heavy is loaded
    from flywheel.late_tracker import closing_with_status
    from hitl_ops.models.planner_lm import CARD_FILE, read_card
    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER
    from hitl_ops.training.ppo import train_ppo

    start, parent = base, ""
    if base is not None and (base / CARD_FILE).is_file():
        parent = read_card(base).policy_id
    if base is not None and (base / WEIGHTS_FOLDER).is_dir():
        start = base / WEIGHTS_FOLDER
    with closing_with_status(tracker):
        return train_ppo(
            config.ppo,
            config.world,
            out,
            reward=paid,
            start=start,
            parent=parent,
            progress=progress,
            tracker=tracker,
        )


def _print_summary(summary: PPOSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER

    def figure(value: float | None, form: str = ",.0f") -> str:
        return "" if value is None else format(value, form)

    table = Table(show_header=False)
    table.add_row("paid by", "the world's own reward" if summary.reward == TRUE else f"reward {summary.reward[:12]}")
    table.add_row("starts from", summary.parent or "the first weights")
    table.add_row("steps", f"{summary.steps:,} in {summary.rollouts} rollouts")
    table.add_row("true return", figure(summary.true_return, ".2f"))
    table.add_row("success, exploring", figure(summary.success, ".1%"))
    table.add_row(
        "speed", f"{figure(summary.steps_per_second)} steps/s, {figure(summary.learning_share, '.0%')} learning"
    )
    Console().print(table)
    print(out / WEIGHTS_FOLDER)
