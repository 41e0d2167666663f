"""``flywheel promote``: let an iteration's policy serve, if the gate says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import PresetOption, SetOption
from flywheel.programs import Program


def promote(
    program: Annotated[str, typer.Argument(help="Program whose policy it is, e.g. planner.")],
    iteration: Annotated[str, typer.Argument(help="Iteration that made the policy, e.g. 0 or 000.")],
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    against_the_gate: Annotated[
        bool, typer.Option("--against-the-gate", help="Promote whatever the gate says; it must have been evaluated.")
    ] = False,
    preset: PresetOption = "laptop",
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Let an iteration's policy serve, if it is not worse than what serves. Servers follow within seconds.

    Both were evaluated on the same episodes; the gate compares them there and says why it opens or stays shut.
    What served until now becomes `previous`, to which `flywheel rollback` goes back.
    """
    from flywheel.configuration import resolve_config, sections
    from hitl_assets.dagger_presets import DAGGER_PRESETS
    from hitl_assets.preference_presets import PREFERENCE_PRESETS
    from hitl_assets.station_presets import STATION_PRESETS
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.evaluation.gate import GateConfig
    from hitl_ops.serving import policy_alias
    from hitl_ops.serving.promotion import promote_by_gate
    from hitl_ops.serving.training_state import export_again

    store = Store.at(root) if root else Store.from_environment()
    number = int(iteration) if iteration.isascii() and iteration.isdigit() else iteration
    gates: dict[str, dict[str, GateConfig]] = {
        Program.station: {name: scale.gate for name, scale in STATION_PRESETS.items()},
        Program.preference: {name: scale.gate for name, scale in PREFERENCE_PRESETS.items()},
        Program.dagger: {name: scale.gate for name, scale in DAGGER_PRESETS.items()},
    }
    config = resolve_config(
        GateConfig,
        gates.get(program) or sections(lambda scale: scale.gate),
        preset=preset,
        file=None,
        overrides=overrides,
    )
    done = promote_by_gate(store, program, number, config, against_the_gate=against_the_gate)
    if done.verdict is not None:
        print(f"gate: {done.verdict.reason}")
    if done.promoted is None:
        raise UserError(
            f"{done.serving.policy_id if done.serving else 'nothing'} serves '{program}'",
            "promote the candidate all the same with --against-the-gate",
        )
    if program == Program.station:
        export_again(store)
    previous = policy_alias.resolve(store, program, "previous")
    before = f"; before: {previous.policy_id}" if previous is not None else ""
    print(f"{done.promoted.policy_id} serves (version {done.promoted.version} of '{program}'){before}")
