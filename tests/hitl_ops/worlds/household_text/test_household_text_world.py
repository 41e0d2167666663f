"""The household as a text game: it keeps the contract of text worlds, and its words are its facts'."""

from __future__ import annotations

import functools
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.episode import Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, NOTHING_HAPPENS, TextGame, TextTurn, TextWorld
from hitl_ops.worlds.household.facts import Facts, Vec3
from hitl_ops.worlds.household.predicates import compile_predicate
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.household_text.play import HomePlay
from hitl_ops.worlds.household_text.setup import HouseholdSetup
from hitl_ops.worlds.household_text.solution import solve
from hitl_ops.worlds.household_text.world import HouseholdTextWorld
from hitl_ops.worlds.text_commands import parse_command
from tests.hitl_ops.worlds.text_world_contract import TextWorldContract, random_commands


@functools.cache
def some_games() -> tuple[TextGame, ...]:
    """Two of every family, in homes of the smallest split."""
    games = generate_games("val", 12, 0, HouseholdTextConfig())
    assert {game.family for game in games} == set(FAMILIES)
    # The first home has no standing lamp: the light is one that stands on something.
    by_table_lamp = generate_games("val", 1, 0, HouseholdTextConfig(families=("look_at_obj_in_light",)))
    assert by_table_lamp[0].task.rstrip(".").endswith("the lamp")
    return (*games, by_table_lamp[0].model_copy(update={"game_id": "by_table_lamp"}))


def of_family(family: str) -> TextGame:
    return next(game for game in some_games() if game.family == family)


def named(text: str) -> set[str]:
    return set(re.findall(r"\ba ([a-z ]+ \d+)", text))


def said(name: str) -> str:
    return name.replace("_", " ")


class TestHouseholdTextWorld(TextWorldContract):
    changing = TextWorldContract.changing | {"clean", "heat", "cool", "use"}

    def make_world(self, max_steps: int = 50) -> HouseholdTextWorld:
        return HouseholdTextWorld(max_steps)

    def games(self) -> Sequence[TextGame]:
        return some_games()

    def snapshot(self, world: TextWorld) -> Hashable:
        assert isinstance(world, HouseholdTextWorld)
        return world.facts.digest()

    def check_truth(self, world: TextWorld, game: TextGame, turn: TextTurn) -> None:
        assert isinstance(world, HouseholdTextWorld)
        facts = world.facts
        check_listing(facts, turn.text)
        check_conditions(facts, turn.text)
        held = facts.agents[0].held
        if turn.text.startswith("You are carrying"):
            assert named(turn.text) == {said(held or "")}
        if turn.text.startswith("You pick up"):
            assert f"You pick up the {said(held or '')} from" in turn.text
        if turn.text.startswith(("You put", "You are not carrying")):
            assert held is None
        check_nothing_unseen(facts, turn)
        assert turn.won == is_won(facts, HouseholdSetup.of(game), standing_at(facts, turn))


def place_named(facts: Facts, spoken: str) -> str:
    return next(name for name in facts.furniture_rooms if said(name) == spoken)


def lying_at(facts: Facts, place: str) -> set[str]:
    return {said(name) for name, thing in facts.objects.items() if thing.parent == place}


def check_listing(facts: Facts, text: str) -> None:
    for spoken, things in re.findall(r"On the ([a-z ]+ \d+), you see (.+?)\.", text):
        place = place_named(facts, spoken)
        assert place not in facts.furniture_open
        assert named(things) == lying_at(facts, place)
    for spoken, things in re.findall(r"The ([a-z ]+ \d+) is open\. In it, you see (.+?)\.", text):
        place = place_named(facts, spoken)
        assert facts.furniture_open[place]
        assert named(things) == lying_at(facts, place)
    for spoken in re.findall(r"The ([a-z ]+ \d+) is closed\.", text):
        assert not facts.furniture_open[place_named(facts, spoken)]
    arrived = re.match(r"You arrive at ([a-z ]+ \d+)\.", text)
    if arrived:
        assert stands_at(facts, facts.furniture_boxes[place_named(facts, arrived[1])])


def stands_at(facts: Facts, box: tuple[Vec3, Vec3]) -> bool:
    """Whether the agent is an arm's length from a piece of furniture."""
    (x0, _, z0), (x1, _, z1) = box
    body = facts.agents[0]
    return x0 - 0.8 <= body.x <= x1 + 0.8 and z0 - 0.8 <= body.z <= z1 + 0.8


