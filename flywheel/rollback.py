"""``flywheel rollback``: let the policy serve that served before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.programs import Program


def rollback(
    program: Annotated[str, typer.Argument(help="Program whose policy it is, e.g. planner.")],
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Let the policy serve that served before. The two change places: a second rollback undoes the first."""
    from hitl_ops.contracts.store import Store
    from hitl_ops.serving import policy_alias
    from hitl_ops.serving.training_state import export_again

    store = Store.at(root) if root else Store.from_environment()
    chosen = policy_alias.rollback(store, program)
    if program == Program.station:
        export_again(store)
    previous = policy_alias.resolve(store, program, "previous")
    before = f"; before: {previous.policy_id}" if previous is not None else ""
    print(f"{chosen.policy_id} serves again (version {chosen.version} of '{program}'){before}")
