"""The experiments: MLflow, one experiment a program, one run an iteration, each linked to its Dagster run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from hitl_ops.contracts.store import Store


class TrackerResource(dg.ConfigurableResource):
    """Tags the runs that trainings record, adds what is known only later, and says where to look."""

    enabled: bool = Field(default=True, description="record trainings and evaluations in MLflow")
    page: str = Field(
        default="", description="address of MLflow's pages; empty: FLYWHEEL_MLFLOW_UI, else http://127.0.0.1:5000"
    )

    def arguments(self, program: str, key: str, dagster_run: str) -> list[str]:
        """What a training verb is told, so that its run can be found again.

        Args:
            program: names the experiment.
            key: the iteration's partition key.
            dagster_run: id of the Dagster run that starts the training.
        """
        if not self.enabled:
            return ["--no-track"]
        tags = (f"dagster/run_id={dagster_run}", f"dagster/partition={key}")
        return ["--experiment", program, *(part for tag in tags for part in ("--tag", tag))]

    def run_page(self, experiment_id: str, run_id: str) -> str:
        """Address of a run's page; it answers while ``flywheel up`` runs."""
        base = self.page or os.environ.get("FLYWHEEL_MLFLOW_UI", "http://127.0.0.1:5000")
        return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"

    def add(
        self, store: Store, program: str, key: str, figures: Mapping[str, float], files: Sequence[Path]
    ) -> str | None:
        """Add figures and files to the newest run of an iteration.

        Args:
            store: holds the tracking database.
            program: names the experiment.
            key: the iteration's partition key.
            figures: numbers by name.
            files: files or folders; what does not exist is left out.

        Returns:
            The address of the run's page, None where the iteration has no run.
        """
        if not self.enabled or not Path(store.mlflow_uri.removeprefix("sqlite:///")).exists():
            return None
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(tracking_uri=store.mlflow_uri)
        experiment = client.get_experiment_by_name(program)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.`dagster/partition` = '{key}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if not found:
            return None
        run = found[0].info.run_id
        # Together: each call is a transaction of its own.
        now = int(time.time() * 1000)
        client.log_batch(run, metrics=[Metric(name, value, now, 0) for name, value in figures.items()])
        for file in files:
            if file.is_dir():
                client.log_artifacts(run, str(file), artifact_path=file.name)
            elif file.exists():
                client.log_artifact(run, str(file))
        return self.run_page(experiment.experiment_id, run)
