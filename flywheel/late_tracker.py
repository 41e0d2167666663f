"""The MLflow run of a training, opened when there is something to record and found again when there is not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hitl_ops.training.tracking import MlflowTracker

RUN_FILE = "mlflow_run.json"


class LateTracker:
    """A tracker that opens its MLflow run with the first thing it is told.

    A training that has come to its end before records nothing; its folder remembers the run it was recorded in.

    Args:
        folder: the training's folder.
        opening: makes the run.
    """

    def __init__(self, folder: Path, opening: Callable[[], MlflowTracker]) -> None:
        self._file = folder / RUN_FILE
        self._opening = opening
        self._open: MlflowTracker | None = None

    @property
    def _tracker(self) -> MlflowTracker:
        if self._open is None:
            from hitl_ops.contracts.publish import publish_json

            self._open = self._opening()
            publish_json(self._file, {"run_id": self._open.run_id, "experiment_id": self._open.experiment_id})
        return self._open

    def log_params(self, params: dict[str, Any]) -> None:
        """Record what the training was told, once."""
        self._tracker.log_params(params)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record figures of a step."""
        self._tracker.log_metrics(metrics, step)

    def log_artifact(self, path: Path) -> None:
        """Record a file or a folder."""
        self._tracker.log_artifact(path)

    def finish(self, status: str) -> None:
        """Close the run, if it was opened; ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self._open is not None:
            self._open.finish(status)

    def where(self) -> dict[str, str]:
        """``mlflow_run_id`` and ``mlflow_experiment_id`` of the last run recorded; empty where there was none."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {"mlflow_run_id": str(found["run_id"]), "mlflow_experiment_id": str(found["experiment_id"])}
        except (FileNotFoundError, ValueError, KeyError):
            return {"mlflow_run_id": "", "mlflow_experiment_id": ""}


def mlflow_run(folder: Path, experiment: str, tags: Mapping[str, str]) -> LateTracker:
    """The run of the training in a folder, in the store's tracking database.

    Args:
        folder: the training's folder.
        experiment: MLflow experiment to record under.
        tags: of the run.
    """
    from hitl_ops.contracts.store import Store
    from hitl_ops.training.tracking import MlflowTracker

    store = Store.from_environment()
    return LateTracker(
        folder,
        lambda: MlflowTracker(
            store.mlflow_uri,
            experiment,
            run_name=f"{folder.resolve().parent.name}/{folder.name}",
            tags=dict(tags),
            artifacts=store.mlflow_artifacts.as_uri(),
        ),
    )


@contextlib.contextmanager
def closing_with_status(tracker: LateTracker | None) -> Iterator[None]:
    """Close a training's run with how the block ended: finished, failed, or killed."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        if tracker is not None:
            tracker.finish(status)
