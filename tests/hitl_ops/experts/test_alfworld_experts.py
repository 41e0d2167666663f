"""Experts in the real engine: sixty generated games through our interface, from wherever an agent has led."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, TextExpert, TextGame
from hitl_ops.experts.alfworld_handcoded import HandCodedTextExpert
from hitl_ops.experts.alfworld_planner import AlfworldPlanner
from hitl_ops.experts.text_oracle import OracleTextExpert
from hitl_ops.experts.text_searcher import SearcherExpert
from hitl_ops.worlds.alfworld import AlfworldWorld, make_alfworld
from hitl_ops.worlds.household_text.world import HouseholdTextWorld
from tests.hitl_ops.worlds.alfworld.generated import config, games

pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")


def play(world: AlfworldWorld, game: TextGame, expert: TextExpert, agent_share: float = 0.0) -> tuple[bool, list[str]]:
    """One game in which a random agent acts in a share of the steps; whether it was won, and all labels."""
    rng = random.Random(game.seed)
    turn = world.begin(game)
    expert.start(game, world, turn)
    labels = []
    while not turn.over:
        label = expert.label(None, turn)  # type: ignore[arg-type]  # none of these reads the history
        assert expert.label(None, turn) == label  # type: ignore[arg-type]  # asking changes nothing
        assert label is None or label in turn.admissible
        if label is None and not agent_share:
            break
        labels.append(label or "")
        command = rng.choice(turn.admissible) if label is None or rng.random() < agent_share else label
        turn = world.step(command)
        expert.executed(command, turn)
    return turn.won, labels


@pytest.mark.slow
def test_the_searcher_wins_sixty_games_ten_a_family() -> None:
    world = make_alfworld(config())
    won = Counter(game.family for game in games(60) if play(world, game, SearcherExpert())[0])
    assert won == dict.fromkeys(FAMILIES, 10)
    world.close()


@pytest.mark.slow
def test_the_hand_coded_expert_wins_nearly_all_games_two_objects_included() -> None:
    world = make_alfworld(config())
    won = Counter(game.family for game in games(60) if play(world, game, HandCodedTextExpert())[0])
    assert all(won[family] == 10 for family in FAMILIES[:5]), won
    assert won["pick_two_obj_and_place"] >= 8, won  # it searches in bad order: 50 steps are not always enough
    world.close()


def test_the_hand_coded_expert_draws_from_its_own_sequence() -> None:
    world = make_alfworld(config())
    game = games(6)[0]
    before = random.getstate()
    first = play(world, game, HandCodedTextExpert(seed=1))
    assert random.getstate() == before
    random.seed(99)
    assert play(world, game, HandCodedTextExpert(seed=1)) == first
    random.setstate(before)
    world.close()


def test_the_hand_coded_expert_goes_on_where_an_agent_has_led_or_says_nothing() -> None:
    world = make_alfworld(config().replace(max_steps=120))
    won = sum(play(world, game, HandCodedTextExpert(), agent_share=0.2)[0] for game in games(12))
    assert won >= 6
    world.close()


def test_the_hand_coded_expert_speaks_the_worlds_dialect() -> None:
    game = games(6)[0]
    for dialect, verb in (("papers", "put "), ("alfworld", "move ")):
        world = make_alfworld(config().replace(dialect=dialect))
        won, labels = play(world, game, HandCodedTextExpert())
        assert won and labels[-1].startswith(verb)
        world.close()


@pytest.mark.slow
@pytest.mark.integration
def test_the_planner_wins_every_family_and_is_asked_once() -> None:
    world = make_alfworld(config())
    planner = AlfworldPlanner()
    for number, game in enumerate(games(6)[:5], 1):
        won, labels = play(world, game, OracleTextExpert(planner))
        assert won and len(labels) <= 12
        assert planner.runs == number
    world.close()


@pytest.mark.slow
@pytest.mark.integration
def test_a_plan_is_kept_while_the_agent_wanders_and_made_anew_where_it_changed_things() -> None:
    world = make_alfworld(config())
    planner = AlfworldPlanner()
    expert = OracleTextExpert(planner)
    game = games(6)[2]
    turn = world.begin(game)
    expert.start(game, world, turn)
    rng = random.Random(0)
    handling = 0
    while not turn.over:
        label = expert.label(None, turn)  # type: ignore[arg-type]
        assert label is not None
        command = label
        if turn.steps in (1, 3, 5):  # wander off, open and close what is there
            harmless = [one for one in turn.admissible if one.split()[0] in ("go", "look", "open", "close", "examine")]
            command = rng.choice(harmless)
        elif label.startswith("take ") and not handling:  # take something else instead
            others = [one for one in turn.admissible if one.startswith("take ") and one != label]
            if others:
                command, handling = others[0], 1
                assert planner.runs == 1
        turn = world.step(command)
        expert.executed(command, turn)
    assert turn.won
    assert planner.runs == 1 + handling
    world.close()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("limits", [{"seconds": 0.05}, {"memory_mb": 64}])
def test_a_planner_past_its_limits_is_killed_and_has_no_answer(limits: dict[str, float]) -> None:
    world = make_alfworld(config())
    planner = AlfworldPlanner(**limits)  # type: ignore[arg-type]
    expert = OracleTextExpert(planner)
    game = games(6)[5]  # two objects: the search takes most of a minute and hundreds of megabytes
    turn = world.begin(game)
    expert.start(game, world, turn)
    assert expert.label(None, turn) is None  # type: ignore[arg-type]
    assert expert.label(None, turn) is None  # type: ignore[arg-type]
    assert planner.runs == 1  # not tried again in the same state
    world.close()


def test_other_worlds_are_refused() -> None:
    household = HouseholdTextWorld()
    turn = make_alfworld(config()).begin(games(1)[0])
    with pytest.raises(UserError, match="cannot play the world 'household'"):
        HandCodedTextExpert().start(games(1)[0], household, turn)
    with pytest.raises(UserError, match="cannot plan for the world 'household'"):
        AlfworldPlanner().plan(games(1)[0], household, ())
    household.close()
