"""How long a sensor's tick looks, nearly until the daemon comes round again, and what has been asked for already.

Dagster's daemon comes round to its sensors every five seconds, whatever interval they ask for; somebody who has just
finished the last play would wait for half of that in the mean. So a tick goes on looking until shortly before the
next one.
"""

from __future__ import annotations

import dagster as dg

WATCH_S = 4.25
LOOK_EVERY_S = 0.2

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def at_work(instance: dg.DagsterInstance, key: str, *jobs: str) -> bool:
    """Whether a run of one of some jobs is at work on an iteration, or about to be.

    Args:
        instance: Dagster's instance.
        key: the iteration's partition key.
        jobs: names of jobs.
    """
    return any(
        instance.get_runs_count(dg.RunsFilter(job_name=job, tags={"dagster/partition": key}, statuses=_UNFINISHED))
        for job in jobs
    )


def asked_before(instance: dg.DagsterInstance, job: str, run_key: str) -> bool:
    """Whether a run was asked for with this key already, however it ended.

    Args:
        instance: Dagster's instance.
        job: the job's name.
        run_key: the key.
    """
    return bool(instance.get_runs_count(dg.RunsFilter(job_name=job, tags={"dagster/run_key": run_key})))
