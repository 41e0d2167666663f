"""``flywheel rollout``: an expert or a policy plays household episodes and leaves traces."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.rollouts.run import RolloutSummary


class Expert(enum.StrEnum):
    """Who can play without having been trained here."""

    oracle = "oracle"
    openai = "openai"
    local = "local"


class Split(enum.StrEnum):
    """The generated episode sets."""

    train = "train"
    val = "val"
    test = "test"


def rollout(
    expert: Annotated[
        Expert | None,
        typer.Option(
            help="oracle: the heuristic; openai: an OpenAI-compatible endpoint; local: a causal language model."
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Folder of a policy trained here; instead of --expert.")] = None,
    model: Annotated[
        str | None, typer.Option(help="openai: the endpoint's name for the model; local: a folder, a name or an id.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="openai: the endpoint, e.g. http://localhost:8000/v1.")] = None,
    split: Annotated[Split, typer.Option(help="Generated episodes to play.")] = Split.val,
    episodes: Annotated[
        Path | None, typer.Option(help="Episode file to play instead, ours or PARTNR's (json.gz).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Play only the first so many.")] = None,
    processes: Annotated[int | None, typer.Option(min=0, help="Episodes at once; 0: one per core.")] = None,
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    out: Annotated[
        Path | None, typer.Option(help="Folder of the rollout; by default <store>/planner/by-hand/<who>-<split>.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Throw away what the folder holds; otherwise it is gone on with.")
    ] = False,
) -> None:
    """Let an expert or a policy play household episodes; every decision is kept in traces.

    A rollout that was cut short goes on where it stopped.
    """
    from flywheel.configuration import resolve_config, sections
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.rollouts.episode_sets import episodes_to_play
    from hitl_ops.rollouts.run import RolloutConfig, run_rollouts

    if expert is not None and policy is not None:
        raise UserError("--expert and --policy were both given", "choose one")
    kind = "policy" if policy else expert.value if expert else None
    with reporting() as report:
        wanted = resolve_config(
            RolloutConfig,
            sections(lambda scale: scale.rollouts),
            preset=preset,
            file=config,
            overrides=overrides,
            options={
                "planner.kind": kind,
                "planner.path": str(policy) if policy else model if kind == "local" else None,
                "planner.endpoint.client.model": model if kind != "local" else None,
                "planner.endpoint.client.base_url": base_url,
                "max_episodes": limit,
                "processes": processes,
                # By hand each episode is played once and undisturbed unless --set or --config say otherwise.
                **({} if config else {"variations": 0, "disturbance": 0.0}),
            },
        )
        if base_url and wanted.planner.kind != "openai":
            raise UserError("--base-url is for endpoints", "add --expert openai")
        if model and wanted.planner.kind not in ("openai", "local"):
            raise UserError("--model is for language models", "add --expert openai or --expert local")
        if wanted.planner.kind == "openai":
            _check_endpoint(wanted.planner.endpoint)
        tasks = episodes_to_play(episodes, Store.from_environment().episodes, split.value)
        who = policy.name if policy else wanted.planner.kind
        name = f"{who}-{episodes.name.split('.')[0] if episodes else split.value}"
        folder = out or Store.from_environment().root / "planner" / "by-hand" / name
        if fresh:
            _throw_away(folder)
        with progress_bar("rollout") as bar:
            summary = run_rollouts(tasks, wanted, folder, both(bar, report.progress))
        report.finished(summary)
    _print_summary(summary, folder)


def _check_endpoint(endpoint: dict[str, object]) -> None:
    """Find out before anything is started or written whether the endpoint can be asked at all."""
    import os

    from hitl_ops.contracts.config import parse_config
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.experts.openai_llm import OpenAIExpertConfig

    client = endpoint.get("client")
    if not isinstance(client, dict) or not client.get("model"):
        raise UserError("the endpoint is to be asked, but for which model?", "name it with --model")
    key = parse_config(OpenAIExpertConfig, endpoint, source="planner.endpoint").client.api_key_env
    if key and not os.environ.get(key):
        raise UserError(
            f"environment variable {key} is not set",
            "export it, or say that no key is needed: --set 'planner.endpoint.client.api_key_env=\"\"'",
        )


def _throw_away(folder: Path) -> None:
    import shutil

    from hitl_ops.contracts.errors import UserError

    if not folder.exists():
        return
    # A mistyped --out must not cost somebody's documents.
    if not (folder / "rollout.json").is_file():
        raise UserError(f"'{folder}' is not a rollout's folder: --fresh leaves it alone", "name another --out")
    shutil.rmtree(folder)


def _print_summary(summary: RolloutSummary, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("played by", summary.policy_id)
    table.add_row("episodes", f"{summary.episodes} ({summary.played_now} now)")
    table.add_row("success", f"{summary.success:.1%}")
    table.add_row("percent complete", f"{summary.percent_complete:.1%}")
    table.add_row("decisions", str(summary.decisions))
    table.add_row("simulation steps", f"{summary.sim_steps:.0f} an episode")
    if summary.crashed:
        table.add_row("[red]crashed", ", ".join(summary.crashed))
    if summary.stopped_by_budget:
        table.add_row("[yellow]stopped", summary.stopped_by_budget)
    Console().print(table)
    print(folder)
