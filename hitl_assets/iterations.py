"""The turns of one program's loop in Dagster: which are open, what each starts from, and how the next one opens.

Dagster allows no loop in the graph. What iteration N takes over from N-1 is therefore an external asset of each
program, its base policy, reported when the iteration is opened; the metadata names the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.store import Store, iteration_key

POLICY = "policy"
"""Metadata of a base policy: id of the policy an iteration starts from."""
SOURCE = "source"
"""Metadata of a base policy: what an iteration starts from, in words."""


@dataclass(frozen=True)
class DueOpening:
    """An iteration that is to be opened.

    Attributes:
        key: its partition key.
        source: what it starts from, as metadata of the base policy.
    """

    key: str
    source: dict[str, str]


@dataclass(frozen=True)
class ProgramLoop:
    """One program's iterations.

    Attributes:
        program: its name.
        partitions: a partition an iteration.
        base_policy: the external asset that says what an iteration starts from.
        decision: the asset whose materialisation says that an iteration is through.
    """

    program: str
    partitions: dg.DynamicPartitionsDefinition
    base_policy: dg.AssetKey
    decision: dg.AssetKey

    def open(self, instance: dg.DagsterInstance, iteration: int, source: Mapping[str, str]) -> str:
        """Add an iteration's partition and report what it starts from; an open iteration stays as it is.

        Args:
            instance: Dagster's instance.
            iteration: its number.
            source: what the iteration starts from, as metadata: ``policy``, ``source``.

        Returns:
            The partition key.
        """
        key = iteration_key(iteration)
        if not instance.has_dynamic_partition(self.partitions.name or "", key):
            instance.add_dynamic_partitions(self.partitions.name or "", [key])
        if key not in instance.get_materialized_partitions(self.base_policy):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(self.base_policy, partition=key, metadata=dict(source))
            )
        return key

    def opened(self, instance: dg.DagsterInstance) -> list[str]:
        """Keys of the iterations that are there, the first one first."""
        return sorted(instance.get_dynamic_partitions(self.partitions.name or ""), key=int)

    def decided(self, instance: dg.DagsterInstance) -> set[str]:
        """Keys of the iterations that are through: promoted or refused."""
        return set(instance.get_materialized_partitions(self.decision))

    def through(self, instance: dg.DagsterInstance, store: Store, iteration: int) -> bool:
        """Whether an iteration is decided, and what it decided by is still there.

        What was forgotten with --fresh is made again, whatever Dagster remembers.

        Args:
            instance: Dagster's instance.
            store: holds the iteration.
            iteration: its number.

        Raises:
            UserError: what it decided by cannot be read.
        """
        from hitl_ops.evaluation.gate import read_gate

        paths = store.iteration(self.program, iteration)
        return paths.key in self.decided(instance) and read_gate(paths.evaluation) is not None

    def base_policy_of(self, instance: dg.DagsterInstance, key: str) -> str | None:
        """What an iteration starts from, as its opening reported it.

        Returns:
            The policy's id; "" where it is a base model, None where nobody opened the iteration.
        """
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(self.base_policy, asset_partitions=[key]), limit=1
        ).records
        opening = found[0].asset_materialization if found else None
        if opening is None:
            return None
        said = opening.metadata.get(POLICY)
        return str(said.value) if said is not None else ""

    def due_opening(self, instance: dg.DagsterInstance, store: Store, iterations: int) -> DueOpening | str:
        """The iteration to open next, or why there is none.

        Args:
            instance: Dagster's instance.
            store: holds the registry.
            iterations: the last iteration that is opened without anybody asking for it.

        Raises:
            UserError: the registry cannot be read.
        """
        opened = self.opened(instance)
        if not opened:
            return "no iteration is open yet"
        newest = opened[-1]
        if newest not in self.decided(instance):
            return f"iteration {newest} is not decided yet"
        if int(newest) >= iterations:
            return f"iteration {newest} was the last of {iterations}"
        try:
            return self.opening_on_serving(store, int(newest) + 1)
        except UserError as error:
            return str(error)

    def opening_on_serving(self, store: Store, iteration: int) -> DueOpening:
        """How an iteration opens that starts from what serves now. Its folder is made, for collecting to find it.

        Raises:
            UserError: no policy serves, the registry cannot be read, or the folder cannot be made.
        """
        from hitl_ops.serving.policy_alias import resolve

        serving = resolve(store, self.program)
        if serving is None:
            raise UserError("no policy serves yet", f"promote one with `flywheel promote {self.program} 0`")
        paths = store.iteration(self.program, iteration)
        with disk_errors_named(paths.base):
            paths.base.mkdir(parents=True, exist_ok=True)
        return DueOpening(
            iteration_key(iteration),
            {POLICY: serving.policy_id, SOURCE: f"served when iteration {paths.key} was opened"},
        )

    def parent_of(self, instance: dg.DagsterInstance, key: str) -> str:
        """Id of the policy that a later iteration's training starts from.

        Raises:
            UserError: nobody opened the iteration, or no policy served when it was.
        """
        parent = self.base_policy_of(instance, key)
        if parent is None:
            raise UserError(
                f"iteration {key} was never opened, so nothing says what it starts from",
                "let the sensor that opens iterations open it, or run `flywheel iterate`",
            )
        if not parent:
            raise UserError(
                f"no policy served when iteration {key} was opened", "set refinement.start=base, or promote first"
            )
        return parent

    def opponent_of(self, instance: dg.DagsterInstance, store: Store, key: str, student: str) -> str:
        """Id of the policy a new one is compared with; "" where there is none.

        It is what serves. Where that is the new one itself, it has been promoted already; it is then compared with
        what it took the place of, as before.

        Args:
            instance: Dagster's instance.
            store: holds the registry.
            key: the new one's iteration.
            student: the new one's id.

        Raises:
            UserError: the registry cannot be read.
        """
        from hitl_ops.serving.policy_alias import resolve

        serving = resolve(store, self.program)
        opponent = serving.policy_id if serving is not None else ""
        return (self.base_policy_of(instance, key) or "") if opponent == student else opponent
