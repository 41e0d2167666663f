"""What stations sent in an epoch, looked through: is it whole, what was said of it, what may be trained on.

Only what a manifest names counts: a station's manifest comes last, so whatever lies there beside it is still on its
way.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_bytes, publish_json
from hitl_ops.contracts.station_epoch import (
    MANIFEST_GLOB,
    CollectedEpisode,
    EpochFolder,
    EpochManifest,
    epoch_folders,
    manifest_name,
    read_manifest,
    sha256_of,
)

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog
    from hitl_ops.records.station_hdf5 import Verdict

RECORDINGS_FILE = "recordings.json"
BALANCE_PLOT = "labels.png"
_LONGEST_PAUSE_S = 300.0
_KINDS = {"good": "#3a7d44", "bad": "#b5482e", "no verdict": "#9a9a9a", "excluded": "#c9b458", "aborted": "#5b5b5b"}


@dataclass(frozen=True)
class ArrivedEpoch:
    """What has come in of an epoch.

    Attributes:
        folder: the epoch on the server.
        manifests: those that can be read and are of this epoch, by station.
        damaged: what is wrong with each of the others.
    """

    folder: EpochFolder
    manifests: Mapping[str, EpochManifest] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    def waits_for(self, stations: Sequence[str]) -> list[str]:
        """Names of the manifests that are still missing.

        Args:
            stations: those that are expected; none: the first one to come is enough.
        """
        if not stations:
            return [] if self.manifests else [manifest_name("")]
        return [manifest_name(name) for name in stations if name not in self.manifests]

    @property
    def version(self) -> str:
        """Hash over what the manifests name; "" where there is none."""
        if not self.manifests:
            return ""
        named = [[name, *((one.name, one.sha256) for one in self.manifests[name].episodes)] for name in self._names]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    @property
    def files(self) -> list[tuple[str, CollectedEpisode]]:
        """Station and episode of everything that came in, in order."""
        return [(name, episode) for name in self._names for episode in self.manifests[name].episodes]

    @property
    def _names(self) -> list[str]:
        return sorted(self.manifests)


def arrived_epoch(folder: EpochFolder) -> ArrivedEpoch:
    """Look at an epoch's manifests; one that is damaged, or of another epoch, is said to be so and left out."""
    manifests: dict[str, EpochManifest] = {}
    damaged = []
    for file in sorted(folder.path.glob(MANIFEST_GLOB)):
        try:
            manifest = read_manifest(file)
        except UserError as error:
            damaged.append(str(error))
            continue
        if (manifest.task, manifest.epoch, manifest.file_name) != (folder.task, folder.epoch, file.name):
            damaged.append(
                f"manifest '{file}' is of task '{manifest.task}', epoch {manifest.epoch}, station "
                f"'{manifest.station}': move it where it belongs"
            )
            continue
        manifests[manifest.station] = manifest
    return ArrivedEpoch(folder, manifests, tuple(damaged))


