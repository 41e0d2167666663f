"""Promotion by the gate: a policy comes to serve if it is not worse than the one that does.

Keeps the question (:mod:`hitl_ops.evaluation.gate`) and the act (:mod:`hitl_ops.serving.policy_alias`) together: what
was judged is what is promoted, and what it was judged against is what it takes the place of. Where nothing serves yet
and an iteration learned in two phases, what the first one made is judged against, and serves where the second made it
worse.
"""

from __future__ import annotations

from dataclasses import dataclass

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.evaluation.gate import (
    EvaluatedPolicy,
    GateConfig,
    GateVerdict,
    evaluated_policy,
    gate,
    read_gate,
    write_gate,
)
from hitl_ops.serving.policy_alias import (
    RegisteredPolicy,
    evaluation_of,
    first_policy_of,
    policy_of,
    promote,
    resolve,
)


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate.

    Attributes:
        verdict: what the gate said; None where it could not be asked and was gone against.
        promoted: the policy as it serves now; None where the gate said no.
        serving: what serves now; where nothing did and the gate said no, what the candidate started from.
    """

    verdict: GateVerdict | None
    promoted: RegisteredPolicy | None
    serving: RegisteredPolicy | None


def judge(store: Store, program: str, iteration: int | str, config: GateConfig) -> GateVerdict:
    """Compare an iteration's policy with the one that serves; ``evaluation/gate.json`` and ``gate.png`` say how.

    The files keep the verdict on the iteration: once there is one on this policy, comparing it with what was made
    later, or with itself when it serves, leaves them as they are.

    Args:
        store: holds both policies and their evaluations.
        program: whose policies.
        iteration: number or key of the iteration that made the candidate.
        config: how to compare.

    Raises:
        UserError: the iteration has no policy, one of the two has no finished evaluation, or they were evaluated on
            different episodes.
    """
    return _judge(store, program, iteration, config, resolve(store, program, "serving"))


def promote_by_gate(
    store: Store, program: str, iteration: int | str, config: GateConfig, *, against_the_gate: bool = False
) -> Promotion:
    """Judge an iteration's policy and let it serve if the gate says so; else what serves goes on serving.

    Where nothing serves, the policy of the iteration's own first phase takes the place of what serves, if it has one.

    Args:
        store: holds both policies and their evaluations.
        program: whose policies.
        iteration: number or key of the iteration that made the candidate.
        config: how to compare.
        against_the_gate: promote whatever the gate says, even where it cannot compare the two. Unevaluated policies
            are refused all the same.

    Raises:
        UserError: as :func:`judge`, or another policy came to serve meanwhile, or the registry cannot be written.
    """
    serving = resolve(store, program, "serving")
    verdict: GateVerdict | None = None
    try:
        verdict = _judge(store, program, iteration, config, serving)
    except UserError:
        if not against_the_gate:
            raise
    if verdict is not None and not verdict.promote and not against_the_gate:
        if serving is None:  # only what the candidate started from can have been found better
            serving = promote(store, program, iteration, instead_of=None, first=True)
        return Promotion(verdict, None, serving)
    chosen = promote(store, program, iteration, instead_of=serving)
    return Promotion(verdict, chosen, chosen)


def _judge(
    store: Store, program: str, iteration: int | str, config: GateConfig, serving: RegisteredPolicy | None
) -> GateVerdict:
    paths = store.iteration(program, iteration)
    candidate = evaluation_of(store, program, iteration, policy_of(paths).policy_id)
    earlier = read_gate(paths.evaluation)
    if earlier is not None and earlier.candidate != candidate.policy_id:
        earlier = None
    if serving is not None and serving.policy_id == candidate.policy_id and earlier is not None and earlier.promote:
        return earlier  # a promotion that is finished after a kill: what opened the gate stands
    against, of_iteration, first = None, 0, first_policy_of(paths)
    if serving is None and first is not None and first.policy_id != candidate.policy_id:
        against = evaluated_policy(paths.evaluation, first.policy_id)
    if serving is not None:
        of_iteration = serving.card.iteration
        against = _examined_beside(paths, serving) or evaluation_of(store, program, of_iteration, serving.policy_id)
    verdict = gate(candidate, against, config)
    if first is not None and verdict.serving == first.policy_id and not verdict.promote:
        reason = f"{verdict.reason}; {first.policy_id}, which it started from, may"
        verdict = verdict.model_copy(update={"reason": reason})
    # That an older policy is worse than one made after it says nothing about the iteration that made the older one.
    if earlier is None or (of_iteration <= paths.iteration and candidate.policy_id != verdict.serving):
        write_gate(paths.evaluation, verdict)
    return verdict


def _examined_beside(paths: IterationPaths, serving: RegisteredPolicy) -> EvaluatedPolicy | None:
    """The policy that serves, where the candidate's own evaluation has played it beside the candidate."""
    try:
        return evaluated_policy(paths.evaluation, serving.policy_id)
    except UserError:
        return None
