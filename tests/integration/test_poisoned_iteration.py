"""An iteration whose corrections are all wrong: the gate stops it, what serves stays, and the next one recovers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import dagster as dg
import pytest

from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.planner_opening import open_on_serving
from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig, read_card
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.collected_plays import read_play_manifest
from hitl_ops.samples.scripted_expert import ScriptedExpertConfig, ScriptedSummary, annotate_plays
from hitl_ops.serving.policy_alias import RegisteredPolicy, resolve
from tests.support.collected_plays import Collected
from tests.support.errands import write_errands
from tests.support.looped_store import Looped, made, succeeded
from tests.support.plays import Player

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

PLAYS = 32
LESSONS = {
    "method": "full",
    "optimizer": "muon",
    "schedule": "linear_end",
    "learning_rate": 0.01,
    "warmup_steps": 10,
    "batch_size": 36,
    "pack_tokens": 4096,
    "validation_fraction": 0.05,
    "eval_every": 50,
    "checkpoint_every": 1000,
    "tiny.hidden_size": 48,
    "tiny.layers": 2,
    "tiny.intermediate_size": 96,
    "tiny.vocab_size": 1024,
}


def overrides(store: Store) -> list[str]:
    """What makes the preset tiny_ci learn errands and be examined in all of them."""
    counts = write_errands(store, train=4, val=2)
    return [
        *(f"episodes.{split}={count}" for split, count in counts.items()),
        *(
            f"{section}.config.{key}={value}"
            for section in ("training", "refinement")
            for key, value in LESSONS.items()
        ),
        "training.config.max_steps=200",
        "refinement.config.max_steps=120",
        "refinement.config.learning_rate=0.01",
        "evaluation.max_episodes=0",
        "evaluation.decision_limit=12",
        "evaluation.decode=score",
        "gate.resamples=2000",
    ]


class Iterations:
    """A loop over errands, people who let the policy work, and an expert as good as each test says."""

    def __init__(self, store: Store, instance: dg.DagsterInstance) -> None:
        self.store = store
        self.loop = Looped(store, instance)
        self.overrides = overrides(store)
        open_first_iteration(instance)
        succeeded(self.loop.run("planner_iteration_0", 0, *self.overrides))

    def serving(self) -> RegisteredPolicy:
        found = resolve(self.store, "planner")
        assert found is not None
        return found

    def success(self, iteration: int, who: str = "student") -> float:
        summary, _ = read_evaluation(self.store.iteration("planner", iteration).evaluation)
        return summary.primary(who).success.mean

    def turn(self, iteration: int, accuracy: float) -> tuple[ScriptedSummary, dg.ExecuteInProcessResult]:
        """People play with what serves, the expert corrects it, and a new policy is trained and judged."""
        open_on_serving(self.loop.instance, self.store, iteration)
        serving = self.serving()
        policy = PlannerLM.load(serving.folder, PlannerLMConfig(device="cpu", decode="score"))

        def let_it_work(player: Player) -> None:
            session = player.session
            policy.start(session.episode, session.world)
            action = ""
            for _ in range(20_000):
                question = session.wants_decision()
                if question is not None:
                    action = policy.decide(question).action
                    player.decide(action)
                player.run(1)
                if action == "Done[]":
                    return

        collected = Collected(self.store, iteration=iteration)
        with closing(collected.labels):
            for episode in read_episodes(episode_file(self.store.episodes, "train"))[:PLAYS]:
                collected.play(
                    episode,
                    through=let_it_work,
                    roles={0: "ai", 1: "human"},
                    partner_policy=serving.policy_id,
                )
            wanted = ["session_logs", "session_scores", "human_gold_samples"]
            succeeded(self.loop.run("planner_collection", iteration, *self.overrides, only=wanted))
            sessions = self.store.iteration("planner", iteration).sessions
            said = annotate_plays(
                collected.labels, read_play_manifest(sessions), sessions, ScriptedExpertConfig(accuracy=accuracy)
            )
        return said, succeeded(self.loop.run("planner_refinement", iteration, *self.overrides))


@pytest.fixture(scope="module")
def iterations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterations]:
    """Iteration 000 is through, and what it made serves. Tests run in their order."""
    folder = tmp_path_factory.mktemp("poisoned")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield Iterations(Store.at(folder / "store"), instance)


def test_what_serves_solves_most_tasks_in_homes_it_has_never_seen(iterations: Iterations) -> None:
    assert iterations.success(0) >= 0.75
    assert iterations.serving().policy_id == read_card(iterations.store.iteration("planner", 0).policy).policy_id


def test_the_gate_stops_a_policy_taught_wrongly(iterations: Iterations) -> None:
    served = iterations.serving()
    said, result = iterations.turn(1, accuracy=0.0)
    assert said.plays == PLAYS and said.corrections == said.made_up >= 4 * PLAYS

    # It learned what it was told, and is the worse for it: this is no accident of the figures.
    poisoned = read_card(iterations.store.iteration("planner", 1).policy)
    assert poisoned.parent == served.policy_id and poisoned.sample_counts["expert"] >= 4 * PLAYS
    assert iterations.success(1) < iterations.success(1, "serving") - 0.3

    verdict = read_gate(iterations.store.iteration("planner", 1).evaluation)
    assert verdict is not None and not verdict.promote
    assert (verdict.candidate, verdict.serving) == (poisoned.policy_id, served.policy_id)
    assert verdict.probability_not_worse is not None and verdict.probability_not_worse < 0.05
    promotion = made(result, "planner_promotion")
    assert promotion["promoted"] is False and promotion["serves"] == served.policy_id
    assert promotion["why"].startswith("may not serve: ")
    assert iterations.serving() == served
    assert not iterations.store.policy("planner", poisoned.policy_id).exists()


def test_the_next_iteration_starts_from_what_serves_and_leaves_the_poison_out(iterations: Iterations) -> None:
    served = iterations.serving()
    said, result = iterations.turn(2, accuracy=1.0)
    assert said.made_up == 0
    sound = read_card(iterations.store.iteration("planner", 2).policy)
    assert sound.parent == served.policy_id
    assert made(result, "training_mix")["refused iterations left out"] == "001"
    assert sound.sample_counts.get("expert", 0) == said.corrections
    assert iterations.success(2) >= iterations.success(2, "serving") - 0.1
    verdict = read_gate(iterations.store.iteration("planner", 2).evaluation)
    assert verdict is not None and verdict.serving == served.policy_id
    assert iterations.serving().policy_id == (sound.policy_id if verdict.promote else served.policy_id)
