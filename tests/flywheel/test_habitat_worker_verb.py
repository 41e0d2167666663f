"""``flywheel habitat-worker`` as a person types it, on the kinematic scene and on the double of habitat-sim."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from flywheel.cli import run
from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE
from hitl_ops.worlds.habitat.kinematic_backend import KINEMATIC_BACKEND
from tests.support import lame_backends
from tests.support.habitat_stand_in import double_python
from tests.support.own_scenes import own_scene
from tests.support.scene_workers import scene_workers

SMALL = ("--width", "12", "--height", "9")
KINEMATIC = ("--set", f"scene.habitat.backend={KINEMATIC_BACKEND}", "--width", "64", "--height", "48")
STEPS = ["worker", "scene", "route", "sight", "rgb", "depth", "semantic"]


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    with tempfile.TemporaryDirectory(prefix="verb-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert not scene_workers(os.getpid()), "a worker is left"
        assert not os.listdir(folder), "an exported home or a socket is left"


def habitat_worker(*words: str) -> subprocess.CompletedProcess[str]:
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = run(["habitat-worker", *words])
    return subprocess.CompletedProcess(words, code, printed.getvalue(), said.getvalue())


def steps_of(printed: str) -> dict[str, str]:
    """What is said of each step; a time, or a dash, stands before it."""
    found = {}
    for line in printed.splitlines():
        if line.split()[0] in STEPS:
            told = re.fullmatch(r"(\w+) +(?:\d+ ms|\d+\.\d s|–)  (\S.*)", line)
            assert told is not None, line
            found[told[1]] = told[2]
    return found


def test_every_step_is_a_line_and_the_picture_is_kept(tmp_path: Path) -> None:
    picture = tmp_path / "seen" / "first.png"
    done = habitat_worker(*KINEMATIC, "--picture", str(picture), "--scene-id", "flywheel_val_003")
    assert done.returncode == 0, done.stderr
    told = steps_of(done.stdout)
    assert list(told) == STEPS and len(done.stdout.splitlines()) == len(STEPS) + 1
    assert told["worker"].startswith("kinematic, version 1, protocol 2; Python 3.")
    assert "numpy" in told["worker"] and "can: rgb, depth;" in told["worker"] and sys.executable in told["worker"]
    assert told["scene"].startswith("flywheel_val_003: ")
    assert " m from (" in told["route"] and "things in sight" in told["sight"]
    assert told["rgb"].startswith("64 x 48") and told["depth"].endswith(" m")
    assert told["semantic"] == "not drawn: kinematic has none"
    assert done.stdout.splitlines()[-1] == str(picture)
    with Image.open(picture) as kept:
        assert kept.size == (64, 48) and kept.mode == "RGB" and len(kept.getcolors() or ()) > 5


@pytest.mark.slow
def test_with_habitats_own_backend_there_are_pictures_of_each_kind(tmp_path: Path) -> None:
    done = habitat_worker("--python", double_python(tmp_path), *SMALL)
    assert done.returncode == 0, done.stderr
    told = steps_of(done.stdout)
    assert list(told) == STEPS
    assert "habitat_sim 0.3.3+double" in told["worker"] and "navmesh, rgb, depth, semantic" in told["worker"]
    assert told["scene"].startswith("flywheel_val_000: ")
    assert told["rgb"].startswith("12 x 9") and told["depth"].startswith("12 x 9")
    assert "walls" in told["semantic"] or "floor_" in told["semantic"], "ids by the names of the manifest"


@pytest.mark.slow
def test_a_data_sets_first_scene_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, double_python(tmp_path))
    config = own_scene(tmp_path / "own", regions=True)
    done = habitat_worker("--scene-dataset", str(config), *SMALL)
    assert done.returncode == 0, done.stderr
    told = steps_of(done.stdout)
    assert told["scene"] == "flat: 2 rooms, 2 pieces of furniture, 0 doors" and list(told) == STEPS
    (tmp_path / "own" / "objects" / "table.glb").unlink()
    done = habitat_worker("--scene-dataset", str(config), *SMALL)
    assert done.returncode == 2 and "objects/table.glb' is missing" in done.stderr
    for scene in (tmp_path / "own" / "scenes").iterdir():
        scene.unlink()
    (tmp_path / "own" / "stages" / "flat.stage_config.json").unlink()
    done = habitat_worker("--scene-dataset", str(config), *SMALL)
    assert done.returncode == 2 and "has no scenes" in done.stderr


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def failing(how: str, folder: Path) -> tuple[str, ...]:
    """The words that name an interpreter which cannot do."""
    python = shlex.quote(sys.executable)
    named = {
        "nowhere": "/nowhere/python",
        "folder": str(folder),
        "no program": __file__,
        "says nothing": "false",
        "another program": script(folder / "other", "echo at your service"),
        "talks on": script(folder / "talker", "while :; do printf 'and so on '; done"),
        "no msgpack": script(folder / "bare", f'exec {python} -I -S "$@"'),
        "no habitat_sim": sys.executable,
        "broken": double_python(folder, fails="broken"),
        "no such card": double_python(folder, fails="abort"),
    }
    return () if how == "unnamed" else ("--python", named[how], "--gpu", "0")


@pytest.mark.parametrize(
    ("how", "said", "remedy"),
    [
        ("unnamed", "no interpreter with habitat-sim is named", "--python, or set FLYWHEEL_HABITAT_PYTHON"),
        ("nowhere", "'/nowhere/python' does not exist", "scene.habitat.python"),
        ("folder", "is a folder, no interpreter", "bin/python"),
        ("no program", "is no program", "scene.habitat.python"),
        ("says nothing", "could not be started: exit code 1", "environment of scene.habitat.python"),
        ("another program", "could not be started", "environment of scene.habitat.python"),
        ("talks on", "says something else than where it listens", "environment of scene.habitat.python"),
        ("no msgpack", "No module named 'msgpack'", "-m pip install msgpack"),
        ("no habitat_sim", "habitat_sim cannot be imported", "habitat-sim#installation"),
        ("broken", "libEGL.so.1", "habitat-sim#installation"),
        ("no such card", "SIGABRT «unable to find CUDA device 0", "-1 needs no graphics card"),
    ],
)
def test_an_interpreter_that_cannot_do_is_one_line(how: str, said: str, remedy: str, tmp_path: Path) -> None:
    done = habitat_worker(*failing(how, tmp_path), *SMALL)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr and remedy in done.stderr.split(said)[1]
    assert [line.split()[0] for line in done.stdout.splitlines()] in ([], ["worker"]), "nothing after what went wrong"


@pytest.mark.parametrize(
    ("backend", "words", "last", "said"),
    [
        ("Roadless", (), "scene", "finds no way from ("),
        ("Dark", (), "sight", "pictures of one colour"),
        ("Far", (), "rgb", "no depth anywhere"),
        ("Dying", (), "sight", "SIGABRT «the driver is lost»: look at its last words, and at the graphics card"),
        ("Blind", ("--picture", "first.png"), "semantic", "no RGB picture to keep as 'first.png'"),
    ],
)
def test_what_a_worker_cannot_do_is_one_line(
    backend: str, words: tuple[str, ...], last: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = habitat_worker(*KINEMATIC, "--set", f"scene.habitat.backend={lame_backends.__name__}:{backend}", *words)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert list(steps_of(done.stdout))[-1] == last, "what works is told until then"
    assert not (tmp_path / "first.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--picture", "first.jpg"), "'first.jpg' is no name of a PNG file"),
        (("--set", "scene.habitat.pyhton=x"), "pyhton"),
        (("--gpu", "-2"), "--gpu"),
    ],
)
def test_words_that_cannot_be_are_told_before_anything_starts(words: tuple[str, ...], said: str) -> None:
    done = habitat_worker(*KINEMATIC, *words)
    assert done.returncode == 2 and said in done.stderr and not done.stdout


def test_scenes_that_are_not_there_are_named() -> None:
    for words, said in (
        (("--scene-id", "102344193"), "scene asset '102344193' is missing"),
        (("--scene-dataset", "/nowhere/a.scene_dataset_config.json"), "'/nowhere/a.scene_dataset_config.json' is mis"),
    ):
        done = habitat_worker(*KINEMATIC, *words)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_the_workers_file_is_all_there_is_to_copy(tmp_path: Path) -> None:
    done = habitat_worker("--file")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    copied = shutil.copy(done.stdout.strip(), tmp_path / "elsewhere.py")
    told = subprocess.run([sys.executable, copied, "--help"], cwd="/", capture_output=True, text=True, check=False)
    assert told.returncode == 0 and "--backend" in told.stdout
