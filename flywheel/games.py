"""``flywheel games``: the page on which games of the dagger program are looked at, step by step."""

from __future__ import annotations

from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption
from flywheel.web_options import (
    CertificateOption,
    HostOption,
    KeyOption,
    OriginsOption,
    PublicUrlOption,
    RootOption,
)


def games(
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8097]")] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    allow_origin: OriginsOption = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: PublicUrlOption = None,
    root: RootOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Serve the page that shows the dagger program's games, until Ctrl+C.

    At each step it shows what the agent saw and read, what it and the expert would do, what was done and what came of
    it. Whoever has the link it prints may look; nothing of the games is changed. New games appear by themselves.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.store import Store
    from ui_collect.games.server import serve_games
    from ui_collect.games.settings import GamesSettings

    settings = resolve_config(
        GamesSettings,
        {"": GamesSettings()},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "host": host,
            "port": port,
            "certificate": str(certificate) if certificate else None,
            "key": str(key) if key else None,
            "allow_origin": tuple(allow_origin) or None,
            "public_url": public_url,
        },
    ).checked()
    return serve_games(settings, Store.at(root) if root else Store.from_environment())
