"""``flywheel promote``: let an iteration's policy serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def promote(
    program: Annotated[str, typer.Argument(help="Program whose policy it is, e.g. planner.")],
    iteration: Annotated[str, typer.Argument(help="Iteration that made the policy, e.g. 0 or 000.")],
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Let an iteration's policy serve. Servers follow within seconds, without a restart.

    What served until now becomes `previous`, to which `flywheel rollback` goes back.
    """
    from hitl_ops.contracts.store import Store
    from hitl_ops.serving import policy_alias

    store = Store.at(root) if root else Store.from_environment()
    number = int(iteration) if iteration.isascii() and iteration.isdigit() else iteration
    chosen = policy_alias.promote(store, program, number)
    previous = policy_alias.resolve(store, program, "previous")
    before = f"; before: {previous.policy_id}" if previous is not None else ""
    print(f"{chosen.policy_id} serves (version {chosen.version} of '{program}'){before}")
