"""``flywheel collect``: the app people open in a browser to play with the policy."""

from __future__ import annotations

import enum
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
    WithoutPageOption,
)


class Episodes(enum.StrEnum):
    """The generated episode sets people may play."""

    train = "train"
    val = "val"
    test = "test"


def collect(
    host: HostOption = None,
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
    episodes: Annotated[
        Path | None, typer.Option(help="Episode file people play instead, ours or PARTNR's (json.gz).")
    ] = None,
    episodes_split: Annotated[Episodes | None, typer.Option(help="Episodes people play. [default: train]")] = None,
    target: Annotated[
        int | None,
        typer.Option(help="Episodes the iteration is to collect. [default: FLYWHEEL_COLLECTION_TARGET, else 100]"),
    ] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    allow_origin: OriginsOption = [],  # noqa: B006  # Typer makes a new list for every call
    public_url: PublicUrlOption = None,
    labels_url: LabelsUrlOption = None,
    invite: InviteOption = None,
    invite_annotators: Annotated[
        int | None, typer.Option(min=1, help="Make one to annotate for so many people and print its link.")
    ] = None,
    new_admin_token: Annotated[
        bool, typer.Option("--new-admin-token", help="Make and print a new admin token; the old one ends.")
    ] = False,
    without_page: WithoutPageOption = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the page and the episodes where they are not there yet.")
    ] = False,
    root: RootOption = None,
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
            "episodes": str(episodes) if episodes else None,
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
