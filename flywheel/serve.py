"""``flywheel serve``: a robot's policy behind a socket, with openpi's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption


def serve(
    policy: Annotated[
        str,
        typer.Option(
            help="Whom robots ask: an alias of the registry (serving, candidate, previous), which is followed; a "
            "policy's folder; or hold, which holds the joints, to try a station out."
        ),
    ] = "serving",
    program: Annotated[str, typer.Option(help="Program whose policy it is, with an alias.")] = "station",
    host: Annotated[str | None, typer.Option(help="Address to listen on; this machine only by default.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port robots connect to; 0 takes a free one. [default: 8000]")
    ] = None,
    visualiser_port: Annotated[
        int | None, typer.Option(help="Port of the page that shows cameras, joints and chunks. [default: 8080]")
    ] = None,
    no_visualiser: Annotated[bool, typer.Option("--no-visualiser", help="Serve no such page.")] = False,
    default_prompt: Annotated[
        str | None, typer.Option(help="Task where a robot names none; by default what the policy was trained for.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a policy where there is none yet.")] = False,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Serve a policy to robots until Ctrl+C; openpi's clients can drive it. It is always asked with Advantage=True.

    Clients need a key where the environment variable FLYWHEEL_POLICY_KEY has one. A policy that is promoted meanwhile
    takes over without a connection being dropped.
    """
    from flywheel.configuration import resolve_config
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.serving.policy_alias import ALIASES
    from hitl_ops.serving.policy_server_config import PolicyServerConfig
    from hitl_ops.serving.robot_serving import follower_of, serve_robots

    if no_visualiser and visualiser_port is not None:
        raise UserError("--no-visualiser and --visualiser-port were both given", "choose one")
    settings = resolve_config(
        PolicyServerConfig,
        {"": PolicyServerConfig()},
        preset="",
        file=config,
        overrides=overrides,
        options={"host": host, "port": port, "visualiser_port": visualiser_port, "default_prompt": default_prompt},
    )
    if no_visualiser:
        settings = settings.replace(visualiser_port=None)
    store = Store.at(root) if root else Store.from_environment()
    # A policy of the registry is collected with for the iteration that is open; one that is only tried out for none.
    epoch = (lambda: store.newest_iteration(program)) if policy in ALIASES else None
    return serve_robots(follower_of(policy, store, program, settings.guidance), settings, wait=wait, epoch=epoch)
