"""``flywheel collect``: the app people open in a browser to play with the policy."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption


class Episodes(enum.StrEnum):
    """The generated episode sets people may play."""

    train = "train"
    val = "val"
    test = "test"


def collect(
    host: Annotated[str | None, typer.Option(help="Address to listen on; this machine only by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 8080]")] = None,
    capacity: Annotated[int | None, typer.Option(help="People who may play at once. [default: 10]")] = None,
    workers: Annotated[int | None, typer.Option(help="Simulation processes; 0: cores less one.")] = None,
    partner: Annotated[
        str | None,
        typer.Option(help="Who the partner is: serving (the registry's alias), oracle, none, or a policy's folder."),
    ] = None,
    policy_poll: Annotated[float | None, typer.Option(help="Seconds between looks at the policy's alias.")] = None,
    iteration: Annotated[
        int | None, typer.Option(help="Iteration to collect for; by default the newest that is open, at any time.")
    ] = None,
    episodes_split: Annotated[Episodes | None, typer.Option(help="Episodes people play. [default: train]")] = None,
    target: Annotated[
        int | None,
        typer.Option(help="Episodes the iteration is to collect. [default: FLYWHEEL_COLLECTION_TARGET, else 100]"),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM), with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS private key (PEM), with --certificate.")] = None,
    allow_origin: Annotated[
        list[str], typer.Option(help="Another origin that may use the server, e.g. a proxy's. Repeatable.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: Annotated[str | None, typer.Option(help="How people reach the server, for invitation links.")] = None,
    labels_url: Annotated[
        str | None, typer.Option(help="Label store: a SQLAlchemy URL. [default: SQLite in the root]")
    ] = None,
    invite: Annotated[
        int | None, typer.Option(min=1, help="Make an invitation for so many people and print its link.")
    ] = None,
    invite_annotators: Annotated[
        int | None, typer.Option(min=1, help="Make one to annotate for so many people and print its link.")
    ] = None,
    new_admin_token: Annotated[
        bool, typer.Option("--new-admin-token", help="Make and print a new admin token; the old one ends.")
    ] = False,
    without_page: Annotated[
        bool, typer.Option("--without-page", help="Serve programs only: no page, which then need not be built.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the page and the episodes where they are not there yet.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Serve the page people play on, and the page on which plays are corrected afterwards, until Ctrl+C.

    Sessions survive the server: whoever comes back goes on where they were, after a crash too.
    """
    from flywheel.configuration import resolve_config
    from hitl_assets.presets import collection_target
    from hitl_ops.contracts.store import Store
    from ui_collect.server import StartOptions, serve
    from ui_collect.settings import CollectSettings

    store = Store.at(root) if root else Store.from_environment()
    usual = CollectSettings(iteration=store.newest_iteration("planner"), follow=iteration is None)
    wanted = collection_target()
    settings = resolve_config(
        CollectSettings,
        {"": usual if wanted is None else usual.replace(target=wanted)},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "host": host,
            "port": port,
            "capacity": capacity,
            "workers": workers,
            "partner": partner,
            "policy_poll_s": policy_poll,
            "iteration": iteration,
            "episodes_split": episodes_split.value if episodes_split else None,
            "target": target,
            "certificate": str(certificate) if certificate else None,
            "key": str(key) if key else None,
            "allow_origin": tuple(allow_origin) or None,
            "public_url": public_url,
            "labels_url": labels_url,
        },
    )
    start = StartOptions(
        invite=invite,
        invite_annotators=invite_annotators,
        new_admin_token=new_admin_token,
        without_page=without_page,
        wait=wait,
    )
    return serve(settings.checked(), store, start)
