"""habitat_sim.simulator and the managers it hands out (simulator.py, SimBindings.cpp, *ManagerBindings.cpp)."""

from __future__ import annotations

import json
import math
import os
import sys

import numpy as np
from magnum import Matrix4, Quaternion, Range3D, Vector3

from habitat_sim.agent import Agent
from habitat_sim.geo import Ray
from habitat_sim.geometry import Solids, hits
from habitat_sim.nav import NavMeshSettings, PathFinder
from habitat_sim.physics import MotionType
from habitat_sim.sensor import CameraSensorSpec, SensorSubType, SensorType

_CHUNK = 64
_CUBE = "cubeSolid"  # one of the shapes that habitat-sim makes itself
_AWAY = -10.0  # what is lower was put out of sight


class SimulatorConfiguration:
    """How a scene is opened."""

    __slots__ = (
        "allow_sliding",
        "enable_physics",
        "gpu_device_id",
        "override_scene_light_defaults",
        "random_seed",
        "scene_dataset_config_file",
        "scene_id",
        "scene_light_setup",
    )

    def __init__(self) -> None:
        self.scene_id, self.scene_dataset_config_file, self.random_seed = "", "default", 0
        self.gpu_device_id, self.enable_physics, self.allow_sliding = 0, False, True
        self.override_scene_light_defaults, self.scene_light_setup = False, "no_lights"


class Configuration:
    """A simulator and its agents."""

    __slots__ = ("agents", "enable_batch_renderer", "metadata_mediator", "sim_cfg")

    def __init__(self, sim_cfg, agents, metadata_mediator=None, enable_batch_renderer=False) -> None:
        self.sim_cfg, self.agents = sim_cfg, agents
        self.metadata_mediator, self.enable_batch_renderer = metadata_mediator, enable_batch_renderer


class RayHitInfo:
    """What a ray met."""

    __slots__ = ("object_id", "ray_distance")

    def __init__(self, object_id: int, ray_distance: float) -> None:
        self.object_id, self.ray_distance = object_id, ray_distance


class RaycastResults:
    """All that a ray met."""

    __slots__ = ("hits",)

    def __init__(self, hits: list) -> None:
        self.hits = hits


class ManagedRigidObject:
    """An object in the scene."""

    __slots__ = ("_motion", "_place", "_solids", "_turn", "collidable", "handle", "object_id", "semantic_id")

    def __init__(self, object_id: int, handle: str, solids: Solids, semantic_id: int) -> None:
        self.object_id, self.handle, self.semantic_id, self._solids = object_id, handle, semantic_id, solids
        self._motion, self.collidable = MotionType.DYNAMIC, True
        self._place, self._turn = np.zeros(3), np.eye(3)

    @property
    def motion_type(self) -> MotionType:
        """How it moves."""
        return self._motion

    @motion_type.setter
    def motion_type(self, kind: MotionType) -> None:
        if not isinstance(kind, MotionType):
            raise TypeError("motion_type takes a MotionType")
        self._motion = kind

    @property
    def translation(self) -> Vector3:
        """Where it is."""
        return Vector3(*self._place.tolist())

    @translation.setter
    def translation(self, place: Vector3) -> None:
        if not isinstance(place, Vector3):
            raise TypeError("translation takes a Vector3")
        self._place = np.array((place.x, place.y, place.z))

    @property
    def rotation(self) -> None:
        """Its turn; only ever set."""
        raise AttributeError("rotation")

    @rotation.setter
    def rotation(self, turn: Quaternion) -> None:
        if not isinstance(turn, Quaternion):
            raise TypeError("rotation takes a Quaternion")
        self._turn = np.array(turn.to_rows())

    @property
    def transformation(self) -> Matrix4:
        """Where it is, and how turned."""
        return Matrix4(self._turn.tolist(), tuple(self._place.tolist()))

    @property
    def root_scene_node(self) -> ObjectNode:
        """Its node."""
        return ObjectNode(self)

    def _triangles(self) -> np.ndarray:
        return self._solids.triangles @ self._turn.T + self._place

    def _boxes(self) -> np.ndarray:
        triangles = self._triangles().reshape(-1, 3)
        return np.array([[triangles.min(axis=0), triangles.max(axis=0)]])


