"""``flywheel compare``: the page on which people say which of two clips is better."""

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


def compare(
    program: Annotated[
        str | None, typer.Option(help="Whose clips: preference, planner or station. [default: preference]")
    ] = None,
    iteration: Annotated[
        int | None, typer.Option(min=0, help="Whose clips; by default the newest that has some, also later ones.")
    ] = None,
    clips: Annotated[
        Path | None, typer.Option(help="Folder of one clip set, wherever it lies; with --iteration for its labels.")
    ] = None,
    people_per_pair: Annotated[
        int | None, typer.Option(min=1, help="Annotators each pair is asked of. [default: 1]")
    ] = None,
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8096]")] = None,
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
    """Serve the page on which people compare clips, until Ctrl+C.

    People come in by the link it prints. What they choose is kept in the label store at once. The page asks of the
    newest iteration's pairs, and goes on with the next one's when there are some.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.store import Store
    from hitl_ops.records.clips import open_clip_set
    from ui_collect.compare.server import serve_compare
    from ui_collect.compare.settings import CompareSettings

    settings = resolve_config(
        CompareSettings,
        {"": CompareSettings()},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "program": program,
            "only_iteration": iteration,
            "queue.people_per_pair": people_per_pair,
            "host": host,
            "port": port,
            "certificate": str(certificate) if certificate else None,
            "key": str(key) if key else None,
            "allow_origin": tuple(allow_origin) or None,
            "public_url": public_url,
            "labels_url": labels_url,
        },
    ).checked()
    if clips is not None:
        # Whoever names one expects it to be there.
        clips = open_clip_set(clips.expanduser().resolve()).root
    store = Store.at(root) if root else Store.from_environment()
    return serve_compare(settings, store, clips, invite)
