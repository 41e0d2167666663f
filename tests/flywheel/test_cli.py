"""The command as a person types it: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("flywheel"))


def flywheel(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def in_process(body: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a verb ``try-it`` whose body is given."""
    script = textwrap.dedent(
        """
        import sys, time, errno, os
        from flywheel.cli import app, main
        from hitl_ops.contracts.errors import UserError

        @app.command("try-it")
        def try_it() -> None:
            BODY

        sys.argv = ["flywheel", "try-it"]
        main()
        """
    ).replace("BODY", body)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def one_line(text: str) -> str:
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text.strip()


def test_help_names_every_verb() -> None:
    done = flywheel("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout


VERBS = (
    *("demo", "up", "doctor", "episodes", "rollout", "samples", "train", "evaluate", "serve", "collect", "bench"),
    *("label-advantage", "progress", "mark-progress", "train-estimator", "estimate-advantage", "propose-verdicts"),
    *("compare", "export-home", "habitat-worker"),
)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = flywheel(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"flywheel {verb}" in done.stdout


def test_without_a_verb_it_says_what_there_is() -> None:
    done = flywheel()
    assert done.returncode == 0
    assert "doctor" in done.stdout


def test_version() -> None:
    done = flywheel("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("flywheel 0.")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["nonsense"], "nonsense"),
        (["doctor", "--nonsense"], "--nonsense"),
        (["bench"], "NAME"),
        (["up", "--port", "many"], "--port"),
    ],
)
def test_a_mistyped_command_is_one_line(arguments: list[str], names: str) -> None:
    done = flywheel(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    line = one_line(done.stderr)
    assert line.startswith("error: ") and names.lower() in line.lower()


def test_a_users_mistake_is_one_line_with_its_remedy() -> None:
    done = in_process('raise UserError("the thing\\nis broken", "mend it")')
    assert done.returncode == 2
    assert one_line(done.stderr) == "error: the thing is broken: mend it"


def test_a_full_disk_is_one_line() -> None:
    done = in_process('raise OSError(errno.ENOSPC, "No space left on device", "/data/model.safetensors")')
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert "disk full" in line and "/data/model.safetensors" in line


def test_a_defect_keeps_its_traceback_and_says_where_to_go() -> None:
    done = in_process('raise RuntimeError("off by one")')
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "off by one" in done.stderr
    assert "flywheel doctor --json" in done.stderr.splitlines()[-1]


def test_another_os_error_is_a_defect() -> None:
    done = in_process('raise OSError(errno.EIO, "Input/output error")')
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_order(sent: signal.Signals, code: int) -> None:
    body = f"""
        try:
            os.kill(os.getpid(), {int(sent)})
            time.sleep(30)
        finally:
            print("put away", flush=True)
    """
    done = in_process(textwrap.dedent(body).strip().replace("\n", "\n    "))
    assert done.returncode == code
    assert done.stdout == "put away\n"
    assert "Traceback" not in done.stderr
    if code == 130:
        assert one_line(done.stderr).startswith("interrupted")


def test_a_reader_that_leaves_is_no_error() -> None:
    script = textwrap.dedent(
        """
        import sys
        from flywheel.cli import app, main

        @app.command("try-it")
        def try_it() -> None:
            for _ in range(100_000):
                print("x" * 100)

        sys.argv = ["flywheel", "try-it"]
        main()
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_only_the_first_process_of_a_distributed_run_shows_progress() -> None:
    script = "from flywheel.progress_bar import progress_bar\nwith progress_bar('work') as p:\n    p(1, 2); p(2, 2)\n"
    first = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert first.stderr.splitlines()[-1].startswith("work: 2/2")
    second = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "RANK": "1"}
    )
    assert second.stderr == ""


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "flywheel", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == flywheel("--version").stdout


@pytest.mark.slow
def test_doctor_prints_plain_json() -> None:
    done = flywheel("doctor", "--json", OPENAI_API_KEY="sk-never-shown")
    assert done.returncode == 0, done.stderr
    assert "sk-never-shown" not in done.stdout
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["python"]["found"].startswith("3.12")
    assert rows["torch"]["status"] == "ok"
    assert rows["OPENAI_API_KEY"]["status"] == "ok"