class RecordedEpisode(BaseModel):
    """One episode of an epoch."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(description="relative to where stations' episodes come in")
    station: str
    episode_id: str
    verdict: Literal["good", "bad"] | None = Field(description="what counts: said later, or at the station")
    said_later: bool = Field(default=False, description="whether the verdict, or the exclusion, was said later")
    excluded: bool = Field(default=False, description="not to be trained on, somebody said")
    status: Literal["complete", "aborted"]
    success: bool | None = Field(default=None, description="the simulator's truth, where it is known")
    policy_id: str = ""
    frames: int = Field(ge=1)
    seconds: float = Field(ge=0, description="of the robot's time")
    interventions: int = Field(default=0, ge=0, description="frames in which a person had the robot in hand")
    started: float = Field(default=0.0, ge=0, description="seconds since 1970")


class DamagedRecording(BaseModel):
    """A file a manifest names that is not as it says."""

    model_config = ConfigDict(extra="forbid")

    file: str
    reason: str


class EpochRecordings(BaseModel):
    """An epoch, looked through."""

    model_config = ConfigDict(extra="forbid")

    task: str
    epoch: int = Field(ge=0)
    stations: tuple[str, ...] = Field(description='names of those that sent something; "" where there is but one')
    episodes: tuple[RecordedEpisode, ...]
    damaged: tuple[DamagedRecording, ...] = ()
    wrong_manifests: tuple[str, ...] = Field(default=(), description="what is wrong with manifests that do not count")
    human_seconds: float = Field(
        ge=0, description="people's time at the stations: from first start to last end, longer pauses taken off"
    )
    hash: str = Field(description="over episodes, verdicts and damage")

    def of_status(self, status: str) -> list[RecordedEpisode]:
        """The episodes that ended so."""
        return [one for one in self.episodes if one.status == status]

    @property
    def complete(self) -> list[RecordedEpisode]:
        """Episodes that were finished and not excluded."""
        return [one for one in self.of_status("complete") if not one.excluded]

    def judged(self, verdict: str | None) -> list[RecordedEpisode]:
        """Finished episodes of which this was said."""
        return [one for one in self.complete if one.verdict == verdict]


def look_through_epoch(
    folder: EpochFolder, out: Path, labels: LabelLog | None = None, progress: Progress = silent
) -> EpochRecordings:
    """Check every file that came in in an epoch, and say what there is: ``out/recordings.json``, ``out/labels.png``.

    Args:
        folder: the epoch on the server.
        out: where to write.
        labels: the label store, for what was said later; None where nobody ever said anything.
        progress: told after each episode.

    Raises:
        UserError: nothing has come in, or the disk is full.
        LabelStoreUnavailable: the label store does not answer.
    """
    arrived = arrived_epoch(folder)
    files = arrived.files
    if not files:
        wrong = f" ({arrived.damaged[0]})" if arrived.damaged else ""
        raise UserError(f"nothing has come in for '{folder.path}'{wrong}", "let a station finish its epoch")
    episodes: list[RecordedEpisode] = []
    damaged: list[DamagedRecording] = []
    for done, (station, collected) in enumerate(files, start=1):
        file = folder.raw / collected.name
        try:
            _need_whole(file, collected)
            episodes.append(_recorded(file, folder, station))
        except UserError as error:
            damaged.append(DamagedRecording(file=str(file.relative_to(folder.base)), reason=str(error)))
        progress(done, len(files), collected.name)
    episodes = _with_what_was_said(episodes, labels)
    body = [[one.model_dump(mode="json") for one in rows] for rows in (episodes, damaged)]
    found = EpochRecordings(
        task=folder.task,
        epoch=folder.epoch,
        stations=tuple(sorted(arrived.manifests)),
        episodes=tuple(episodes),
        damaged=tuple(damaged),
        wrong_manifests=arrived.damaged,
        human_seconds=round(sum(_time_at(station, episodes) for station in arrived.manifests), 1),
        hash=hashlib.sha256(json.dumps(body).encode()).hexdigest(),
    )
    publish_bytes(out / BALANCE_PLOT, _draw_balance(found))
    publish_json(out / RECORDINGS_FILE, found)
    return found


def read_recordings(folder: Path) -> EpochRecordings:
    """Read what :func:`look_through_epoch` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    file = folder / RECORDINGS_FILE
    try:
        return EpochRecordings.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "materialise station_recordings first") from None
    except (OSError, ValidationError) as error:
        raise UserError(f"'{file}' is damaged ({str(error).splitlines()[0]})", "materialise it again") from None


def collected_files(incoming: Path, task: str, epochs: Iterable[int]) -> list[Path]:
    """Files of all episodes that stations sent in some epochs, in order; what no manifest names is left out.

    Args:
        incoming: where stations' episodes come in.
        task: name of the task.
        epochs: which.

    Raises:
        UserError: a manifest cannot be read, or a file has gone.
    """
    wanted = set(epochs)
    found = []
    for folder in epoch_folders(incoming, task):
        if folder.epoch not in wanted:
            continue
        for _, episode in arrived_epoch(folder).files:
            file = folder.raw / episode.name
            if not file.is_file():
                raise UserError(f"episode '{file}' has gone", "let the station sync that epoch again")
            found.append(file)
    return found


