"""Routes are the shortest ways a body can walk, held to an independent search: a grid four times as fine."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from hitl_ops.contracts.action import Action
from hitl_ops.worlds.household.floor import solid_rectangles
from hitl_ops.worlds.household.grid import AGENT_RADIUS, CELL
from hitl_ops.worlds.household.kinematic_scene import KIND, KinematicScene, load_scene
from hitl_ops.worlds.household.scene import Route
from hitl_ops.worlds.household.straight_ways import StraightWays, strides
from hitl_ops.worlds.household.world import Control, HouseholdWorld
from tests.support.small_policies import small_episode

HOMES = ("flywheel_train_000", "flywheel_train_004", "flywheel_val_003", "flywheel_test_001")
FINE = CELL / 4
Place = tuple[float, float]


def solid_of(scene: KinematicScene) -> np.ndarray:
    return np.array(solid_rectangles(scene.description.walls, scene.description.furniture))


def are_clear(solid: np.ndarray, places: np.ndarray, radius: float = AGENT_RADIUS - 1e-5) -> np.ndarray:
    """Whether a body may stand at places [n, 2], one rectangle after the other."""
    clear = np.ones(len(places), dtype=bool)
    for x0, z0, x1, z1 in solid:
        x, z = places.T
        clear &= ~((x > x0 - radius) & (x < x1 + radius) & (z > z0 - radius) & (z < z1 + radius))
    return clear


def all_along(route: Route, step: float = 0.005) -> np.ndarray:
    points = []
    for here, there in pairwise(route.points):
        shares = np.linspace(0, 1, math.ceil(math.dist(here, there) / step) + 1)[:, None]
        points.append(np.array(here) * (1 - shares) + np.array(there) * shares)
    return np.concatenate(points) if points else np.array(route.points)


class FineSearch:
    """Shortest ways over a grid of ``FINE`` with moves of up to 4 nodes along each axis, looked at every 2 cm.

    Nodes lie on the middles of the scene's cells, and its ways can be walked but for corners between two looks, so that
    no shortest way is longer. They are longer themselves by what bends lose for want of a node at every corner.
    """

    def __init__(self, scene: KinematicScene) -> None:
        grid, solid = scene.grid, solid_of(scene)
        self._columns = grid.columns * 4
        self._x0, self._z0 = grid.x0 + CELL / 2, grid.z0 + CELL / 2
        index = np.arange(grid.rows * 4 * self._columns)
        places = np.stack([self._x0 + index % self._columns * FINE, self._z0 + index // self._columns * FINE], axis=1)
        free = are_clear(solid, places)
        sources, targets, costs = [], [], []
        moves = [(dx, dz) for dx in range(-4, 5) for dz in range(5) if math.gcd(dx, dz) == 1 and (dz or dx > 0)]
        for dx, dz in moves:
            column = index % self._columns + dx
            here = index[(column >= 0) & (column < self._columns) & (index + dz * self._columns < len(index)) & free]
            there = here + dz * self._columns + dx
            here, there = here[free[there]], there[free[there]]
            long = math.hypot(dx, dz) * FINE
            fits = np.ones(len(here), dtype=bool)
            for share in np.linspace(0, 1, math.ceil(long / 0.02) + 1)[1:-1]:
                fits &= are_clear(solid, places[here] * (1 - share) + places[there] * share)
            sources.append(here[fits])
            targets.append(there[fits])
            costs.append(np.full(int(fits.sum()), long))
        rows, columns = np.concatenate(sources), np.concatenate(targets)
        self._graph = csr_matrix((np.concatenate(costs), (rows, columns)), shape=(len(index), len(index)))

    def metres_from(self, place: Place) -> np.ndarray:
        return dijkstra(self._graph, directed=False, indices=self.node(place))

    def node(self, place: Place) -> int:
        column, row = round((place[0] - self._x0) / FINE), round((place[1] - self._z0) / FINE)
        return row * self._columns + column


@pytest.mark.parametrize("home", HOMES)
def test_routes_are_the_shortest_there_are(home: str) -> None:
    scene = load_scene(home)
    search = FineSearch(scene)
    luck = random.Random(home)
    middles = [scene.grid.center(cell) for cell in np.flatnonzero(scene.grid.free.ravel()).tolist()]
    ratios = []
    for _ in range(12):
        start = luck.choice(middles)
        metres = search.metres_from(start)
        for end in luck.sample(middles, 12):
            route = scene.route(start, end)
            assert route is not None and route.points[0] == start and route.points[-1] == end
            if math.dist(start, end) >= 1:
                ratios.append(route.lengths[-1] / metres[search.node(end)])
    # Nothing that can be walked is shorter, and what is found is as short but for what the search's bends lose.
    assert max(ratios) <= 1.001
    assert min(ratios) >= 0.98 and np.mean(ratios) >= 0.99, "a blunt search proves little"
    assert len(ratios) > 100


@pytest.mark.parametrize("home", HOMES)
def test_routes_to_a_thing_are_the_shortest_to_where_one_stands_before_it(home: str) -> None:
    scene = load_scene(home)
    for start in scene.description.spawns:
        for piece in scene.description.furniture:
            route = scene.route(start, piece.name)
            each = [scene.route(start, place) for place in piece.access]
            assert route is not None
            assert route.lengths[-1] == pytest.approx(min(one.lengths[-1] for one in each if one), abs=1e-5)


@pytest.mark.parametrize("home", HOMES)
def test_no_route_cuts_a_corner(home: str) -> None:
    scene = load_scene(home)
    solid = solid_of(scene)
    for start in scene.description.spawns:
        for anchor in scene.anchors:
            route = scene.route(start, anchor)
            assert route is not None
            assert are_clear(solid, all_along(route)).all()
            strides_taken = [further - walked for walked, further in pairwise(route.lengths)]
            assert all(0 < stride <= CELL + 1e-9 for stride in strides_taken)


@st.composite
def rooms_with_boxes(draw: st.DrawFn) -> tuple[np.ndarray, Place, Place]:
    """A walled square of 6 m with boxes in it, and two places."""
    walls = [(-0.1, -0.1, 0, 6.1), (6, -0.1, 6.1, 6.1), (-0.1, -0.1, 6.1, 0), (-0.1, 6, 6.1, 6.1)]
    at = st.integers(0, 56).map(lambda tenths: tenths / 10)
    boxes = draw(st.lists(st.tuples(at, at, st.integers(2, 30), st.integers(2, 30)), max_size=7))
    solid = np.array([*walls, *((x, z, min(x + w / 10, 6), min(z + d / 10, 6)) for x, z, w, d in boxes)])
    place = st.tuples(st.integers(3, 57), st.integers(3, 57)).map(lambda tenths: (tenths[0] / 10, tenths[1] / 10))
    return solid, draw(place), draw(place)


@settings(max_examples=150, deadline=None)
@given(rooms_with_boxes())
def test_ways_among_any_boxes_are_walkable_and_the_same_length_both_ways(case: tuple[np.ndarray, Place, Place]) -> None:
    solid, start, end = case
    ways = StraightWays(solid, AGENT_RADIUS)
    if not (ways.is_clear(*start) and ways.is_clear(*end)):
        return
    there, back = ways.way(start, (end,)), ways.way(end, (start,))
    assert (there is None) == (back is None)
    if there is None or back is None:
        return
    walked, returned = Route(*strides(there, CELL)), Route(*strides(back, CELL))
    assert walked.lengths[-1] == pytest.approx(returned.lengths[-1], abs=1e-6)
    assert walked.lengths[-1] >= math.dist(start, end) - 1e-9
    assert are_clear(solid, all_along(walked, 0.02)).all()
    # Nothing can be left out: what is no shorter than the straight line bends only where it must.
    for before, bend, after in zip(there, there[1:], there[2:], strict=False):
        ends = [ways.way(before, (after,))]
        assert ends[0] is not None
        lengths = strides(ends[0], CELL)[1][-1]
        assert lengths == pytest.approx(math.dist(before, bend) + math.dist(bend, after), abs=1e-5)


def test_two_scenes_walk_alike_whatever_was_asked_before() -> None:
    asked, fresh = load_scene(HOMES[0]), KinematicScene(load_scene(HOMES[0]).description)
    places = [place for piece in asked.description.furniture for place in piece.access]
    expected = [asked.route(start, end) for start in places[:12] for end in places[-12:]]
    assert expected == [fresh.route(start, end) for start in places[:12] for end in places[-12:]]
    backwards = [(start, end) for start in places[:12] for end in places[-12:]][::-1]
    fresh = KinematicScene(asked.description)
    assert expected == [fresh.route(*both) for both in backwards][::-1]


def beside_the_cells(scene: KinematicScene) -> list[Place]:
    """Some places of routes that are beside every free cell."""
    found = []
    for start in scene.description.spawns:
        for anchor in scene.anchors:
            route = scene.route(start, anchor)
            assert route is not None
            found += [place for place in route.points if not scene.grid.is_free(*place)]
    places = sorted(set(found))
    return random.Random(0).sample(places, min(40, len(places)))


@pytest.mark.parametrize("home", HOMES)
def test_who_stops_beside_the_cells_sees_walks_and_steps_on(home: str) -> None:
    scene = load_scene(home)
    places = beside_the_cells(scene)
    assert len(places) > 5
    open_doors = (1 << len(scene.description.doors)) - 1
    solid = solid_of(scene)
    for x, z in places:
        assert scene.seen_from(x, z, open_doors)
        onward, back = scene.route((x, z), scene.anchors[0]), scene.route(scene.description.spawns[0], (x, z))
        assert onward is not None and onward.points[0] == (x, z)
        assert back is not None and back.points[-1] == (x, z)
        ends = {scene.slide(x, z, math.cos(turn) * 0.05, math.sin(turn) * 0.05) for turn in np.linspace(0, 6.28, 16)}
        assert ends != {(x, z)}, "stuck"
        assert all(scene.grid.is_free(*end) or are_clear(solid, np.array([end])).all() for end in ends)


def test_a_person_takes_over_anywhere_on_a_way() -> None:
    world = HouseholdWorld(small_episode())
    targets = list(world.state.furniture)
    for number, target in enumerate(targets):
        world.start(0, Action("Navigate", (target,)))
        for _ in range(15 + 7 * number):
            world.tick()
        for turn in (0.0, 1.0, -1.0):
            before = (world.facts.agents[0].x, world.facts.agents[0].z)
            for _ in range(40):
                world.tick({0: Control(forward=1.0, turn=turn)})
            after = (world.facts.agents[0].x, world.facts.agents[0].z)
            assert turn == 0.0 or math.dist(before, after) > 0, "stuck"


def test_what_was_played_on_ways_from_cell_to_cell_has_them_still() -> None:
    now, earlier = load_scene(HOMES[0]), load_scene(HOMES[0], "kinematic")
    assert now.played_scene.kind == KIND != earlier.played_scene.kind
    for start in now.description.spawns:
        for anchor in now.anchors:
            route, shorter = earlier.route(start, anchor), now.route(start, anchor)
            assert route is not None and shorter is not None
            cells = [earlier.grid.cell(*point) for point in route.points]
            assert [earlier.grid.center(cell) for cell in cells] == list(route.points)
            steps = {abs(one - other) for one, other in pairwise(cells)}
            columns = earlier.grid.columns
            assert steps <= {1, columns - 1, columns, columns + 1}
            assert shorter.lengths[-1] <= route.lengths[-1] + 1e-6
