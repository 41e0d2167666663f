"""One task instance, in PARTNR's episode schema, and episode files (``json.gz``).

Field names follow the PARTNR data set (Chang et al. 2024, arXiv 2411.00081), so that its files load here and
ours load there. What only Flywheel knows sits under ``info["flywheel"]``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_bytes

TaskType = Literal["constraint_free", "spatial", "temporal", "heterogeneous"]
TASK_TYPES: tuple[TaskType, ...] = ("constraint_free", "spatial", "temporal", "heterogeneous")


class Proposition(BaseModel):
    """A predicate that must come to hold, e.g. ``is_on_top(object_handles=[…], receptacle_handles=[…])``."""

    model_config = ConfigDict(extra="allow")

    function_name: str
    args: dict[str, Any]


class Dependency(BaseModel):
    """When a proposition may be evaluated."""

    model_config = ConfigDict(extra="allow")

    proposition_indices: list[int]
    depends_on: list[int]
    relation_type: Literal["while_satisfied", "after_satisfied", "after_unsatisfied", "before_satisfied"]
    dependency_mode: Literal["all", "any"] = "all"


class Constraint(BaseModel):
    """A condition over propositions: TemporalConstraint, SameArgConstraint and so on."""

    model_config = ConfigDict(extra="allow")

    type: Literal["TemporalConstraint", "SameArgConstraint", "DifferentArgConstraint", "TerminalSatisfactionConstraint"]
    args: dict[str, Any]


class Episode(BaseModel):
    """One task instance in one scene."""

    model_config = ConfigDict(extra="allow")

    episode_id: str
    scene_id: str
    scene_dataset_config: str = "flywheel"
    instruction: str
    rigid_objs: list[list[Any]] = Field(
        default_factory=list, description="[object template, 4×4 transform], y up, metres"
    )
    name_to_receptacle: dict[str, str] = Field(
        default_factory=dict, description="object handle → 'furniture_handle|slot' it starts on"
    )
    info: dict[str, Any] = Field(default_factory=dict)
    evaluation_propositions: list[Proposition] = Field(default_factory=list)
    evaluation_proposition_dependencies: list[Dependency] = Field(default_factory=list)
    evaluation_constraints: list[Constraint] = Field(default_factory=list)
    object_states: dict[str, dict[str, bool]] = Field(
        default_factory=dict, description="state name → {object handle: value} at the start"
    )

    @property
    def task_type(self) -> str:
        """The PARTNR task type, ``"unknown"`` where the file does not say."""
        return str(self.info.get("flywheel", {}).get("task_type", "unknown"))

    @property
    def split(self) -> str:
        """The split the episode belongs to, ``""`` where the file does not say."""
        return str(self.info.get("flywheel", {}).get("split", ""))

    @property
    def seed(self) -> int:
        """The seed the episode was generated from; also the world's default seed."""
        return int(self.info.get("flywheel", {}).get("seed", 0))


_VARIATION = "~"


def variation_of(episode: Episode, number: int) -> Episode:
    """The same task said in other words, with the agents starting elsewhere; number 0 is the episode itself.

    Raises:
        UserError: the episode has no such variation.
    """
    if number == 0:
        return episode
    ours = episode.info.get("flywheel", {})
    wordings, places = ours.get("wordings", []), ours.get("places", [])
    if number > min(len(wordings), len(places)):
        raise UserError(
            f"episode '{episode.episode_id}' has no variation {number}", f"it has {min(len(wordings), len(places))}"
        )
    varied = {**ours, "spawns": places[number - 1]}
    return episode.model_copy(
        update={
            "episode_id": f"{episode.episode_id}{_VARIATION}{number}",
            "instruction": wordings[number - 1],
            "info": {**episode.info, "flywheel": varied},
        }
    )


def original_episode_id(episode_id: str) -> str:
    """The id of the episode a variation was made of; splits keep an episode and its variations together."""
    return episode_id.partition(_VARIATION)[0]


def write_episodes(path: str | Path, episodes: list[Episode]) -> None:
    """Publish an episode file: ``{"config": null, "episodes": […]}`` as ``json.gz``, byte-identical for equal input."""
    body = {"config": None, "episodes": [episode.model_dump(mode="json") for episode in episodes]}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    publish_bytes(path, gzip.compress(text, compresslevel=6, mtime=0))


def read_episodes(path: str | Path) -> list[Episode]:
    """Read an episode file of ours or of PARTNR's.

    Raises:
        UserError: the file is missing, truncated, not gzip, not JSON, or an episode breaks the schema.
    """
    file = Path(path)
    remedy = "write it again, or restore it from a copy"
    try:
        body = json.loads(gzip.decompress(file.read_bytes()))
    except FileNotFoundError:
        raise UserError(
            f"episode file '{file}' does not exist", "check the path, or generate it with `flywheel episodes`"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"episode file '{file}' is corrupt ({error})", remedy) from None
    rows = body.get("episodes") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise UserError(f"episode file '{file}' has no list 'episodes'", remedy)
    episodes = []
    for position, row in enumerate(rows):
        try:
            episodes.append(Episode.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"episode file '{file}', episode {position}: field '{place}' {first['msg'].lower()}", remedy
            ) from None
    return episodes
