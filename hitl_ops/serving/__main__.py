"""Starts the decision server: ``python -m hitl_ops.serving --socket PATH (--policy FOLDER | --alias serving)``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.decision_server import DecisionServer
from hitl_ops.serving.policy_alias import ALIASES
from hitl_ops.serving.policy_source import AliasSource, FolderSource, PolicySource
from hitl_ops.serving.serving_config import ServingConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m hitl_ops.serving", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--policy", type=Path, help="folder of a policy")
    source.add_argument("--alias", choices=ALIASES, help="alias in the registry")
    parser.add_argument("--root", type=Path, help="the store's root, with --alias")
    parser.add_argument("--program", default="planner", help="whose policy, with --alias")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back behind other processes")
    parser.add_argument("--config", default="{}", help="ServingConfig as JSON")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    # Simulation comes first: a decision may be a tick late, a tick may not.
    os.nice(given.nice)
    config = ServingConfig.model_validate_json(given.config)
    store = Store.at(given.root) if given.root else Store.from_environment()
    chosen: PolicySource = (
        FolderSource(given.policy) if given.policy else AliasSource(store, given.program, given.alias)
    )
    try:
        asyncio.run(_serve_until_told(DecisionServer(chosen, config), given.socket))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


async def _serve_until_told(server: DecisionServer, path: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.serve(path, stop)


if __name__ == "__main__":
    sys.exit(main())
