"""The advantage program's iterations: their partitions, and how the first one opens.

Iteration 0 labels, estimates and learns from episodes of a scripted hand, or from data sets of somebody's own.
"""

import dagster as dg

from hitl_ops.contracts.store import IterationPaths, iteration_key

PROGRAM = "advantage"
GROUP = "advantage"
OWNERS = ["team:flywheel"]

advantage_iterations = dg.DynamicPartitionsDefinition(name="advantage_iterations")


def stage_tags(name: str) -> dict[str, str]:
    """Tags that name the program and one of its stages."""
    return {"flywheel/program": PROGRAM, "flywheel/stage": name}


def open_first_advantage_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000; returns its partition key."""
    key = iteration_key(0)
    if not instance.has_dynamic_partition(advantage_iterations.name or "", key):
        instance.add_dynamic_partitions(advantage_iterations.name or "", [key])
    return key


class AdvantagePaths:
    """The folders of one iteration of the program.

    Args:
        paths: the iteration's.
    """

    def __init__(self, paths: IterationPaths) -> None:
        self.marked_recordings = paths.rollouts / "marked"
        self.new_recordings = paths.rollouts / "new"
        self.marked_dataset = paths.samples / "marked_dataset"
        self.new_dataset = paths.samples / "new_dataset"
        self.progress = paths.samples / "progress"
        self.labeled = paths.samples / "labeled"
        self.estimator = paths.base / "estimator"
        self.estimated = paths.samples / "estimated"
        self.advantage = paths.samples / "advantage"
        self.plots = paths.samples / "plots"
        self.policies = paths.base / "policies"
        self.evaluation = paths.evaluation
