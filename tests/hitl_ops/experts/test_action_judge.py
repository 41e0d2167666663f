"""What serves a task at a moment: different is not wrong, wrong is found, and the right action leads to the goal."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from hitl_ops.contracts.action import parse_action
from hitl_ops.contracts.episode import Constraint, Episode, Proposition
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.experts.action_judge import ActionJudge, Judgement
from hitl_ops.experts.oracle import Oracle
from hitl_ops.experts.supposition import outcome_of
from hitl_ops.experts.task_jobs import beyond_jobs, jobs_of
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.household.admissible import admissible_actions
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.support.plays import HOME, small_episode


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return [generate_episode("train", index) for index in range(8)]


class Scene:
    """An episode in which one agent acts and is judged."""

    def __init__(self, episode: Episode | None = None, agent: int = 0) -> None:
        self.episode = episode or small_episode()
        self.agent = agent
        self.world = HouseholdWorld(self.episode)
        self.views = [AgentView(self.world, number) for number in (0, 1)]
        self.judgements = ActionJudge(self.episode, self.world)

    def do(self, *actions: str, agent: int | None = None) -> Scene:
        who = self.agent if agent is None else agent
        for action in actions:
            self.views[who].observe()
            ended = self.world.act(who, action)
            for view in self.views:
                view.finished(ended)
        return self

    def judged(self, agent: int | None = None) -> Judgement:
        return self.judgements.judge(self.views[self.agent if agent is None else agent].observe())

    def accepts(self, action: str) -> bool:
        return self.judged().accepts(action)


def _from_afar(episode: Episode | None = None) -> Episode:
    """The small task, or another in its home, begun in the bathroom: nothing of it is in sight."""
    episode = episode or small_episode()
    x, z = load_scene(HOME).grid.center(load_scene(HOME)._goals["bathroom_1"][0])
    info = {"flywheel": {**episode.info["flywheel"], "spawns": [[x, z, 0.0], [x, z, 0.0]]}}
    return episode.model_copy(update={"info": info})


def _two_moves(*, ordered: bool = False) -> Episode:
    """The mug to the bed and the apple to the coffee table, in this order or in any."""
    episode = small_episode()
    apple = Proposition(
        function_name="is_on_top",
        args={"object_handles": ["apple_1"], "receptacle_handles": ["living_room_coffee_table_1"]},
    )
    constraints = [Constraint(type="TemporalConstraint", args={"dag_edges": [[0, 1]]})] if ordered else []
    return episode.model_copy(
        update={
            "evaluation_propositions": [*episode.evaluation_propositions, apple],
            "evaluation_constraints": constraints,
        }
    )


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_task_done_step_by_step_is_right_at_every_step() -> None:
    scene = Scene(_from_afar())
    for action in (
        "Explore[kitchen_1]",
        "Navigate[mug_1]",
        "Pick[mug_1]",
        "Navigate[bedroom_bed_1]",
        "Place[mug_1, on, bedroom_bed_1, None, None]",
        "Done[]",
    ):
        assert scene.accepts(action), action
        scene.do(action)
    assert scene.world.success


def test_what_serves_nothing_is_wrong() -> None:
    scene = Scene(_from_afar()).do("Explore[kitchen_1]", "Navigate[bedroom_bed_1]")
    for action in (
        "Navigate[kettle_1]",
        "Navigate[living_room_1]",
        "Explore[living_room_1]",
        "Pick[mug_1]",  # too far away
        "Open[kitchen_fridge_1]",
        "Done[]",
        "Wait[]",
    ):
        assert not scene.accepts(action), action
    scene.do("Navigate[mug_1]")
    assert scene.accepts("Pick[mug_1]")
    for action in ("Pick[kettle_1]", "Navigate[mug_1]", "Navigate[bedroom_bed_1]", "Clean[mug_1]"):
        assert not scene.accepts(action), action


def test_either_way_to_say_where_one_goes_is_right() -> None:
    scene = Scene(_from_afar())
    for action in ("Explore[kitchen_1]", "Navigate[kitchen_1]", "Navigate[kitchen_counter_1]", "Explore[bedroom_1]"):
        assert scene.accepts(action), action
    scene.do("Explore[kitchen_1]", "Explore[bedroom_1]")
    for action in ("Navigate[mug_1]", "Navigate[kitchen_counter_1]", "Navigate[kitchen_1]"):
        assert scene.accepts(action), action


def test_going_there_and_back_without_doing_anything_is_wrong() -> None:
    scene = Scene(_two_moves()).do("Explore[kitchen_1]", "Navigate[kitchen_fridge_1]", "Navigate[mug_1]")
    assert scene.accepts("Pick[mug_1]")
    assert not scene.accepts("Navigate[kitchen_fridge_1]")


def test_leaving_what_one_came_for_is_wrong() -> None:
    scene = Scene(_two_moves()).do("Explore[kitchen_1]", "Navigate[mug_1]")
    judged = scene.judged()
    assert judged.accepts("Pick[mug_1]")
    assert not judged.accepts("Navigate[kitchen_fridge_1]") and not judged.accepts("Explore[living_room_1]")


def test_both_jobs_serve_whichever_is_begun() -> None:
    scene = Scene(_two_moves()).do("Explore[kitchen_1]")
    assert scene.accepts("Navigate[mug_1]")
    scene.do("Navigate[kitchen_fridge_1]")
    assert scene.accepts("Open[kitchen_fridge_1]")
    scene.do("Open[kitchen_fridge_1]")
    assert scene.accepts("Pick[apple_1]") and scene.accepts("Navigate[mug_1]")


def test_placing_out_of_order_is_wrong_and_waiting_for_oneself_too() -> None:
    scene = Scene(_two_moves(ordered=True), agent=1).do("Explore[kitchen_1]", "Navigate[kitchen_fridge_1]")
    scene.do("Open[kitchen_fridge_1]", "Pick[apple_1]", "Navigate[living_room_coffee_table_1]")
    place = "Place[apple_1, on, living_room_coffee_table_1, None, None]"
    judged = scene.judged()
    assert not judged.accepts(place)
    assert judged.right == "Wait[]"
    # The first move is agent 0's: once it is done, the second may be.
    scene.do("Navigate[mug_1]", "Pick[mug_1]", "Navigate[bedroom_bed_1]", agent=0)
    scene.do("Place[mug_1, on, bedroom_bed_1, None, None]", agent=0)
    assert scene.judged().right == place
    alone = Scene(_two_moves(ordered=True))
    for job in alone.judgements._oracle.jobs:
        job.agent = 0
    alone.do("Explore[kitchen_1]", "Navigate[kitchen_fridge_1]", "Open[kitchen_fridge_1]")
    assert not alone.accepts("Pick[apple_1]")
    alone.do("Pick[apple_1]", "Navigate[living_room_coffee_table_1]")
    judged = alone.judged()
    assert not judged.accepts("Wait[]") and not judged.accepts(place)
    assert judged.right.startswith("Place[apple_1, on, ") or judged.right.startswith("Navigate[")


def test_undoing_what_is_done_is_wrong() -> None:
    scene = Scene(_two_moves()).do("Navigate[kitchen_counter_1]", "Pick[mug_1]", "Navigate[bedroom_bed_1]")
    scene.do("Place[mug_1, on, bedroom_bed_1, None, None]")
    assert not scene.accepts("Pick[mug_1]")


def test_what_the_other_holds_is_waited_for_or_left_to_it() -> None:
    scene = Scene().do("Explore[kitchen_1]", "Navigate[mug_1]")
    scene.do("Navigate[kitchen_counter_1]", "Pick[mug_1]", agent=1)
    judged = scene.judged()
    assert judged.right == "Wait[]"
    assert judged.accepts("Wait[]") and judged.accepts("Done[]")
    assert not judged.accepts("Pick[mug_1]") and not judged.accepts("Explore[living_room_1]")


def test_a_hand_full_of_something_else_is_freed_without_harm() -> None:
    scene = Scene().do("Explore[kitchen_1]", "Navigate[kettle_1]", "Pick[kettle_1]")
    judged = scene.judged()
    assert judged.right.startswith("Place[kettle_1, ")
    assert not judged.accepts("Navigate[bedroom_bed_1]")
    assert not judged.accepts("Pick[mug_1]")


def test_rearranging_in_one_call_and_asking_the_home_are_no_errors() -> None:
    scene = Scene().do("Explore[kitchen_1]")
    assert scene.accepts("Rearrange[mug_1, on, bedroom_bed_1, None, None]")
    assert not scene.accepts("Rearrange[mug_1, on, living_room_coffee_table_1, None, None]")
    assert not scene.accepts("Rearrange[kettle_1, on, bedroom_bed_1, None, None]")
    assert scene.accepts("FindObjectTool[mug]")


def test_supposing_changes_nothing(episodes: list[Episode]) -> None:
    for episode in episodes:
        world = HouseholdWorld(episode)
        world.act(1, "Explore[kitchen_1]" if "kitchen_1" in world.state.rooms else "Wait[]")
        named = [a for a in admissible_actions(world.state, 1, world.abilities[1]) if a.startswith("Pick")]
        if named:
            world.act(1, f"Navigate[{parse_action(named[0]).args[0]}]")
            world.act(1, named[0])
        before = (world.facts.digest(), json.dumps([k.graph() for k in world.state.knowledge], sort_keys=True))
        holds = [predicate.holds(world.state.facts) for predicate in world.evaluation.predicates]
        for action in admissible_actions(world.state, 1, world.abilities[1]):
            outcome_of(world.state, 1, parse_action(action), world.evaluation.predicates, holds)
        after = (world.facts.digest(), json.dumps([k.graph() for k in world.state.knowledge], sort_keys=True))
        assert before == after


def test_tasks_beyond_jobs_are_known_as_such() -> None:
    episode = small_episode()
    assert beyond_jobs(episode) == ""
    assert jobs_of(episode)[0].subjects == ["mug_1"]
    clustered = Proposition(function_name="is_clustered", args={"*args": [["mug_1"], ["apple_1"]]})
    assert "is_clustered" in beyond_jobs(episode.model_copy(update={"evaluation_propositions": [clustered]}))
    tie = Constraint(type="SameArgConstraint", args={})
    assert "SameArg" in beyond_jobs(episode.model_copy(update={"evaluation_constraints": [tie]}))
    assert beyond_jobs(episode.model_copy(update={"evaluation_propositions": []}))


# --- over whole episodes --------------------------------------------------------------------------------------------


class Judged:
    """A planner whose every choice is judged, and replaced where it is told to.

    Args:
        choose: what it would do, of what is admissible and right.
    """

    def __init__(self, choose: Any, *, mend: bool = False) -> None:
        self.choose = choose
        self.mend = mend
        self.wrong: list[tuple[str, Judgement]] = []
        self.judged = 0
        self.policy_id = "judged"

    def start(self, episode: Episode, world: Any) -> None:
        self.judge = ActionJudge(episode, world)
        self.oracle = Oracle("partial")
        self.oracle.start(episode, world)
        self.luck = random.Random(episode.episode_id)

    def decide(self, observation: Observation) -> Reply:
        judgement = self.judge.judge(observation)
        assert judgement.right in observation.admissible
        assert judgement.right in judgement.acceptable
        assert judgement.acceptable <= set(observation.admissible)
        action = self.choose(self, observation, judgement)
        self.judged += 1
        if not judgement.accepts(action):
            self.wrong.append((action, judgement))
            action = judgement.right if self.mend else action
        return Reply(action, action)


def _by_the_oracle(planner: Judged, observation: Observation, judgement: Judgement) -> str:
    return planner.oracle.decide(observation).action


def _at_random(planner: Judged, observation: Observation, judgement: Judgement) -> str:
    return planner.luck.choice([action for action in observation.admissible if action != "Done[]"])


def _anything_that_serves(planner: Judged, observation: Observation, judgement: Judgement) -> str:
    return planner.luck.choice(sorted(judgement.acceptable))


def _the_right_thing(planner: Judged, observation: Observation, judgement: Judgement) -> str:
    return judgement.right


def test_the_oracle_is_never_wrong(episodes: list[Episode]) -> None:
    for episode in episodes:
        planners = {agent: Judged(_by_the_oracle) for agent in (0, 1)}
        play_episode(episode, planners)
        for planner in planners.values():
            assert planner.judged and planner.wrong == []


@pytest.mark.parametrize("choose", [_the_right_thing, _anything_that_serves])
def test_what_serves_leads_to_the_goal(episodes: list[Episode], choose: Any) -> None:
    for episode in episodes:
        played = play_episode(episode, {agent: Judged(choose) for agent in (0, 1)})
        assert played.result.success, played.result.explanation


def test_corrections_lead_even_a_random_policy_to_the_goal(episodes: list[Episode]) -> None:
    for episode in episodes:
        planners = {agent: Judged(_at_random, mend=True) for agent in (0, 1)}
        played = play_episode(episode, planners)
        assert played.result.success, played.result.explanation
        assert any(planner.wrong for planner in planners.values())


def test_what_the_home_refuses_is_wrong(episodes: list[Episode]) -> None:
    refused = 0
    for episode in episodes:
        planners = {agent: Judged(_at_random) for agent in (0, 1)}
        played = play_episode(episode, planners, decision_limit=25)
        wrong = {agent: {action for action, _ in planner.wrong} for agent, planner in planners.items()}
        for decision in played.decisions:
            if decision.response.startswith("Unexpected failure"):
                refused += 1
                assert decision.action in wrong[decision.agent], decision.response
    assert refused > 20
