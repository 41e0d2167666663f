"""Real pictures of a small home of two rooms, checked pixel by pixel against what geometry says."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household import renderer as renderer_package
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.layout import generate_home
from hitl_ops.worlds.household.renderer import Camera, Frame, Renderer, appearance, make_renderer
from hitl_ops.worlds.household.renderer.topdown import FloorPlan
from hitl_ops.worlds.household.scene_description import (
    Door,
    Furniture,
    ObjectShape,
    Part,
    Room,
    SceneDescription,
    Wall,
)

WIDTH, HEIGHT = 128, 96
MUG = (0.9, 0.1, 0.1)
FRIDGE = (0.3, 0.8, 0.9)
LAMP = (0.6, 0.6, 0.2)
GREEN = (0.1, 0.8, 0.2)
LEVEL = 0.0

SHAPES = {
    "mug": ObjectShape(
        kind="mug", parts=(Part(shape="cylinder", center=(0, 0.1, 0), size=(0.2, 0.2, 0.2), color=MUG),)
    ),
    "ball": ObjectShape(
        kind="ball", parts=(Part(shape="sphere", center=(0, 0.2, 0), size=(0.4, 0.4, 0.4), color=GREEN),)
    ),
}


def _furniture(name: str, position: tuple[float, float, float], parts: tuple[Part, ...], **more: object) -> Furniture:
    fields: dict[str, object] = {
        "kind": name.rsplit("_", 1)[0],
        "room": "kitchen_1",
        "yaw": 0.0,
        "size": (0.8, 1.8, 0.7),
        "on_slots": (),
        "within_slots": (),
        "access": (),
        "articulated": False,
    }
    return Furniture(name=name, position=position, parts=parts, **(fields | more))


def _home() -> SceneDescription:
    """Kitchen (x 0 … 4) and bedroom (x 4 … 8), both z 0 … 4, joined by a door in the wall between them."""
    panel = 0.04
    fridge = (
        Part(center=(-0.38, 0.9, 0), size=(panel, 1.8, 0.7), color=FRIDGE),
        Part(center=(0.38, 0.9, 0), size=(panel, 1.8, 0.7), color=FRIDGE),
        Part(center=(0, 1.78, 0), size=(0.8, panel, 0.7), color=FRIDGE),
        Part(center=(0, 0.02, 0), size=(0.8, panel, 0.7), color=FRIDGE),
        Part(center=(0, 0.9, -0.33), size=(0.8, 1.8, panel), color=FRIDGE),
        Part(center=(0, 0.9, 0.35), size=(0.8, 1.8, panel), color=FRIDGE, role="door"),
    )
    lamp = (Part(shape="cylinder", center=(0, 1.5, 0), size=(0.4, 0.3, 0.4), color=LAMP, role="lamp"),)
    return SceneDescription(
        scene_id="two_rooms",
        seed=0,
        split="train",
        rooms=(
            Room(name="kitchen_1", kind="kitchen", bounds=(0, 0, 4, 4), floor_color=(0.8, 0.7, 0.6)),
            Room(name="bedroom_1", kind="bedroom", bounds=(4, 0, 8, 4), floor_color=(0.5, 0.5, 0.8)),
        ),
        walls=(
            Wall(start=(0, 0), end=(8, 0)),
            Wall(start=(8, 0), end=(8, 4)),
            Wall(start=(8, 4), end=(0, 4)),
            Wall(start=(0, 4), end=(0, 0)),
            Wall(start=(4, 0), end=(4, 4)),  # no gap: the renderer cuts the doorway
        ),
        doors=(
            Door(name="door_1", rooms=("kitchen_1", "bedroom_1"), start=(4, 1.5), end=(4, 2.5), open_at_start=False),
        ),
        furniture=(
            _furniture("fridge_1", (1.0, 0.0, 0.45), fridge, articulated=True),
            _furniture("floor_lamp_1", (3.4, 0.0, 3.4), lamp, powerable=True),
        ),
        floor_slots={"kitchen_1": (), "bedroom_1": ((7.0, 0.0, 2.0),)},
        spawns=((2.0, 2.0), (6.0, 2.0)),
    )


def _facts() -> Facts:
    return Facts(
        agents=[AgentFacts(2.0, 2.0), AgentFacts(6.0, 3.4)],
        objects={
            "mug_1": ObjectFacts(
                "mug", "within", "fridge_1", 0, (1.0, 1.2, 0.45), {"is_clean": True, "is_filled": False}
            ),
            "ball_1": ObjectFacts("ball", "floor", "floor_bedroom_1", 0, (7.0, 0.0, 2.0), {}),
        },
        furniture_rooms={"fridge_1": "kitchen_1", "floor_lamp_1": "kitchen_1"},
        furniture_open={"fridge_1": False},
        furniture_states={"floor_lamp_1": {"is_powered_on": False}},
        doors_open={"door_1": False},
    )


@pytest.fixture(params=["opengl", "pybullet"])
def backend(request: pytest.FixtureRequest) -> str:
    _require(request.param)
    return str(request.param)


def _require(backend: str) -> None:
    """Skip, with the reason, where this machine has no OpenGL; PyBullet has no such excuse."""
    if backend == "opengl":
        try:
            make_renderer(_home(), SHAPES, "opengl").close()
        except UserError as error:
            pytest.skip(str(error))


@pytest.fixture
def renderer(backend: str) -> Iterator[Renderer]:
    made = make_renderer(_home(), SHAPES, backend)  # type: ignore[arg-type]
    assert made.backend == backend
    yield made
    made.close()
    made.close()


def _look(renderer: Renderer, facts: Facts, camera: Camera) -> Frame:
    frame = renderer.render(facts, camera, WIDTH, HEIGHT)
    assert frame.rgb.shape == (HEIGHT, WIDTH, 3) and frame.rgb.dtype == np.uint8
    assert frame.depth is not None and frame.depth.shape == (HEIGHT, WIDTH) and frame.depth.dtype == np.float32
    return frame


def _share(frame: Frame, color: tuple[float, float, float], tolerance: float = 0.05) -> float:
    """Share of pixels of a colour's hue, whatever the light on it."""
    pixels = frame.rgb.astype(float) + 1e-6
    wanted = np.array(color) / np.linalg.norm(color)
    unit = pixels / np.linalg.norm(pixels, axis=2, keepdims=True)
    return float((np.linalg.norm(unit - wanted, axis=2) < tolerance).mean())


