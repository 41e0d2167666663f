"""The household at work: tools and their answers, sight, and one engine at two speeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.episode import Episode, Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.admissible import admissible_actions
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.tools import NO_ACTION, SUCCESS
from hitl_ops.worlds.household.world import EPISODE_STEP_LIMIT, Control, HouseholdWorld
from hitl_ops.worlds.household.world_text import world_text

HOME = "flywheel_train_000"


def make_episode(places: dict[str, str], **more: object) -> Episode:
    """An episode in a home with everything visible at one end: agents start in the kitchen."""
    scene = load_scene(HOME)
    kitchen = scene.grid.center(scene._goals["kitchen_1"][0])
    spawns = [[kitchen[0], kitchen[1], 0.0], [kitchen[0], kitchen[1], 0.0]]
    first = next(iter(places))
    propositions = [
        Proposition(function_name="is_in_room", args={"object_handles": [first], "room_ids": ["bedroom_1"]})
    ]
    return Episode(
        episode_id="hand_made",
        scene_id=HOME,
        instruction="Take it to the bedroom.",
        name_to_receptacle=places,
        info={"flywheel": {"task_type": "constraint_free", "split": "train", "seed": 1, "spawns": spawns}},
        evaluation_propositions=propositions,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def world() -> HouseholdWorld:
    return HouseholdWorld(
        make_episode(
            {
                "mug_1": "kitchen_counter_1|on|0",
                "kettle_1": "kitchen_counter_1|on|1",
                "apple_1": "kitchen_fridge_1|within|0",
                "lamp_1": "living_room_coffee_table_1|on|0",
            },
            object_states={"is_clean": {"mug_1": False}},
        )
    )


def answer(world: HouseholdWorld, action: str, agent: int = 1) -> str:
    return world.act(agent, action).response


def test_fetch_and_bring(world: HouseholdWorld) -> None:
    assert answer(world, "Navigate[mug_1]") == SUCCESS
    assert answer(world, "Pick[mug_1]") == SUCCESS
    assert world.facts.agents[1].held == "mug_1"
    assert not world.success
    assert answer(world, "Navigate[bedroom_bed_1]") == SUCCESS
    assert answer(world, "Place[mug_1, on, bedroom_bed_1, None, None]") == SUCCESS
    assert world.success
    assert world.percent_complete == 1.0


def test_answers_of_tools_that_fail(world: HouseholdWorld) -> None:
    fail = "Unexpected failure! - "
    assert answer(world, "Navigate[lamp_1]").startswith("Node with name lamp_1 not present in the graph.")
    assert answer(world, "Fly[mug_1]") == 'Tool "Fly" not found'
    assert answer(world, "Clean[mug_1]", agent=0) == 'Tool "Clean" not found'
    assert answer(world, "just text") == NO_ACTION
    assert answer(world, "Pick[kitchen_counter_1]") == fail + "Failed to pick! This is not a movable object."
    assert answer(world, "Place[mug_1, on, kitchen_counter_1, None, None]") == (
        fail + "Failed to place! The agent is not holding any object."
    )
    assert answer(world, "Open[kitchen_counter_1]") == (
        fail + "Failed to open! kitchen_counter_1 is not articulated - and cannot be opened."
    )
    answer(world, "Navigate[bedroom_bed_1]")
    assert answer(world, "Pick[mug_1]") == fail + "Failed to pick! Not close enough to the object."
    assert (
        answer(world, "Open[kitchen_fridge_1]")
        == fail + "Failed to open! kitchen_fridge_1 is occluded or too far from agent to open."
    )
    assert answer(world, "Clean[mug_1]").startswith(fail + "Agent too far from object to clean: Distance ")
    answer(world, "Navigate[mug_1]")
    answer(world, "Pick[mug_1]")
    assert answer(world, "Pick[kettle_1]") == (
        fail
        + "Failed to pick kettle_1! The arm is currently grasping mug_1. Make the agent place the grasped object first."
    )
    assert answer(world, "Pick[mug_1]", agent=0) == fail + "Failed! This object is held by another agent."
    assert answer(world, "Pick[mug_1]") == fail + "Failed! This object is already held by this agent."
    assert answer(world, "Place[mug_1, on, bedroom_bed_1, None, None]") == (
        fail + "Failed to place! Not close enough to bedroom_bed_1 or occluded."
    )
    assert answer(world, "Place[mug_1, on, lamp_9, None, None]").startswith("Node with name lamp_9 not present")
    assert "Pick takes 1 arguments" in answer(world, "Pick[a, b]")


def test_a_closed_furniture_hides_and_opening_reveals(world: HouseholdWorld) -> None:
    assert "apple_1" not in world.state.knowledge[1].objects
    answer(world, "Navigate[kitchen_fridge_1]")
    assert "apple_1" not in world.state.knowledge[1].objects
    assert answer(world, "Open[kitchen_fridge_1]") == SUCCESS
    assert "apple_1" in world.state.knowledge[1].objects
    assert answer(world, "Close[kitchen_fridge_1]") == SUCCESS
    assert answer(world, "Pick[apple_1]") == (
        "Unexpected failure! - Failed to pick! Object is in a closed furniture, you need to open the furniture first."
    )


def test_states_change_where_they_may(world: HouseholdWorld) -> None:
    assert "mug_1: kitchen_counter_1. States: clean: False" in world_text(world.state, 1)
    answer(world, "Navigate[mug_1]")
    assert answer(world, "Clean[mug_1]") == SUCCESS
    assert world.facts.state("mug_1", "is_clean") is True
    assert answer(world, "PowerOn[mug_1]") == (
        "Unexpected failure! - The targeted object does not afford the state: is_powered_on"
    )
    answer(world, "Pick[mug_1]")
    answer(world, "Navigate[bedroom_bed_1]")
    assert answer(world, "Fill[mug_1]") == "Unexpected failure! - The object is not close enough to a water source"
    answer(world, "Navigate[kitchen_sink_1]")
    assert answer(world, "Fill[mug_1]") == SUCCESS
    assert answer(world, "Pour[kettle_1]").startswith("Unexpected failure! - Unable to pour") or (
        world.facts.state("kettle_1", "is_filled") is True
    )
    answer(world, "Navigate[kettle_1]")
    if world.facts.state("mug_1", "is_filled"):
        assert answer(world, "Pour[kettle_1]") == SUCCESS
    assert world.facts.state("kettle_1", "is_filled") is True
    assert world.facts.state("mug_1", "is_filled") is False
    assert answer(world, "Pour[kettle_1]").startswith("Unexpected failure! - Unable to pour:")


def test_next_to_and_full_places(world: HouseholdWorld) -> None:
    answer(world, "Navigate[mug_1]")
    answer(world, "Pick[mug_1]")
    assert answer(world, "Place[mug_1, on, kitchen_counter_1, next_to, kettle_1]") == SUCCESS
    mug, kettle = world.facts.objects["mug_1"].position, world.facts.objects["kettle_1"].position
    assert math.dist(mug, kettle) <= 0.5
    answer(world, "Pick[mug_1]")
    assert answer(world, "Place[mug_1, within, kitchen_counter_1, None, None]") == (
        "Unexpected failure! - No valid placements found for entity kitchen_counter_1."
    )
    assert answer(world, "Place[mug_1, within, kitchen_fridge_1, None, None]").startswith("Unexpected failure!")


def test_rearrange_does_the_whole_errand(world: HouseholdWorld) -> None:
    assert answer(world, "Rearrange[mug_1, on, bedroom_bed_1, None, None]") == SUCCESS
    assert world.success


def test_perception_tools_tell_only_what_is_known(world: HouseholdWorld) -> None:
    assert answer(world, "FindObjectTool[the mug]") == "mug_1: kitchen_counter_1"
    assert answer(world, "FindObjectTool[lamp]").startswith("Nothing found")
    assert "kitchen_fridge_1 in kitchen_1" in answer(world, "FindReceptacleTool[fridge]")
    assert answer(world, "FindRoomTool[kitchen]") == "kitchen_1"
    answer(world, "Navigate[mug_1]", agent=0)
    assert "Navigate[mug_1]" in answer(world, "FindAgentActionTool[]")


def test_what_the_partner_does_is_told_but_not_where_it_walks(world: HouseholdWorld) -> None:
    view = AgentView(world, 0)
    for action in ("Navigate[mug_1]", "Pick[mug_1]"):
        view.finished(world.act(1, action))
    prompt = view.prompt()
    assert "Other_Agent_Action: Pick[mug_1] Successful execution!" in prompt
    assert "Navigate[mug_1]" not in prompt
    assert world.state.knowledge[0].objects["mug_1"].parent == "agent_1"


def test_waiting_ends_when_the_partner_has_done_something(world: HouseholdWorld) -> None:
    world.start(0, "Wait[]")
    world.act(1, "Navigate[mug_1]")
    assert world.busy(0)
    world.act(1, "Pick[mug_1]")
    assert [ended.agent for ended in world.advance(1)] == [0]
    world.start(0, "Wait[]")
    started = world.step
    world.advance(10_000)
    assert world.step - started == 600


def test_the_episode_ends_when_both_are_done_or_steps_run_out(world: HouseholdWorld) -> None:
    world.act(0, "Done[]")
    assert not world.over
    world.act(1, "Done[]")
    assert world.over
    other = HouseholdWorld(world.episode)
    while not other.over:
        other.act(0, "Wait[]")
    assert other.step == EPISODE_STEP_LIMIT


def test_a_person_steers_and_stops_at_walls(world: HouseholdWorld) -> None:
    before = (world.facts.agents[0].x, world.facts.agents[0].z)
    for _ in range(30):
        world.tick({0: Control(forward=1.0)})
    moved = math.dist(before, (world.facts.agents[0].x, world.facts.agents[0].z))
    assert 0.2 < moved <= 1.51
    for _ in range(600):
        world.tick({0: Control(forward=1.0, turn=0.1)})
        body = world.facts.agents[0]
        assert load_scene(HOME).grid.is_free(body.x, body.z)


def test_steering_takes_over_from_navigating(world: HouseholdWorld) -> None:
    world.start(0, "Navigate[bedroom_bed_1]")
    for _ in range(10):
        world.tick()
    world.tick({0: Control(forward=1.0)})
    assert not world.busy(0)


def test_a_missing_object_asset_is_named() -> None:
    with pytest.raises(UserError, match="hovercraft_1"):
        HouseholdWorld(make_episode({"hovercraft_1": "kitchen_counter_1|on|0"}))
    with pytest.raises(UserError, match="altar_1"):
        HouseholdWorld(make_episode({"mug_1": "altar_1|on|0"}))


def play(world: HouseholdWorld, script: list[tuple[int, int]], stride: int) -> list[tuple[int, str]]:
    """Follow a script of choices, advancing ``stride`` steps at a time; returns what ended when."""
    pending = {agent: [choice for who, choice in script if who == agent] for agent in (0, 1)}
    log = []
    while True:
        for agent in (0, 1):
            if pending[agent] and not world.busy(agent) and not world.done[agent]:
                options = [a for a in admissible_actions(world.state, agent, world.abilities[agent]) if a != "Done[]"]
                world.start(agent, options[pending[agent].pop(0) % len(options)])
        if not world.busy(0) and not world.busy(1):
            return log
        for ended in world.advance(stride):
            log.append((ended.end_step, f"{ended.agent} {ended.action} {ended.response}"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    script=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10_000)), min_size=1, max_size=10),
    stride=st.integers(1, 400),
)
def test_any_stride_ends_in_the_same_state(script: list[tuple[int, int]], stride: int) -> None:
    episode = make_episode(
        {
            "mug_1": "kitchen_counter_1|on|0",
            "book_1": "living_room_coffee_table_1|on|0",
            "apple_1": "kitchen_fridge_1|within|0",
        }
    )
    by_events, by_ticks = HouseholdWorld(episode), HouseholdWorld(episode)
    assert play(by_events, script, stride) == play(by_ticks, script, 1)
    assert by_events.facts.digest() == by_ticks.facts.digest()
    assert by_events.step == by_ticks.step
    for agent in (0, 1):
        assert by_events.state.knowledge[agent].graph() == by_ticks.state.knowledge[agent].graph()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10_000)), min_size=1, max_size=25))
def test_what_holds_whatever_is_done(script: list[tuple[int, int]]) -> None:
    episode = make_episode(
        {
            "mug_1": "kitchen_counter_1|on|0",
            "book_1": "living_room_coffee_table_1|on|0",
            "apple_1": "kitchen_fridge_1|within|0",
        }
    )
    world = HouseholdWorld(episode)
    play(world, script, 1 << 40)
    facts = world.facts
    for agent, body in enumerate(facts.agents):
        held = [name for name, thing in facts.objects.items() if thing.parent == f"agent_{agent}"]
        assert held == ([body.held] if body.held else [])
    places = [(thing.parent, thing.relation, thing.slot) for thing in facts.objects.values() if thing.slot >= 0]
    assert len(set(places)) == len(places)
    for agent in (0, 1):
        assert set(world.state.knowledge[agent].objects) <= set(facts.objects)
        told = admissible_actions(world.state, agent, world.abilities[agent])
        assert len(set(told)) == len(told)
        assert "Wait[]" in told
    assert 0.0 <= world.percent_complete <= 1.0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10_000)), min_size=2, max_size=16))
def test_an_incremental_prompt_only_grows(script: list[tuple[int, int]]) -> None:
    world = HouseholdWorld(
        make_episode({"mug_1": "kitchen_counter_1|on|0", "book_1": "living_room_coffee_table_1|on|0"})
    )
    views = [AgentView(world, 0), AgentView(world, 1)]
    before = ["", ""]
    choices = list(script)
    while choices or world.busy(0) or world.busy(1):
        for agent in (0, 1):
            if choices and not world.busy(agent) and not world.done[agent]:
                _, number = choices.pop(0)
                seen = views[agent].observe()
                assert seen.prompt.startswith(before[agent])
                options = [action for action in seen.admissible if action != "Done[]"]
                action = options[number % len(options)]
                before[agent] = f"{seen.prompt}{action}<end_act>"
                world.start(agent, action)
        for ended in world.advance(1 << 40):
            for view in views:
                view.finished(ended)
