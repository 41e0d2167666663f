"""What `flywheel up` starts: the Procfile, the verb's options and the operators' page name the same servers."""

from __future__ import annotations

import inspect
import re

from flywheel import up
from flywheel.dagster_home import source_root
from flywheel.supervisor import read_procfile
from ui_collect.compare.settings import CompareSettings
from ui_collect.games.settings import GamesSettings

PORT = re.compile(r"\$\{([A-Z]+)_PORT:-(\d+)\}")


def _ports() -> dict[str, int]:
    """Process → the port it listens on where nobody names another."""
    commands = read_procfile(source_root() / "Procfile")
    found = {name: PORT.search(command) for name, command in commands.items()}
    assert all(one is not None and one[1].lower() == name for name, one in found.items()), commands
    return {name: int(one[2]) for name, one in found.items() if one is not None}


def test_every_process_of_the_procfile_has_a_port_that_up_can_move() -> None:
    options = inspect.signature(up.up).parameters
    told = {name: options["port" if name == "dagster" else f"{name}_port"].default for name in _ports()}
    assert told == _ports()
    assert {name for name in options if name.endswith("port")} == {
        "port" if name == "dagster" else f"{name}_port" for name in told
    }


def test_the_pages_of_clips_and_of_games_are_among_them_on_their_own_ports() -> None:
    ports = _ports()
    assert (ports["compare"], ports["games"]) == (CompareSettings().port, GamesSettings().port)


def test_operators_are_told_of_every_port() -> None:
    told = (source_root() / "docs" / "operating.md").read_text(encoding="utf-8").partition("## What is kept")[0]
    for name, port in _ports().items():
        assert f"port {port}" in told
        assert f"`--{'' if name == 'dagster' else f'{name}-'}port`" in told
