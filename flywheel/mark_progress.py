"""``flywheel mark-progress``: the page on which people mark how far a data set's episodes come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption
from flywheel.web_options import (
    CertificateOption,
    HostOption,
    InviteOption,
    KeyOption,
    LabelsUrlOption,
    OriginsOption,
    PublicUrlOption,
    RootOption,
)


def mark_progress(
    dataset: Annotated[Path, typer.Argument(help="A LeRobot data set (v3.0 or v2.1); it stays as it is.")],
    stages: Annotated[int | None, typer.Option(help="Stages of the task. [default: 4]")] = None,
    stage: Annotated[
        list[str], typer.Option(metavar="NAME", help="What a stage is called, in order. Repeatable; counts them.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8095]")] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    allow_origin: OriginsOption = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: PublicUrlOption = None,
    labels_url: LabelsUrlOption = None,
    invite: InviteOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Serve the page on which people mark where stages of the task are reached, until Ctrl+C.

    People come in by the link it prints. What they mark is kept in the label store at once;
    `flywheel progress DATASET --source marks` makes progress of it.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.store import Store
    from ui_collect.marks.server import serve_marks
    from ui_collect.marks.settings import MarkSettings

    settings = resolve_config(
        MarkSettings,
        {"": MarkSettings()},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "stages": stages if stages is not None or not stage else len(stage),
            "stage_names": tuple(stage) or None,
            "host": host,
            "port": port,
            "certificate": str(certificate) if certificate else None,
            "key": str(key) if key else None,
            "allow_origin": tuple(allow_origin) or None,
            "public_url": public_url,
            "labels_url": labels_url,
        },
    ).checked()
    store = Store.at(root) if root else Store.from_environment()
    return serve_marks(settings, store, dataset, invite)
