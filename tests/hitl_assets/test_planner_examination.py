"""The examination at work, with a student that has learnt nothing: it is asked the way the preset says."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from hitl_assets.claims import made_from_of
from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.planner import Observation
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.records.traces import read_traces
from resources.store import StoreResource

OVERRIDES = [
    "evaluation.decode=score",
    "evaluation.splits=[val]",
    "evaluation.decision_limit=3",
    "evaluation.videos=false",
]


@pytest.fixture
def iteration(store: StoreResource) -> IterationPaths:
    """Iteration 000 of the copied store, with an untrained policy in it."""
    from hitl_ops.models.base_models import load_base
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
    from hitl_ops.samples.parquet import read_samples

    paths = store.iteration("planner", "000")
    texts = [sample.prompt + sample.completion for sample in read_samples(paths.samples / "distilled.parquet")]
    shape = PresetChoice(name="tiny_ci").resolve().training.config.tiny
    base = load_base("tiny", cache=store.open().cache, corpus=texts, tiny=shape)
    for part in (base.model, base.tokenizer):
        part.save_pretrained(paths.policy / MERGED_FOLDER)
    publish_json(
        paths.policy / CARD_FILE,
        PolicyCard(program="planner", iteration=0, parent="tiny", samples_hash="none", config={}),
    )
    return paths


def _sureness(decisions: list[Decision], policy: IterationPaths, decode: str) -> list[float]:
    """Logarithm of probability and entropy of each choice in turn, decided once more."""
    from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig

    student = PlannerLM.load(policy.policy, PlannerLMConfig.model_validate({"decode": decode, "device": "cpu"}))
    replies = [
        student.decide(Observation(decision.agent, decision.role, "", decision.prompt, decision.admissible))
        for decision in decisions
    ]
    return [reply.stats[name] for reply in replies for name in ("logprob", "entropy")]


@pytest.mark.slow
def test_the_student_decodes_as_the_preset_says(store: StoreResource, iteration: IterationPaths) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        open_first_iteration(instance)
        job = build_defs(resource_overrides={"store": store}).resolve_job_def("planner_iteration_0")
        result = job.execute_in_process(
            instance=instance,
            partition_key="000",
            asset_selection=[dg.AssetKey("planner_evaluation")],
            run_config={"resources": {"preset": {"config": {"name": "tiny_ci", "overrides": OVERRIDES}}}},
            raise_on_error=False,
        )
        assert result.asset_materializations_for_node("planner_evaluation"), result.get_step_failure_events()
    for player, kind, decode in (("teacher", "oracle", "greedy"), ("student", "policy", "score")):
        folder = iteration.evaluation / "rollouts" / player
        planner = json.loads((folder / "rollout.json").read_text())["planner"]
        assert (planner["kind"], planner["decode"]) == (kind, decode)
        assert made_from_of(folder)["rollout"]["planner"] == planner

    # And the rollout's processes did as they were told.
    (trace,) = read_traces(iteration.evaluation / "rollouts" / "student" / "traces")
    assert trace.decisions
    recorded = [decision.stats[name] for decision in trace.decisions for name in ("logprob", "entropy")]
    assert recorded == pytest.approx(_sureness(trace.decisions, iteration, "score"), abs=1e-4)
    assert recorded != pytest.approx(_sureness(trace.decisions, iteration, "greedy"), abs=1e-4)