class ObjectNode:
    """The node of an object or of a link."""

    __slots__ = ("_of",)

    def __init__(self, of: ManagedRigidObject) -> None:
        self._of = of

    @property
    def cumulative_bb(self) -> Range3D:
        """The box around all of it, in its own frame."""
        corners = self._of._solids.boxes
        return Range3D(Vector3(*corners[:, 0].min(axis=0).tolist()), Vector3(*corners[:, 1].max(axis=0).tolist()))

    def absolute_transformation(self) -> Matrix4:
        """Where it is, and how turned."""
        return self._of.transformation


class ManagedArticulatedObject:
    """An object of several links; the double's have their base alone, and collide as their one link 0.

    Link 0 is called "drawer" and slides along z, all of the object with it.
    """

    __slots__ = ("_base", "_home", "_positions", "handle", "object_id")

    def __init__(self, base: ManagedRigidObject) -> None:
        self._base, self.handle, self.object_id = base, base.handle, 100_000 + base.object_id
        self._home, self._positions = base._place.copy(), [0.0]

    @property
    def global_scale(self) -> float:
        """How much larger than its URDF it is."""
        return 1.0

    @property
    def joint_positions(self) -> list:
        """How far each joint is turned or drawn out."""
        return list(self._positions)

    @joint_positions.setter
    def joint_positions(self, positions: list) -> None:
        if not isinstance(positions, list) or len(positions) != 1:
            raise TypeError("joint_positions takes a list of as many floats as there are")
        self._positions = list(positions)
        self._base._place = self._home + np.array((0.0, 0.0, positions[0]))

    def get_link_name(self, link_id: int) -> str:
        """A link's name; -1: the base's."""
        return {-1: "body", 0: "drawer"}[link_id]

    def get_link_joint_pos_offset(self, link_id: int) -> int:
        """Where a link's position stands among all."""
        if link_id != 0:
            raise IndexError(link_id)
        return 0

    @property
    def num_links(self) -> int:
        """How many links it has beside its base."""
        return 1

    @property
    def link_object_ids(self) -> dict:
        """Object id of each link → its number."""
        return {self._base.object_id: 0}

    def get_link_scene_node(self, link_id: int) -> ObjectNode:
        """A link's node; -1: the base's."""
        if link_id not in (-1, 0):
            raise IndexError(link_id)
        return ObjectNode(self._base)


class ObjectAttributesManager:
    """Templates of objects."""

    __slots__ = ("_templates",)

    def __init__(self) -> None:
        self._templates: dict = {_CUBE: {"render_asset": _CUBE, "semantic_id": 0}}

    def load_configs(self, path: str, save_as_defaults: bool = False) -> list:
        """All configurations of a folder; their numbers."""
        if not os.path.isdir(path):
            return []
        found = sorted(name for name in os.listdir(path) if name.endswith(".object_config.json"))
        for name in found:
            handle = os.path.join(path, name)
            with open(handle) as file:
                self._templates[handle] = json.load(file)
        return list(range(len(found)))

    def get_template_handles(self, search_str: str = "", contains: bool = True, sorted: bool = True) -> list:
        """Names of templates."""
        return [handle for handle in self._templates if (search_str in handle) == contains]