def words_on(files: Iterable[Path], labels: LabelLog | None) -> tuple[dict[str, Verdict], set[str]]:
    """What was said later of recordings: verdicts and exclusions, by episode id.

    Args:
        files: the recordings.
        labels: the label store; None where nobody ever said anything.

    Raises:
        UserError: a recording cannot be read.
        LabelStoreUnavailable: the label store does not answer.
    """
    if labels is None:
        return {}, set()
    from hitl_ops.labels.station_verdicts import station_verdicts
    from hitl_ops.records.station_hdf5 import read_station_facts

    said = station_verdicts(labels)
    if not said.verdicts and not said.excluded:
        return {}, set()
    ids = {read_station_facts(file).episode_id for file in files}
    return {name: word for name, word in said.verdicts.items() if name in ids}, said.excluded & ids


def _need_whole(file: Path, collected: CollectedEpisode) -> None:
    """Compare a file with its manifest.

    Raises:
        UserError: it is missing or another one.
    """
    remedy = "let the station sync again"
    if not file.is_file():
        raise UserError("it is missing", remedy)
    if file.stat().st_size != collected.bytes:
        raise UserError(f"it has {file.stat().st_size} bytes, the manifest says {collected.bytes}", remedy)
    if sha256_of(file) != collected.sha256:
        raise UserError("its checksum is not the manifest's", remedy)


def _recorded(file: Path, folder: EpochFolder, station: str) -> RecordedEpisode:
    from hitl_ops.records.station_hdf5 import read_station_episode

    episode = read_station_episode(file)
    facts = episode.facts
    return RecordedEpisode(
        file=str(file.relative_to(folder.base)),
        station=station,
        episode_id=facts.episode_id,
        verdict=facts.verdict,
        status=facts.status,
        success=facts.success,
        policy_id=facts.policy_id,
        frames=episode.frames,
        seconds=round(episode.frames / facts.fps, 3),
        interventions=int(episode.intervention.sum()),
        started=facts.started,
    )


def _with_what_was_said(episodes: Collection[RecordedEpisode], labels: LabelLog | None) -> list[RecordedEpisode]:
    if labels is None:
        return list(episodes)
    from hitl_ops.labels.station_verdicts import station_verdicts

    said = station_verdicts(labels, among={one.episode_id for one in episodes})
    return [
        one.model_copy(
            update={
                "verdict": said.verdicts.get(one.episode_id, one.verdict),
                "excluded": one.episode_id in said.excluded,
                "said_later": one.episode_id in said.verdicts or one.episode_id in said.excluded,
            }
        )
        for one in episodes
    ]


def _time_at(station: str, episodes: Iterable[RecordedEpisode]) -> float:
    """Seconds somebody spent at a station."""
    own = sorted((one for one in episodes if one.station == station), key=lambda one: one.started)
    spent = own[-1].seconds if own else 0.0
    for earlier, later in itertools.pairwise(own):
        spent += min(max(later.started - earlier.started, 0.0), earlier.seconds + _LONGEST_PAUSE_S)
    return spent


def _draw_balance(found: EpochRecordings) -> bytes:
    """Episodes by station and verdict, as PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1.6 + 0.5 * len(found.stations)), layout="constrained")
    axes = figure.subplots()
    names = [name or "station" for name in found.stations]
    left = [0] * len(names)
    for kind, colour in _KINDS.items():
        fitting = [one.station for one in found.episodes if _kind_of(one) == kind]
        counts = [fitting.count(station) for station in found.stations]
        axes.barh(names, counts, left=left, color=colour, label=f"{kind} ({sum(counts)})")
        left = [before + count for before, count in zip(left, counts, strict=True)]
    axes.set(xlabel="episodes", title=f"{found.task}, epoch {found.epoch}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3, fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _kind_of(episode: RecordedEpisode) -> str:
    if episode.excluded:
        return "excluded"
    return "aborted" if episode.status == "aborted" else episode.verdict or "no verdict"
