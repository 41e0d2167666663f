"""The scene an episode is played in, as the configuration says."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.contracts.store import Store
from hitl_ops.worlds.habitat.config import MACHINE_VARIABLES, HabitatConfig, SceneConfig
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.kinematic_scene import home_of, is_home, load_scene
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.scene_description import SceneDescription

_log = logging.getLogger(__name__)


def open_scene(config: SceneConfig, scene_id: str) -> Scene:
    """Open a scene to play in; whoever opens it gives it back with :func:`close_scene`.

    Args:
        config: which kind, and how.
        scene_id: as the episode names it.

    Raises:
        UserError: the scene or one of its assets is missing, or its process cannot be started.
    """
    return load_scene(scene_id) if config.kind == "kinematic" else _open_remote(config.habitat, scene_id)


def scene_to_play(config: SceneConfig, scene_id: str) -> PlayedScene:
    """The scene that :func:`open_scene` would open, for records."""
    if config.kind == "kinematic":
        return PlayedScene("kinematic", scene_id)
    dataset = "" if is_home(scene_id) else config.habitat.scene_dataset
    return PlayedScene(config.kind, scene_id, config.habitat.backend, dataset)


def open_recorded_scene(played: PlayedScene, config: SceneConfig | None = None) -> Scene:
    """Open a scene that something was played in, to go on with it or to play it again.

    Args:
        played: as the record has it, whatever the configuration prefers now.
        config: how this machine starts processes, and where it has the record's data set if not where the record
            says; else as the environment says.

    Raises:
        UserError: see :func:`open_scene`; or this machine has no such data set or backend.
    """
    if played.kind == "kinematic":
        return load_scene(played.scene_id)
    usual = config.habitat if config is not None else HabitatConfig.of_machine()
    return _open_remote(_as_recorded(played, usual), played.scene_id)


def _as_recorded(played: PlayedScene, usual: HabitatConfig) -> HabitatConfig:
    """This machine's settings, with all that decides the geometry as the record has it."""
    changed: dict[str, str] = {}
    if played.backend and played.backend != usual.backend:
        from hitl_ops.worlds.habitat.kinematic_backend import KINEMATIC_BACKEND

        # A record may come from anywhere: what it names is imported only where somebody here names it too.
        if played.backend not in ("habitat", KINEMATIC_BACKEND):
            raise UserError(
                f"scene '{played.scene_id}' was played on backend '{played.backend}', which nobody names here",
                f"if you trust it, name it by scene.habitat.backend or {MACHINE_VARIABLES['backend']}",
            )
        # The interpreter that is named is the other backend's.
        changed = {"backend": played.backend, "python": ""}
    if played.dataset:
        changed["scene_dataset"] = _dataset_here(played, usual.scene_dataset)
    return usual.replace(**changed)


def _dataset_here(played: PlayedScene, named: str) -> str:
    """A record's data set on this machine: where it was, or where this machine has the one of the same file name."""
    same_name = bool(named) and os.path.basename(named) == os.path.basename(played.dataset)
    for place in (played.dataset, *([named] if same_name else [])):
        if os.path.isfile(os.path.expanduser(place)):
            return place
    raise UserError(
        f"scene data set '{played.dataset}' is missing, which scene '{played.scene_id}' was played in",
        "bring it there, or name this machine's own of that file name by scene.habitat.scene_dataset or "
        + MACHINE_VARIABLES["scene_dataset"],
    )


@contextmanager
def recorded_scene(played: PlayedScene, config: SceneConfig | None = None) -> Iterator[Scene]:
    """:func:`open_recorded_scene`, given back at the end."""
    scene = open_recorded_scene(played, config)
    try:
        yield scene
    finally:
        close_scene(scene)


def close_scene(scene: Scene) -> None:
    """Give a scene back; those of this process stay for the next episode."""
    if scene.played_scene.kind != "kinematic":
        from hitl_ops.worlds.habitat.remote_scene import RemoteScene

        if isinstance(scene, RemoteScene):
            scene.close()


def check_scene(scene: Scene) -> None:
    """Notice that a scene's process has ended, though nothing is asked of it just now.

    Raises:
        SceneLost: it has.
    """
    if scene.played_scene.kind != "kinematic":
        from hitl_ops.worlds.habitat.remote_scene import RemoteScene

        if isinstance(scene, RemoteScene):
            scene.check()


class KeptScenes:
    """Scenes of a process that plays one episode after another: the last few stay open, those that are lost go.

    Args:
        config: which kind, and how.
    """

    def __init__(self, config: SceneConfig) -> None:
        self._config = config
        self._scenes: OrderedDict[str, Scene] = OrderedDict()

    def scene(self, scene_id: str) -> Scene:
        """The scene of an episode, ready to be played in.

        Raises:
            UserError: see :func:`open_scene`.
        """
        kept = self._scenes.pop(scene_id, None)
        if kept is not None and getattr(kept, "lost", False):
            close_scene(kept)
            kept = None
        scene = kept if kept is not None else open_scene(self._config, scene_id)
        self._scenes[scene_id] = scene
        while len(self._scenes) > self._config.habitat.scenes_kept:
            close_scene(self._scenes.popitem(last=False)[1])
        return scene

    def close(self) -> None:
        """Give all of them back."""
        while self._scenes:
            close_scene(self._scenes.popitem()[1])


def what_to_open(
    config: HabitatConfig, scene_id: str, homes: Path | None = None
) -> tuple[dict[str, Any], SceneDescription | None]:
    """A scene as a worker's ``load`` takes it, and its description where it is a home of ours; starts nothing.

    Args:
        config: how the worker is started.
        scene_id: as the episode names it.
        homes: where our homes are exported to; the store's folder of them if None.

    Raises:
        UserError: the scene or something that belongs to it is missing, with its path.
    """
    if is_home(scene_id):
        description = home_of(scene_id)
        folder = ""
        if config.backend == "habitat":
            from hitl_ops.worlds.habitat.home_export import cached_home

            cache = homes if homes is not None else Store.from_environment().root / "homes"
            folder = str(cached_home(description, OBJECT_SHAPES, cache))
        return {"kind": "home", "scene_id": scene_id, "folder": folder}, description
    if not config.scene_dataset:
        raise UserError(
            f"scene asset '{scene_id}' is missing",
            "it is no generated Flywheel home; set scene.habitat.scene_dataset to its scene data set; for replays "
            + MACHINE_VARIABLES["scene_dataset"],
        )
    annotations: dict[str, Any] = {}
    if config.backend == "habitat":
        from hitl_ops.worlds.habitat.scene_annotations import read_annotations
        from hitl_ops.worlds.habitat.users_scenes import SceneDataSet

        data = SceneDataSet(config.scene_dataset)
        found = read_annotations(data, data.files_of(scene_id))  # what is missing is told before anything is started
        if found.left_out:
            _log.warning(found.sentence(scene_id))
        annotations = found.told()
    place = os.path.expanduser(config.scene_dataset)
    return {"kind": "dataset", "scene_id": scene_id, "config": place, "annotations": annotations}, None


def _open_remote(config: HabitatConfig, scene_id: str) -> Scene:
    from hitl_ops.worlds.habitat.remote_scene import RemoteScene

    return RemoteScene(config, *what_to_open(config, scene_id))
