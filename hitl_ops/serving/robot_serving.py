"""A policy server and its visualiser, from the first policy to Ctrl+C."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.models.robot_policy import HoldPolicy, joints_only, load_robot_policy
from hitl_ops.serving.freed_memory import keep_freed_memory
from hitl_ops.serving.policy_alias import ALIASES
from hitl_ops.serving.policy_follower import OnePolicySource, PolicyFollower
from hitl_ops.serving.policy_server import PolicyServer
from hitl_ops.serving.policy_server_config import PolicyServerConfig
from hitl_ops.serving.policy_source import AliasSource, FolderSource
from hitl_ops.serving.visualiser.page_server import Visualiser

API_KEY_VARIABLE = "FLYWHEEL_POLICY_KEY"
"""Environment variable with the key clients must send; not an option, which every process of the machine could read."""
_INTERRUPTED = 130


def follower_of(policy: str, store: Store, program: str, guidance: float | None = None) -> PolicyFollower:
    """What the ``--policy`` option means.

    Args:
        policy: an alias of the registry, "hold", or a policy's folder.
        store: holds the registry.
        program: whose policy, with an alias.
        guidance: how far policies are led by what they are told; None: as their trainings say.

    Raises:
        UserError: it is no alias, and no policy's folder.
    """
    load = functools.partial(load_robot_policy, guidance=guidance)
    if policy in ALIASES:
        return PolicyFollower(AliasSource(store, program, policy), load)
    if policy == HoldPolicy.kind:
        hold = HoldPolicy(joints_only())
        return PolicyFollower(OnePolicySource(policy), lambda _: hold)
    folder = Path(policy).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"policy '{policy}' is no folder", f"write {', '.join(ALIASES)}, {HoldPolicy.kind}, or a policy's folder"
        )
    return PolicyFollower(FolderSource(folder.resolve()), load)


def serve_robots(
    follower: PolicyFollower,
    config: PolicyServerConfig,
    *,
    wait: bool = False,
    epoch: Callable[[], int] | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        follower: finds the policy and its successors.
        config: how it is served.
        wait: wait for a policy where there is none yet.
        epoch: says which iteration is being collected for; None where none is.

    Returns:
        The exit code.

    Raises:
        UserError: there is no policy, or a port is taken.
    """
    # What clients do wrong is told to them; a page of traceback for each is for nobody.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    keep_freed_memory()
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    server = PolicyServer(follower.first(wait=wait), follower, config, api_key=key, epoch=epoch)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_told(server, lambda page: _announce(server, follower, page, key=bool(key))))
    print("stopped", flush=True)
    return 0


async def _serve_until_told(server: PolicyServer, announce: Callable[[Visualiser | None], None]) -> None:
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():  # asked twice: a pass that never ends must not keep us
            os._exit(_INTERRUPTED)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    page_port = server.config.visualiser_port
    page = None if page_port is None else Visualiser(server, page_port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server.running())
        if page is not None:
            await stack.enter_async_context(page.running())
        announce(page)
        await stop.wait()


def _announce(server: PolicyServer, follower: PolicyFollower, page: Visualiser | None, *, key: bool) -> None:
    host = f"[{server.config.host}]" if ":" in server.config.host else server.config.host
    status = server.status()
    lines = [
        f"robots      ws://{host}:{server.port}",
        f"policy      {status['policy_id']} ({follower.source})",
        f"task        {status['asked_with'] or (status['task'] or 'as the robot says') + ', Advantage=True'}",
        f"visualiser  http://localhost:{page.port}/" if page is not None else "visualiser  none",
        f"API key     {f'needed ({API_KEY_VARIABLE})' if key else 'none'}",
    ]
    print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops\n", flush=True)
    if not server.config.is_local and not key:
        print(
            f"whoever reaches port {server.port} may ask the policy: set {API_KEY_VARIABLE}, or listen on this machine "
            "only and use an SSH tunnel",
            file=sys.stderr,
            flush=True,
        )