def test_a_wall_in_front_has_its_colour_and_its_distance(renderer: Renderer) -> None:
    camera = Camera((3.0, 1.5, 2.0), yaw=math.pi / 2, pitch=LEVEL, fov=70)
    frame = _look(renderer, _facts(), camera)
    middle = np.s_[30:60, 40:90]
    assert frame.depth is not None
    # The wall's inner face is half its thickness in front of its line; depth is along the axis, so the same everywhere.
    np.testing.assert_allclose(frame.depth[middle], 2.0 - 0.05, atol=0.01)
    wall = np.array(appearance.WALL)
    seen = frame.rgb[middle].reshape(-1, 3).mean(axis=0) / 255
    np.testing.assert_allclose(seen / seen.sum(), wall / wall.sum(), atol=0.01)
    assert 0.7 < seen.max() / wall.max() <= 1.02


def test_floor_and_ceiling_lie_where_geometry_says(renderer: Renderer) -> None:
    camera = Camera((2.0, 1.5, 3.5), yaw=math.pi / 2, pitch=math.radians(-20), hidden_agent=0)
    frame = _look(renderer, _facts(), camera)
    assert frame.depth is not None
    _, up, ahead = camera.axes()
    half_height = camera.half_size(WIDTH, HEIGHT)[1]
    for row in (80, 90, 95):
        ray = ahead + up * half_height * (1 - 2 * (row + 0.5) / HEIGHT)
        assert frame.depth[row, WIDTH // 2] == pytest.approx(1.5 / -ray[1], abs=0.01)
    up_camera = Camera((2.0, 1.5, 3.5), yaw=math.pi / 2, pitch=math.radians(89), fov=40)
    above = _look(renderer, _facts(), up_camera)
    assert above.depth is not None
    assert above.depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(0.9, abs=0.01)


def test_a_closed_fridge_hides_what_is_in_it_and_opening_shows_it(renderer: Renderer) -> None:
    facts = _facts()
    camera = Camera((1.0, 1.5, 2.0), yaw=math.pi / 2, pitch=LEVEL)
    closed = _look(renderer, facts, camera)
    assert _share(closed, MUG) == 0
    assert closed.depth is not None
    assert closed.depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(2.0 - 0.45 - 0.37, abs=0.01)
    facts.furniture_open["fridge_1"] = True
    opened = _look(renderer, facts, camera)
    assert _share(opened, MUG) > 0.005
    assert opened.depth is not None
    assert opened.depth[HEIGHT // 2, WIDTH // 2] > closed.depth[HEIGHT // 2, WIDTH // 2] + 0.3
    facts.furniture_open["fridge_1"] = False
    np.testing.assert_array_equal(_look(renderer, facts, camera).rgb, closed.rgb)


def test_an_agent_sees_the_other_and_not_itself(renderer: Renderer) -> None:
    facts = _facts()
    facts.agents = [AgentFacts(6.0, 1.0, yaw=-math.pi / 2), AgentFacts(6.0, 3.0, yaw=math.pi / 2)]
    for me, other in ((0, 1), (1, 0)):
        frame = _look(renderer, facts, Camera.of_agent(facts, me))
        assert _share(frame, appearance.agent_color(other)) > 0.01
        assert _share(frame, appearance.agent_color(me)) == 0
    facts.agents[1].x = 2.0  # into the other room, behind the closed door
    assert _share(_look(renderer, facts, Camera.of_agent(facts, 0)), appearance.agent_color(1)) == 0


def test_what_is_held_is_seen_in_the_hand_by_both(renderer: Renderer) -> None:
    facts = _facts()
    facts.agents = [AgentFacts(6.0, 1.0, yaw=-math.pi / 2), AgentFacts(6.0, 3.4, yaw=math.pi / 2)]
    cameras = [Camera.of_agent(facts, agent) for agent in (0, 1)]
    assert [_share(_look(renderer, facts, camera), MUG) for camera in cameras] == [0, 0]
    facts.objects["mug_1"].relation, facts.objects["mug_1"].parent = "held", "agent_0"
    facts.agents[0].held = "mug_1"
    own, others = (_share(_look(renderer, facts, camera), MUG) for camera in cameras)
    assert own > 0.01 and others > 0.001
    facts.agents[0].x = 2.0  # it goes to the other room with it, behind the closed door
    assert _share(_look(renderer, facts, cameras[1]), MUG) == 0


def test_a_closed_door_hides_the_next_room_and_an_open_one_does_not(renderer: Renderer) -> None:
    facts = _facts()
    camera = Camera.of_agent(facts, 0)
    closed = _look(renderer, facts, camera)
    assert _share(closed, GREEN) == 0
    assert _share(closed, appearance.DOOR_LEAF) > 0.05
    facts.doors_open["door_1"] = True
    opened = _look(renderer, facts, camera)
    assert _share(opened, GREEN) > 0.001
    assert _share(opened, appearance.DOOR_LEAF) < 0.01
    assert opened.depth is not None
    assert opened.depth[HEIGHT // 2, WIDTH // 2] > 4.5


def test_states_can_be_seen(renderer: Renderer) -> None:
    facts = _facts()
    lamp = Camera((2.4, 1.5, 3.4), yaw=0.0, pitch=LEVEL)
    off = _look(renderer, facts, lamp).rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    facts.furniture_states["floor_lamp_1"]["is_powered_on"] = True
    on = _look(renderer, facts, lamp).rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    assert (on > off + 40).all()

    facts.furniture_open["fridge_1"] = True
    inside = Camera((1.0, 1.3, 1.5), yaw=math.pi / 2, pitch=LEVEL, fov=40)
    clean = _look(renderer, facts, inside).rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    facts.objects["mug_1"].states["is_clean"] = False
    dirty = _look(renderer, facts, inside).rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    assert dirty[0] < clean[0] - 30 and dirty[0] > dirty[1] > dirty[2]  # brown
    facts.objects["mug_1"].states.update(is_clean=True, is_filled=True)
    filled = _look(renderer, facts, inside).rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    assert filled[2] > clean[2] + 40


def test_an_object_that_appears_later_is_drawn(renderer: Renderer) -> None:
    facts = _facts()
    camera = Camera((2.0, 1.0, 3.5), yaw=math.pi / 2, pitch=LEVEL)
    assert _share(_look(renderer, facts, camera), GREEN) == 0
    facts.objects["ball_2"] = ObjectFacts("ball", "floor", "floor_kitchen_1", 0, (2.0, 0.6, 2.6), {})
    assert _share(_look(renderer, facts, camera), GREEN) > 0.01


@pytest.mark.slow
def test_depth_comes_only_when_asked_for(renderer: Renderer) -> None:
    facts = _facts()
    camera = Camera.of_agent(facts, 0)
    without = renderer.render(facts, camera, WIDTH, HEIGHT, depth=False)
    assert without.depth is None
    np.testing.assert_array_equal(without.rgb, _look(renderer, facts, camera).rgb)


def test_the_plan_view_shows_things_where_they_are(renderer: Renderer) -> None:
    facts = _facts()
    camera = Camera.topdown(_home())
    frame = renderer.render(facts, camera, 320, 180)
    assert frame.depth is not None
    for point, color, height in (
        ((7.0, 0.4, 2.0), GREEN, 0.4),
        ((1.0, 1.8, 0.45), FRIDGE, 1.8),
        ((3.0, 0.0, 2.0), (0.8, 0.7, 0.6), 0.0),
    ):
        spot = camera.pixel(point, 320, 180)
        assert spot is not None
        column, row = (int(value) for value in spot)
        pixel = frame.rgb[row, column] / 255
        np.testing.assert_allclose(pixel / pixel.sum(), np.array(color) / sum(color), atol=0.03)
        assert frame.depth[row, column] == pytest.approx(camera.position[1] - height, abs=0.03)
    right, down = (camera.pixel(point, 320, 180) for point in ((7.0, 0.0, 1.0), (1.0, 0.0, 3.0)))
    assert right is not None and down is not None
    assert right[0] > 160 and right[1] < 90 and down[0] < 160 and down[1] > 90  # +x right, +z down


def test_both_backends_agree_on_depth() -> None:
    _require("opengl")
    facts = _facts()
    facts.doors_open["door_1"] = True
    facts.furniture_open["fridge_1"] = True
    ours, reference = (make_renderer(_home(), SHAPES, backend) for backend in ("opengl", "pybullet"))
    cameras = [
        Camera((2.6, 1.5, 1.9), yaw, pitch) for yaw in (0.0, 0.9, 1.8, 2.7, 3.6, 4.5, 5.4) for pitch in (0.0, -0.4)
    ]
    for camera in [*cameras, Camera.topdown(_home())]:
        a, b = (made.render(facts, camera, WIDTH, HEIGHT).depth for made in (ours, reference))
        assert a is not None and b is not None
        assert (np.abs(a - b) < 0.03).mean() >= 0.99
    ours.close()
    reference.close()


def test_leaving_out_what_is_out_of_sight_changes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    _require("opengl")
    from hitl_ops.worlds.household.renderer import opengl
    from hitl_ops.worlds.household.renderer.scene_solids import SceneSolids
    from hitl_ops.worlds.household.renderer.view_cull import solids_in_view

    rng = np.random.default_rng(0)
    left_out = 0
    for number in range(4):
        home = generate_home("train", number)
        facts = Facts(
            agents=[AgentFacts(*home.spawns[0]), AgentFacts(*home.spawns[1])],
            objects={},
            furniture_rooms={piece.name: piece.room for piece in home.furniture},
            furniture_open={},
            furniture_states={},
            doors_open={door.name: bool(rng.random() < 0.9) for door in home.doors},
        )
        made = make_renderer(home, OBJECT_SHAPES, "opengl")

        def everything(
            solids: SceneSolids, facts: Facts, camera: Camera, width: int, height: int
        ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
            hidden = solids.body_of == camera.hidden_agent
            return solids.drawn & ~hidden

        for _ in range(75):
            room = home.rooms[int(rng.integers(len(home.rooms)))]
            x0, z0, x1, z1 = room.bounds
            facts.agents[0].x = float(rng.uniform(x0 + 0.2, x1 - 0.2))
            facts.agents[0].z = float(rng.uniform(z0 + 0.2, z1 - 0.2))
            facts.agents[0].yaw = float(rng.uniform(0, 2 * math.pi))
            camera = Camera.of_agent(facts, 0, fov=float(rng.uniform(60, 110)), pitch=float(rng.uniform(-0.6, 0.3)))
            culled = made.render(facts, camera, WIDTH, HEIGHT)
            kept = solids_in_view(made._solids, facts, camera, WIDTH, HEIGHT)  # type: ignore[attr-defined]
            left_out += int((~kept).sum())
            monkeypatch.setattr(opengl, "solids_in_view", everything)
            full = made.render(facts, camera, WIDTH, HEIGHT)
            monkeypatch.setattr(opengl, "solids_in_view", solids_in_view)
            np.testing.assert_array_equal(culled.rgb, full.rgb)
        made.close()
    assert left_out > 300 * 100  # the test is about something


def test_without_opengl_auto_takes_pybullet_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import moderngl

    from hitl_ops.worlds.household.renderer import opengl

    def refuse(**_: object) -> None:
        raise Exception("libEGL.so.1 not loaded")  # as glcontext does

    monkeypatch.setattr(opengl._of_thread, "context", None, raising=False)
    monkeypatch.setattr(moderngl, "create_standalone_context", refuse)
    monkeypatch.setattr(renderer_package, "_said", set())
    with pytest.raises(UserError, match=r"libEGL\.so\.1 not loaded"):
        make_renderer(_home(), SHAPES, "opengl")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            made = make_renderer(_home(), SHAPES)
            assert made.backend == "pybullet"
            made.close()
    messages = [record.message for record in caplog.records if record.name.startswith("hitl_ops")]
    assert len(messages) == 1 and "libEGL.so.1 not loaded" in messages[0]


def test_an_unknown_backend_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="renderer backend 'vulkan' is unknown"):
        make_renderer(_home(), SHAPES, "vulkan")  # type: ignore[arg-type]


def test_the_floor_plan_shows_rooms_agents_and_objects(tmp_path: Path) -> None:
    facts = _facts()
    plan = FloorPlan(_home(), SHAPES, width=800)
    before = plan.draw(facts)
    assert before.shape == (plan.height, 800, 3) and 350 < plan.height < 500
    np.testing.assert_array_equal(before, plan.draw(facts))
    orange = np.array([round(255 * value) for value in appearance.agent_color(0)])

    def center() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Middle of the first agent's disc, (row, column) as shares of the picture."""
        picture = plan.draw(facts)
        rows, columns = np.nonzero(np.abs(picture.astype(int) - orange).sum(axis=2) < 12)
        assert len(rows) > 50
        return np.array([rows.mean() / plan.height, columns.mean() / plan.width])

    here = center()
    facts.agents[0].x += 1.0
    there = center()
    assert there[1] - here[1] == pytest.approx(1.0 / 8.7, abs=0.02)
    assert there[0] == pytest.approx(here[0], abs=0.01)
    plan.save(tmp_path / "plan.png", facts, trails=[[(1.0, 3.0), (3.0, 3.0)]])
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]
    with Image.open(tmp_path / "plan.png") as picture:
        assert picture.size == (800, plan.height)
        assert (np.asarray(picture) != plan.draw(facts)).any()  # the trail