class RigidObjectManager:
    """Objects in the scene."""

    __slots__ = ("_files", "_objects", "_templates")

    def __init__(self, templates: ObjectAttributesManager) -> None:
        self._templates, self._objects, self._files = templates, [], {_CUBE: Solids.cube(0.2)}

    def add_object_by_template_handle(
        self, object_lib_handle: str, attachment_node=None, light_setup_key: str = ""
    ) -> ManagedRigidObject | None:
        """A new object of a template; None where there is none."""
        template = self._templates._templates.get(object_lib_handle)
        if template is None:
            return None
        asset = os.path.join(os.path.dirname(object_lib_handle), template["render_asset"])  # of the cube: itself
        if asset not in self._files:
            self._files[asset] = Solids(asset)
        made = ManagedRigidObject(len(self._objects), object_lib_handle, self._files[asset], template["semantic_id"])
        self._objects.append(made)
        return made

    def get_object_handles(self, search_str: str = "", contains: bool = True, sorted: bool = True) -> list:
        """Names of what is there."""
        return [one.handle for one in self._objects if not isinstance(one, _Link)]

    def get_object_by_handle(self, handle: str) -> ManagedRigidObject | None:
        """What is there under a name."""
        return next((one for one in self._objects if one.handle == handle), None)


class _Link(ManagedRigidObject):
    """What an articulated object collides with; no rigid object of its own."""

    __slots__ = ()


class ArticulatedObjectManager:
    """Articulated objects in the scene."""

    __slots__ = ("_objects",)

    def __init__(self) -> None:
        self._objects: list = []

    def get_object_handles(self, search_str: str = "", contains: bool = True, sorted: bool = True) -> list:
        """Names of what is there."""
        return [one.handle for one in self._objects]

    def get_object_by_handle(self, handle: str) -> ManagedArticulatedObject | None:
        """What is there under a name."""
        return next((one for one in self._objects if one.handle == handle), None)


class SemanticCategory:
    """A kind of regions."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self, mapping: str = "") -> str:
        """Its name."""
        return self._name


class BBox:
    """A box as older versions tell regions' (CoreBindings.cpp)."""

    __slots__ = ("center", "sizes")

    def __init__(self, low: list, high: list) -> None:
        self.center = (np.array(low) + np.array(high)) / 2
        self.sizes = np.array(high) - np.array(low)


class SemanticRegion:
    """A room."""

    __slots__ = ("aabb", "category", "id")

    def __init__(self, annotation: dict) -> None:
        self.aabb = BBox(annotation["min_bounds"], annotation["max_bounds"])
        self.category = SemanticCategory(annotation["label"])
        self.id = annotation["name"]


class SemanticScene:
    """What is known of a scene's rooms."""

    __slots__ = ("regions",)

    def __init__(self, regions: list) -> None:
        self.regions = regions


class Sensor:
    """A camera at its agent (simulator.py, sensors/sensor_wrapper.py)."""

    __slots__ = ("_seen", "_sim", "_spec")

    def __init__(self, sim: Simulator, spec: CameraSensorSpec) -> None:
        self._sim, self._spec = sim, spec
        self._seen: np.ndarray | None = None

    def draw_observation(self) -> None:
        """Draw."""
        self._seen = self._sim._see(self._spec)

    def get_observation(self) -> np.ndarray:
        """What was drawn."""
        assert self._seen is not None
        return self._seen


