"""The preference program's iterations: their partitions, what each is given from outside the graph, their folders.

What an iteration takes over from the one before is the external asset ``preference_base_policy`` (see ``iterations``).
External too is what people say of pairs; its version is reported as it changes (``preference_versions``).
"""

import dagster as dg

from hitl_assets.iterations import SOURCE, ProgramLoop
from hitl_ops.contracts.store import IterationPaths

PROGRAM = "preference"
GROUP = "preference"
OWNERS = ["team:flywheel"]

preference_iterations = dg.DynamicPartitionsDefinition(name="preference_iterations")


def stage_tags(name: str) -> dict[str, str]:
    """Tags that name the program and one of its stages."""
    return {"flywheel/program": PROGRAM, "flywheel/stage": name}


preference_base_policy = dg.AssetSpec(
    "preference_base_policy",
    group_name=GROUP,
    partitions_def=preference_iterations,
    owners=OWNERS,
    kinds={"safetensors"},
    tags=stage_tags("opening"),
    description=(
        "The policy an iteration starts from, reported when the iteration is opened.\n\n"
        "Iteration `000` starts from nobody's: its clips are of an arm that moves by lot. Later ones start from the "
        "policy that served when they were opened, which the metadata names."
    ),
)

preference_input = dg.AssetSpec(
    "preference_input",
    group_name=GROUP,
    partitions_def=preference_iterations,
    owners=OWNERS,
    kinds={"sqlalchemy"},
    tags=stage_tags("labels"),
    description=(
        "Everything people said of pairs up to an iteration.\n\n"
        "What was learned from it depends on it directly, so that a word taken back or said otherwise marks its "
        "descendants as stale, in this iteration and every later one. The sensor `preference_changes` reports it."
    ),
)

PREFERENCE_GIVEN = [preference_base_policy, preference_input]

PREFERENCE_LOOP = ProgramLoop(
    PROGRAM, preference_iterations, preference_base_policy.key, dg.AssetKey("reach_promotion")
)


def open_first_preference_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000, which starts from an arm that moves by lot; returns its partition key."""
    return PREFERENCE_LOOP.open(instance, 0, {SOURCE: "an arm that moves by lot: nothing was learned before"})


class PreferencePaths:
    """The folders of one iteration of the program, besides those that every program has.

    Args:
        paths: the iteration's.
    """

    def __init__(self, paths: IterationPaths) -> None:
        self.preferences = paths.samples / "preferences.jsonl"
        self.reward = paths.policy.parent / "reward"
        self.control = IterationPaths(paths.program, paths.key, paths.base / "control")
