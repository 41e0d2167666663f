"""The fast engine against ALFWorld's own: the same texts, commands, facts and goals, state by state."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from hitl_ops.contracts.text_game import NOTHING_HAPPENS
from hitl_ops.worlds.alfworld import make_alfworld
from hitl_ops.worlds.alfworld.engine import read_game_file
from hitl_ops.worlds.alfworld.fast_engine import FastEngine
from hitl_ops.worlds.alfworld.stock_engine import StockEngine
from tests.hitl_ops.worlds.alfworld.generated import config, folder_of, games

pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")

STATES = 720
STRANGE = ("", "fly", "look around", "put mug 1 in/on desk 1", "go to", "take  ", "GO TO DRAWER 1")


@pytest.mark.slow
@pytest.mark.parametrize("family", range(6))
def test_random_walks_are_the_same_in_both(family: int) -> None:
    """Six families, two games each, 60 states a game: 720 in all."""
    stock, fast = StockEngine(), FastEngine(config().translations_folder)
    verbs: set[str] = set()
    for number in (family, family + 6):
        rng = random.Random(number)
        file = read_game_file(folder_of(games(12)[number]))
        walkthrough = list(file.walkthrough or ()) if number < 6 else []
        expected, ours = stock.begin(file), fast.begin(file)
        won = False
        for step in range(STATES // 12):
            assert ours == expected, step
            assert set(fast.facts()) == set(stock.facts())
            won |= expected.won
            if walkthrough:
                command = walkthrough.pop(0)
            elif step % 9 == 8:
                command = rng.choice(STRANGE)
            else:  # handling more often than walking
                handling = [one for one in expected.commands if not one.startswith(("go to", "help", "inventory"))]
                command = rng.choice(handling if rng.random() < 0.5 and handling else expected.commands)
            verbs.add(command.split(" ")[0])
            expected, ours = stock.step(command), fast.step(command)
        assert fast.names() == stock.names()
        assert won or number >= 6
    assert {"go", "take", "move", "examine"} <= verbs or family == 1  # nothing need be put down under a lamp
    assert {1: "use", 2: "clean", 3: "heat", 4: "cool"}.get(family, "go") in verbs
    fast.close()
    stock.close()


@pytest.mark.slow
def test_slicing_is_the_same_in_both() -> None:
    stock, fast = StockEngine(), FastEngine(config().translations_folder)
    file = read_game_file(folder_of(games(6)[4]))
    turn = stock.begin(file)
    assert fast.begin(file) == turn
    facts = set(stock.facts())
    where = {names[0]: names[1] for predicate, names in facts if predicate == "inreceptacle"}
    knife = next(thing for thing in sorted(where) if thing.split()[0] in ("knife", "butterknife"))
    food = next(names[0] for predicate, names in sorted(facts) if predicate == "sliceable" and names[0] in where)
    commands = [f"go to {where[knife]}", f"open {where[knife]}", f"take {knife} from {where[knife]}"]
    commands += [f"go to {where[food]}", f"open {where[food]}", f"slice {food} with {knife}"]
    commands += [f"move {knife} to {where[food]}", f"take {food} from {where[food]}", f"examine {food}"]
    for command in commands:
        turn = stock.step(command)
        assert fast.step(command) == turn
    assert "sliced" in turn.feedback
    assert set(fast.facts()) == set(stock.facts())
    fast.close()
    stock.close()


@pytest.mark.parametrize("engine", ["fast", "stock"])
def test_engines_come_and_go_beside_each_other(engine: str) -> None:
    """Unloading a copy of the planner's library crashes the process when the next one is loaded elsewhere."""
    code = (
        "import json, mmap, sys\n"
        "from hitl_ops.worlds.alfworld import make_alfworld\n"
        "from hitl_ops.contracts.text_game import TextGame\n"
        "settings, game = json.load(sys.stdin); game = TextGame(**game); kept = []\n"
        "first = make_alfworld(settings); told = first.begin(game)\n"
        "for number in range(4):\n"
        "    other = make_alfworld(settings); assert other.begin(game) == told; other.close()\n"
        "    kept += [mmap.mmap(-1, 4096 * pages) for pages in (1, 16, 64, 256, 512, 1024) for _ in range(4)]\n"
        "    kept.append(make_alfworld(settings))\n"
        "    assert first.step('look').text\n"
        "print('done')\n"
    )
    settings = config().replace(engine=engine).model_dump_json()
    request = f"[{settings}, {games(1)[0].model_dump_json()}]"
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=request,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_both_engines_are_the_same_world() -> None:
    fast, stock = make_alfworld(config()), make_alfworld(config().replace(engine="stock"))
    game = games(6)[3]
    rng = random.Random(3)
    turn = fast.begin(game)
    assert stock.begin(game) == turn
    for step in range(12):
        command = rng.choice(turn.admissible) if step % 4 else rng.choice(STRANGE)
        turn = fast.step(command)
        assert stock.step(command) == turn
    stock.close()
    stock.close()
    fast.close()


def test_texts_do_not_depend_on_how_python_hashes() -> None:
    game = games(6)[5]
    code = (
        "import json, random, sys\n"
        "from hitl_ops.contracts.text_game import TextGame\n"
        "from hitl_ops.worlds.alfworld import make_alfworld\n"
        "root, game = json.load(sys.stdin)\n"
        "world = make_alfworld({'root': root}); turn = world.begin(TextGame(**game)); rng = random.Random(0)\n"
        "turns = [turn] + [turn := world.step(rng.choice(turn.admissible)) for _ in range(40)]\n"
        "print(turns, world.picture(32).sum())\n"
    )
    request = f'["{config().root}", {game.model_dump_json()}]'
    path = os.pathsep.join(path for path in sys.path if path)
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=request,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1 and "You arrive at" in told.pop()


def test_arguments_and_output_of_the_process_are_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = sys.argv
    for engine in (StockEngine(), FastEngine(config().translations_folder / "fresh")):
        engine.begin(read_game_file(folder_of(games(1)[0])))
        assert engine.step("fly").feedback == NOTHING_HAPPENS
        engine.close()
    assert sys.argv is arguments
    assert capfd.readouterr().out == ""


def test_many_games_in_one_engine_take_no_more_memory() -> None:
    engine = FastEngine(config().translations_folder)
    files = [read_game_file(folder_of(game)) for game in games(6)]

    def play(rounds: int) -> int:
        for file in files * rounds:
            engine.begin(file)
            engine.step("look")
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    play(5)
    before = play(1)
    # ALFWorld's own engine keeps about 1.6 MB of every game: 150 of them would be 240 MB.
    assert play(25) - before < 30e6
    engine.close()
