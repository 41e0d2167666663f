"""A person and a policy at play: what becomes a decision, what the partner is asked, and that it all happens again."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.action import parse_action
from hitl_ops.records.session_events import ControlEvent
from hitl_ops.rollouts.live_session import ACTS_AT_MOST, OVERRIDES_AT_MOST, TOO_MANY, LiveSession
from hitl_ops.rollouts.person_decisions import BY_HAND, INTERRUPTED
from hitl_ops.worlds.household.skills import refusal
from hitl_ops.worlds.household.tools import MOTOR_TOOLS, NO_ACTION, STATE_TOOLS, SUCCESS
from hitl_ops.worlds.household.world import EPISODE_STEP_LIMIT
from tests.support.plays import STARTED, Player, header, small_episode
from tests.support.random_plays import PLAY, play


def by_person(player: Player) -> list[tuple[str, bool]]:
    """The person's decisions: the action, and whether it was done by hand."""
    return [(d.action, BY_HAND in d.stats) for d in player.session.decisions if d.role == "human"]


# --- the person ---------------------------------------------------------------------------------------------------


def test_walking_with_the_keys_becomes_the_navigation_it_amounts_to() -> None:
    player = Player()
    player.fetch_the_mug()
    assert player.session.success
    player.finish()
    assert by_person(player) == [
        ("Navigate[mug_1]", True),
        ("Pick[mug_1]", False),
        ("Navigate[bedroom_bed_1]", True),
        ("Place[mug_1, on, bedroom_bed_1, None, None]", False),
        ("Done[]", False),
    ]
    decisions = player.session.decisions
    first = decisions[0]
    assert (first.policy_id, first.response) == ("human:ann", SUCCESS)
    assert first.sim_step < first.end_step == decisions[1].sim_step
    assert decisions[2].sim_step < decisions[2].end_step == decisions[3].sim_step
    assert [d.percent_complete for d in decisions] == [0.0, 0.0, 0.0, 1.0, 1.0]
    for decision in decisions:
        assert decision.action in decision.admissible
        assert decision.prompt.endswith("Next Agent_Action:<act>")
    for before, after in itertools.pairwise(decisions):
        assert after.prompt.startswith(f"{before.prompt}{before.action}<end_act>\n")


def test_what_was_first_seen_on_the_way_was_explored_for() -> None:
    player = Player()
    assert "lamp_1" not in player.session.world.state.knowledge[0].objects
    player.walk_to("living_room_coffee_table_1")
    assert player.do("Pick[lamp_1]") == SUCCESS
    assert by_person(player) == [
        ("Explore[living_room_1]", True),
        ("Navigate[lamp_1]", True),
        ("Pick[lamp_1]", False),
    ]
    explored, navigated, picked = player.session.decisions
    assert "lamp_1: " not in explored.prompt
    assert "lamp_1: living_room_coffee_table_1" in navigated.prompt
    assert all(d.action in d.admissible for d in (explored, navigated, picked))


def test_news_seen_on_the_way_are_told_before_an_act_that_needs_no_place() -> None:
    player = Player()
    player.walk_to("living_room_coffee_table_1")
    player.act("Navigate[lamp_1]")
    assert by_person(player) == [("Explore[living_room_1]", True), ("Navigate[lamp_1]", False)]
    assert "lamp_1: " in player.session.decisions[1].prompt


def test_a_step_aside_at_the_place_last_navigated_to_is_nothing() -> None:
    player = Player()
    assert player.do("Navigate[mug_1]") == SUCCESS
    player.keys(strafe=0.5)
    player.run(3)
    player.keys()
    assert player.do("Pick[mug_1]") == SUCCESS
    player.keys(strafe=-0.5)
    player.run(3)
    assert player.do("Place[mug_1, on, kitchen_counter_1, None, None]") == SUCCESS
    assert [text for text, by_hand in by_person(player) if by_hand] == []


