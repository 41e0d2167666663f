"""``flywheel train``: a policy learns from samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption
from flywheel.programs import Program, ProgramOption

if TYPE_CHECKING:
    from flywheel.late_tracker import LateTracker
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.training.sft import TrainSummary
    from hitl_ops.training.train_config import TrainConfig


def train(
    out: Annotated[Path, typer.Option(help="Folder of this training alone; one that was cut short goes on.")],
    samples: Annotated[
        Path | None,
        typer.Option(help="Parquet file of samples, from `flywheel samples`; for a robot the folder of a data set."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="What to start from: tiny, smollm2, a folder, or a Hugging Face id; pretrained weights get an "
            "adapter. For a robot: the folder of a policy to go on from."
        ),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps, instead of epochs.")] = None,
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    processes: Annotated[int, typer.Option(min=1, help="Processes that train together on this machine.")] = 1,
    merge: Annotated[
        bool, typer.Option("--merge", help="Then make one model of base and adapter, ready for `rollout --policy OUT`.")
    ] = False,
    track: Annotated[bool, typer.Option(help="Record figures and plots in MLflow.")] = True,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow experiment to record under; by default the program's.")
    ] = None,
    tag: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="Tag of the MLflow run. Repeatable.")] = [],  # noqa: B006  # Typer makes a new list for every call
    program: ProgramOption = Program.planner,
    overlay: Annotated[
        list[Path],
        typer.Option(help="For a robot: folder with columns laid over the data set, such as labels. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    reward: Annotated[
        str | None,
        typer.Option(help="For --program preference: folder of a learned reward, or `true` for the world's own."),
    ] = None,
    phase: Annotated[
        str | None, typer.Option(help="For --program dagger: bc imitates the expert, dpo prefers its answers.")
    ] = None,
    games: Annotated[
        Path | None, typer.Option(help="For --program dagger: file of games; by default the preset's are made.")
    ] = None,
    skip_games: Annotated[
        int, typer.Option(min=0, help="For --program dagger: games of the file that come last, not first.")
    ] = 0,
    val_games: Annotated[
        Path | None,
        typer.Option(help="For --program dagger: file of validation games; by default the preset's are made."),
    ] = None,
    replay: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FOLDER",
            help="For --program dagger: an earlier phase whose games are learned from again. Repeatable.",
        ),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    pairs: Annotated[
        list[Path],
        typer.Option(help="For --program dagger, --phase dpo: a file of annotators' corrections. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Fine-tune a planner on samples, with an adapter or in full; or train a robot's policy (--program station).

    --program advantage: a policy that is told of each frame how good it was (AWBC), and what it is compared with:
    plain cloning, cloning of good frames alone, advantage-weighted regression, with several seeds each.

    --program preference: the arm's policy, by PPO on a reward learned with `flywheel train-reward`.

    --program dagger: an agent in household text games, one phase of rounds: --phase bc plays and imitates an expert,
    --phase dpo starts from the agent of such a phase (--base) and prefers the expert's answers to its own.

    The same command run again goes on from the last checkpoint, or says that the training has come to its end.
    """
    from hitl_ops.contracts.errors import UserError

    if program is Program.dagger:
        from flywheel.train_dagger import DaggerTraining, train_dagger

        if samples is not None or overlay or reward is not None or max_steps is not None or processes > 1 or merge:
            raise UserError(
                "--program dagger learns from games",
                "leave --samples, --overlay, --reward, --max-steps, --processes and --merge out",
            )
        start = None if base is None else Path(base).expanduser()
        return train_dagger(
            DaggerTraining(
                *(phase, out, start, games, skip_games, replay, pairs, val_games, preset, config, overrides),
                *(track, experiment or program, _tags(tag)),
            )
        )
    if phase is not None or games is not None or skip_games or replay or pairs or val_games is not None:
        raise UserError(
            "--phase, --games, --skip-games, --replay, --pairs and --val-games are for agents in games",
            "add --program dagger",
        )
    if program is Program.preference:
        from flywheel.train_reach import ReachTraining, train_reach

        if reward is None or samples is not None or overlay or processes > 1 or merge:
            raise UserError(
                "--program preference learns from a reward",
                "name it with --reward, without --samples, --overlay, --processes and --merge",
            )
        start = None if base is None else Path(base).expanduser()
        where, tags = experiment or program, _tags(tag)
        return train_reach(ReachTraining(reward, out, start, max_steps, preset, config, overrides, track, where, tags))
    if reward is not None:
        raise UserError("--reward is for the arm", "add --program preference")
    if samples is None:
        raise UserError("there is nothing to learn from", "name it with --samples")
    if program is Program.advantage:
        from flywheel.train_advantage import train_advantage

        if base is not None or processes > 1 or merge:
            raise UserError("--base, --processes and --merge are not for --program advantage", "leave them out")
        return train_advantage(samples, overlay, out, max_steps, preset, config, overrides)
    if program is Program.station:
        from flywheel.train_robot import RobotTraining, train_robot

        start = None if base is None else Path(base).expanduser()
        where, tags = experiment or program, _tags(tag)
        return train_robot(
            RobotTraining(
                samples, overlay, out, start, max_steps, preset, config, overrides, processes, merge, track, where, tags
            )
        )
    if overlay:
        raise UserError("--overlay is for a robot's data set", "add --program station or advantage")
    from flywheel.configuration import resolve_config, sections
    from flywheel.pipes_report import both, reporting
    from flywheel.processes import is_first, is_joined, run_joined
    from flywheel.progress_bar import progress_bar
    from hitl_ops.training.train_config import TrainConfig

    starts_others = processes > 1 and not is_joined()
    with reporting(starts_others=starts_others) as report:
        wanted = resolve_config(
            TrainConfig,
            sections(lambda scale: _suited(scale.training.config, base)),
            preset=preset,
            file=config,
            overrides=overrides,
            options={"base": base, "max_steps": max_steps},
        )
        if not samples.is_file():
            raise UserError(f"sample file '{samples}' does not exist", "make it with `flywheel samples`")
        tags = _tags(tag)
        if starts_others:
            raise typer.Exit(run_joined(processes, sys.argv[1:]))
        tracker = _tracker(experiment or program, out, wanted, tags) if track and is_first() else None
        with progress_bar("train") as bar:
            summary = _tracked_training(wanted, samples, out, both(bar, report.progress), tracker)
        report.finished({**summary.model_dump(mode="json"), **(tracker.where() if tracker else {})})
    if not is_first():
        return
    _print_summary(summary, out)
    if merge:
        from hitl_assets.provenance import TRAINING_SOURCES, code_version
        from hitl_ops.training.publish_policy import publish_policy

        policy = publish_policy(
            summary,
            samples,
            out,
            program="planner",
            iteration=0,
            dtype=wanted.base_dtype,
            code_version=code_version(*TRAINING_SOURCES),
        )
        print(f"merged: logits differ by at most {policy.merged.max_logit_difference:.1e}")
        print(out)


