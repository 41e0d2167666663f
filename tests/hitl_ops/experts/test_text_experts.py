"""Experts of text games: they win, from wherever others have brought the game, and know what they may know."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, TextExpert, TextGame, TextTurn, TextWorld
from hitl_ops.experts.text_beliefs import TextBeliefs
from hitl_ops.experts.text_oracle import HouseholdPlanner, OracleTextExpert
from hitl_ops.experts.text_searcher import SearcherExpert
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.household_text.world import HouseholdTextWorld
from hitl_ops.worlds.text_commands import parse_command


@functools.cache
def sixty_games() -> tuple[TextGame, ...]:
    """Ten of each family."""
    each = [generate_games("val", 10, 5, HouseholdTextConfig(families=(family,))) for family in FAMILIES]
    return tuple(game for games in each for game in games)


class Blind:
    """A world that must not be looked into."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the expert read '{name}' of the world")


def play(expert: TextExpert, game: TextGame, disturbed: int = 0, blind: bool = False) -> TextTurn:
    """A game in which the first ``disturbed`` commands are random ones, the others the expert's."""
    world = HouseholdTextWorld()
    rng = random.Random(game.seed)
    turn = world.begin(game)
    expert.start(game, Blind() if blind else world, turn)  # type: ignore[arg-type]
    while not turn.over:
        command = expert.label(None, turn)  # type: ignore[arg-type]  # neither reads the history
        assert command in turn.admissible
        assert expert.label(None, turn) == command, "asking changes nothing"  # type: ignore[arg-type]
        if turn.steps < disturbed:
            command = rng.choice(turn.admissible)
        turn = world.step(command)
        expert.executed(command, turn)
    assert expert.label(None, turn) is None  # type: ignore[arg-type]
    return turn


@pytest.mark.parametrize("disturbed", [0, 5])
def test_the_oracle_wins_every_game(disturbed: int) -> None:
    turns = [play(OracleTextExpert(), game, disturbed) for game in sixty_games()]
    assert all(turn.won for turn in turns)
    assert max(turn.steps for turn in turns) <= 12 + 2 * disturbed


@pytest.mark.parametrize("disturbed", [0, 5, 15])
def test_the_searcher_wins_by_words_alone(disturbed: int) -> None:
    won = {family: 0 for family in FAMILIES}
    for game in sixty_games():
        won[game.family] += play(SearcherExpert(), game, disturbed, blind=True).won
    assert sum(won.values()) >= 57, won
    assert min(won.values()) >= 8, won


def test_the_searcher_wins_in_a_whole_home() -> None:
    config = HouseholdTextConfig(rooms=8, objects_per_room=4)
    turns = [play(SearcherExpert(), game, blind=True) for game in generate_games("val", 12, 2, config)]
    assert sum(turn.won for turn in turns) >= 11


def test_the_searcher_answers_by_its_seed() -> None:
    def labels(seed: int) -> list[str | None]:
        found = []
        for game in sixty_games()[::6]:
            world, expert = HouseholdTextWorld(), SearcherExpert(seed)
            turn = world.begin(game)
            expert.start(game, world, turn)
            found.append(expert.label(None, turn))  # type: ignore[arg-type]
        return found

    assert labels(1) == labels(1)
    assert len({tuple(labels(seed)) for seed in range(4)}) > 1


def test_an_expert_can_be_used_for_one_game_after_another() -> None:
    for expert in (SearcherExpert(), OracleTextExpert()):
        for game in sixty_games()[::12]:
            assert play(expert, game).steps == play(type(expert)(), game).steps


# --- recovering ---------------------------------------------------------------------------------------------


def oracle_until(world: HouseholdTextWorld, game: TextGame, verb: str) -> list[str]:
    """The oracle's commands up to the first of a verb, which is left out."""
    turn = world.begin(game)
    commands: list[str] = []
    while (command := world.solution_step()) is not None and not command.startswith(verb):
        turn = world.step(command)
        commands.append(command)
    assert not turn.over
    return commands


def after(expert: TextExpert, game: TextGame, commands: Sequence[str], max_steps: int = 50) -> TextTurn:
    """Somebody else gives some commands; then the expert plays on to the end."""
    world = HouseholdTextWorld(max_steps)
    turn = world.begin(game)
    expert.start(game, world, turn)
    for command in commands:
        turn = world.step(command)
        expert.executed(command, turn)
    while not turn.over:
        command = expert.label(None, turn)  # type: ignore[assignment, arg-type]
        turn = world.step(command)
        expert.executed(command, turn)
    return turn