def test_an_act_out_of_reach_ends_no_walk_successfully() -> None:
    player = Player()
    player.walk_to("bedroom_bed_1")
    assert "Not close enough" in player.do("Pick[mug_1]")
    assert ("Navigate[mug_1]", True) not in by_person(player)
    player.walk_to("kitchen_counter_1")
    assert player.do("Pick[mug_1]") == SUCCESS
    assert by_person(player)[-2:] == [("Navigate[mug_1]", True), ("Pick[mug_1]", False)]


def test_taking_the_keys_breaks_off_a_navigation_and_the_walk_counts_from_its_beginning() -> None:
    player = Player()
    player.act("Navigate[bedroom_bed_1]")
    player.run(5)
    begun = player.session.decisions[0]
    player.keys(turn=1.0)
    player.run(1)
    (answer,) = player.session.take_answers()
    assert (answer.response, answer.seq) == (INTERRUPTED, 0)
    assert begun.response == INTERRUPTED
    assert not player.session.world.busy(0)
    player.walk_to("kitchen_counter_1")
    assert player.do("Pick[mug_1]") == SUCCESS
    assert by_person(player) == [
        ("Navigate[bedroom_bed_1]", False),
        ("Navigate[mug_1]", True),
        ("Pick[mug_1]", False),
    ]
    walked = player.session.decisions[1]
    assert (walked.prompt, walked.sim_step) == (begun.prompt, begun.sim_step)


def test_an_act_replaces_the_one_under_way() -> None:
    player = Player()
    player.do("Navigate[mug_1]")
    player.act("Pick[mug_1]")
    player.run(3)
    player.act("Pick[kettle_1]")
    player.run(20)
    assert [(a.seq, a.action, a.response) for a in player.session.take_answers()] == [
        (1, "Pick[mug_1]", INTERRUPTED),
        (2, "Pick[kettle_1]", SUCCESS),
    ]
    assert player.session.world.facts.agents[0].held == "kettle_1"


@pytest.mark.parametrize(
    "text", ["", "hello", "Pick[<end_act>]", "Pick[a]\u00e9", "Pick[Objects: gold_1]", "Pick[a][b]", "[mug_1]"]
)
def test_what_is_no_action_is_answered_and_reaches_nobodys_prompt(text: str) -> None:
    player = Player()
    assert player.do(text) == NO_ACTION
    (decision,) = player.session.decisions
    assert (decision.action, decision.reply) == ("Wait[]", text)
    player.do("Wait2[mug_1]")
    prompts = [d.prompt for d in player.session.decisions] + [player.session.wants_decision().prompt]  # type: ignore[union-attr]
    if len(text) > 5:
        assert not any(text in prompt for prompt in prompts)


def test_an_unknown_tool_and_an_unknown_name_are_answered_by_the_world() -> None:
    player = Player()
    assert player.do("Fly[mug_1]") == 'Tool "Fly" not found'
    assert player.do("Pick[gold_1]").startswith("Node with name gold_1 not present")
    assert player.do("Clean[mug_1]") == 'Tool "Clean" not found'


def test_acts_and_overrides_are_bounded() -> None:
    player = Player()
    for _ in range(ACTS_AT_MOST):
        player.act("Pick[gold_1]")
    player.session.take_answers()
    assert player.do("Pick[mug_1]") == TOO_MANY
    assert len(player.session.decisions) == ACTS_AT_MOST
    for _ in range(OVERRIDES_AT_MOST + 5):
        player.override("Wait[]")
    assert len(player.session.corrections) == OVERRIDES_AT_MOST
    assert len(player.session.decisions) == ACTS_AT_MOST + OVERRIDES_AT_MOST


def test_a_repeated_or_older_number_changes_nothing() -> None:
    player = Player()
    player.keys(forward=1.0)
    player.act("Wait[]")
    before = player.session.digest(), len(player.session.decisions), player.session.last_seq
    player.seq -= 2
    player.act("Pick[mug_1]")
    player.act("Done[]")
    assert (player.session.digest(), len(player.session.decisions), player.session.last_seq) == before


# --- the partner --------------------------------------------------------------------------------------------------


