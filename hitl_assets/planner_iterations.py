"""The planner program's iterations: their partitions, and the policy each one starts from.

Dagster allows no loop in the graph. What iteration N takes over from N-1 is therefore an external asset,
``base_policy``, reported when the iteration is opened; its metadata names the source.
"""

from collections.abc import Mapping

import dagster as dg

from hitl_ops.contracts.store import iteration_key

PROGRAM = "planner"
GROUP = "planner"
OWNERS = ["team:flywheel"]

planner_iterations = dg.DynamicPartitionsDefinition(name="planner_iterations")

base_policy = dg.AssetSpec(
    "base_policy",
    group_name=GROUP,
    partitions_def=planner_iterations,
    owners=OWNERS,
    kinds={"safetensors"},
    tags={"flywheel/stage": "opening"},
    description=(
        "The policy an iteration starts from, reported when the iteration is opened.\n\n"
        "Iteration `000` starts from the preset's base model; later ones from the policy promoted before them, "
        "which the metadata names."
    ),
)


def open_iteration(instance: dg.DagsterInstance, iteration: int, source: Mapping[str, str]) -> str:
    """Add an iteration's partition and report what it starts from; an open iteration stays as it is.

    Args:
        instance: Dagster's instance.
        iteration: its number.
        source: what the iteration starts from, as metadata: policy id, path.

    Returns:
        The partition key.
    """
    key = iteration_key(iteration)
    if not instance.has_dynamic_partition(planner_iterations.name or "", key):
        instance.add_dynamic_partitions(planner_iterations.name or "", [key])
    if key not in instance.get_materialized_partitions(base_policy.key):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(base_policy.key, partition=key, metadata=dict(source))
        )
    return key


def open_first_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000, which starts from a base model nobody has taught yet; returns its partition key."""
    return open_iteration(
        instance, 0, {"source": "the base model named by the preset (training.base), not taught by any iteration"}
    )
