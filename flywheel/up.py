"""``flywheel up``: the graph, the runs and the experiments, on this machine, until Ctrl+C."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_magenta")
_READY_WITHIN_S = 120.0


def up(
    port: Annotated[int, typer.Option(help="Port of the asset graph and its runs (Dagster).")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the experiments (MLflow).")] = 5000,
    collect_port: Annotated[int, typer.Option(help="Port of the page people play on.")] = 8080,
    station_port: Annotated[
        int, typer.Option(help="Port that stations upload to, and of the page on which their episodes are judged.")
    ] = 8090,
    compare_port: Annotated[int, typer.Option(help="Port of the page on which people compare clips.")] = 8096,
    games_port: Annotated[
        int, typer.Option(help="Port of the page on which the dagger program's games are looked at.")
    ] = 8097,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> int:
    """Start everything the Procfile names and stop it all together on Ctrl+C. Listens on this machine only."""
    from flywheel.dagster_home import loop_environment, opened_instance, source_root
    from flywheel.supervisor import Supervisor, read_procfile
    from hitl_assets.planner_opening import open_what_is_due
    from hitl_assets.preset_choice import PresetChoice, StationPresetChoice
    from hitl_assets.station_opening import open_station_iteration_that_is_due
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    commands = read_procfile(source_root() / "Procfile")
    _need_free(port, "--port")
    _need_free(mlflow_port, "--mlflow-port")
    _need_free(collect_port, "--collect-port")
    _need_free(station_port, "--station-port")
    _need_free(compare_port, "--compare-port")
    _need_free(games_port, "--games-port")
    environment = loop_environment(store) | {
        "DAGSTER_PORT": str(port),
        "MLFLOW_PORT": str(mlflow_port),
        "COLLECT_PORT": str(collect_port),
        "STATION_PORT": str(station_port),
        "COMPARE_PORT": str(compare_port),
        "GAMES_PORT": str(games_port),
        "FLYWHEEL_MLFLOW_UI": f"http://127.0.0.1:{mlflow_port}",
    }
    with opened_instance(store) as instance:
        # There to be worked at as soon as the pages are; whoever collects asks once, at its start, for the newest.
        open_what_is_due(instance, store, PresetChoice.from_environment().resolve().loop.iterations)
        open_station_iteration_that_is_due(instance, store, StationPresetChoice.from_environment().resolve())

    # A shell starts what it puts in the background with SIGINT ignored, and children inherit that; they are ended
    # with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    supervisor = Supervisor(_prefixed(list(commands)))
    stopping = threading.Event()
    try:
        for name, command in commands.items():
            supervisor.start(name, command, environment=environment, folder=source_root())
        ports = port, mlflow_port, collect_port, station_port, compare_port, games_port
        threading.Thread(target=_announce, args=(*ports, store.root, stopping), daemon=True).start()
        name, code = supervisor.wait()
        print(f"{name} ended with exit code {code}; stopping the rest", file=sys.stderr, flush=True)
        return 1
    except (KeyboardInterrupt, SystemExit):
        print("\nstopping …", file=sys.stderr, flush=True)
        return 0
    finally:
        stopping.set()
        supervisor.stop()


def _need_free(port: int, option: str) -> None:
    from hitl_ops.contracts.errors import UserError

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise UserError(f"port {port} is in use or not allowed", f"choose another with {option}") from None


def _prefixed(names: list[str]) -> Callable[[str, str], None]:
    """A function that prints a process's line behind its name, in its colour on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max(map(len, names))
    colours = {name: _COLOURS[position % len(_COLOURS)] for position, name in enumerate(names)}

    def say(name: str, line: str) -> None:
        console.print(Text(f"{name:<{width}} │ ", style=colours[name]) + Text.from_ansi(line))

    return say


def _announce(
    port: int,
    mlflow_port: int,
    collect_port: int,
    station_port: int,
    compare_port: int,
    games_port: int,
    root: Path,
    stopping: threading.Event,
) -> None:
    """Print where to look, as soon as Dagster and MLflow answer; people may have to wait for episodes."""
    if not all(_answers(url, stopping) for url in (_url(port, "server_info"), _url(mlflow_port, "health"))):
        return
    print(
        "\n"
        f"  the asset graph   {_url(port, 'asset-groups/')}\n"
        f"  experiments       {_url(mlflow_port)}\n"
        f"  people's sessions {_url(collect_port, 'admin')}\n"
        f"  robots' episodes  {_url(station_port, 'verdicts')}\n"
        f"  clips to compare  {_url(compare_port, 'compare')}\n"
        f"  text games        {_url(games_port, 'games')}\n"
        f"  files             {root}\n"
        "  Ctrl+C stops everything\n",
        flush=True,
    )


def _url(port: int, path: str = "") -> str:
    return f"http://127.0.0.1:{port}/{path}"


def _answers(url: str, stopping: threading.Event) -> bool:
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline and not stopping.wait(0.5):
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return True
    return False
