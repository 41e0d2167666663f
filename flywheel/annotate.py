"""``flywheel annotate``: the page on which people look at plays again and correct the policy's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.collect import newest_iteration
from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.contracts.store import Store


def annotate(
    iteration: Annotated[
        int | None, typer.Option(min=0, help="Iteration to annotate; by default the newest that has plays.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; this machine only by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8080]")] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM), with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS private key (PEM), with --certificate.")] = None,
    allow_origin: Annotated[
        list[str], typer.Option(help="Another origin that may use the server, e.g. a proxy's. Repeatable.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: Annotated[str | None, typer.Option(help="How people reach the server, for invitation links.")] = None,
    labels_url: Annotated[
        str | None, typer.Option(help="Label store: a SQLAlchemy URL. [default: SQLite in the root]")
    ] = None,
    target: Annotated[int | None, typer.Option(help="Plays to be reviewed, shown to annotators. [default: 0]")] = None,
    invite: Annotated[
        int | None, typer.Option(min=1, help="Make an invitation for so many annotators and print its link.")
    ] = None,
    without_page: Annotated[
        bool, typer.Option("--without-page", help="Serve programs only: no page, which then need not be built.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006
) -> int:
    """Serve the annotation page, until Ctrl+C. `flywheel collect` serves it too, while people play.

    Plays are shown in the order in which a correction would teach most; where nobody has put them in order yet
    (the asset annotation_queue), that is done first.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.store import Store
    from ui_collect.annotate.server import StartOptions, serve_annotation
    from ui_collect.web_settings import WebSettings

    store = Store.at(root) if root else Store.from_environment()
    settings = resolve_config(
        WebSettings,
        {"": WebSettings(iteration=newest_iteration(store, with_plays=True))},
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


def _put_in_order(store: Store, iteration: int, labels_url: str) -> None:
    """Put an iteration's plays in order, where there are some and nobody has."""
    from flywheel.progress_bar import progress_bar
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.annotation_queue import QUEUE_FILE, QueueConfig, rank_plays
    from hitl_ops.samples.collected_plays import MANIFEST_FILE, collect_plays, read_play_manifest

    paths = store.iteration("planner", iteration)
    if (paths.sessions / QUEUE_FILE).exists():
        return
    labels = LabelStore.open(labels_url or store.labels_url)
    try:
        if not labels.finished_plays(paths.program, paths.iteration):
            return
        listed = (paths.sessions / MANIFEST_FILE).is_file()
        manifest = read_play_manifest(paths.sessions) if listed else collect_plays(labels, paths)
        with progress_bar("plays put in order") as progress:
            rank_plays(manifest, paths.sessions, QueueConfig(), progress)
    finally:
        labels.close()
