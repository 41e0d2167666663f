"""The kinematic scene behind the worker's socket: what habitat-sim is compared with, and what the socket costs.

Runs in Flywheel's own environment: ``--backend hitl_ops.worlds.habitat.kinematic_backend:KinematicBackend``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_ops.worlds.habitat.worker import Backend, SceneError
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.kinematic_scene import KinematicScene, load_scene

if TYPE_CHECKING:
    from hitl_ops.worlds.household.renderer.frame import Renderer

KINEMATIC_BACKEND = f"{__name__}:KinematicBackend"
"""As ``HabitatConfig.backend`` names it."""


class KinematicBackend(Backend):
    """Answers as the kinematic scene does, and draws with our own renderer."""

    name = "kinematic"

    def __init__(self, gpu: int = -1) -> None:
        super().__init__(gpu)
        self._scene: KinematicScene | None = None
        self._facts: Facts | None = None
        self._renderer: Renderer | None = None

    def capabilities(self) -> list[str]:
        """See ``Backend.capabilities``."""
        return ["rgb", "depth"]

    def load(self, scene: dict[str, Any]) -> dict[str, Any]:
        """See ``Backend.load``: a home by its id; as a scene of a data set it is described too."""
        self._scene = load_scene(scene["scene_id"])
        described = self._scene.description.model_dump(mode="json") if scene["kind"] == "dataset" else None
        return {"scene_id": scene["scene_id"], "description": described, "anchors": list(self._scene.anchors)}

    @property
    def _home(self) -> KinematicScene:
        assert self._scene is not None  # the worker asks for nothing before `load`
        return self._scene

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> dict[str, Any] | None:
        """See ``Backend.route``."""
        try:
            route = self._home.route(start, target)
        except KeyError:
            raise _unknown(target) from None
        return None if route is None else {"points": route.points, "lengths": route.lengths}

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """See ``Backend.seen_from``."""
        return self._home.seen_from(x, z, doors_open)

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """See ``Backend.line_of_sight``."""
        return self._home.line_of_sight(a, b, doors_open)

    def doors_at(self, x: float, z: float) -> int:
        """See ``Backend.doors_at``."""
        return self._home.doors_at(x, z)

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """See ``Backend.slide``."""
        return self._home.slide(x, z, dx, dz)

    def room_at(self, x: float, z: float) -> str:
        """See ``Backend.room_at``."""
        return self._home.room_at(x, z)

    def slots(self, parent: str, relation: str) -> list[tuple[float, float, float]]:
        """See ``Backend.slots``."""
        try:
            return list(self._home.slots(parent, relation))
        except KeyError:
            raise _unknown(parent) from None

    def show(self, moment: dict[str, Any]) -> None:
        """See ``Backend.show``."""
        try:
            self._facts = _facts_of(moment, self._home)
        except (KeyError, TypeError, ValueError) as error:
            raise SceneError(f"the moment to be shown is no moment of this home ({error!r})") from None

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See ``Backend.picture``."""
        from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
        from hitl_ops.worlds.household.renderer import Camera, make_renderer

        if "semantic" in kinds:
            raise SceneError("the kinematic scene draws no semantic pictures", "ask for rgb or depth")
        if self._facts is None:
            raise SceneError("nothing was shown yet", "send 'show' first")
        try:
            extent = camera["extent"]
            given = {**camera, "position": tuple(camera["position"]), "extent": extent and tuple(extent)}
            seen = Camera(**given)
        except (KeyError, TypeError) as error:
            raise SceneError(f"the camera is no camera ({error})") from None
        if self._renderer is None:
            self._renderer = make_renderer(self._home.description, OBJECT_SHAPES)
        frame = self._renderer.render(self._facts, seen, width, height, depth="depth" in kinds)
        drawn: dict[str, np.ndarray[Any, Any]] = {"rgb": frame.rgb}
        if frame.depth is not None:
            drawn["depth"] = frame.depth
        return drawn

    def close(self) -> None:
        """See ``Backend.close``."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _unknown(name: object) -> SceneError:
    return SceneError(f"the scene has no '{name}'", "send a name of its description")


def _facts_of(moment: dict[str, Any], home: KinematicScene) -> Facts:
    description = home.description
    agents = [AgentFacts(float(one["x"]), float(one["z"]), float(one["yaw"])) for one in moment["agents"]]
    objects = {}
    for one in moment["objects"]:
        x, y, z = one["position"]
        objects[one["name"]] = ObjectFacts(
            one["kind"], one["relation"], one["parent"], -1, (float(x), float(y), float(z)), dict(one["states"])
        )
        if one["held_by"] is not None:
            agents[one["held_by"]].held = one["name"]
    opened = set(moment["open"])
    return Facts(
        agents=agents,
        objects=objects,
        furniture_rooms={piece.name: piece.room for piece in description.furniture},
        furniture_open={piece.name: piece.name in opened for piece in description.furniture if piece.articulated},
        furniture_states={name: dict(states) for name, states in moment["states"].items()},
        doors_open={door.name: bool(moment["doors_open"] >> i & 1) for i, door in enumerate(description.doors)},
    )
