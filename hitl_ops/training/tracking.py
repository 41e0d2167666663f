"""Where figures and files of a training go besides its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.mlflow_database import prepare_mlflow_database


class Tracker(Protocol):
    """Told about a training while it runs."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Record what the training was told, once."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record figures of a step."""

    def log_artifact(self, path: Path) -> None:
        """Record a file or a folder."""


class NullTracker:
    """Records nothing."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Record nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record nothing."""

    def log_artifact(self, path: Path) -> None:
        """Record nothing."""


class MlflowTracker:
    """Records in MLflow; several trackers may be open at once, since none is the process's active run.

    Args:
        uri: tracking store, e.g. ``sqlite:///…/mlflow.db`` or ``http://…``.
        experiment: name of the experiment; made where there is none.
        run_name: the run's name.
        tags: anything to find the run by.
        artifacts: folder or URL for the experiment's files, where it has to be made; None: MLflow's own choice.

    Raises:
        UserError: the store cannot be opened.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        run_name: str,
        tags: dict[str, str] | None = None,
        artifacts: str | None = None,
    ) -> None:
        import mlflow
        from mlflow.exceptions import MlflowException

        prepare_mlflow_database(uri)
        try:
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            experiment_id = known.experiment_id if known else self._client.create_experiment(experiment, artifacts)
            run = self._client.create_run(experiment_id, run_name=run_name, tags=tags)
        except (MlflowException, OSError) as error:
            raise UserError(f"MLflow store '{uri}' cannot be used", " ".join(str(error).split())[:200]) from None
        self.run_id: str = run.info.run_id
        self.experiment_id: str = experiment_id

    def log_params(self, params: dict[str, Any]) -> None:
        """Record what the training was told, once."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in params.items()]
        # The store takes at most a hundred at a time.
        for start in range(0, len(entries), 100):
            self._client.log_batch(self.run_id, params=entries[start : start + 100])

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record figures of a step."""
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def log_artifact(self, path: Path) -> None:
        """Record a file or a folder."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), artifact_path=path.name)
        else:
            self._client.log_artifact(self.run_id, str(path))

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        """
        self._client.set_terminated(self.run_id, status)