@pytest.mark.parametrize("make", [SearcherExpert, OracleTextExpert])
@pytest.mark.parametrize("family", ["pick_clean_then_place_in_recep", "pick_heat_then_place_in_recep"])
def test_a_thing_that_was_put_there_untreated_is_fetched_again(make: Callable[[], TextExpert], family: str) -> None:
    for game in [game for game in sixty_games() if game.family == family][:4]:
        verb = family.split("_")[1]
        commands = oracle_until(HouseholdTextWorld(), game, verb)
        world = HouseholdTextWorld()
        turn = world.begin(game)
        kind = game.setup["goal"]["place"].replace("_", " ")
        place = next(c.removeprefix("go to ") for c in turn.admissible if c.startswith(f"go to {kind} "))
        for command in commands:
            turn = world.step(command)
        held = next(c for c in turn.admissible if c.startswith(f"{verb} ")).removeprefix(f"{verb} ").split(" with ")[0]
        commands += [f"go to {place}", f"open {place}", f"put {held} in/on {place}", f"close {place}", "dance"]
        assert after(make(), game, commands).won


@pytest.mark.parametrize("make", [SearcherExpert, OracleTextExpert])
def test_a_wrong_thing_in_the_hand_is_put_down(make: Callable[[], TextExpert]) -> None:
    tried = 0
    for game in sixty_games()[::3]:
        world = HouseholdTextWorld()
        turn = world.begin(game)
        thing = game.setup["goal"]["thing"].replace("_", " ")
        for go in [command for command in turn.admissible if command.startswith("go to")]:
            turn = world.step(go)
            wrong = [c for c in turn.admissible if c.startswith("take") and not c.startswith(f"take {thing} ")]
            if wrong:
                tried += 1
                assert after(make(), game, [go, wrong[0], "look"]).won
                break
    assert tried >= 15


class Carrier:
    """Carries things that nobody wants to where the wanted ones are to go, until nothing more fits."""

    def __init__(self, game: TextGame) -> None:
        self.world = HouseholdTextWorld(max_steps=500)
        self.turn = self.world.begin(game)
        self.commands: list[str] = []
        goal = game.setup["goal"]
        self.target, self.thing = goal["place"].replace("_", " "), goal["thing"].replace("_", " ")

    def can(self, start: str) -> list[str]:
        return [command for command in self.turn.admissible if command.startswith(start)]

    def do(self, commands: Sequence[str]) -> bool:
        """Do the first of some commands, if there is one."""
        for command in commands[:1]:
            self.turn = self.world.step(command)
            self.commands.append(command)
        return bool(commands)

    def unwanted(self) -> list[str]:
        return [command for command in self.can("take ") if not command.startswith(f"take {self.thing} ")]

    def fill(self) -> bool:
        """Whether the only target is full in the end."""
        targets = self.can(f"go to {self.target} ")
        for source in [command for command in self.can("go to ") if command not in targets]:
            while True:
                self.do([source] if source in self.turn.admissible else [])
                self.do(self.can("open "))
                if not self.do(self.unwanted()):
                    break
                self.do(targets)
                self.do(self.can("open "))
                if not self.do(self.can("put ")):
                    return len(targets) == 1
        return False


@pytest.mark.parametrize("make", [SearcherExpert, OracleTextExpert])
def test_space_is_made_where_there_is_none(make: Callable[[], TextExpert]) -> None:
    """Other things fill the target before the wanted one comes."""
    filled = 0
    for game in [game for game in sixty_games() if game.family == "pick_and_place_simple"]:
        carrier = Carrier(game)
        if carrier.fill():
            filled += 1
            assert after(make(), game, carrier.commands, max_steps=len(carrier.commands) + 50).won
    assert filled


# --- the planner's side of the oracle -----------------------------------------------------------------------


