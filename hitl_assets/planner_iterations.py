"""The planner program's iterations: their partitions, and what each of them is given from outside the graph.

What an iteration takes over from the one before is the external asset ``base_policy`` (see ``iterations``). External
too is what people give: it lies in the label store, and its version is reported as it changes (``planner_versions``).
"""

import dagster as dg

from hitl_assets.iterations import SOURCE, ProgramLoop

PROGRAM = "planner"
GROUP = "planner"
OWNERS = ["team:flywheel"]

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

PLANNER_LOOP = ProgramLoop(PROGRAM, planner_iterations, base_policy.key, dg.AssetKey("planner_promotion"))
open_iteration, opened_iterations = PLANNER_LOOP.open, PLANNER_LOOP.opened
base_policy_of = PLANNER_LOOP.base_policy_of


def open_first_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000, which starts from a base model nobody has taught yet; returns its partition key."""
    return open_iteration(
        instance, 0, {SOURCE: "the base model named by the preset (training.base), not taught by any iteration"}
    )
