"""ALFWorld under the contract of text worlds, in both dialects."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import NOTHING_HAPPENS, TextGame, TextTurn, TextWorld
from hitl_ops.worlds.alfworld import AlfworldWorld, make_alfworld
from hitl_ops.worlds.alfworld.engine import read_game_file
from hitl_ops.worlds.alfworld.planning import place_of_agent
from hitl_ops.worlds.text_worlds import make_text_world
from tests.hitl_ops.worlds.alfworld.generated import config, folder_of, games
from tests.hitl_ops.worlds.text_world_contract import TextWorldContract

pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")

_SEEN = re.compile(r"(?:On the (?P<on>[a-z]+ \d+)|The (?P<in>[a-z]+ \d+) is open\. In it), you see (?P<things>.*)\.$")
_REMEMBERED = ("checked", "not_checked")  # what was looked at, which nothing depends on


class TestAlfworld(TextWorldContract):
    walks = 4
    length = 24

    def make_world(self, max_steps: int = 50) -> AlfworldWorld:
        return make_alfworld(config().replace(max_steps=max_steps))

    def games(self) -> Sequence[TextGame]:
        return games(6)

    def snapshot(self, world: TextWorld) -> Hashable:
        assert isinstance(world, AlfworldWorld)
        return frozenset(fact for fact in world.facts() if fact[0] not in _REMEMBERED)

    def check_truth(self, world: TextWorld, game: TextGame, turn: TextTurn) -> None:
        assert isinstance(world, AlfworldWorld)
        facts = set(world.facts())
        seen = _SEEN.search(turn.text)
        if seen is not None and not turn.text.startswith("This is"):
            place = seen["on"] or seen["in"]
            told = {one.removeprefix("and ").removeprefix("a ") for one in seen["things"].split(", ")} - {"nothing"}
            assert told == {
                names[0] for predicate, names in facts if (predicate, *names[1:]) == ("inreceptacle", place)
            }
        closed = re.search(r"The ([a-z]+ \d+) is closed\.", turn.text)
        if closed:
            assert ("openable", (closed[1],)) in facts and ("opened", (closed[1],)) not in facts
        for taken in re.findall(r"You pick up the ([a-z]+ \d+)", turn.text):
            assert ("holds", ("agent1", taken)) in facts
        for put, place in re.findall(r"You put the ([a-z]+ \d+) in/on the ([a-z]+ \d+)", turn.text):
            assert ("inreceptacle", (put, place)) in facts
        if turn.won:
            self._check_goal(world, game, facts)

    @staticmethod
    def _check_goal(world: AlfworldWorld, game: TextGame, facts: set[tuple[str, tuple[str, ...]]]) -> None:
        target, parent = game.setup["folder"].split("/")[2].lower().split("-")[1:4:2]
        state = {"clean": "isclean", "heat": "ishot", "cool": "iscool"}.get(game.family.split("_")[1])
        if game.family == "look_at_obj_in_light":
            assert any(fact[0] == "holds" and fact[1][1].split()[0] == target for fact in facts)
            return
        there: dict[str, int] = {}
        for predicate, names in facts:
            if predicate == "inreceptacle" and [name.split()[0] for name in names] == [target, parent]:
                there[names[1]] = there.get(names[1], 0) + (state is None or (state, names[:1]) in facts)
        assert max(there.values()) >= (2 if game.family == "pick_two_obj_and_place" else 1)


def test_the_world_is_made_by_name() -> None:
    world = make_text_world("alfworld", {"root": config().root, "max_steps": 1})
    assert world.name == "alfworld"
    world.begin(games(1)[0])
    assert world.step("look").over
    world.close()


def test_a_household_game_is_not_played() -> None:
    world = make_alfworld(config())
    with pytest.raises(UserError, match="is one of world 'household'"):
        world.begin(games(1)[0].model_copy(update={"world": "household"}))
    with pytest.raises(UserError, match="broken setup"):
        world.begin(games(1)[0].model_copy(update={"setup": {}}))
    world.close()


def test_the_papers_dialect_and_the_engines_tell_the_same() -> None:
    papers, engine = make_alfworld(config()), make_alfworld(config().replace(dialect="alfworld"))
    puts = 0
    for game in games(6):
        told, raw = papers.begin(game), engine.begin(game)
        assert raw.text.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.")
        assert told.text == "\n".join(raw.text.split("\n\n")[1:])  # as ReAct's prompts cut it
        for command in read_game_file(folder_of(game)).walkthrough or ():
            assert command in raw.admissible
            puts += command.startswith("move ")
            assert (command in told.admissible) is not command.startswith("move ")
            told, raw = papers.step(command), engine.step(command)
            assert told.won == raw.won and len(told.admissible) == len(raw.admissible)
            if command.startswith("move "):
                thing, place = command.removeprefix("move ").split(" to ")
                assert raw.text == f"You move the {thing} to the {place}."
                assert told.text == f"You put the {thing} in/on the {place}."
            else:
                assert told.text == raw.text
    assert puts >= 5
    papers.begin(games(1)[0])
    assert "put (object) in/on (receptacle):" in papers.step("help").text
    papers.close()
    engine.close()


def test_to_what_cannot_be_done_nothing_happens() -> None:
    world = make_alfworld(config())
    turn = world.begin(games(1)[0])
    for number, command in enumerate(("xyzzy", "take moon 1 from sky 1", "put mug 1 in/on desk 1", ""), 1):
        after = world.step(command)
        assert (after.text, after.admissible, after.steps) == (NOTHING_HAPPENS, turn.admissible, number)
    assert place_of_agent(world.facts()) == ""
    world.close()
