"""The house keeps its rules: what files may say, what the locks hold, who imports whom, what loads at once."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "mlflow",
    "pybullet",
    "moderngl",
    "mujoco",
    "dm_control",
    "matplotlib",
    "openai",
    "pandas",
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def texts() -> dict[str, str]:
    found = {}
    for file in tracked_files():
        try:
            found[str(file.relative_to(ROOT))] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package → (version, hashes) of a lock file."""
    packages: dict[str, tuple[str, list[str]]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text(encoding="utf-8")):
        head = re.match(r"([a-z0-9._-]+)==([^\s;\\]+)", block)
        assert head is not None, f"{name}: not a pinned package: {block[:80]!r}"
        hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})", block)
        package = canonicalize_name(head.group(1))
        # A universal lock may pin one package twice, for different platforms.
        packages[package] = (head.group(2), packages.get(package, ("", []))[1] + hashes)
    return packages


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in ("robot", "loop", "dev", "bench") for line in extras[name])]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


def imported_by(code: str) -> set[str]:
    """Top-level modules loaded after running ``code`` in a fresh interpreter."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_file_names_a_registry_or_a_machine() -> None:
    # Put together here, so that this file does not name what it looks for.
    hosts = ("pypi" + ".org", "python" + "hosted", "npm" + "js.org", "registry" + ".npm", "download.py" + "torch")
    places = (
        "/ro" + "ot/",
        "/wo" + "rk/",
        "/ho" + "me/",
        "/opt/wh" + "eels",
        "--index" + "-url h",
        "--extra-index" + "-url",
    )
    wrong = [
        f"{name}: {needle}" for name, text in texts().items() for needle in (*hosts, *places) if needle in text.lower()
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-pretrained.lock"])
def test_lock_pins_by_hash_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash)", text, flags=re.MULTILINE), "an option line that is not a hash"
    for package, (version, hashes) in locked(name).items():
        assert hashes, f"{package}=={version} has no hash"


def test_lock_satisfies_what_the_project_declares() -> None:
    pinned = locked("requirements.lock")
    requirements = declared()
    assert len(requirements) > 20
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is declared but not locked: make lock"
        version = pinned[name][0]
        assert requirement.specifier.contains(version), (
            f"{name}=={version} is locked, {requirement} declared: make lock"
        )


def test_pretrained_lock_holds_exactly_its_group() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    wanted = {
        canonicalize_name(requirement.name): requirement for requirement in map(Requirement, groups["pretrained"])
    }
    pinned = locked("requirements-pretrained.lock")
    assert set(pinned) == set(wanted)
    assert all(wanted[name].specifier.contains(version) for name, (version, _) in pinned.items())


def test_station_laptop_needs_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    light = {"numpy", "pydantic", "pyyaml", "rich", "typer", "h5py", "msgpack", "pillow", "websockets"}
    lines = [*project["dependencies"], *project["optional-dependencies"]["robot"]]
    assert {canonicalize_name(Requirement(line).name) for line in lines} <= light


def test_dagster_is_told_where_the_graph_is_in_one_place() -> None:
    # A [tool.dagster] table would silently win over workspace.yaml.
    assert "dagster" not in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def test_imports_go_forward_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_every_room_is_in_the_import_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    rooms = {folder.name for folder in (ROOT / "hitl_ops").iterdir() if (folder / "__init__.py").is_file()}
    assert rooms == set(contract["layers"])


def test_command_line_loads_light() -> None:
    loaded = imported_by("import flywheel.cli")
    assert not loaded & {*HEAVY, "dagster", "pyarrow", "scipy", "numpy", "rich"}


@pytest.mark.slow
def test_code_location_loads_light() -> None:
    loaded = imported_by("import hitl_assets.definitions")
    assert "dagster" in loaded
    assert not loaded & set(HEAVY)


def test_rooms_people_and_robots_use_load_light() -> None:
    loaded = imported_by("import hitl_ops.contracts.store, hitl_ops.contracts.publish, hitl_ops.contracts.episode")
    assert not loaded & {*HEAVY, "dagster", "pyarrow", "scipy"}


@pytest.mark.slow
def test_every_package_source_has_future_annotations_and_no_pickle() -> None:
    wrong = []
    for name, text in texts().items():
        if not name.endswith(".py") or name.split("/")[0] in {"tests", "benchmarks"}:
            continue
        tree = ast.parse(text)
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} | {
            node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        if "pickle" in modules:
            wrong.append(f"{name}: imports pickle")
        # Dagster recognises a context's type only where annotations are objects, not strings.
        graph = name.startswith(("hitl_assets/", "resources/", "sensors/"))
        if len(tree.body) > 1 and "__future__" not in modules and not graph:
            wrong.append(f"{name}: from __future__ import annotations is missing")
        if ast.get_docstring(tree) is None and tree.body:
            wrong.append(f"{name}: says nothing about itself")
    assert not wrong


# Copied by itself into the environment of a simulator, hence one file.
_ONE_FILE_BY_CONTRACT = {"hitl_ops/worlds/habitat/worker.py"}


def test_files_stay_short_and_are_named_by_concept() -> None:
    wrong = []
    for name, text in texts().items():
        if name.endswith(".py"):
            if Path(name).stem in {"utils", "util", "helpers", "common", "manager", "misc"}:
                wrong.append(f"{name}: a name that says nothing")
            lines = 0 if name in _ONE_FILE_BY_CONTRACT or name.startswith("tests/") else text.count("\n")
            if lines > 450:
                wrong.append(f"{name}: {lines} lines")
    assert not wrong
