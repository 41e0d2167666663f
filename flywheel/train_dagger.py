"""``flywheel train --program dagger``: one phase of rounds, in which an agent plays text games and learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from flywheel.late_tracker import LateTracker
    from hitl_assets.dagger_presets import DaggerPreset
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.text_game import TextGame, TextSplit
    from hitl_ops.training.agent_phase_config import AgentPhaseConfig
    from hitl_ops.training.agent_rounds_log import RoundsSummary

Phase = Literal["bc", "dpo"]


@dataclass(frozen=True)
class DaggerTraining:
    """What the command line says.

    Attributes:
        phase: "bc" or "dpo"; None: it was not said.
        out: the phase's folder.
        base: folder of the agent to begin with, of a policy, or of a phase; None: a new agent.
        games: file of games; None: the preset's are made.
        skip: games of it that come last.
        replay: ``NAME=FOLDER``, earlier phases whose games are learned from again.
        pairs: files of annotators' corrections.
        validation: file of validation games; None: the preset's are made.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.
        track: record in MLflow.
        experiment: MLflow experiment.
        tags: of the MLflow run.
    """

    phase: str | None
    out: Path
    base: Path | None
    games: Path | None
    skip: int
    replay: list[str]
    pairs: list[Path]
    validation: Path | None
    preset: str
    config: Path | None
    overrides: list[str]
    track: bool
    experiment: str
    tags: dict[str, str]


def train_dagger(asked: DaggerTraining) -> None:
    """Play and learn, as the verb does.

    Raises:
        UserError: the games, the agent to begin with or the configuration cannot be used, or the expert has stopped.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_assets.dagger_presets import DAGGER_PRESETS
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.training.agent_phase_config import AgentPhaseConfig

    with reporting() as report:
        phase = _phase(asked.phase)
        wanted = resolve_config(
            AgentPhaseConfig,
            {name: _preset_phase(one, phase) for name, one in DAGGER_PRESETS.items()},
            preset=asked.preset,
            file=asked.config,
            overrides=asked.overrides,
        )
        if wanted.rounds.training.phase != phase:
            raise UserError(
                f"the configuration is of phase {wanted.rounds.training.phase}, not {phase}",
                "say the --phase it is of, or leave rounds.training.phase out",
            )
        if phase == "dpo" and asked.base is None:
            raise UserError("preferring starts from an agent that has imitated", "name it with --base")
        games = _games(asked)
        validation = _listed(asked, asked.validation, "val") if wanted.rounds.val_games else []
        replay = named_folders(asked.replay)
        tracker = _tracker(asked) if asked.track else None
        with progress_bar("train") as bar:
            summary = train_by(
                wanted,
                games,
                asked.out,
                both(bar, report.progress),
                tracker,
                base=asked.base,
                replay=replay,
                pairs=asked.pairs,
                validation=validation,
            )
        report.finished({**summary.model_dump(mode="json"), **(tracker.where() if tracker else {})})
    _print_summary(summary, asked.out)


def _phase(name: str | None) -> Phase:
    from hitl_ops.contracts.errors import UserError

    known: tuple[Phase, ...] = get_args(Phase)
    for phase in known:
        if phase == name:
            return phase
    raise UserError(
        "--program dagger learns in two phases" if name is None else f"phase '{name}' is unknown",
        "say --phase bc or --phase dpo",
    )


def _preset_phase(preset: DaggerPreset, phase: Phase) -> AgentPhaseConfig:
    return preset.bc_phase(0) if phase == "bc" else preset.dpo_phase(0)


def _listed(asked: DaggerTraining, file: Path | None, split: TextSplit) -> list[TextGame]:
    """The games of a file; where none is named, those that the preset makes."""
    from hitl_assets.dagger_presets import DAGGER_PRESETS
    from hitl_assets.named_preset import named_preset
    from hitl_ops.rollouts.text_game_sets import make_text_games, read_text_games

    if file is not None:
        return read_text_games(file)
    chosen = named_preset(DAGGER_PRESETS, asked.preset)
    return make_text_games(chosen.world_config, split, chosen.games)