def _suited(config: TrainConfig, base: str | None) -> TrainConfig:
    """A preset's training as it suits ``base``: what trains from scratch is no way to treat pretrained weights."""
    from hitl_ops.models.base_models import TINY
    from hitl_ops.training.train_config import TrainConfig

    if base in (None, TINY) or config.base != TINY:
        return config
    return TrainConfig(base=base, max_steps=config.max_steps, device=config.device)


def _tags(given: list[str]) -> dict[str, str]:
    from hitl_ops.contracts.errors import UserError

    tags = {}
    for tag in given:
        key, separator, value = tag.partition("=")
        if not separator or not key:
            raise UserError(f"tag '{tag}' is malformed", "write it as key=value")
        tags[key] = value
    return tags


def _tracker(experiment: str, out: Path, config: TrainConfig, tags: dict[str, str]) -> LateTracker:
    from flywheel.late_tracker import mlflow_run

    own = {"folder": str(out.resolve()), "base": config.base, "method": config.method}
    return mlflow_run(out, experiment, {**own, **tags})


def _tracked_training(
    config: TrainConfig, samples: Path, out: Path, progress: Progress, tracker: LateTracker | None
) -> TrainSummary:
    from flywheel.late_tracker import closing_with_status
    from hitl_ops.training.sft import train as run_training

    with closing_with_status(tracker):
        return run_training(config, samples, out, progress, tracker)


def _print_summary(summary: TrainSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    table = Table(show_header=False)
    table.add_row("base", f"{summary.base}, {summary.parameters:,} parameters")
    table.add_row("trained", f"{summary.method}, {summary.trained_parameters:,} parameters")
    table.add_row("samples", f"{summary.train_samples} of {summary.train_episodes} episodes")
    early = ", stopped early" if summary.stopped_early else ""
    table.add_row("steps", f"{summary.steps} of {summary.total_steps}{early}")
    table.add_row("training loss", figure(summary.train_loss))
    table.add_row("validation loss", f"{figure(summary.validation_loss)} (best {figure(summary.best_validation_loss)})")
    table.add_row("speed", f"{summary.sample_tokens_per_second:,.0f} tokens/s")
    Console().print(table)
    print(out / summary.trained)