def test_the_partner_is_asked_once_and_never_waited_for() -> None:
    player = Player()
    session = player.session
    observation = session.wants_decision()
    assert observation is not None
    assert (observation.agent, observation.role, session.asked_tick) == (1, "ai", 0)
    assert session.wants_decision() is None
    player.run(40)
    assert session.tick == 40
    assert session.wants_decision() is None
    assert session.partner_status().status == "thinking"
    player.decide("Navigate[kitchen_fridge_1]")
    assert session.asked_tick is None
    (decision,) = session.decisions
    assert (decision.prompt, decision.admissible) == (observation.prompt, observation.admissible)
    assert (decision.sim_step, decision.stats["asked_step"], decision.policy_id) == (40, 0.0, "policy-1")
    assert session.partner_status() == ("acting", "Navigate[kitchen_fridge_1]", "")
    ended = player.run(200)
    assert [e.agent for e in ended] == [1]
    assert decision.response == SUCCESS
    assert session.partner_status() == ("thinking", "Navigate[kitchen_fridge_1]", SUCCESS)
    following = session.wants_decision()
    assert following is not None
    assert following.prompt.startswith(f"{decision.prompt}{decision.action}<end_act>\n")
    session.ask_again()
    assert session.wants_decision() is following


def test_a_reply_nobody_waits_for_changes_nothing() -> None:
    player = Player()
    player.decide("Navigate[kitchen_fridge_1]")
    player.decide("Wait[]", asked_tick=0)
    player.decide("Wait[]", asked_tick=77)
    assert [d.action for d in player.session.decisions] == ["Navigate[kitchen_fridge_1]"]
    assert player.session.partner_status().action == "Navigate[kitchen_fridge_1]"


def test_a_person_decides_before_the_policy_has() -> None:
    player = Player()
    observation = player.session.wants_decision()
    assert observation is not None
    player.run(3)
    player.override("Explore[bedroom_1]")
    (decision,) = player.session.decisions
    assert (decision.policy_id, decision.role, decision.agent) == ("human:ann", "ai", 1)
    assert decision.prompt == observation.prompt
    (correction,) = player.session.corrections
    assert (correction.replaces, correction.original, correction.corrected) == (None, "", "Explore[bedroom_1]")
    player.decide("Pick[mug_1]", asked_tick=0)
    assert correction.original == "Pick[mug_1]"
    assert player.session.partner_status().action == "Explore[bedroom_1]"


def test_a_person_stops_the_partner_and_decides_anew() -> None:
    player = Player()
    player.decide("Explore[bedroom_1]")
    player.run(10)
    player.override("Navigate[mug_1]", decision_index=0)
    first, second = player.session.decisions
    assert (first.response, first.end_step) == ("Overridden.", 10)
    assert (second.prompt, second.admissible) == (first.prompt, first.admissible)
    (correction,) = player.session.corrections
    assert (correction.replaces, correction.decision_index) == (0, 1)
    assert (correction.original, correction.corrected, correction.by) == (
        "Explore[bedroom_1]",
        "Navigate[mug_1]",
        "ann",
    )
    player.run(200)
    assert second.response == SUCCESS
    after = player.session.wants_decision()
    assert after is not None
    assert after.prompt.startswith(f"{second.prompt}Navigate[mug_1]<end_act>\n")
    assert "Explore[bedroom_1]" not in after.prompt


def test_a_partner_that_was_done_can_be_sent_on() -> None:
    player = Player()
    player.decide("Done[]")
    player.run(2)
    assert player.session.partner_status().status == "done"
    assert player.session.wants_decision() is None
    player.override("Navigate[mug_1]")
    player.run(200)
    assert player.session.wants_decision() is not None


def test_decisions_of_the_partner_are_limited_and_the_person_plays_on() -> None:
    player = Player(header(decision_limit=2))
    for _ in range(2):
        player.decide("Pick[mug_9]")
        player.run(1)
    assert player.session.partner_status().status == "done"
    assert player.session.wants_decision() is None
    player.fetch_the_mug()
    assert player.session.success