def _games(asked: DaggerTraining) -> list[TextGame]:
    from hitl_ops.contracts.errors import UserError

    games = _listed(asked, asked.games, "train")
    if asked.skip > len(games):
        raise UserError(f"there are {len(games)} games, not {asked.skip} to skip", "lower --skip-games")
    return [*games[asked.skip :], *games[: asked.skip]]


def named_folders(named: Sequence[str]) -> dict[str, Path]:
    """``NAME=FOLDER`` of the command line, in its order.

    Raises:
        UserError: one is malformed or named twice.
    """
    from hitl_ops.contracts.errors import UserError

    folders: dict[str, Path] = {}
    for text in named:
        name, separator, folder = text.partition("=")
        if not separator or not name or not folder:
            raise UserError(f"'{text}' is malformed", "write it as name=folder")
        if name in folders:
            raise UserError(f"'{name}' is named twice", "give each a name of its own")
        folders[name] = Path(folder).expanduser()
    return folders


def agent_folder(folder: Path) -> Path:
    """The folder that holds an agent's weights: of a policy, of a phase of rounds, or of an agent itself.

    Raises:
        UserError: there is no agent.
    """
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.models.planner_lm import MERGED_FOLDER
    from hitl_ops.models.vision_agent_files import FACTS_FILE
    from hitl_ops.training.agent_rounds import AGENT

    for place in (folder, folder / MERGED_FOLDER, folder / AGENT):
        if (place / FACTS_FILE).is_file():
            return place
    raise UserError(f"there is no agent in '{folder}'", "name the folder of a policy, or of a phase that is through")


def train_by(
    config: AgentPhaseConfig,
    games: Sequence[TextGame],
    out: Path,
    progress: Progress,
    tracker: LateTracker | None = None,
    *,
    base: Path | None = None,
    replay: Mapping[str, Path] | None = None,
    pairs: Sequence[Path] = (),
    validation: Sequence[TextGame] = (),
) -> RoundsSummary:
    """Play and learn as told by names of folders; see :func:`hitl_ops.training.agent_phase.train_agent_phase`.

    Raises:
        UserError: the agent to begin with cannot be used, or the expert has stopped.
    """
    from flywheel.late_tracker import closing_with_status
    from hitl_ops.serving.games_process import make_collector
    from hitl_ops.training.agent_phase import train_agent_phase

    start = None if base is None else agent_folder(base)
    with closing_with_status(tracker):
        collector = make_collector(config.link, config.players, out / "expert")
        try:
            return train_agent_phase(
                *(config, games, collector, out, progress, tracker),
                start=start,
                replay=replay,
                pairs=pairs,
                validation=validation,
            )
        finally:
            collector.close()


def _tracker(asked: DaggerTraining) -> LateTracker:
    from flywheel.late_tracker import mlflow_run

    own = {"folder": str(asked.out.resolve()), "phase": str(asked.phase)}
    return mlflow_run(asked.out, asked.experiment, {**own, **asked.tags})


def _print_summary(summary: RoundsSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    def told(share: float | None) -> str:
        return "–" if share is None else f"{share:.1%}"

    table = Table("round", title=f"{summary.phase}, {summary.games} games, {summary.gradient_steps} gradient steps")
    headings = ["games won", "as the expert", "steps", "loss"]
    validated = any(one.val_accuracy is not None for one in summary.rounds)
    if validated:
        headings += ["validation games won", "as the expert there"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in summary.rounds:
        table.add_row(
            str(one.round + 1),
            f"{one.success} of {one.games}",
            told(one.agreement),
            f"{one.steps:.1f}",
            "–" if one.loss is None else f"{one.loss:.4f}",
            *([told(one.val_accuracy), told(one.val_agreement)] if validated else []),
        )
    Console().print(table)
    print(out / summary.agent)
