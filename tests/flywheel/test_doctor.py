"""What the doctor says about machines that lack something."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from flywheel import machine_checks
from flywheel.machine_checks import Check
from hitl_ops.contracts.store import Store
from tests.support.habitat_stand_in import double_python


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_missing_package_says_what_fails_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine_checks.PACKAGES, "no-such-distribution", "flying")
    check = named(machine_checks._packages(), "no-such-distribution")
    assert check.status == "absent"
    assert check.disables == "flying"
    assert "extra" in check.remedy


def test_a_probe_that_dies_is_told_from_one_that_answers() -> None:
    assert machine_checks._probe("print('well')") == (True, "well")
    assert machine_checks._probe("raise RuntimeError('no device')") == (False, "RuntimeError: no device")
    # A GL driver may abort instead of raising.
    works, said = machine_checks._probe("import os; os.abort()")
    assert not works and said


def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "PROBE_TIMEOUT_S", 0.5)
    works, said = machine_checks._probe("import time; time.sleep(60)")
    assert not works and "no answer" in said


def test_egl_without_a_driver_says_what_draws_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_probe", lambda code: (False, "Exception: eglInitialize failed"))
    (check,) = machine_checks._egl()
    assert check.status == "absent"
    assert "PyBullet" in check.disables and "libegl1" in check.remedy


def test_pybullet_without_numpy_is_not_called_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_probe", lambda code: (True, "0"))
    (check,) = machine_checks._pybullet()
    assert check.status == "absent" and "NumPy" in check.found


def test_the_store_is_not_made_by_looking_at_it(own_store: Path) -> None:
    checks = machine_checks._store()
    assert named(checks, "FLYWHEEL_HOME").status == "ok"
    assert not own_store.exists()


def test_a_root_that_is_a_file_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "file"))
    assert machine_checks._store()[0].status == "broken"


def test_a_root_that_is_a_foreign_url_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", "s3://bucket/flywheel")
    (check,) = machine_checks._store()
    assert check.status == "broken" and "mount" in check.remedy


def test_little_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "LOW_DISK_GB", 1e12)
    check = named(machine_checks._store(), "free disk")
    assert check.status == "absent" and check.remedy


def test_mlflow_database_none_sound_and_damaged(own_store: Path) -> None:
    assert named(machine_checks._mlflow_database(), "mlflow database").found.startswith("none yet")
    file = Path(Store.from_environment().mlflow_uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    with sqlite3.connect(file) as database:
        database.execute("create table runs (id text)")
        database.execute("insert into runs values ('one')")
    database.close()
    assert named(machine_checks._mlflow_database(), "mlflow database").found == "1 runs"
    file.write_bytes(b"no database at all" * 100)
    check = named(machine_checks._mlflow_database(), "mlflow database")
    assert check.status == "broken" and check.remedy


def test_a_missing_key_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    check = named(machine_checks._models(), "OPENAI_API_KEY")
    assert check.status == "absent" and "127.0.0.1:8000" in check.found


def test_everything_that_is_not_there_says_what_it_disables_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_version", lambda distribution: None)
    monkeypatch.setattr(machine_checks, "_probe", lambda code: (False, "no"))
    monkeypatch.setattr(machine_checks.shutil, "which", lambda command: None)
    lacking = [check for check in machine_checks.all_checks() if check.status != "ok"]
    assert {"cuda", "egl", "pybullet", "torch", "smollm2", "chromium", "node", "alfworld", "habitat-sim"} <= {
        check.name for check in lacking
    }
    assert all(check.disables and check.remedy for check in lacking)


def test_habitat_sim_that_nobody_names_says_where_its_guide_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_HABITAT_PYTHON", raising=False)
    (check,) = machine_checks._habitat()
    assert check.status == "absent" and "facebookresearch/habitat-sim" in check.remedy
    assert "FLYWHEEL_HABITAT_PYTHON" in check.remedy and "need nothing" in check.disables


def test_an_interpreter_without_habitat_sim_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_HABITAT_PYTHON", str(tmp_path / "python"))
    (check,) = machine_checks._habitat()
    assert check.status == "absent" and str(tmp_path / "python") in check.found
    monkeypatch.setenv("FLYWHEEL_HABITAT_PYTHON", sys.executable)  # ours has none
    (check,) = machine_checks._habitat()
    assert check.status == "absent" and "No module named 'habitat_sim'" in check.found
    assert "Bullet" in check.remedy


def test_habitat_sim_that_is_there_says_its_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_HABITAT_PYTHON", double_python(tmp_path))
    (check,) = machine_checks._habitat()
    assert check.status == "ok" and "double" in check.found and "msgpack" in check.found
    monkeypatch.setenv("FLYWHEEL_HABITAT_PYTHON", double_python(tmp_path, fails="broken"))
    (check,) = machine_checks._habitat()
    assert check.status == "absent" and "libEGL" in check.found
