"""A run worker for tests: an iteration's refinement on the instance of a store, anew or from where a run failed.

``python -m tests.support.refinement_worker <root> <iteration key> [<run id that failed>]``; exit code 0 or 3.
"""

from __future__ import annotations

import os
import sys
import warnings

import dagster as dg

from flywheel.dagster_home import opened_instance
from hitl_assets.definitions import build_defs
from hitl_ops.contracts.store import Store
from tests.support.looped_store import OVERRIDES


def refinement() -> dg.JobDefinition:
    """The job, as a code location has it."""
    return build_defs().resolve_job_def("planner_refinement")


def main(root: str, key: str, parent: str = "") -> int:
    """Run it to its end."""
    warnings.simplefilter("ignore")
    os.environ["FLYWHEEL_HOME"] = root
    with opened_instance(Store.at(root)) as instance:
        result = dg.execute_job(
            dg.reconstructable(refinement),
            instance=instance,
            run_config={"resources": {"preset": {"config": {"name": "tiny_ci", "overrides": list(OVERRIDES)}}}},
            tags={"dagster/partition": key},
            raise_on_error=False,
            reexecution_options=dg.ReexecutionOptions.from_failure(parent, instance) if parent else None,
        )
        with result:
            return 0 if result.success else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
