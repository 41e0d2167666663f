"""Pictures a second of a household: our OpenGL renderer beside PyBullet's TinyRenderer, in one process on one home.

Both draw the same views of the same furnished home from the same table of solids, from which what is out of
sight has been left out already: the reference gains from that as ours does. Rounds alternate between the two.
Run ``python -m benchmarks.household_render`` for the rows as JSON.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hitl_ops.worlds.household.catalog import OBJECT_SHAPES, OBJECTS
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts, Relation
from hitl_ops.worlds.household.layout import generate_home
from hitl_ops.worlds.household.renderer import Camera, Renderer, make_renderer
from hitl_ops.worlds.household.renderer.captions import Captions
from hitl_ops.worlds.household.renderer.topdown import FloorPlan
from hitl_ops.worlds.household.renderer.video import EpisodeVideo
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

ROUNDS = 7
OBJECTS_IN_HOME = 40
SIZES = ((128, 96), (224, 224))
TARGET_RATIO = 10.0
"""Ours must draw at least this many times as many frames a second as the reference."""


def furnished(number: int = 0) -> tuple[SceneDescription, Facts]:
    """A validation home with its doors open, objects on its surfaces and in its containers, and two agents."""
    home = generate_home("val", number)
    rng = np.random.default_rng(number)
    places: list[tuple[Relation, str, int, Vec3]] = []
    for piece in home.furniture:
        places += [("on", piece.name, slot, place) for slot, place in enumerate(piece.on_slots)]
        places += [("within", piece.name, slot, place) for slot, place in enumerate(piece.within_slots)]
    kinds = list(OBJECTS)
    objects = {}
    for index, chosen in enumerate(rng.permutation(len(places))[:OBJECTS_IN_HOME].tolist()):
        relation, parent, slot, position = places[chosen]
        kind = kinds[int(rng.integers(len(kinds)))]
        states = OBJECTS[kind].start_states()
        objects[f"{kind}_{index}"] = ObjectFacts(kind, relation, parent, slot, position, states)
    return home, Facts(
        agents=[AgentFacts(*home.spawns[0]), AgentFacts(*home.spawns[1])],
        objects=objects,
        furniture_rooms={piece.name: piece.room for piece in home.furniture},
        furniture_open={piece.name: index % 2 == 0 for index, piece in enumerate(home.furniture) if piece.articulated},
        furniture_states={piece.name: {"is_powered_on": True} for piece in home.furniture if piece.powerable},
        doors_open={door.name: True for door in home.doors},
    )


def _walk(home: SceneDescription, facts: Facts, steps: int) -> list[AgentFacts]:
    """Places an agent passes through on its way round the home, turning as it goes."""
    count = len(home.spawns)
    return [AgentFacts(*home.spawns[step * count // steps], yaw=0.7 * step) for step in range(steps)]


def _frames_per_second(
    renderer: Renderer, facts: Facts, walk: list[AgentFacts], size: tuple[int, int], depth: bool
) -> float:
    before = time.perf_counter()
    for place in walk:
        facts.agents[0].x, facts.agents[0].z, facts.agents[0].yaw = place.x, place.z, place.yaw
        renderer.render(facts, Camera.of_agent(facts, 0), *size, depth=depth)
    return len(walk) / (time.perf_counter() - before)


def bench() -> list[dict[str, Any]]:
    """Measure; one row a figure.

    Returns:
        Rows ``{"metric", "unit", "ours", "reference", "reference_name", "ratio", "target", "holds"}``; ``target``
        is the least ratio, null where a figure stands alone.

    Raises:
        UserError: this machine has no OpenGL.
    """
    home, facts = furnished()
    ours, reference = make_renderer(home, OBJECT_SHAPES, "opengl"), make_renderer(home, OBJECT_SHAPES, "pybullet")
    long, short = _walk(home, facts, 120), _walk(home, facts, 24)
    rows = []
    for width, height in SIZES:
        for depth in (False, True):
            size = (width, height)
            for renderer in (ours, reference):  # the first frames fill caches
                _frames_per_second(renderer, facts, short, size, depth)
            pairs = [
                (
                    _frames_per_second(ours, facts, long, size, depth),
                    _frames_per_second(reference, facts, short, size, depth),
                )
                for _ in range(ROUNDS)
            ]
            mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            what = "RGB and depth" if depth else "RGB"
            rows.append(_row(f"household {what} {width}×{height}", mine, theirs))
    rows.append(_row("household floor plan 640 px", _plans_per_second(home, facts), None))
    rows.append(_row("household episode video 1280×480", _film_per_second(ours, home, facts), None))
    ours.close()
    reference.close()
    return rows


def _row(metric: str, ours: float, reference: float | None) -> dict[str, Any]:
    ratio = None if reference is None else ours / reference
    return {
        "metric": metric,
        "unit": "frames/s",
        "ours": round(ours, 1),
        "reference": None if reference is None else round(reference, 1),
        "reference_name": None if reference is None else "PyBullet TinyRenderer",
        "ratio": None if ratio is None else round(ratio, 2),
        "target": None if ratio is None else TARGET_RATIO,
        "holds": None if ratio is None else ratio >= TARGET_RATIO,
    }


def _median_rate(run: Callable[[], object], count: int) -> float:
    rates = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        for _ in range(count):
            run()
        rates.append(count / (time.perf_counter() - before))
    return statistics.median(rates)


def _plans_per_second(home: SceneDescription, facts: Facts) -> float:
    plan = FloorPlan(home, OBJECT_SHAPES, width=640)
    return _median_rate(lambda: plan.draw(facts), 5)


def _film_per_second(renderer: Renderer, home: SceneDescription, facts: Facts) -> float:
    """Frames drawn, composed and encoded a second."""
    with tempfile.TemporaryDirectory() as folder, EpisodeVideo(Path(folder) / "episode.mp4") as video:

        def frame() -> None:
            facts.agents[0].yaw = (facts.agents[0].yaw + 0.1) % (2 * math.pi)
            said = Captions("Bring the mug to the desk.", ("Navigate[mug_1]", "Wait[]"), 0.5, f"frame {video.frames}")
            video.add_moment(renderer, home, OBJECT_SHAPES, facts, said)

        return _median_rate(frame, 8)


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
