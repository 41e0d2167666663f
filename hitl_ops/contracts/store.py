"""Where everything is kept: the one module that builds paths under ``FLYWHEEL_HOME``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.errors import UserError

PROGRAMS = ("planner", "station", "preference", "advantage", "dagger")
_ITERATION = re.compile(r"^\d{3,}$")


def iteration_key(iteration: int) -> str:
    """``0`` becomes ``"000"``: zero-padded because Dagster keeps partitions in insertion order."""
    return f"{iteration:03d}"


@dataclass(frozen=True)
class IterationPaths:
    """The folders of one turn of one program's loop."""

    program: str
    key: str
    base: Path

    @property
    def iteration(self) -> int:
        """The iteration's number."""
        return int(self.key)

    @property
    def rollouts(self) -> Path:
        """Traces of experts and policies acting."""
        return self.base / "rollouts"

    @property
    def clips(self) -> Path:
        """Clips that people compare, and the pairs of them."""
        return self.rollouts / "clips"

    @property
    def sessions(self) -> Path:
        """Logs of people acting."""
        return self.base / "sessions"

    def proposals(self, task: str) -> Path:
        """What an estimator proposes of the episodes stations sent of a task, and their advantages."""
        return self.sessions / "proposals" / task

    @property
    def samples(self) -> Path:
        """Training samples and their data card."""
        return self.base / "samples"

    @property
    def policy(self) -> Path:
        """Checkpoints, adapter, merged weights and policy card."""
        return self.base / "policy"

    @property
    def first_policy(self) -> Path:
        """Where a program learns in two phases: the first one's policy, which the second starts from."""
        return self.base / "first_policy"

    @property
    def evaluation(self) -> Path:
        """Scores, report and videos."""
        return self.base / "evaluation"


@dataclass(frozen=True)
class Store:
    """The root everything is kept under."""

    root: Path

    @classmethod
    def from_environment(cls) -> Store:
        """The store named by ``FLYWHEEL_HOME``, by default ``./data``.

        Raises:
            UserError: the variable names a URL that is not a local path.
        """
        return cls.at(os.environ.get("FLYWHEEL_HOME", "data"))

    @classmethod
    def at(cls, location: str | Path) -> Store:
        """The store at ``location``: a path or a ``file://`` URL.

        Raises:
            UserError: the location is a URL of another kind.
        """
        text = str(location)
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        elif "://" in text:
            raise UserError(
                f"FLYWHEEL_HOME '{text}' is not a local path",
                "mount it (rclone, s3fs, gcsfuse) and name the mount point",
            )
        return cls(Path(text).expanduser().resolve())

    def iteration(self, program: str, iteration: int | str) -> IterationPaths:
        """The folders of one iteration.

        Raises:
            UserError: the program or the iteration key is not one of ours.
        """
        if program not in PROGRAMS:
            raise UserError(f"program '{program}' is unknown", f"choose one of {', '.join(PROGRAMS)}")
        key = iteration_key(iteration) if isinstance(iteration, int) else iteration
        if not _ITERATION.match(key):
            raise UserError(f"iteration '{key}' is not a number", "write it as 0, 1, 2 or 000, 001, 002")
        return IterationPaths(program, key, self.root / program / key)

    def newest_iteration(self, program: str, *, with_plays: bool = False) -> int:
        """The iteration that was opened last: its folder is made when it is. 0 where there is none.

        Args:
            program: whose.
            with_plays: of those in which somebody has played.
        """
        numbers = [
            int(folder.name)
            for folder in (self.root / program).glob("[0-9][0-9][0-9]*")
            if _ITERATION.match(folder.name) and (folder / "sessions" if with_plays else folder).is_dir()
        ]
        return max(numbers, default=0)

    def policies(self, program: str) -> Path:
        """The folder of a program's registered policies."""
        return self.root / program / "policies"

    def policy(self, program: str, policy_id: str) -> Path:
        """The folder of a registered policy, never written again."""
        return self.policies(program) / policy_id

    def demo_figures(self, program: str) -> Path:
        """Figures of the last ``flywheel demo --program …``."""
        return self.root / program / "demo.json"

    @property
    def station_incoming(self) -> Path:
        """Where stations' episodes come in, by upload or rsync: ``<task>/epoch_<n>/raw``, manifests beside ``raw``."""
        return self.root / "station" / "incoming"

    def proposal_dataset(self, task: str, epoch: int) -> Path:
        """An epoch's recordings as an estimator reads them; safe to delete."""
        return self.cache / "station" / "proposals" / task / f"epoch_{epoch}"

    @property
    def episodes(self) -> Path:
        """Generated episode sets, shared by all programs."""
        return self.root / "episodes"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs, events, schedules."""
        return self.root / "dagster"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking and registry database."""
        return f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's artifact folder."""
        return self.root / "mlflow" / "artifacts"

    @property
    def labels_url(self) -> str:
        """The label store's database: ``FLYWHEEL_LABELS_URL``, or a SQLite file under the root.

        It may hold a password: never print or log it.
        """
        return os.environ.get("FLYWHEEL_LABELS_URL", "").strip() or f"sqlite:///{self.root / 'labels.db'}"

    @property
    def collection(self) -> Path:
        """What the collection server keeps for itself: its admin token's hash, its access log, its lock."""
        return self.root / "collection"

    @property
    def cache(self) -> Path:
        """Responses of paid endpoints, unpacked base models; safe to delete."""
        return self.root / "cache"