def test_each_is_told_what_the_other_does() -> None:
    player = Player()
    player.do("Navigate[mug_1]")
    assert player.do("Pick[mug_1]") == SUCCESS
    player.decide("Wait[]")
    player.do("Place[mug_1, on, kitchen_counter_1, None, None]")
    player.run(3)
    observation = player.session.wants_decision()
    assert observation is not None
    assert "Other_Agent_Action: Place[mug_1, on, kitchen_counter_1, None, None]" in observation.prompt
    player.decide("Navigate[mug_1]")
    player.run(200)
    player.decide("Pick[mug_1]")
    player.run(20)
    player.act("Wait[]")
    assert "Other_Agent_Action: Pick[mug_1] Successful execution!" in player.session.decisions[-1].prompt


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_pause_stands_still_and_lets_the_keys_go() -> None:
    player = Player()
    player.keys(forward=1.0)
    player.run(5)
    player.pause()
    before = player.session.digest()
    assert player.run(50) == []
    assert (player.session.tick, player.session.digest(), player.session.stands) == (5, before, "paused")
    player.resume()
    player.run(10)
    assert (player.session.tick, player.session.digest()) == (15, before)
    assert player.session.seconds_active == pytest.approx(5 / 30)


def test_events_come_in_order_and_in_their_tick() -> None:
    session = Player().session
    with pytest.raises(ValueError, match="event 3 comes where event 0"):
        session.apply(ControlEvent(n=3, tick=0, wall=STARTED, seq=1))
    with pytest.raises(ValueError, match="tick 4 comes at tick 0"):
        session.apply(ControlEvent(n=0, tick=4, wall=STARTED, seq=1))
    player = Player()
    player.finish("time")
    assert player.session.stands == "finished"
    assert player.run(3) == []
    with pytest.raises(ValueError, match="finished"):
        player.mark()


@pytest.mark.parametrize(
    ("reason", "ended_by"),
    [("person", "person"), ("time", "time"), ("idle", "idle"), ("skip", "skip"), ("server", "error")],
)
def test_a_finish_closes_what_is_under_way(reason: str, ended_by: str) -> None:
    player = Player()
    player.decide("Explore[bedroom_1]")
    player.act("Navigate[bedroom_bed_1]")
    player.run(4)
    player.finish(reason)  # type: ignore[arg-type]
    assert [d.response for d in player.session.decisions[:2]] == [INTERRUPTED, INTERRUPTED]
    assert [d.action for d in player.session.decisions[2:]] == (["Done[]"] if reason == "person" else [])
    result = player.session.result()
    assert (result.ended_by, result.success, result.sim_steps) == (ended_by, False, 4)
    assert result.explanation
    assert player.events[-1].state_hash == result.state_hash  # type: ignore[union-attr]
    assert player.session.wants_decision() is None


def test_the_step_limit_ends_the_world() -> None:
    player = Player()
    player.session.world.step = EPISODE_STEP_LIMIT - 3
    player.act("Wait[]")
    player.run(10)
    assert (player.session.tick, player.session.stands) == (EPISODE_STEP_LIMIT, "step_limit")
    assert player.session.result().ended_by == "step_limit"
    assert "took too long" in player.session.take_answers()[0].response


def test_the_person_may_be_the_second_agent() -> None:
    player = Player(header(roles={0: "ai", 1: "human"}))
    observation = player.session.wants_decision()
    assert observation is not None
    assert observation.agent == 0
    player.walk_to("kitchen_counter_1")
    assert player.do("Pick[mug_1]") == SUCCESS
    assert player.do("Clean[mug_1]") == SUCCESS
    assert by_person(player) == [("Navigate[mug_1]", True), ("Pick[mug_1]", False), ("Clean[mug_1]", False)]
    assert player.session.header().policies == {0: "policy-1", 1: "human:ann"}
    with pytest.raises(ValueError, match="no agent 2"):
        LiveSession(small_episode(), human=2)


# --- what can be reached --------------------------------------------------------------------------------------------

PLACES = ("kitchen_counter_1", "kitchen_fridge_1", "kitchen_sink_1", "living_room_coffee_table_1", "bedroom_bed_1")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["Navigate", "Open", "Pick", "Place", "Clean", "Fill"]),
        st.sampled_from(PLACES),
        st.sampled_from(["mug_1", "kettle_1", "apple_1", "lamp_1"]),
    ),
    max_size=8,
)