class Counting:
    """The household's planner, planning three commands ahead."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def plan(self, game: TextGame, world: TextWorld, executed: Sequence[str]) -> Sequence[str] | None:
        self.asked.append(tuple(executed))
        ahead = HouseholdTextWorld()
        turn = ahead.begin(game)
        for command in executed:
            turn = ahead.step(command)
        plan = []
        while not turn.over and len(plan) < 3:
            command = ahead.solution_step()
            assert command is not None
            plan.append(command)
            turn = ahead.step(command)
        return plan


def test_a_plan_is_followed_until_somebody_does_otherwise() -> None:
    planner = Counting()
    expert = OracleTextExpert(planner)
    assert expert.policy_id == "text-oracle-counting"
    turn = play(expert, sixty_games()[0])
    assert turn.won
    assert [len(executed) for executed in planner.asked] == list(range(0, turn.steps, 3))
    planner.asked.clear()
    assert play(expert, sixty_games()[0], disturbed=2).won
    assert [len(executed) for executed in planner.asked][:3] == [0, 1, 2]


class Lost:
    """A planner without a plan, or with one for another room."""

    name = "lost"

    def __init__(self, answer: Sequence[str] | None) -> None:
        self.answer = answer

    def plan(self, game: TextGame, world: TextWorld, executed: Sequence[str]) -> Sequence[str] | None:
        return self.answer


@pytest.mark.parametrize("answer", [None, (), ("go to cellar 1",)])
def test_without_a_plan_there_is_no_label(answer: Sequence[str] | None) -> None:
    world, expert = HouseholdTextWorld(), OracleTextExpert(Lost(answer))
    turn = world.begin(sixty_games()[0])
    expert.start(sixty_games()[0], world, turn)
    assert expert.label(None, turn) is None  # type: ignore[arg-type]


def test_the_households_planner_plans_for_the_household_only() -> None:
    with pytest.raises(UserError, match="cannot plan for the world 'elsewhere'"):
        HouseholdPlanner().plan(sixty_games()[0], Elsewhere(), ())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        OracleTextExpert().label(None, TextTurn("", ("look",), False, False, 0))  # type: ignore[arg-type]


class Elsewhere:
    name = "elsewhere"


# --- reading the words --------------------------------------------------------------------------------------


def told(*exchanges: tuple[str, str]) -> TextBeliefs:
    beliefs = TextBeliefs.from_opening(
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
        "cabinet 1, a coffeetable 1, a fridge 1, and a kitchen counter 2.\n\nYour task is to: put a mug in cabinet 9."
    )
    for command, answer in exchanges:
        beliefs.read(parse_command(command), answer)
    return beliefs


def test_the_opening_tells_the_places_and_not_the_task() -> None:
    assert told().places == ("cabinet 1", "coffeetable 1", "fridge 1", "kitchen counter 2")


@pytest.mark.parametrize("put", ["You move the mug 1 to the cabinet 1.", "You put the mug 1 in/on the cabinet 1."])
@pytest.mark.parametrize("arrive", ["You arrive at coffeetable 1. ", "You arrive at loc 7. ", ""])
def test_alfworlds_answers_of_all_versions_are_read(put: str, arrive: str) -> None:
    beliefs = told(
        ("go to coffeetable 1", f"{arrive}On the coffeetable 1, you see a credit card 3, a mug 1, and a mug 2."),
        ("take mug 1 from coffeetable 1", "You pick up the mug 1 from the coffeetable 1."),
        ("go to cabinet 1", f"{arrive.replace('coffeetable', 'cabinet')}The cabinet 1 is closed."),
    )
    assert (beliefs.at, beliefs.held, beliefs.closed) == ("cabinet 1", "mug 1", {"cabinet 1": True})
    assert beliefs.where("mug") == [("mug 2", "coffeetable 1")]
    assert beliefs.where("creditcard") == [("credit card 3", "coffeetable 1")]
    beliefs.read(
        parse_command("open cabinet 1"), "You open the cabinet 1. The cabinet 1 is open. In it, you see nothing."
    )
    beliefs.read(parse_command("move mug 1 to cabinet 1"), put)
    assert (beliefs.held, beliefs.closed["cabinet 1"]) == (None, False)
    assert sorted(beliefs.where("mug")) == [("mug 1", "cabinet 1"), ("mug 2", "coffeetable 1")]


def test_what_did_not_happen_is_not_believed() -> None:
    beliefs = told(
        ("take mug 1 from fridge 1", "Nothing happens."), ("go to fridge 1", "Nothing happens."), ("hm", "What?")
    )
    assert (beliefs.at, beliefs.held, beliefs.seen) == (None, None, {})


def test_treatments_and_the_hand_are_remembered() -> None:
    beliefs = told(
        ("clean mug 1 with fridge 1", "You clean the mug 1 using the sinkbasin 1."),
        ("heat mug 1 with microwave 1", "You heat the mug 1 using the microwave 1."),
        ("cool mug 1 with fridge 1", "You cool the mug 1 using the fridge 1."),
        ("inventory", "You are carrying: a mug 1."),
    )
    assert beliefs.treated == {"mug 1": {"clean", "cool"}}
    assert beliefs.held == "mug 1"
    beliefs.read(parse_command("inventory"), "You are not carrying anything.")
    assert beliefs.held is None
