"""Options that the verbs which serve a page have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HostOption = Annotated[str | None, typer.Option(help="Address to listen on; this machine only by default.")]
CertificateOption = Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM), with --key.")]
KeyOption = Annotated[Path | None, typer.Option(help="TLS private key (PEM), with --certificate.")]
OriginsOption = Annotated[
    list[str], typer.Option(help="Another origin that may use the server, e.g. a proxy's. Repeatable.")
]
PublicUrlOption = Annotated[str | None, typer.Option(help="How people reach the server, for invitation links.")]
LabelsUrlOption = Annotated[
    str | None, typer.Option(help="Label store: a SQLAlchemy URL. [default: SQLite in the root]")
]
InviteOption = Annotated[
    int | None, typer.Option(min=1, help="Make an invitation for so many people and print its link.")
]
WithoutPageOption = Annotated[
    bool, typer.Option("--without-page", help="Serve programs only: no page, which then need not be built.")
]
RootOption = Annotated[
    Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
]
