"""What every text world keeps to; a world's test file subclasses ``TextWorldContract``."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.text_game import NOTHING_HAPPENS, TextGame, TextTurn, TextWorld
from hitl_ops.worlds.text_commands import in_dialect, parse_command

NONSENSE = (
    "",
    "   ",
    "dance",
    "take moon 1 from mars 1",
    "go to nowhere 7",
    "put it down",
    "open sesame",
    "look\nlook",
)


def random_commands(world: TextWorld, game: TextGame, seed: int, count: int) -> list[str]:
    """Admissible commands of a random walk that does not end before its last one."""
    rng = random.Random(seed)
    turn = world.begin(game)
    commands: list[str] = []
    while len(commands) < count and not turn.over:
        commands.append(rng.choice(turn.admissible))
        turn = world.step(commands[-1])
    return commands[:-1] if turn.over else commands


def replay(world: TextWorld, game: TextGame, commands: Sequence[str]) -> list[TextTurn]:
    return [world.begin(game), *(world.step(command) for command in commands)]


class TextWorldContract(ABC):
    """Subclasses say how a world is made, which games it plays and what its facts are."""

    walks = 3
    """Random walks per game, ``length`` commands each."""
    length = 12
    changing: frozenset[str] = frozenset({"go", "take", "put", "open", "close"})
    """Verbs that always change the facts when they are admissible."""

    @abstractmethod
    def make_world(self, max_steps: int = 50) -> TextWorld:
        """The world, with a step limit."""

    @abstractmethod
    def games(self) -> Sequence[TextGame]:
        """A few games, of different families."""

    @abstractmethod
    def snapshot(self, world: TextWorld) -> Hashable:
        """Everything that is true now; equal where nothing has changed."""

    @abstractmethod
    def check_truth(self, world: TextWorld, game: TextGame, turn: TextTurn) -> None:
        """Assert that the words of a turn agree with the facts, and that ``won`` does."""

    # --- the contract ---------------------------------------------------------------------------------------

    def test_a_game_begins_with_its_task(self) -> None:
        with closing(self.make_world()) as world:
            for game in self.games():
                assert game.world == world.name
                turn = world.begin(game)
                assert turn.text.endswith(f"Your task is to: {game.task}")
                assert (turn.won, turn.over, turn.steps) == (False, False, 0)
                self.check_truth(world, game, turn)

    def test_commands_are_sorted_and_in_the_papers_dialect(self) -> None:
        with closing(self.make_world()) as world:
            for game in self.games():
                for turn in replay(world, game, random_commands(world, game, 1, self.length)):
                    assert turn.admissible
                    assert list(turn.admissible) == sorted(set(turn.admissible))
                    assert {"look", "inventory"} <= set(turn.admissible)
                    for command in turn.admissible:
                        assert in_dialect(command, "papers") == command
                        assert parse_command(command) is not None

    def test_the_same_commands_always_end_in_the_same(self) -> None:
        first, second = self.make_world(), self.make_world()
        with closing(first), closing(second):
            for game in self.games():
                commands = random_commands(first, game, 2, self.length)
                turns = replay(first, game, commands)
                # A world that has played other games before is no other world.
                assert replay(second, game, commands) == turns
                assert self.snapshot(first) == self.snapshot(second)

    def test_every_admissible_command_does_something(self) -> None:
        with closing(self.make_world()) as world:
            for game in self.games():
                commands = random_commands(world, game, 3, self.length)
                turn = replay(world, game, commands)[-1]
                before = self.snapshot(world)
                for command in turn.admissible:
                    replay(world, game, commands)
                    after = world.step(command)
                    assert after.text != NOTHING_HAPPENS, command
                    assert after.steps == turn.steps + 1
                    verb = command.split()[0]
                    if verb in self.changing:
                        assert self.snapshot(world) != before, command
                    elif verb in ("look", "inventory", "examine"):
                        assert self.snapshot(world) == before, command
                        assert after.admissible == turn.admissible

    def test_to_any_other_command_nothing_happens(self) -> None:
        with closing(self.make_world()) as world:
            for game in self.games():
                commands = random_commands(world, game, 4, self.length)
                met: set[str] = set()
                for turn in replay(world, game, commands):
                    met |= set(turn.admissible)
                before = self.snapshot(world)
                # What could be done elsewhere or earlier is the hardest to tell from what can be done here and now.
                others = sorted(met - set(turn.admissible))[:: max(1, len(met) // 20)]
                for command in [*NONSENSE, *others]:
                    replay(world, game, commands)
                    after = world.step(command)
                    assert after.text == NOTHING_HAPPENS, command
                    assert (after.admissible, after.won, after.steps) == (turn.admissible, False, turn.steps + 1)
                    assert self.snapshot(world) == before, command

    def test_both_dialects_mean_the_same(self) -> None:
        puts = 0
        with closing(self.make_world()) as world:
            for game in self.games():
                for seed in range(self.walks):
                    commands = random_commands(world, game, seed, self.length)
                    expected = replay(world, game, commands)
                    truth = self.snapshot(world)
                    moved = [in_dialect(command, "alfworld").upper() for command in commands]
                    puts += sum(command.startswith("MOVE ") for command in moved)
                    assert replay(world, game, moved) == expected
                    assert self.snapshot(world) == truth
        assert puts, "no walk put anything anywhere: walk longer"

    def test_a_game_is_over_at_its_step_limit(self) -> None:
        with closing(self.make_world(max_steps=3)) as world:
            game = self.games()[0]
            turns = replay(world, game, ["look", "dance", "inventory"])
            assert [turn.steps for turn in turns] == [0, 1, 2, 3]
            assert [turn.over for turn in turns] == [False, False, False, True]
            assert not turns[-1].won
            assert turns[-1].admissible
            with pytest.raises(RuntimeError):
                world.step("look")
            assert not world.begin(game).over

    def test_nothing_can_be_done_before_a_game_begins(self) -> None:
        with closing(self.make_world()) as world:
            with pytest.raises(RuntimeError):
                world.step("look")
            with pytest.raises(RuntimeError):
                world.picture(32)

    def test_pictures_show_the_moment_and_change_nothing(self) -> None:
        with closing(self.make_world()) as world:
            for game in self.games():
                commands = random_commands(world, game, 5, self.length)
                shown = []
                for turns in range(len(commands) + 1):
                    replay(world, game, commands[:turns])
                    before = self.snapshot(world)
                    shown.append(world.picture(48))
                    assert (shown[-1].shape, shown[-1].dtype) == ((48, 48, 3), np.uint8)
                    assert self.snapshot(world) == before
                assert len({picture.tobytes() for picture in shown}) > 1
                replay(world, game, commands)
                np.testing.assert_array_equal(world.picture(48), shown[-1])
                assert world.picture(32).shape == (32, 32, 3)

    def test_closing_again_is_harmless(self) -> None:
        world = self.make_world()
        world.begin(self.games()[0])
        world.close()
        world.close()

    @settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(number=st.integers(0, 10_000), seed=st.integers(0, 10_000))
    def test_the_words_tell_the_truth(self, number: int, seed: int) -> None:
        games = self.games()
        game = games[number % len(games)]
        rng = random.Random(seed)
        with closing(self.make_world()) as world:
            turn = world.begin(game)
            while not turn.over and turn.steps < 2 * self.length:
                # Walking is most of what can be done; without a preference little would ever be carried about.
                handling = [c for c in turn.admissible if not c.startswith(("go to", "examine", "look", "inventory"))]
                turn = world.step(rng.choice(handling if handling and rng.random() < 0.6 else turn.admissible))
                self.check_truth(world, game, turn)
