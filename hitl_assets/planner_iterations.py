"""The planner program's iterations: their partitions, and what each of them is given from outside the graph.

Dagster allows no loop in the graph. What iteration N takes over from N-1 is therefore an external asset,
``base_policy``, reported when the iteration is opened; its metadata names the source. External too is what people
give: it lies in the label store, and its version is reported as it changes (``planner_versions``).
"""

from collections.abc import Mapping

import dagster as dg

from hitl_ops.contracts.store import iteration_key

PROGRAM = "planner"
GROUP = "planner"
OWNERS = ["team:flywheel"]

POLICY = "policy"
"""Metadata of ``base_policy``: id of the policy an iteration starts from."""
SOURCE = "source"
"""Metadata of ``base_policy``: what an iteration starts from, in words."""

planner_iterations = dg.DynamicPartitionsDefinition(name="planner_iterations")


def _given(name: str, stage: str, kinds: set[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        group_name=GROUP,
        partitions_def=planner_iterations,
        owners=OWNERS,
        kinds=kinds,
        tags={"flywheel/program": PROGRAM, "flywheel/stage": stage},
        description=description,
    )


base_policy = _given(
    "base_policy",
    "opening",
    {"safetensors"},
    "The policy an iteration starts from, reported when the iteration is opened.\n\n"
    "Iteration `000` starts from the preset's base model; later ones from the policy that served when they were "
    "opened, which the metadata names.",
)

collected_plays = _given(
    "collected_plays",
    "sessions",
    {"sqlalchemy"},
    "The finished plays of an iteration, as the label store has them.\n\n"
    "The version changes with every play that is finished, reported or withdrawn; the sensor `label_changes` reports "
    "it.",
)

annotation_labels = _given(
    "annotation_labels",
    "annotation",
    {"sqlalchemy"},
    "What people say about an iteration's decisions: corrections and reviews, of each person the last word.\n\n"
    "The version changes with every word that stands; the sensor `label_changes` reports it.",
)

human_input = _given(
    "human_input",
    "annotation",
    {"sqlalchemy"},
    "Everything people gave up to an iteration: its plays and labels, and those of all iterations before it.\n\n"
    "What was made from it depends on it directly, so that a play that is judged otherwise or withdrawn marks its "
    "descendants as stale in every later iteration, down to the promotion, and nothing else.",
)

GIVEN = [base_policy, collected_plays, annotation_labels, human_input]


def open_iteration(instance: dg.DagsterInstance, iteration: int, source: Mapping[str, str]) -> str:
    """Add an iteration's partition and report what it starts from; an open iteration stays as it is.

    Args:
        instance: Dagster's instance.
        iteration: its number.
        source: what the iteration starts from, as metadata: ``policy``, ``source``.

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
        instance, 0, {SOURCE: "the base model named by the preset (training.base), not taught by any iteration"}
    )


def opened_iterations(instance: dg.DagsterInstance) -> list[str]:
    """Keys of the iterations that are there, the first one first."""
    return sorted(instance.get_dynamic_partitions(planner_iterations.name or ""), key=int)


def base_policy_of(instance: dg.DagsterInstance, key: str) -> str | None:
    """What an iteration starts from, as its opening reported it.

    Returns:
        The policy's id; "" where it is a base model, None where nobody opened the iteration.
    """
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(base_policy.key, asset_partitions=[key]), limit=1
    ).records
    opening = found[0].asset_materialization if found else None
    if opening is None:
        return None
    said = opening.metadata.get(POLICY)
    return str(said.value) if said is not None else ""