def check_conditions(facts: Facts, text: str) -> None:
    condition = r"This is a ((?:hot|cool|clean|dirty)(?: and (?:clean|dirty))?) ([a-z ]+ \d+)\."
    for words, spoken in re.findall(condition, text):
        states = next(thing.states for name, thing in facts.objects.items() if said(name) == spoken)
        assert ("hot" in words) == states.get("is_hot", False)
        assert ("cool" in words) == states.get("is_cool", False)
        assert ("dirty" in words) == (states.get("is_clean") is False)
    for spoken, is_on in re.findall(r"(?:This|The) ([a-z ]*lamp \d+) is (on|off)\.", text):
        names = [name for name in (*facts.objects, *facts.furniture_rooms) if said(name) == spoken]
        assert facts.state(names[0], "is_powered_on") == (is_on == "on")
    for switched, spoken in re.findall(r"You turn (on|off) the ([a-z ]+ \d+)\.", text):
        names = [name for name in (*facts.objects, *facts.furniture_rooms) if said(name) == spoken]
        assert facts.state(names[0], "is_powered_on") == (switched == "on")


def standing_at(facts: Facts, turn: TextTurn) -> str | None:
    """Where the agent is: the only place it may look at closely."""
    return next((name for name in facts.furniture_rooms if f"examine {said(name)}" in turn.admissible), None)


def check_nothing_unseen(facts: Facts, turn: TextTurn) -> None:
    """No command names a thing that is neither in the hand nor in sight where the agent stands."""
    things = {said(name): thing for name, thing in facts.objects.items()}
    here = standing_at(facts, turn)
    for command in turn.admissible:
        parsed = parse_command(command)
        assert parsed is not None
        if parsed.thing in things:
            thing = things[parsed.thing]
            assert thing.relation == "held" or thing.parent == here
            assert facts.furniture_open.get(thing.parent, True)


def is_won(facts: Facts, setup: HouseholdSetup, here: str | None) -> bool:
    """The goal asked of PARTNR's predicates, which know nothing of text games."""

    def holds(function: str, **args: Any) -> bool:
        return compile_predicate(Proposition(function_name=function, args=args), facts, "test").holds(facts)

    goal = setup.goal
    wanted = [name for name, thing in facts.objects.items() if thing.kind == goal.thing]
    if goal.family == "look_at_obj_in_light":
        lights = [name for name in (*facts.furniture_states, *facts.objects) if name.rsplit("_", 1)[0] == goal.place]
        lit = [name for name in lights if holds("is_powered_on", object_handles=[name])]
        places = {facts.objects[name].parent if name in facts.objects else name for name in lit}
        return facts.agents[0].held in wanted and here in {p for p in places if facts.furniture_open.get(p, True)}
    treated = {
        "pick_clean_then_place_in_recep": lambda name: holds("is_clean", object_handles=[name]),
        "pick_heat_then_place_in_recep": lambda name: bool(facts.objects[name].states.get("is_hot")),
        "pick_cool_then_place_in_recep": lambda name: bool(facts.objects[name].states.get("is_cool")),
    }.get(goal.family, lambda name: True)
    ready = [name for name in wanted if treated(name)]
    number = 2 if goal.family == "pick_two_obj_and_place" else 1
    rooms = facts.furniture_rooms
    places = [name for name in rooms if name.rsplit("_", 1)[0] == goal.place and rooms[name] in setup.rooms]
    if len(ready) < number:
        return False
    counted = {"number": number, "is_same_receptacle": True} if number > 1 else {}
    return any(
        holds(function, object_handles=ready, receptacle_handles=places, **counted)
        for function in ("is_on_top", "is_inside")
    )


def begun(game: TextGame) -> tuple[HouseholdTextWorld, TextTurn]:
    world = HouseholdTextWorld()
    return world, world.begin(game)


def test_the_opening_lists_the_places_of_the_rooms_played_in() -> None:
    for game in some_games():
        _, turn = begun(game)
        setup = HouseholdSetup.of(game)
        home = HomePlay(setup)
        listed = named(turn.text.partition("Your task")[0])
        assert listed == set(home.places)
        assert {home.state.furniture[place].room for place in home.places.values()} == set(setup.rooms)
        assert listed == {c.removeprefix("go to ") for c in turn.admissible if c.startswith("go to ")}
        assert turn.text.startswith("You are in the middle of a room. Looking quickly around you, you see a ")


_SEEN = r"(?:nothing|a X(?:, a X)*(?:, and a X)?)"
_TOLD = rf"(?:On the X, you see {_SEEN}|The X is closed|The X is open\. In it, you see {_SEEN}|The X is (?:on|off))"
WORDINGS = {
    "go": rf"You arrive at X\. {_TOLD}\.",
    "open": rf"You open the X\. The X is open\. In it, you see {_SEEN}\.",
    "close": r"You close the X\.",
    "take": r"You pick up the X from the X\.",
    "put": r"You put the X in/on the X\.",
    "clean": r"You clean the X using the X\.",
    "heat": r"You heat the X using the X\.",
    "cool": r"You cool the X using the X\.",
    "use": r"You turn (?:on|off) the X\.",
    "look": rf"You are (?:facing the X\. Next to it, you see nothing"
    rf"|in the middle of a room\. Looking quickly around you, you see {_SEEN})\.",
    "inventory": r"You are (?:not carrying anything|carrying: a X)\.",
    "examine": rf"(?:{_TOLD}|This is a (?:hot|cool|clean|dirty)(?: and (?:clean|dirty))? X|This X is (?:on|off)"
    r"|There's nothing special about X)\.",
}