@given(steps=STEPS, human=st.sampled_from([0, 1]))
@settings(max_examples=25)
def test_reachable_is_what_some_action_is_not_refused_for(steps: list[tuple[str, str, str]], human: int) -> None:
    roles = {human: "human", 1 - human: "ai"}
    player = Player(header(roles=roles))
    session = player.session
    for tool, place, thing in steps:
        args = {"Navigate": place, "Open": place, "Place": f"{thing}, on, {place}, None, None"}.get(tool, thing)
        player.do(f"{tool}[{args}]")
        state = session.world.state
        held = state.facts.agents[human].held
        tools = [t for t in (*MOTOR_TOOLS, *STATE_TOOLS) if t in session.world.abilities[human]]
        expected = []
        for name in [*state.facts.objects, *state.furniture]:
            texts = [f"{t}[{name}]" for t in tools if t in ("Pick", "Open", *STATE_TOOLS)]
            if held and name in state.furniture:
                texts += [f"Place[{held}, {relation}, {name}, None, None]" for relation in ("on", "within")]
            known = name in state.furniture or name in state.knowledge[human].objects
            if known and any(refusal(state, human, parse_action(text)) is None for text in texts):
                expected.append(name)
        assert session.reachable() == expected
        assert session.reachable() is session.reachable()


# --- again ----------------------------------------------------------------------------------------------------------


@given(happenings=PLAY, looks=st.booleans())
def test_the_same_events_give_the_same_play_whoever_looks_on(
    happenings: list[tuple[int, tuple[object, ...]]], looks: bool
) -> None:
    player = Player()
    play(player, happenings)
    again = Player().session
    for event in player.events:
        while again.tick < event.tick:
            again.step()
            if looks:
                again.wants_decision(), again.reachable(), again.missing(), again.world.facts, again.take_answers()
        again.apply(event)
    while again.tick < player.session.tick:
        again.step()
    assert again.digest() == player.session.digest()
    assert again.decisions == player.session.decisions
    assert again.corrections == player.session.corrections
    assert again.result() == player.session.result()
    assert again.last_seq == player.session.last_seq
    assert again.asked_tick == player.session.asked_tick


@given(happenings=PLAY)
def test_whatever_a_person_does_a_policy_can_learn_from(happenings: list[tuple[int, tuple[object, ...]]]) -> None:
    player = Player()
    play(player, happenings)
    for decision in player.session.decisions:
        assert decision.prompt.endswith("Next Agent_Action:<act>")
        # By name a person may also ask for what changes nothing (closing what is closed): never by walking.
        sure = BY_HAND in decision.stats or decision.action.startswith(("Pick", "Explore", "Wait", "Done"))
        if decision.role == "human" and decision.response == SUCCESS and sure:
            assert decision.action in decision.admissible
    for agent in (0, 1):
        mine = [d for d in player.session.decisions if d.agent == agent and d.end_step > 0]
        for before, after in itertools.pairwise(mine):
            if before.response in (INTERRUPTED, "Overridden."):
                assert after.prompt.startswith(before.prompt.removesuffix("Next Agent_Action:<act>"))
            else:
                assert after.prompt.startswith(f"{before.prompt}{before.action}<end_act>\n")


def test_samples_are_cut_from_a_persons_play(tmp_path: Path) -> None:
    from hitl_ops.records.traces import trace_path, write_trace
    from hitl_ops.samples.build import SampleConfig, build_samples
    from hitl_ops.samples.parquet import read_samples

    player = Player()
    player.walk_to("living_room_coffee_table_1")
    player.fetch_the_mug()
    player.do("Pick[gold_1]")
    player.finish()
    session = player.session
    write_trace(trace_path(tmp_path, "p1"), session.header(), session.decisions, session.result())
    out = tmp_path / "gold.parquet"
    build_samples(tmp_path, SampleConfig(source="human_gold", roles=("human",)), out)
    assert [sample.completion.removesuffix("<end_act>") for sample in read_samples(out)] == [
        "Navigate[mug_1]",
        "Pick[mug_1]",
        "Navigate[bedroom_bed_1]",
        "Place[mug_1, on, bedroom_bed_1, None, None]",
        "Done[]",
    ]
