"""The dagger program's iterations: their partitions, what each is given from outside the graph, their folders.

What an iteration takes over from the one before is the external asset ``dagger_base_policy`` (see ``iterations``).
"""

import dagster as dg

from hitl_assets.iterations import SOURCE, ProgramLoop
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key

PROGRAM = "dagger"
GROUP = "dagger"
OWNERS = ["team:flywheel"]

dagger_iterations = dg.DynamicPartitionsDefinition(name="dagger_iterations")


def stage_tags(name: str) -> dict[str, str]:
    """Tags that name the program and one of its stages."""
    return {"flywheel/program": PROGRAM, "flywheel/stage": name}


dagger_base_policy = dg.AssetSpec(
    "dagger_base_policy",
    group_name=GROUP,
    partitions_def=dagger_iterations,
    owners=OWNERS,
    kinds={"safetensors"},
    tags=stage_tags("opening"),
    description=(
        "The agent an iteration starts from, reported when the iteration is opened.\n\n"
        "Iteration `000` starts from one that has not learned yet. Later ones start from the policy that served when "
        "they were opened, which the metadata names."
    ),
)

DAGGER_LOOP = ProgramLoop(PROGRAM, dagger_iterations, dagger_base_policy.key, dg.AssetKey("dagger_promotion"))


def open_first_dagger_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000, which starts from an agent that has not learned yet; returns its partition key."""
    return DAGGER_LOOP.open(instance, 0, {SOURCE: "an agent that has not learned yet"})


def open_dagger_iteration(instance: dg.DagsterInstance, store: Store, iteration: int) -> str:
    """Open an iteration on the policy that serves now; an open one stays as it is. Returns its key.

    Raises:
        UserError: no policy serves, or the registry cannot be read.
    """
    key = iteration_key(iteration)
    if key not in DAGGER_LOOP.opened(instance):
        DAGGER_LOOP.open(instance, iteration, DAGGER_LOOP.opening_on_serving(store, iteration).source)
    return key


class DaggerPaths:
    """The folders of one iteration of the program, besides those that every program has.

    Args:
        paths: the iteration's.

    Attributes:
        games: the lists of games.
        bc: the imitating phase: its games, its trainer's files, its agent.
        dpo: the preferring phase.
        control_rounds: the phase that goes on imitating.
        bc_policy: what imitation came to, as a policy: where preferring starts, and its reference.
        control: the control, as a policy of its own.
    """

    def __init__(self, paths: IterationPaths) -> None:
        self.games = paths.samples / "games"
        self.bc = paths.rollouts / "bc"
        self.dpo = paths.rollouts / "dpo"
        self.control_rounds = paths.rollouts / "bc_control"
        self.bc_policy = paths.first_policy
        self.control = paths.base / "control"
