"""``flywheel bench NAME``: measure something beside what it is compared with."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.configuration import SetOption

if TYPE_CHECKING:
    from types import ModuleType

    from hitl_ops.contracts.config import StrictConfig

# Beside the packages, not in them: a benchmark needs libraries that nothing else does.
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
COLUMNS = ("metric", "unit", "ours", "reference", "reference_name", "ratio", "target", "holds")


def bench(
    name: Annotated[str, typer.Argument(help="Name of a file in benchmarks/, without .py; - for _ will do.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list, a row per figure.")] = False,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Measure something, beside what it is compared with."""
    module = _load(name)
    settings = _settings(name, module, overrides)
    # What a benchmark and its libraries print must not get into the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        rows: list[dict[str, Any]] = module.bench(*settings)
    for row in rows:
        if set(row) != set(COLUMNS):
            raise ValueError(f"benchmark '{name}' gave a row with the keys {sorted(row)}, not {sorted(COLUMNS)}")
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(name, rows)


def _settings(name: str, module: ModuleType, overrides: list[str]) -> tuple[StrictConfig, ...]:
    """What ``--set`` makes of the benchmark's own ``Settings``; nothing where none are set."""
    from hitl_ops.contracts.config import apply_overrides
    from hitl_ops.contracts.errors import UserError

    if not overrides:
        return ()
    if not hasattr(module, "Settings"):
        raise UserError(f"benchmark '{name}' has nothing to set", "leave --set out")
    return (apply_overrides(module.Settings(), overrides),)


def _load(name: str) -> ModuleType:
    import importlib.util

    from hitl_ops.contracts.errors import UserError

    if not BENCHMARKS.is_dir():
        raise UserError("the folder benchmarks/ is not installed", "run `flywheel bench` from a checkout of the source")
    files = sorted(path for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))
    known = {path.stem.replace("_", "-"): path for path in files}
    file = known.get(name.replace("_", "-"))
    if file is None:
        raise UserError(f"benchmark '{name}' is unknown", f"choose one of {', '.join(known) or '(none yet)'}")
    spec = importlib.util.spec_from_file_location(f"benchmarks_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # By name, so that processes it starts can find its functions.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"hitl_ops", "flywheel"}:
            raise
        raise UserError(
            f"benchmark '{name}' needs '{error.name}'", "install the extra: `pip install flywheel-hitl[bench]`"
        ) from None
    return module


def _print_table(name: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "unit", title=f"bench {name}")
    for heading in ("ours", "reference", "ratio", "target"):
        table.add_column(heading, justify="right")
    table.add_column("holds")
    for row in rows:
        reference = _figure(row["reference"])
        if row["reference_name"]:
            reference = f"{reference} ({row['reference_name']})"
        holds = {True: "[green]yes", False: "[red]no", None: ""}[row["holds"]]
        cells = (_figure(row["ours"]), reference, _figure(row["ratio"]), _figure(row["target"]), holds)
        table.add_row(str(row["metric"]), str(row["unit"]), *cells)
    Console().print(table)


def _figure(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
