"""``flywheel compare-scripted``: scripted people answer an iteration's pairs, through the label store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.store import Store
    from hitl_ops.samples.scripted_comparisons import ScriptedComparisons, ScriptedPeopleConfig

PROGRAM = "preference"


def compare_scripted(
    iteration: Annotated[
        int | None, typer.Option("--iteration", "-i", min=0, help="Whose pairs; by default the newest's.")
    ] = None,
    people: Annotated[
        list[str], typer.Option("--person", help="Name of a scripted person; several share the pairs. Repeatable.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    errors: Annotated[float | None, typer.Option(min=0, max=1, help="Share of answers for the wrong side.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Answers that shall stand in the end; all by default.")
    ] = None,
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Let scripted people compare the clips of an iteration, by what the simulator says they were worth.

    They answer through the label store, as people on the page of `flywheel compare` do. Run again, they answer what
    is still to be answered, and nothing twice.
    """
    from flywheel.configuration import resolve_config
    from flywheel.progress_bar import progress_bar
    from hitl_assets.preference_presets import PREFERENCE_PRESETS
    from hitl_ops.contracts.store import Store
    from hitl_ops.samples.scripted_comparisons import ScriptedPeopleConfig

    wanted = resolve_config(
        ScriptedPeopleConfig,
        {name: one.annotator for name, one in PREFERENCE_PRESETS.items()},
        preset=preset,
        file=config,
        overrides=overrides,
        options={"people": tuple(people) or None, "errors": errors},
    )
    store = Store.at(root) if root else Store.from_environment()
    number = store.newest_iteration(PROGRAM) if iteration is None else iteration
    with progress_bar("compare") as bar:
        done = compare_by_script(store, number, wanted, bar, limit=limit)
    for name, answers in done.by_person.items():
        print(f"{name}: {answers} answers")
    before = f", {done.before} stood before" if done.before else ""
    print(f"{done.answers} comparisons of iteration {number:03d}{before}; {done.seconds / 60:.1f} minutes, modelled")


def compare_by_script(
    store: Store, iteration: int, config: ScriptedPeopleConfig, progress: Progress, *, limit: int | None = None
) -> ScriptedComparisons:
    """Let scripted people compare an iteration's clips.

    Args:
        store: where everything is kept.
        iteration: whose pairs.
        config: who they are, and how well they answer.
        progress: told after each answer.
        limit: answers that shall stand in the end; None: of all pairs.

    Raises:
        UserError: the iteration has no clips.
        LabelStoreUnavailable: the label store does not answer.
    """
    from contextlib import closing

    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.records.clips import open_clip_set
    from hitl_ops.samples import scripted_comparisons

    clip_set = open_clip_set(store.iteration(PROGRAM, iteration).clips)
    with closing(LabelStore.open(store.labels_url)) as labels:
        return scripted_comparisons.compare_by_script(
            labels, clip_set, iteration, config, program=PROGRAM, limit=limit, progress=progress
        )
