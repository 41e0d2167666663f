"""Several processes as one, with real processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from flywheel.supervisor import Supervisor, read_procfile
from hitl_ops.contracts.errors import UserError

CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def _start(supervisor: Supervisor, name: str, code: str, folder: Path) -> None:
    script = folder / f"{name}.py"
    script.write_text(code)
    supervisor.start(name, f"exec '{sys.executable}' '{script}'", environment=dict(os.environ), folder=folder)


def _wait_for(condition: object, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def _members(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == group:
            found.append(int(folder.name))
    return found


def test_output_carries_the_name(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    supervisor = Supervisor(lambda name, line: said.append((name, line)))
    _start(supervisor, "one", "print('hello'); print('again')", tmp_path)
    assert supervisor.wait() == ("one", 0)
    supervisor.stop()
    assert said == [("one", "hello"), ("one", "again")]


def test_the_first_to_end_is_named_with_its_code(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda name, line: None)
    _start(supervisor, "lasting", "import time; time.sleep(600)", tmp_path)
    _start(supervisor, "brief", "raise SystemExit(3)", tmp_path)
    assert supervisor.wait() == ("brief", 3)
    supervisor.stop()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads process groups from /proc")
@pytest.mark.parametrize("deaf", [False, True], ids=["polite", "deaf to SIGINT"])
def test_stopping_leaves_nothing(deaf: bool, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"{CHILD}\n{DEAF if deaf else ''}\nopen({str(ready)!r}, 'w').close()\nimport time; time.sleep(600)\n"
    supervisor = Supervisor(lambda name, line: None, patience_s=1.0 if deaf else 20.0)
    _start(supervisor, "parent", code, tmp_path)
    (group,) = [process.pid for process in supervisor._processes.values()]
    _wait_for(ready.exists)
    assert len(_members(group)) == 2
    supervisor.stop()
    _wait_for(lambda: not _members(group))


def test_procfile(tmp_path: Path) -> None:
    file = tmp_path / "Procfile"
    file.write_text("# comment\n\nweb: exec serve --port ${PORT:-3000}\nworker-2: run it: twice\n")
    assert read_procfile(file) == {"web": "exec serve --port ${PORT:-3000}", "worker-2": "run it: twice"}
    file.write_text("web: serve\nno command\n")
    with pytest.raises(UserError, match="line 2"):
        read_procfile(file)
    with pytest.raises(UserError, match="missing"):
        read_procfile(tmp_path / "missing")
