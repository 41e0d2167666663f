"""Users' own scenes: what a Habitat scene data set names, and whether all of it is there.

A data set is a ``*.scene_dataset_config.json`` and the folders it points to
(https://aihabitat.org/docs/habitat-sim/attributesJSON.html). Everything here is read from these files, without
habitat-sim, so that what is missing is known, by its path, before a simulator is started.
"""

from __future__ import annotations

import glob
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError

_CONFIG = ".scene_dataset_config.json"
_KINDS = {
    "stages": ".stage_config.json",
    "objects": ".object_config.json",
    "articulated_objects": ".ao_config.json",
    "scene_instances": ".scene_instance.json",
}
_ASSETS = ("render_asset", "collision_asset")


@dataclass(frozen=True)
class SceneFiles:
    """A scene of a data set.

    Attributes:
        scene_id: its name.
        instance: its scene instance configuration; None where the scene is a stage alone.
        stage: configuration of its stage.
        objects: template of each rigid object → its configuration.
        articulated: template of each articulated object → its configuration or URDF.
    """

    scene_id: str
    instance: Path | None
    stage: Path
    objects: dict[str, Path]
    articulated: dict[str, Path]


class SceneDataSet:
    """A scene data set by its configuration.

    Args:
        config: path of the ``*.scene_dataset_config.json``.

    Raises:
        UserError: it is missing, or is no such configuration.
    """

    def __init__(self, config: str | Path) -> None:
        self.path = Path(config).expanduser()
        if not self.path.name.endswith(_CONFIG):
            raise UserError(f"'{self.path}' is no scene data set", f"name a file *{_CONFIG}")
        self._body = read_config(self.path, "scene data set")
        self._known: dict[str, dict[str, Path]] = {}
        self._whole: dict[str, SceneFiles] = {}
        self._assets_there: set[Path] = set()

    def scenes(self) -> tuple[str, ...]:
        """Names of its scenes: its scene instances, or its stages where it has none."""
        named = self._configs("scene_instances") or self._configs("stages")
        return tuple(sorted(named))

    def files_of(self, scene_id: str) -> SceneFiles:
        """All that a scene is made of, each file of it there.

        Raises:
            UserError: the scene, or something it names, is missing; with its path.
        """
        if scene_id not in self._whole:
            self._whole[scene_id] = self._files_of(scene_id)
        return self._whole[scene_id]

    def _files_of(self, scene_id: str) -> SceneFiles:
        instance = self._configs("scene_instances").get(scene_id)
        if instance is None:
            stage = self._configs("stages").get(scene_id)
            if stage is None:
                where = " or ".join(self._places("scene_instances") + self._places("stages")) or "no folder"
                raise UserError(f"scene '{scene_id}' is missing from '{self.path}'", f"looked for it in {where}")
            self._check_assets(stage)
            return SceneFiles(scene_id, None, stage, {}, {})
        body = read_config(instance, "scene")
        stage = self._template("stages", _name_in(body.get("stage_instance"), instance), instance)
        self._check_assets(stage)
        found: dict[str, dict[str, Path]] = {"objects": {}, "articulated_objects": {}}
        for kind, listed in (("objects", "object_instances"), ("articulated_objects", "articulated_object_instances")):
            for entry in _list_in(body, listed, instance):
                name = _name_in(entry, instance)
                if name not in found[kind]:
                    found[kind][name] = self._template(kind, name, instance)
                    if kind == "objects":
                        self._check_assets(found[kind][name])
        return SceneFiles(scene_id, instance, stage, found["objects"], found["articulated_objects"])

    def object_config(self, template: str, more_folders: tuple[str | Path, ...] = ()) -> Path:
        """The configuration of an object, as PARTNR's episodes name it (``Cup_7.object_config.json``).

        Args:
            template: its handle, with or without the ending.
            more_folders: where to look for it too; an episode's ``additional_obj_config_paths``.

        Raises:
            UserError: it is in none of these folders, or its asset is missing.
        """
        name = Path(template).name.removesuffix(_KINDS["objects"])
        found = self._configs("objects").get(name)
        for folder in more_folders:
            if found is None and (place := self._beside(folder) / f"{name}{_KINDS['objects']}").is_file():
                found = place
        if found is None:
            where = ", ".join([*self._places("objects"), *(str(self._beside(folder)) for folder in more_folders)])
            raise UserError(f"object '{template}' is missing", f"looked for it in {where or 'no folder'}")
        self._check_assets(found)
        return found

    # --- files --------------------------------------------------------------------------------------------

    def _places(self, kind: str) -> list[str]:
        """Folders and files that the data set names for a kind of things, patterns as they are."""
        section = self._body.get(kind)
        paths = section.get("paths", {}) if isinstance(section, dict) else {}
        if not isinstance(paths, dict):
            raise UserError(f"'{self.path}': '{kind}.paths' is no map", "correct it")
        listed = [place for places in paths.values() for place in (places if isinstance(places, list) else [])]
        return [os.path.join(self.path.parent, place) for place in listed if isinstance(place, str)]

    def _configs(self, kind: str) -> dict[str, Path]:
        """Name → configuration of everything of a kind."""
        if kind in self._known:
            return self._known[kind]
        endings = (_KINDS[kind], ".urdf") if kind == "articulated_objects" else (_KINDS[kind],)
        found: dict[str, Path] = {}
        for pattern in self._places(kind):
            for place in sorted(glob.glob(pattern)):
                files = sorted(Path(place).iterdir()) if os.path.isdir(place) else [Path(place)]
                for file in files:
                    ending = next((ending for ending in endings if file.name.endswith(ending)), None)
                    if ending is not None:
                        found.setdefault(file.name.removesuffix(ending), file)
        self._known[kind] = found
        return found

    def _template(self, kind: str, template: str, named_by: Path) -> Path:
        """The configuration a scene means by a template's name, which may begin with folders."""
        name = Path(template).name.removesuffix(_KINDS[kind])
        found = self._configs(kind).get(name)
        if found is None:
            where = ", ".join(self._places(kind)) or f"no folder: '{self.path}' names none for {kind}"
            what = kind.removesuffix("s").replace("_", " ")
            raise UserError(f"{what} '{template}' of '{named_by}' is missing", f"looked for it in {where}")
        return found

    def _beside(self, folder: str | Path) -> Path:
        """A folder as an episode names it: as it is, or from a folder above the data set's."""
        path = Path(folder).expanduser()
        if path.is_absolute() or path.is_dir():
            return path
        above = (parent / path for parent in self.path.resolve().parents)
        return next((place for place in above if place.is_dir()), path)

    def _check_assets(self, config: Path) -> None:
        if config in self._assets_there:
            return
        body = read_config(config, "configuration")
        for name in _ASSETS:
            asset = body.get(name)
            if not isinstance(asset, str) or not asset:
                continue
            place = config.parent / asset
            # habitat-sim makes some shapes itself: handles like cubeSolid, which are no files.
            if not place.is_file() and "." in Path(asset).name:
                raise UserError(f"'{place}' is missing, the {name.replace('_', ' ')} of '{config}'", "download it too")
        self._assets_there.add(config)


