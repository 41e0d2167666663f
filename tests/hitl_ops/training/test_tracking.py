"""What MLflow is told can be read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.tracking import MlflowTracker


@pytest.mark.slow  # making MLflow's database takes it some seconds
def test_mlflow_keeps_params_metrics_and_files(tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    tracker = MlflowTracker(uri, "planner", "000", {"iteration": "000"}, artifacts=(tmp_path / "artifacts").as_uri())
    tracker.log_params({f"key{number}": number for number in range(120)})
    tracker.log_metrics({"loss": 2.0, "learning_rate": 0.1}, step=1)
    tracker.log_metrics({"loss": 1.0}, step=2)
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "loss.png").write_bytes(b"png")
    tracker.log_artifact(tmp_path / "plots")
    tracker.finish()

    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["iteration"] == "000"
    assert run.data.params["key119"] == "119"
    assert [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "loss")] == [(1, 2.0), (2, 1.0)]
    assert (tmp_path / "artifacts" / tracker.run_id / "artifacts" / "plots" / "loss.png").read_bytes() == b"png"
    assert mlflow.active_run() is None
    # The second run joins the experiment.
    assert MlflowTracker(uri, "planner", "001").experiment_id == tracker.experiment_id


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        MlflowTracker("nonsense://somewhere", "planner", "000")
