"""The ``flywheel`` command: its verbs, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 2 something the user can mend (one line on stderr, no traceback), 130 interrupted, 143 terminated,
1 a defect of Flywheel (with its traceback).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flywheel.annotate import annotate
from flywheel.annotations import annotation_verbs
from flywheel.bench import bench
from flywheel.clips import clips
from flywheel.collect import collect
from flywheel.compare import compare
from flywheel.compare_scripted import compare_scripted
from flywheel.convert import convert
from flywheel.demo import demo
from flywheel.doctor import doctor
from flywheel.episodes import episodes
from flywheel.estimate_advantage import estimate_advantage
from flywheel.evaluate import evaluate
from flywheel.export_home import export_home
from flywheel.forget import forget
from flywheel.games import games
from flywheel.habitat_worker import habitat_worker
from flywheel.iterate import iterate
from flywheel.label_advantage import label_advantage
from flywheel.lineage import lineage
from flywheel.mark_progress import mark_progress
from flywheel.people import people
from flywheel.processes import is_first, is_joined, leave, leave_after_the_first
from flywheel.progress import progress
from flywheel.promote import promote
from flywheel.propose_verdicts import propose_verdicts
from flywheel.rank_clips import rank_clips
from flywheel.replay import replay
from flywheel.rollback import rollback
from flywheel.rollout import rollout
from flywheel.samples import samples
from flywheel.serve import serve
from flywheel.station import station
from flywheel.train import train
from flywheel.train_estimator import train_estimator
from flywheel.train_reward import train_reward
from flywheel.up import up
from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.child_process import end_with_starter

if TYPE_CHECKING:
    from types import FrameType

QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}

app = typer.Typer(
    name="flywheel",
    help="Turn human attention into better policies, again and again.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(demo)
app.command()(up)
app.command()(doctor)
app.command()(episodes)
app.command("export-home")(export_home)
app.command()(habitat_worker)
app.command()(rollout)
app.command()(samples)
app.command()(train)
app.command()(evaluate)
app.command()(promote)
app.command()(rollback)
app.command()(lineage)
app.command()(serve)
app.command()(station)
app.command()(convert)
app.command()(label_advantage)
app.command("mark-progress")(mark_progress)
app.command()(progress)
app.command()(train_estimator)
app.command()(train_reward)
app.command()(estimate_advantage)
app.command()(propose_verdicts)
app.command()(clips)
app.command()(compare)
app.command("compare-scripted")(compare_scripted)
app.command("rank-clips")(rank_clips)
app.command()(games)
app.command()(collect)
app.command()(iterate)
app.command()(annotate)
app.command()(people)
app.add_typer(annotation_verbs, name="annotations", no_args_is_help=True)
app.command()(forget)
app.command()(replay)
app.command()(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flywheel {version('flywheel-hitl')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _without_a_verb(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    # As an exception, so that half-written files are removed and worker processes are taken down on the way out.
    raise SystemExit(143)


def _line(text: str) -> None:
    with contextlib.suppress(OSError):
        print(" ".join(text.split()), file=sys.stderr, flush=True)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: the words after ``flywheel``; those of the process when None.

    Returns:
        The exit code.
    """
    try:
        code = app(arguments, prog_name="flywheel", standalone_mode=False)
    except UserError as error:
        if is_first():
            _line(f"error: {error}")
        leave_after_the_first()
        return 2
    except typer.TyperException as error:
        _line(f"error: {error.format_message().rstrip('.')}: see `flywheel --help`")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as leaving:
        # Typer leaves so when whoever read our output has gone (`| head`): nothing is wrong.
        if isinstance(leaving.__context__, BrokenPipeError):
            return 0
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _defect()
            return 1
        where = f" while writing '{error.filename}'" if error.filename else ""
        _line(f"error: disk full{where}: free space, or set FLYWHEEL_HOME elsewhere, and run again")
        return 2
    except Exception:
        _defect()
        return 1
    if code == 130:
        _line("interrupted: what was finished is kept; run the same command again to go on")
    return code if isinstance(code, int) else 0


def _defect() -> None:
    traceback.print_exc()
    _line("flywheel: this is a defect; report it with the lines above and the output of `flywheel doctor --json`")


def main() -> None:
    """Entry point of the ``flywheel`` command."""
    # Libraries send nothing home and keep their chatter to themselves, unless the environment says otherwise.
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
    signal.signal(signal.SIGTERM, _terminated)
    end_with_starter()
    if not is_joined():
        sys.exit(run())
    try:
        code = run()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    if code:
        leave(code)
