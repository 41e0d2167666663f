"""The instance that `up` shows and `demo` writes to."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel.dagster_home import loop_environment, opened_instance, prepare_dagster_home, source_root
from flywheel.up import up
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store


def test_home_follows_the_repositorys_file_but_keeps_the_users(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    home = prepare_dagster_home(store)
    assert (home / "dagster.yaml").resolve() == source_root() / "dagster.yaml"
    prepare_dagster_home(store)
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    prepare_dagster_home(store)
    assert not (home / "dagster.yaml").is_symlink()


def test_children_find_store_home_and_this_pythons_commands(tmp_path: Path) -> None:
    environment = loop_environment(Store.at(tmp_path))
    assert environment["FLYWHEEL_HOME"] == str(tmp_path)
    assert environment["DAGSTER_HOME"] == str(tmp_path / "dagster")


def test_children_keep_bytecode_even_where_this_process_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    environment = loop_environment(Store.at(tmp_path))
    subprocess.run([sys.executable, "-c", "import graphlib"], env=environment, check=True)
    assert list((tmp_path / "cache" / "bytecode").rglob("graphlib.*.pyc"))
    # Where it is kept anyway nothing is changed, and a place of the user's own stays.
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "elsewhere")
    assert loop_environment(Store.at(tmp_path))["PYTHONPYCACHEPREFIX"] == "elsewhere"
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert "PYTHONPYCACHEPREFIX" not in loop_environment(Store.at(tmp_path))


@pytest.mark.slow
def test_instance_has_the_first_iteration_and_its_settings(tmp_path: Path) -> None:
    for _ in range(2):
        with opened_instance(Store.at(tmp_path)) as instance:
            assert instance.get_dynamic_partitions("planner_iterations") == ["000"]
            assert instance.telemetry_enabled is False
            assert instance.global_op_concurrency_default_limit == 1
            assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0


@pytest.mark.slow
def test_a_run_keeps_every_event_and_shows_only_what_people_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import dagster as dg

    @dg.op
    def work() -> None:
        dg.get_dagster_logger().info("a word to people")

    @dg.job
    def job() -> None:
        work()

    with opened_instance(Store.at(tmp_path)) as instance:
        done = job.execute_in_process(instance=instance)
        kept = {entry.dagster_event_type for entry in instance.all_logs(done.run_id) if entry.is_dagster_event}
    events = dg.DagsterEventType
    assert {events.STEP_START, events.STEP_OUTPUT, events.RUN_SUCCESS} <= kept
    shown = capfd.readouterr().err
    assert "a word to people" in shown
    assert "DEBUG" not in shown and "STEP_START" not in shown


def test_a_home_file_that_is_not_accepted_is_named(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    store.dagster_home.mkdir(parents=True)
    (store.dagster_home / "dagster.yaml").write_text("telemetri:\n  enabled: false\n")
    with pytest.raises(UserError, match=r"dagster\.yaml' is not accepted") as caught, opened_instance(store):
        pass
    assert "telemetri" in str(caught.value)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use.*--mlflow-port"):
            up(port=0, mlflow_port=port, root=tmp_path)
