"""The launcher starts real processes, hears them, and leaves none behind."""

# Annotations stay objects here: Dagster does not recognise the context's type in a string.

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.mistakes import mistakes_named
from resources.launcher import LocalLauncher, whole_lines

# What a verb does inside: opens the way to Dagster, works, hands over what came out.
VERB = """
import os, sys, time
from flywheel.pipes_report import reporting
from hitl_ops.contracts.errors import UserError

with reporting() as report:
    print("words for the log", flush=True)
    {body}
"""


class ScriptLauncher(LocalLauncher):
    """Starts a script in the place of the ``flywheel`` command; all else is the launcher's own."""

    script: str

    def command(self, arguments: Sequence[str], processes: int) -> list[str]:
        return [sys.executable, self.script, *arguments]


def _script(folder: Path, body: str) -> str:
    file = folder / "verb.py"
    file.write_text(VERB.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ").strip()))
    return str(file)


def _run(launcher: LocalLauncher, folder: Path, heard: list[tuple[int, int, str]]) -> tuple[Any, list[Any]]:
    """Materialise an asset that launches a verb; returns the run's result and what the verb handed over."""
    handed: list[Any] = []

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with mistakes_named():
            handed.append(
                launcher.launch(
                    context,
                    ["train", "--samples", str(folder / "none.parquet"), "--out", str(folder / "out")],
                    log=folder / "verb.log",
                    progress=lambda done, total, note="": heard.append((done, total, note)),
                    environment={"COLOUR": "green"},
                )
            )
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([trained], instance=instance, raise_on_error=False), handed


def _failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    return data.description or ""


def _gone(process: int, within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{process}/stat").is_file() and ") Z " in Path(f"/proc/{process}/stat").read_text():
            return True
        time.sleep(0.05)
    return False


def _number_in(file: Path, within_s: float = 60.0) -> int:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if file.is_file() and (text := file.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"{file} was not written")


def test_hears_progress_and_summary_and_keeps_what_is_printed(tmp_path: Path) -> None:
    script = _script(
        tmp_path,
        """
        report.progress(1, 2, "half")
        report.progress(2, 2, "whole")
        report.finished({"loss": 0.5, "colour": os.environ["COLOUR"]})
        """,
    )
    heard: list[tuple[int, int, str]] = []
    result, handed = _run(ScriptLauncher(script=script), tmp_path, heard)
    assert result.success
    assert handed == [{"loss": 0.5, "colour": "green"}]
    assert heard == [(1, 2, "half"), (2, 2, "whole")]
    assert "words for the log" in (tmp_path / "verb.log").read_text()


def test_a_users_mistake_arrives_as_its_line(tmp_path: Path) -> None:
    script = _script(tmp_path, 'raise UserError("sample file \'x\' does not exist", "build it first")')
    result, _ = _run(ScriptLauncher(script=script), tmp_path, [])
    assert _failure(result) == "sample file 'x' does not exist: build it first"


@pytest.mark.slow
def test_the_real_command_reports_its_mistakes(tmp_path: Path) -> None:
    result, _ = _run(LocalLauncher(), tmp_path, [])
    assert str(tmp_path / "none.parquet") in _failure(result)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("pass", "without a summary"),
    ],
)
def test_a_death_names_the_log(body: str, said: str, tmp_path: Path) -> None:
    result, _ = _run(ScriptLauncher(script=_script(tmp_path, body)), tmp_path, [])
    assert said in _failure(result)
    assert str(tmp_path / "verb.log") in _failure(result)


def test_output_larger_than_a_pipe_does_not_stop_it(tmp_path: Path) -> None:
    body = "print('x' * 1_000_000, flush=True)\nreport.finished({})"
    result, _ = _run(ScriptLauncher(script=_script(tmp_path, body)), tmp_path, [])
    assert result.success
    assert (tmp_path / "verb.log").stat().st_size > 1_000_000


def test_what_the_verb_started_is_ended_with_it(tmp_path: Path) -> None:
    body = f"""
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open({str(tmp_path / "child")!r}, "w").write(str(child.pid) + "\\n")
    report.finished({{}})
    """
    result, _ = _run(ScriptLauncher(script=_script(tmp_path, body)), tmp_path, [])
    assert result.success
    assert _gone(_number_in(tmp_path / "child"))


OUTER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_launcher import ScriptLauncher, _run

result, _ = _run(ScriptLauncher(script={script!r}, patience_s=20), Path({folder!r}), [])
print("success" if result.success else "no success")
"""


@pytest.fixture
def outer(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen[str], int]]:
    """A process that runs the asset, with the verb at work in it; gives the process and the verb's number."""
    body = f"""
    open({str(tmp_path / "verb")!r}, "w").write(str(os.getpid()) + "\\n")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        open({str(tmp_path / "told")!r}, "w").write("checkpoint written")
        raise
    """
    text = OUTER.format(tests=str(Path(__file__).parent), script=_script(tmp_path, body), folder=str(tmp_path))

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return process, _number_in(tmp_path / "verb")

    return start


@pytest.mark.integration
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_ends_the_verb_politely(
    by: signal.Signals, outer: Callable[[], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    process, verb = outer()
    process.send_signal(by)
    process.communicate(timeout=60)
    assert _gone(verb)
    assert (tmp_path / "told").read_text() == "checkpoint written"


@pytest.mark.integration
def test_a_verb_leaves_with_the_one_that_started_it(
    outer: Callable[[], tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> None:
    process, verb = outer()
    process.kill()
    process.communicate(timeout=60)
    assert _gone(verb)
    assert (tmp_path / "told").read_text() == "checkpoint written"


def test_a_line_that_comes_in_parts_is_read_as_one(tmp_path: Path) -> None:
    file, over = tmp_path / "messages", threading.Event()
    file.touch()
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(whole_lines(file, over)))
    reader.start()
    with file.open("ab", buffering=0) as written:
        for part in (b'{"a": ', b"1}\n{", b'"b": 2}\n', b'{"c"', b": 3}\n"):
            written.write(part)
            time.sleep(0.15)
    over.set()
    reader.join(5)
    assert found == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']
