"""ALFWorld played fast, beside ALFWorld's own engine: steps, loading with the first turn, and pictures.

Both walk the same commands in the same generated games, in turn, and must say the same. Loading is from the game's
file to the opening with its commands; ours finds the game translated before, as from a game's second time on; the
first time, translation included, stands in a row of its own. Pictures are our schematic drawings, not AI2-THOR's.
Run ``python -m benchmarks.alfworld`` for the rows as JSON.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.worlds.alfworld import AlfworldConfig, make_alfworld
from hitl_ops.worlds.alfworld.engine import AlfredEngine, GameFile, read_game_file
from hitl_ops.worlds.alfworld.fast_engine import FastEngine
from hitl_ops.worlds.alfworld.games import generated_games
from hitl_ops.worlds.alfworld.stock_engine import StockEngine

STOCK = "ALFWorld's own engine"
STEPS_RATIO = 8.0


class Settings(StrictConfig):
    """What is measured."""

    rounds: int = Field(default=5, ge=1, description="rounds of both engines in turn; figures are medians over them")
    games: int = Field(default=3, ge=1, le=60, description="games played in each round, families taking turns")
    steps: int = Field(default=20, ge=1, description="commands given in each game")
    pictures: int = Field(default=100, ge=1, description="pictures drawn in each round")


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds per loading and per step, and what was said."""

    loading: float
    step: float
    texts: list[str]


def _walk(file: GameFile, steps: int, engine: AlfredEngine, seed: int) -> list[str]:
    """Commands of a random walk, more handling than walking."""
    rng = random.Random(seed)
    turn, commands = engine.begin(file), []
    for _ in range(steps):
        handling = [one for one in turn.commands if not one.startswith(("go to", "help", "inventory"))]
        commands.append(rng.choice(handling if handling and rng.random() < 0.5 else turn.commands))
        turn = engine.step(commands[-1])
    return commands


def _play(engine: AlfredEngine, walks: list[tuple[Path, list[str]]]) -> _Times:
    loading = stepping = 0.0
    texts = []
    for folder, commands in walks:
        started = time.perf_counter()
        turn = engine.begin(read_game_file(folder))
        loaded = time.perf_counter()
        texts.append(turn.feedback)
        for command in commands:
            turn = engine.step(command)
            texts.append(turn.feedback)
        stepping += time.perf_counter() - loaded
        loading += loaded - started
    return _Times(loading / len(walks), stepping / sum(len(commands) for _, commands in walks), texts)


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench alfworld``: medians, both engines in turn.

    Raises:
        UserError: the extra is not installed.
    """
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="alfworld-bench-") as root:
        config = AlfworldConfig(root=root)
        games = generated_games("test", settings.games, 0, config)
        folders = [Path(root) / game.setup["folder"] for game in games]
        fast, stock = FastEngine(config.translations_folder), StockEngine()
        walks = [
            (folder, _walk(read_game_file(folder), settings.steps, fast, number))
            for number, folder in enumerate(folders)
        ]
        ours, theirs, first = [], [], []
        for number in range(settings.rounds):
            ours.append(_play(fast, walks))
            theirs.append(_play(stock, walks))
            untranslated = FastEngine(Path(root) / f"untranslated-{number}")
            first.append(_play(untranslated, [(folder, ["look"]) for folder in folders]).loading)
            untranslated.close()
        if any(one.texts != theirs[0].texts for one in (*ours, *theirs)):
            raise RuntimeError("the two engines do not say the same")
        fast.close()
        stock.close()
        pictures = _pictures(config, games[0], settings)
    return _rows(ours, theirs, first, pictures)


def _pictures(config: AlfworldConfig, game: Any, settings: Settings) -> float:
    """Pictures per second."""
    world = make_alfworld(config)
    turn = world.begin(game)
    world.step(next(one for one in turn.admissible if one.startswith("go to")))
    rates = []
    for _ in range(settings.rounds):
        started = time.perf_counter()
        for _ in range(settings.pictures):
            world.picture(64)
        rates.append(settings.pictures / (time.perf_counter() - started))
    world.close()
    return statistics.median(rates)


def _rows(ours: list[_Times], theirs: list[_Times], first: list[float], pictures: float) -> list[dict[str, Any]]:
    median = statistics.median
    step, stock_step = median(one.step for one in ours), median(one.step for one in theirs)
    loading, stock_loading = median(one.loading for one in ours), median(one.loading for one in theirs)
    fresh, what = median(first), "loading and reset of a game"
    return [
        _row(
            "steps per second, one core, no pictures", "1/s", (1 / step, 1 / stock_step), stock_step / step, STEPS_RATIO
        ),
        _row(what, "s", (loading, stock_loading), stock_loading / loading),
        _row(f"{what}, the first time", "s", (fresh, stock_loading), stock_loading / fresh),
        _row("schematic pictures per second, 64×64, not AI2-THOR's", "1/s", (pictures, None), None),
    ]


def _row(
    metric: str, unit: str, figures: tuple[float, float | None], ratio: float | None, target: float | None = None
) -> dict[str, Any]:
    """A row; the ratio says how many times better ours is, and the target is one for the ratio."""
    ours, theirs = figures
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 4),
        "reference": None if theirs is None else round(theirs, 4),
        "reference_name": None if theirs is None else STOCK,
        "ratio": None if ratio is None else round(ratio, 2),
        "target": target,
        "holds": None if target is None or ratio is None else ratio >= target,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