class Simulator:
    """A scene."""

    __slots__ = (
        "_agents",
        "_articulated",
        "_last",
        "_objects",
        "_sensors",
        "_stage",
        "_templates",
        "config",
        "pathfinder",
        "semantic_scene",
    )

    def __init__(self, config: Configuration) -> None:
        backend = config.sim_cfg
        if os.environ.get("FLYWHEEL_HABITAT_DOUBLE") == "abort" and backend.gpu_device_id >= 0:
            # As habitat-sim ends without a graphics card: by abort(), which no `except` sees.
            print(f"unable to find CUDA device {backend.gpu_device_id} among 0 EGL devices in total", file=sys.stderr)
            sys.stderr.flush()
            os.abort()
        if not config.agents:
            raise RuntimeError("Config has not agents specified.  Must specify at least 1 agent")
        if not backend.enable_physics:
            raise RuntimeError("without physics no ray is cast")
        self.config = config
        self.pathfinder = PathFinder()
        self._templates = ObjectAttributesManager()
        self._objects = RigidObjectManager(self._templates)
        self._articulated = ArticulatedObjectManager()
        self.semantic_scene = SemanticScene([])
        self._last: tuple = ()
        if backend.scene_dataset_config_file == "default":
            self._open_stage(backend.scene_id)
        else:
            self._open_instance(os.path.dirname(backend.scene_dataset_config_file), backend.scene_id)
        self._agents = [Agent(each) for each in config.agents]
        self._sensors: dict = {}
        for spec in config.agents[0].sensor_specifications:
            self._sensors[spec.uuid] = Sensor(self, spec)

    def _open_stage(self, path: str) -> None:
        with open(path) as file:
            stage = json.load(file)
        if stage.get("up") != [0, 1, 0]:
            raise RuntimeError("this stage is not y up")
        self._stage = Solids(os.path.join(os.path.dirname(path), stage["render_asset"]))

    def _open_instance(self, folder: str, name: str) -> None:
        """A scene of a data set whose folders are stages, objects, urdf, scenes and semantics."""
        with open(os.path.join(folder, "scenes", f"{name}.scene_instance.json")) as file:
            scene = json.load(file)
        stage = os.path.basename(scene["stage_instance"]["template_name"])
        self._open_stage(os.path.join(folder, "stages", f"{stage}.stage_config.json"))
        for kind, entries in (("objects", "object_instances"), ("urdf", "articulated_object_instances")):
            for number, entry in enumerate(scene.get(entries, [])):
                template = entry["template_name"]
                solids = Solids(os.path.join(folder, kind, f"{template}.glb"))
                made = (ManagedRigidObject if kind == "objects" else _Link)(
                    len(self._objects._objects), f"{template}_:{number:04d}", solids, 0
                )
                made.motion_type, made.translation = MotionType.STATIC, Vector3(*entry["translation"])
                self._objects._objects.append(made)
                if kind == "urdf":
                    self._articulated._objects.append(ManagedArticulatedObject(made))
        semantic = os.path.join(folder, "semantics", f"{name}.semantic_config.json")
        if os.path.isfile(semantic):
            with open(semantic) as file:
                self.semantic_scene = SemanticScene(
                    [SemanticRegion(one) for one in json.load(file)["region_annotations"]]
                )

    def recompute_navmesh(self, pathfinder: PathFinder, navmesh_settings: NavMeshSettings) -> bool:
        """Rasterise the stage, and what stands still if that is asked for."""
        boxes = [self._stage.boxes]
        if navmesh_settings.include_static_objects:
            boxes += [one._boxes() for one in self._objects._objects if one.motion_type == MotionType.STATIC]
        pathfinder._compute(np.concatenate(boxes), navmesh_settings)
        return True

    def get_object_template_manager(self) -> ObjectAttributesManager:
        """Templates."""
        return self._templates

    def get_rigid_object_manager(self) -> RigidObjectManager:
        """Objects."""
        return self._objects

    def get_articulated_object_manager(self) -> ArticulatedObjectManager:
        """Objects of several links."""
        return self._articulated

    def get_agent(self, agent_id: int) -> Agent:
        """An agent."""
        return self._agents[agent_id]

    def add_sensor(self, sensor_spec: CameraSensorSpec, agent_id: int | None = None) -> None:
        """Another camera; of a kind that there was one of at the beginning."""
        if sensor_spec.uuid in self._sensors:
            raise ValueError(f"Sensor '{sensor_spec.uuid}' already exists")
        if sensor_spec.sensor_type not in {sensor._spec.sensor_type for sensor in self._sensors.values()}:
            raise ValueError("Cannot dynamically add a sensor unless one already exists.")
        self._sensors[sensor_spec.uuid] = Sensor(self, sensor_spec)

    def cast_ray(self, ray: Ray, max_distance: float = 100.0) -> RaycastResults:
        """All that a ray meets, the nearest first; objects too, while they are collidable."""
        origin = np.array([(ray.origin.x, ray.origin.y, ray.origin.z)])
        direction = np.array([(ray.direction.x, ray.direction.y, ray.direction.z)])
        ends = np.concatenate([origin, origin + direction * max_distance])
        found = []
        solid = [(-1, self._stage.triangles)]
        solid += [(one.object_id, one._triangles()) for one in self._objects._objects if one.collidable]
        for object_id, triangles in solid:
            near = (triangles.min(axis=1) <= ends.max(axis=0) + 1e-9).all(axis=1)
            near &= (triangles.max(axis=1) >= ends.min(axis=0) - 1e-9).all(axis=1)
            if near.any():
                away = hits(triangles[near], origin, direction)[0]
                found += [RayHitInfo(object_id, float(value)) for value in away[away <= max_distance]]
        return RaycastResults(sorted(found, key=lambda hit: hit.ray_distance))

    def close(self, destroy: bool = True) -> None:
        """Give it all back."""

    def _see(self, spec: CameraSensorSpec) -> np.ndarray:
        """Every pixel by a ray, without light: slow, and enough to see that poses are right."""
        height, width = spec.resolution
        node = self._agents[0].scene_node
        if list(spec.position) != [0.0, 0.0, 0.0]:
            raise RuntimeError("the double's cameras sit where their agent is")
        pinhole = spec.sensor_subtype == SensorSubType.PINHOLE
        half = math.tan(math.radians(spec.hfov) / 2) if pinhole else 0.5 / spec.ortho_scale
        xs = ((np.arange(width) + 0.5) / width * 2 - 1) * half
        ys = (1 - (np.arange(height) + 0.5) / height * 2) * half * height / width
        x, y = np.meshgrid(xs, ys)
        plane = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        ahead = np.array((0.0, 0.0, -1.0))
        origins = (np.zeros_like(plane) if pinhole else plane) @ node._turn.T + node._place
        directions = (plane + ahead if pinhole else np.tile(ahead, (len(plane), 1))) @ node._turn.T
        depth, which, colors, ids = self._trace(origins, directions, spec.near)
        there = depth < spec.far
        if spec.sensor_type == SensorType.COLOR:
            seen = np.zeros((len(plane), 4), dtype=np.uint8)
            seen[there, :3] = colors[which[there]]
            return seen.reshape(height, width, 4)
        if spec.sensor_type == SensorType.SEMANTIC:
            return np.where(there, ids[which], 0).astype(np.uint32).reshape(height, width)
        if not pinhole:
            # What habitat-sim tells of orthographic cameras: a perspective undone that there never was.
            span = spec.far - spec.near
            share = (depth - spec.near) / span
            depth = (-(spec.far + spec.near) / span / 2) / (share + (-2 / span - 1) / 2)
        return np.where(there, depth, 0.0).astype(np.float32).reshape(height, width)

    def _trace(self, origins: np.ndarray, directions: np.ndarray, near: float) -> tuple:
        """How far each ray goes, which triangle it meets, and the colours and ids of these."""
        objects = [one for one in self._objects._objects if one._place[1] > _AWAY]
        poses = [(one.object_id, one._place.tolist(), one._turn.tolist()) for one in objects]
        asked = (origins.tobytes(), directions.tobytes(), near, repr(poses))
        if self._last and self._last[0] == asked:
            return self._last[1]
        solid = [(self._stage.triangles, self._stage.colors, 0)]
        solid += [(one._triangles(), one._solids.colors, one.semantic_id) for one in objects]
        triangles = np.concatenate([each[0] for each in solid])
        colors = np.concatenate([each[1] for each in solid])
        ids = np.concatenate([np.full(len(each[0]), each[2], dtype=np.uint32) for each in solid])
        # Faces that look away are not drawn.
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        depth, which = np.zeros(len(origins)), np.zeros(len(origins), dtype=int)
        for at in range(0, len(origins), _CHUNK):
            rows = slice(at, at + _CHUNK)
            away = hits(triangles, origins[rows], directions[rows])
            away[(directions[rows] @ normals.T) >= 0] = np.inf
            away[away < near] = np.inf
            which[rows], depth[rows] = away.argmin(axis=1), away.min(axis=1)
        self._last = (asked, (depth, which, colors, ids))
        return self._last[1]
