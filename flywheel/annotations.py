"""``flywheel annotations``: an iteration's corrections as a file that other tools read and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hitl_ops.contracts.store import IterationPaths
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.collected_plays import PlayManifest

annotation_verbs = typer.Typer(help="Write an iteration's corrections to a JSON file, or add those of one.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file, e.g. annotations.json.")]
IterationOption = Annotated[
    int, typer.Option("--iteration", "-i", min=0, help="The iteration whose plays they are of.")
]
ProgramOption = Annotated[str, typer.Option(help="The program.")]
RootOption = Annotated[
    Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
]


@annotation_verbs.command("export")
def export(
    file: FileArgument, iteration: IterationOption, program: ProgramOption = "planner", root: RootOption = None
) -> None:
    """Write every correction made on the annotation page, of each annotator the last word on each decision."""
    from hitl_ops.labels.opinions import opinions
    from hitl_ops.samples.annotation_exchange import export_annotations

    labels, paths, manifest = _iteration(root, program, iteration)
    written = export_annotations(manifest, paths.sessions, opinions(labels, program, iteration), file)
    print(f"{written} annotations of {len(manifest.plays)} plays: {file}")


@annotation_verbs.command("import")
def import_(
    file: FileArgument,
    iteration: IterationOption,
    program: ProgramOption = "planner",
    annotator: Annotated[
        str | None, typer.Option(help="Who says all of it; by default whom the entries name, or 'import'.")
    ] = None,
    root: RootOption = None,
) -> None:
    """Add the corrections of a file to the label store. Importing a file again adds nothing.

    Exit code 2 where some fit no record; the others are added all the same.
    """
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.labels.opinions import opinions
    from hitl_ops.samples.annotation_exchange import import_annotations

    labels, paths, manifest = _iteration(root, program, iteration)
    with progress_bar("annotations") as progress:
        summary = import_annotations(
            labels,
            manifest,
            paths.sessions,
            opinions(labels, program, iteration),
            file,
            annotator=annotator,
            progress=progress,
        )
    print(f"{summary.added} annotations added, {summary.known} known already, {len(summary.refused)} refused")
    for line in summary.refused:
        print(f"refused: {line}")
    if summary.refused:
        raise UserError(f"{len(summary.refused)} annotations of '{file}' fit no record", "see the lines above")


def _iteration(root: Path | None, program: str, iteration: int) -> tuple[LabelStore, IterationPaths, PlayManifest]:
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.collected_plays import listed_plays

    store = Store.at(root) if root else Store.from_environment()
    paths = store.iteration(program, iteration)
    labels = LabelStore.open(store.labels_url)
    return labels, paths, listed_plays(labels, paths)
