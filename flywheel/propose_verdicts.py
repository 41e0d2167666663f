"""``flywheel propose-verdicts``: a trained estimator proposes which of a station's episodes are good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.samples.proposal_rule import Agreement
    from hitl_ops.samples.proposed_verdicts import ProposalSummary


def propose_verdicts(
    estimator: Annotated[Path, typer.Argument(help="Folder of a trained estimator.")],
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Epoch the episodes were collected in; the newest if not given.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Name of the task's folder, where there are several.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    labels_url: Annotated[
        str | None, typer.Option(help="Label store: a SQLAlchemy URL. [default: SQLite in the root]")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Propose a verdict of every episode of an epoch; it counts only once a person says so on the station's page."""
    import contextlib

    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.proposed_verdicts import ProposalConfig, chosen_epoch
    from hitl_ops.samples.proposed_verdicts import propose_verdicts as proposed

    with reporting() as report:
        wanted = resolve_config(
            ProposalConfig,
            {"standard": ProposalConfig()},
            preset="standard",
            file=config,
            overrides=overrides,
            options={},
        )
        store = Store.at(root) if root else Store.from_environment()
        folder = chosen_epoch(store, task, epoch)
        labels = LabelStore.open_existing(labels_url or store.labels_url)
        with contextlib.closing(labels) if labels else contextlib.nullcontext(), progress_bar("propose") as bar:
            summary = proposed(estimator, store, folder, wanted, labels, both(bar, report.progress))
        _print(summary)
        report.finished(summary.model_dump(mode="json"))
    print(summary.place)


def _print(summary: ProposalSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    console, made = Console(), summary.proposals
    estimator = f"{made.estimator.name} ({made.estimator.variant}, {made.estimator.steps} steps)"
    console.print(f"{made.task}, epoch {made.epoch}: proposals of {estimator}, most doubtful first", soft_wrap=True)
    table = Table()
    for name in ("episode", "value at end", "proposal", "doubt", "said", "simulator"):
        table.add_column(name, justify="right" if name in ("value at end", "doubt") else "left")
    for one in sorted(made.episodes, key=lambda episode: -episode.doubt):
        truth = "" if one.success is None else "success" if one.success else "failure"
        said = summary.verdicts.get(one.episode_id, "")
        table.add_row(one.file, f"{one.value:.3f}", one.said, f"{one.doubt:.2f}", said, truth)
    console.print(table)
    for file, reason in made.left_out.items():
        console.print(f"left out: {file}: {reason}", markup=False, soft_wrap=True)
    cut = made.thresholds
    good = "none is good" if cut.good is None else f"good from {cut.good:.3f}"
    bad = "none is bad" if cut.bad is None else f"bad up to {cut.bad:.3f}"
    source = f"calibrated on {cut.judged_good} good and {cut.judged_bad} bad episodes" if cut.calibrated else "as set"
    console.print(f"thresholds: {bad}, {good}; {source}", soft_wrap=True)
    each = ", each by thresholds from the others" if cut.calibrated else ""
    console.print(f"verdicts of people: {_told(summary.with_people, each)}", soft_wrap=True)
    console.print(f"the simulator's truth: {_told(summary.with_truth, each)}", soft_wrap=True)
    console.print(
        f"people who saw a proposal: {_told(summary.shown)}; {summary.confirmed} confirmed as they were", soft_wrap=True
    )


def _told(found: Agreement, how: str = "") -> str:
    if not found.decided and not found.unsure:
        return "none yet"
    share = "" if found.share is None else f" ({found.share:.0%})"
    return f"{found.same} of {found.decided} agree{share}, {found.unsure} unsure{how}"
