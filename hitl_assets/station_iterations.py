"""The station program's iterations: their partitions, and what each of them is given from outside the graph.

Iteration 0 is the base policy, out of demonstrations. From then on an iteration is what stations call an epoch: they
collect with the policy that serves. What an iteration takes over from the one before is the external asset
``station_base_policy`` (see ``iterations``). External too is what stations send and what people say of it later; its
version is reported as it changes (``station_versions``).
"""

import dagster as dg

from hitl_assets.iterations import SOURCE, ProgramLoop

PROGRAM = "station"
GROUP = "station"
OWNERS = ["team:flywheel"]

station_iterations = dg.DynamicPartitionsDefinition(name="station_iterations")


def stage_tags(name: str) -> dict[str, str]:
    """Tags that name the program and one of its stages."""
    return {"flywheel/program": PROGRAM, "flywheel/stage": name}


def _given(name: str, stage: str, kinds: set[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        group_name=GROUP,
        partitions_def=station_iterations,
        owners=OWNERS,
        kinds=kinds,
        tags=stage_tags(stage),
        description=description,
    )


station_base_policy = _given(
    "station_base_policy",
    "opening",
    {"safetensors"},
    "The policy an iteration starts from, reported when the iteration is opened.\n\n"
    "Iteration `000` starts from the preset's first weights; later ones from the policy that served when they were "
    "opened, which the metadata names, and which stations collect with.",
)

station_epoch = _given(
    "station_epoch",
    "collection",
    {"hdf5", "sqlalchemy"},
    "What stations sent in an iteration, and what people said of it later.\n\n"
    "The version changes with every manifest that arrives, and with every verdict or exclusion that stands; the "
    "sensor `station_changes` reports it.",
)

station_input = _given(
    "station_input",
    "collection",
    {"hdf5", "sqlalchemy"},
    "Everything stations sent and people said up to an iteration: its own epoch, and all before it.\n\n"
    "What was made from it depends on it directly, so that an episode that is judged otherwise or left out marks its "
    "descendants as stale in every later iteration, down to the promotion, and nothing else.",
)

STATION_GIVEN = [station_base_policy, station_epoch, station_input]

STATION_LOOP = ProgramLoop(PROGRAM, station_iterations, station_base_policy.key, dg.AssetKey("station_promotion"))


def open_first_station_iteration(instance: dg.DagsterInstance) -> str:
    """Open iteration 000, which starts from weights nobody has taught yet; returns its partition key."""
    return STATION_LOOP.open(
        instance, 0, {SOURCE: "the first weights named by the preset (training.model), not taught by any iteration"}
    )