def check_episode(episode: Episode, data: SceneDataSet) -> SceneFiles:
    """Whether everything is there that an episode of PARTNR's needs: its data set, its scene, its objects.

    Args:
        episode: as PARTNR's files have it.
        data: the data set on this machine, whatever the episode calls it.

    Returns:
        Its scene's files.

    Raises:
        UserError: the first thing that is missing, with its path.
    """
    files = data.files_of(episode.scene_id)
    more = (episode.model_extra or {}).get("additional_obj_config_paths", [])
    folders = tuple(folder for folder in more if isinstance(folder, str))
    for entry in episode.rigid_objs:
        if entry and isinstance(entry[0], str):
            try:
                data.object_config(entry[0], folders)
            except UserError as error:
                raise UserError(f"episode '{episode.episode_id}': {error.what}", error.remedy) from None
    return files


def read_config(path: Path, what: str) -> dict[str, Any]:
    """A JSON configuration.

    Raises:
        UserError: it is missing, or is none.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} '{path}' is missing", "check the path, or download it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{what} '{path}' cannot be read ({error})", "restore it from a copy") from None
    if not isinstance(body, dict):
        raise UserError(f"{what} '{path}' is no map", "restore it from a copy")
    return body


def _name_in(entry: object, place: Path) -> str:
    name = entry.get("template_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        raise UserError(f"'{place}' has something without a template_name", "correct it")
    return name


def _list_in(body: dict[str, Any], name: str, place: Path) -> list[Any]:
    listed = body.get(name, [])
    if not isinstance(listed, list):
        raise UserError(f"'{place}': '{name}' is no list", "correct it")
    return listed
