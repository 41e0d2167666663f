"""``flywheel annotate``: people, or a scripted expert, look at plays again and correct the policy's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.configuration import ConfigOption, SetOption
from flywheel.web_options import (
    CertificateOption,
    HostOption,
    KeyOption,
    LabelsUrlOption,
    OriginsOption,
    PublicUrlOption,
    RootOption,
    WithoutPageOption,
)

if TYPE_CHECKING:
    from hitl_ops.contracts.store import Store


def annotate(
    iteration: Annotated[
        int | None, typer.Option(min=0, help="Iteration to annotate; by default the newest that has plays.")
    ] = None,
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8080]")] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    allow_origin: OriginsOption = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: PublicUrlOption = None,
    labels_url: LabelsUrlOption = None,
    target: Annotated[int | None, typer.Option(help="Plays to be reviewed, shown to annotators. [default: 0]")] = None,
    invite: Annotated[
        int | None, typer.Option(min=1, help="Make an invitation for so many annotators and print its link.")
    ] = None,
    without_page: WithoutPageOption = False,
    scripted: Annotated[
        bool, typer.Option("--scripted", help="No page: have the scripted expert go through the plays, and end.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help="With --scripted: plays it shall have gone through in the end. [all]")
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --scripted: share of decisions judged rightly. [default: 1]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With --scripted: what it judges wrongly depends on it. [default: 0]")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="With --scripted: whose labels they are. [default: scripted-expert]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --scripted: print the summary as JSON.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Serve the annotation page, until Ctrl+C. `flywheel collect` serves it too, while people play.

    Plays are shown in the order in which a correction would teach most; where nobody has put them in order yet
    (the asset annotation_queue), that is done first.

    With --scripted nobody is needed: an expert that knows the tasks goes through the plays in that order. Running it
    again adds nothing. Its settings may be given by --config and --set as well.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    if scripted:
        page = (host, port, certificate, key, public_url, target, invite)
        if page != (None,) * len(page) or allow_origin or without_page:
            raise UserError("--scripted serves no page", "leave out the options of the page")
        number = store.newest_iteration("planner", with_plays=True) if iteration is None else iteration
        options = {"accuracy": accuracy, "seed": seed}
        _by_script(store, number, options, config, overrides, limit, annotator, labels_url, as_json=as_json)
        return 0
    if (limit, accuracy, seed, annotator) != (None,) * 4 or as_json:
        raise UserError(
            "--limit, --accuracy, --seed, --annotator and --json are the scripted expert's", "add --scripted"
        )
    from ui_collect.annotate.server import StartOptions, serve_annotation
    from ui_collect.web_settings import WebSettings

    settings = resolve_config(
        WebSettings,
        {"": WebSettings(iteration=store.newest_iteration("planner", with_plays=True))},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "iteration": iteration,
            "host": host,
            "port": port,
            "certificate": str(certificate) if certificate else None,
            "key": str(key) if key else None,
            "allow_origin": tuple(allow_origin) or None,
            "public_url": public_url,
            "labels_url": labels_url,
            "annotation.target": target,
        },
    ).checked()
    _put_in_order(store, settings.iteration, settings.labels_url)
    return serve_annotation(settings, store, StartOptions(invite=invite, without_page=without_page))


def _by_script(
    store: Store,
    iteration: int,
    options: dict[str, Any],
    config: Path | None,
    overrides: list[str],
    limit: int | None,
    annotator: str | None,
    labels_url: str | None,
    *,
    as_json: bool,
) -> None:
    from flywheel.annotate_scripted import annotate_by_script, print_summary
    from flywheel.configuration import resolve_config
    from flywheel.progress_bar import progress_bar
    from hitl_ops.samples.scripted_expert import ScriptedExpertConfig

    wanted = resolve_config(
        ScriptedExpertConfig,
        {"": ScriptedExpertConfig()},
        preset="",
        file=config,
        overrides=overrides,
        options=options,
    )
    _put_in_order(store, iteration, labels_url or "")
    with progress_bar("plays gone through") as progress:
        summary = annotate_by_script(
            store, iteration, wanted, progress, limit=limit, annotator=annotator, labels_url=labels_url
        )
    if as_json:
        print(summary.model_dump_json(indent=2))
    else:
        print_summary(summary)


def _put_in_order(store: Store, iteration: int, labels_url: str) -> None:
    """Put an iteration's plays in order, where there are some and nobody has."""
    from flywheel.progress_bar import progress_bar
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.annotation_queue import QUEUE_FILE, QueueConfig, rank_plays
    from hitl_ops.samples.collected_plays import listed_plays

    paths = store.iteration("planner", iteration)
    if (paths.sessions / QUEUE_FILE).exists():
        return
    labels = LabelStore.open(labels_url or store.labels_url)
    try:
        if not labels.finished_plays(paths.program, paths.iteration):
            return
        manifest = listed_plays(labels, paths)
        with progress_bar("plays put in order") as progress:
            rank_plays(manifest, paths.sessions, QueueConfig(), progress)
    finally:
        labels.close()
