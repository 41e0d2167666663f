"""``flywheel station``: where episodes of stations come in, and where people say afterwards how they were."""

from __future__ import annotations

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

_SHORTEST_TOKEN = 20


def station(
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8090]")] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    allow_origin: OriginsOption = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: PublicUrlOption = None,
    labels_url: LabelsUrlOption = None,
    target: Annotated[int | None, typer.Option(help="Episodes to be judged, shown to people. [default: 0]")] = None,
    invite: InviteOption = None,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make a new upload token; the old one opens nothing any more.")
    ] = False,
    token_env: Annotated[
        str | None,
        typer.Option(help="Variable that holds the upload token of this start alone; the store's stays as it is."),
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Take episodes in from stations, and serve the page on which people say good or bad of them, until Ctrl+C.

    Stations upload with the token that the first start prints, and their data.upload.url points here. People come in
    by the link it prints.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.store import Store
    from ui_collect.station.server import StartOptions, serve_station
    from ui_collect.station.settings import StationSettings

    settings = resolve_config(
        StationSettings,
        {"": StationSettings()},
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
            "labels_url": labels_url,
            "annotation.target": target,
        },
    ).checked()
    store = Store.at(root) if root else Store.from_environment()
    return serve_station(settings, store, StartOptions(new_token, _token(token_env, new_token), invite))


def _token(variable: str | None, new_token: bool) -> str:
    """The upload token that a variable holds; "" where none is named.

    Raises:
        UserError: it holds none, or a new one is asked for as well.
    """
    import os

    from hitl_ops.contracts.errors import UserError

    if variable is None:
        return ""
    if new_token:
        raise UserError("--token-env and --new-token exclude each other", "leave one of them out")
    token = os.environ.get(variable, "").strip()
    if len(token) < _SHORTEST_TOKEN:
        raise UserError(
            f"the variable '{variable}' holds no upload token of at least {_SHORTEST_TOKEN} letters",
            f"export {variable}=…, or leave --token-env out",
        )
    return token
