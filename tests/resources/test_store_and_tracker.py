"""The store's root and MLflow's pages, as assets ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from resources.store import StoreResource
from resources.tracker import TrackerResource


def test_the_root_is_named_or_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "elsewhere"))
    assert StoreResource().open().root == tmp_path / "elsewhere"
    assert StoreResource(home=str(tmp_path)).open().root == tmp_path
    assert StoreResource(home=str(tmp_path)).iteration("planner", "007").base == tmp_path / "planner" / "007"
    with pytest.raises(UserError):
        StoreResource(home="s3://bucket").open()


def test_trainings_are_tagged_so_that_they_are_found_again() -> None:
    told = TrackerResource().arguments("planner", "000", "run-1")
    assert told[:2] == ["--experiment", "planner"]
    assert [told[i + 1] for i, word in enumerate(told) if word == "--tag"] == [
        "dagster/run_id=run-1",
        "dagster/partition=000",
    ]
    assert TrackerResource(enabled=False).arguments("planner", "000", "run-1") == ["--no-track"]


def test_pages_are_where_up_serves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_MLFLOW_UI", raising=False)
    assert TrackerResource().run_page("1", "abc") == "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    monkeypatch.setenv("FLYWHEEL_MLFLOW_UI", "http://127.0.0.1:5050/")
    assert TrackerResource().run_page("1", "abc").startswith("http://127.0.0.1:5050/#/")
    assert TrackerResource(page="https://lab.example").run_page("1", "abc").startswith("https://lab.example/#/")


def test_without_a_recorded_training_nothing_is_added(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    assert TrackerResource().add(store, "planner", "000", {"success": 1.0}, []) is None
    assert not (tmp_path / "mlflow").exists()


@pytest.mark.slow
def test_figures_and_files_join_the_iterations_run(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from hitl_ops.training.tracking import MlflowTracker

    store = Store.at(tmp_path)

    def recorded(key: str) -> MlflowTracker:
        return MlflowTracker(
            store.mlflow_uri,
            "planner",
            f"{key}/policy",
            tags={"dagster/partition": key},
            artifacts=store.mlflow_artifacts.as_uri(),
        )

    first, other = recorded("000"), recorded("001")
    first.finish()
    report, videos = tmp_path / "report.html", tmp_path / "videos"
    report.write_text("<p>report</p>")
    videos.mkdir()
    (videos / "best.mp4").write_bytes(b"film")
    tracker = TrackerResource(page="http://pages")
    page = tracker.add(store, "planner", "000", {"student.success": 0.9}, [report, videos, tmp_path / "missing"])
    assert page == f"http://pages/#/experiments/{first.experiment_id}/runs/{first.run_id}"
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    assert client.get_run(first.run_id).data.metrics == {"student.success": 0.9}
    assert client.get_run(other.run_id).data.metrics == {}
    assert {file.path for file in client.list_artifacts(first.run_id)} == {"report.html", "videos"}
    assert tracker.add(store, "planner", "002", {"student.success": 0.9}, []) is None
