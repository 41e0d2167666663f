"""Without the extra: nothing of it is imported by default, and asking for it is answered in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.alfworld_handcoded import HandCodedTextExpert
from hitl_ops.worlds.alfworld import AlfworldConfig, make_alfworld
from hitl_ops.worlds.alfworld.games import alfworld_games
from hitl_ops.worlds.text_worlds import make_text_world

_PACKAGES = ("alfworld", "textworld", "fast_downward")


@pytest.fixture
def _missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in _PACKAGES:
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed


@pytest.mark.usefixtures("_missing")
@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_its_absence_is_one_clear_line(engine: str, tmp_path: Path) -> None:
    asked = (
        lambda: make_text_world("alfworld", {"root": str(tmp_path), "engine": engine}),
        lambda: alfworld_games("train", 1, 0, AlfworldConfig(root=str(tmp_path))),
        HandCodedTextExpert,
    )
    for ask in asked:
        with pytest.raises(UserError) as error:
            ask()
        assert "needs ALFWorld" in error.value.what
        assert error.value.remedy == "pip install 'flywheel-hitl[alfworld]'"
        assert "\n" not in str(error.value)


def test_no_default_path_imports_it() -> None:
    code = (
        "import sys; import hitl_ops.worlds.alfworld.games, hitl_ops.worlds.alfworld.thor_adapter;"
        "import hitl_ops.experts.alfworld_planner, hitl_ops.experts.alfworld_handcoded;"
        "from hitl_ops.worlds.text_worlds import make_text_world; make_text_world('household').close();"
        "extras = {'alfworld', 'textworld', 'fast_downward', 'ai2thor'};"
        "print(sorted({name.split('.')[0] for name in sys.modules} & extras))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def test_wrong_settings_are_told() -> None:
    with pytest.raises(UserError, match="did you mean 'max_steps'"):
        make_alfworld({"max_step": 3})
    with pytest.raises(UserError, match="thor_executable"):
        make_alfworld({"pictures": "thor"})