def test_what_is_told_is_worded_as_in_alfworld() -> None:
    """Every answer of walks through all families, to the letter but for the names."""
    verbs = set()
    for game in some_games():
        world = HouseholdTextWorld(max_steps=500)
        world.begin(game)
        names = sorted({said(name) for name in (*world.facts.objects, *world.facts.furniture_rooms)}, key=len)[::-1]
        walks = [command for seed in range(3) for command in random_commands(world, game, seed, 40)]
        commands = [*(solve(HouseholdSetup.of(game), 50) or ())[:-1], *walks]
        turn = world.begin(game)
        for command in commands:
            if command not in turn.admissible:
                continue
            turn = world.step(command)
            text = functools.reduce(lambda told, name: told.replace(name, "X"), names, turn.text)
            verbs.add(command.split()[0])
            assert re.fullmatch(WORDINGS[command.split()[0]], text), turn.text
            if turn.over:
                break
    assert verbs == set(WORDINGS)


def test_cold_drives_out_heat() -> None:
    game = of_family("pick_cool_then_place_in_recep")
    world, turn = begun(game)
    for command in solve(HouseholdSetup.of(game), 50) or ():
        if command.startswith("cool"):
            break
        turn = world.step(command)
    thing = (world.facts.agents[0].held or "").replace("_", " ")
    fridge = next(c for c in turn.admissible if c.startswith("cool ")).partition(" with ")[2]
    world.step(f"cool {thing} with {fridge}")
    assert "cool" in world.step(f"examine {thing}").text
    assert world.step(f"cool {thing} with {fridge}").text == NOTHING_HAPPENS
    stove = next(place for place in world.step("look").admissible if "stove" in place)
    turn = world.step(stove)
    if any(command.startswith("heat") for command in turn.admissible):
        world.step(next(command for command in turn.admissible if command.startswith("heat")))
        told = world.step(f"examine {thing}").text
        assert "hot" in told
        assert "cool" not in told
    else:
        pytest.fail(f"{thing} can be cooled at this home's fridge but not heated at its stove")


def test_two_things_count_only_in_one_place() -> None:
    game = of_family("pick_two_obj_and_place")
    commands = solve(HouseholdSetup.of(game), 50)
    assert commands is not None
    assert sum(command.startswith("put") for command in commands) == 2
    world, _ = begun(game)
    turns = [world.step(command) for command in commands]
    assert [turn.won for turn in turns] == [False] * (len(turns) - 1) + [True]


def test_a_game_of_another_world_or_a_broken_one_is_refused() -> None:
    game = some_games()[0]
    world = HouseholdTextWorld()
    with pytest.raises(UserError, match="is for the world 'alfworld'"):
        world.begin(game.model_copy(update={"world": "alfworld"}))
    with pytest.raises(UserError, match=r"setup\.goal"):
        world.begin(game.model_copy(update={"setup": {**game.setup, "goal": {}}}))
    with pytest.raises(UserError, match="room 'cellar_1'"):
        world.begin(game.model_copy(update={"setup": {**game.setup, "rooms": ["cellar_1"]}}))
    episode = {**game.setup["episode"], "scene_id": "hssd_12"}
    with pytest.raises(UserError, match="scene asset 'hssd_12' is missing"):
        world.begin(game.model_copy(update={"setup": {**game.setup, "episode": episode}}))


def test_a_picture_shows_what_the_words_tell() -> None:
    """Taking, opening and switching on change what is seen from the same place."""
    changed = set()
    for game in some_games():
        world, turn = begun(game)
        before = world.picture(64)
        for command in solve(HouseholdSetup.of(game), 50) or ():
            turn = world.step(command)
            after = world.picture(64)
            verb = command.split()[0]
            if verb in ("take", "put", "open", "use", "clean"):
                assert not np.array_equal(before, after), command
                changed.add(verb)
            before = after
        world.close()
        assert turn.won
    assert changed == {"take", "put", "open", "use", "clean"}


def test_pictures_agree_without_opengl() -> None:
    pytest.importorskip("pybullet")
    slow, fast = HouseholdTextWorld(renderer="pybullet"), HouseholdTextWorld()
    game = some_games()[0]
    slow.begin(game), fast.begin(game)
    difference = np.abs(slow.picture(48).astype(int) - fast.picture(48).astype(int))
    assert float(np.mean(difference)) < 20
    slow.close(), fast.close()
