"""A scripted person who marks how far simulated episodes at the station came: placed, held, off, lifted.

It sees what a person sees on the video, read from the recording's numbers: where the hands are, whether the fingers
have the knob between them, whether the lid rises. Whether an episode succeeded is the simulator's word. Like a person
it may be told to be a few frames off and to miss a moment now and then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32
from hitl_ops.labels.episode_ids import episode_ids
from hitl_ops.labels.progress_marks import EpisodeMarks, Mark, say_marks
from hitl_ops.records.lerobot_layout import ENVIRONMENT, STATE, numpy_column
from hitl_ops.records.lerobot_reading import EpisodeEntry, open_lerobot
from hitl_ops.worlds.bimanual.geometry import FINGER_TRAVEL, KNOB, KNOB_GRASP_HEIGHT, LUG_HEIGHT, LUG_REACH
from hitl_ops.worlds.bimanual.kinematics import hand_place
from hitl_ops.worlds.bimanual.world import ENVIRONMENT_STATE, HOLD_SECONDS, LIFT_HEIGHT

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog

StageName = Literal["placed", "held", "off", "lifted"]
STAGES: tuple[StageName, ...] = get_args(StageName)

_STREAM = 0x3A4
_FREQUENCY_HZ = 50
_OFF_HEIGHT = 0.02
"""The lid is off the bowl when it is lifted by more than this, metres."""
_BACK_HEIGHT = 0.01
"""It is back on it, or fell beside it, when it is lower than this."""
_LOOSE = 2.0
"""A stage counts as lost only when a tolerance is exceeded this many times."""
_LOST_FRAMES = 5
"""For so many frames together; a person does not see less."""
_OPEN = 0.5
"""Only an open hand is being placed: share of its opening."""
_PADS = 0.0018
"""How much wider than the knob the fingers may stand and still touch it, metres."""

Truth = npt.NDArray[np.bool_]


class ScriptedMarkerConfig(StrictConfig):
    """What the scripted person marks, and how closely they look.

    The tolerances were chosen on recordings of careful and careless hands, so that grips within them hold.
    """

    stages: tuple[StageName, ...] = Field(
        default=STAGES,
        min_length=1,
        description="Stages of the task in their order: both hands are well placed, the fingers have the knob between "
        "them, the lid is 2 cm off the bowl, it is held at 8 cm.",
    )
    ahead: float = Field(default=0.014, gt=0, description="How far the hand may be from the knob, closing way, metres.")
    aside: float = Field(default=0.014, gt=0, description="The same along the knob, metres.")
    above: float = Field(default=0.0125, gt=0, description="How far above or below the best grip it may be, metres.")
    left: float = Field(default=0.02, gt=0, description="How far the left hand may be from the bowl's lug, metres.")
    off_by: float = Field(default=0.0, ge=0, le=50, description="Frames a mark is off by, one standard deviation.")
    missed: float = Field(default=0.0, ge=0, le=1, description="Share of moments that are missed.")
    seed: int = Field(default=0, ge=0, description="Together with the episode decides where marks are off.")


@dataclass(frozen=True, slots=True)
class _Seen:
    """Whether a stage is reached at each frame, and whether what was reached is still so, [T] bool."""

    reached: Truth
    kept: Truth


def bimanual_marks(
    state: Float32,
    environment: Float32,
    success: bool,
    config: ScriptedMarkerConfig | None = None,
    *,
    episode: str = "",
) -> list[Mark]:
    """Mark one episode of the bimanual world.

    Args:
        state: joint positions, [T, 14].
        environment: the world's state, [T, 10], as :data:`hitl_ops.worlds.bimanual.world.ENVIRONMENT_STATE` names it.
        success: the simulator's verdict; without it the last stage, "lifted", is never reached.
        config: what is marked, and how closely.
        episode: the episode's id: with the seed it decides where marks are off.

    Returns:
        Marks that :func:`hitl_ops.labels.progress_marks.check_marks` accepts, in the order of frames.

    Raises:
        UserError: the arrays have other shapes, or stages are not in their order.
    """
    config = config or ScriptedMarkerConfig()
    if state.shape != (len(environment), 14) or environment.shape != (len(state), len(ENVIRONMENT_STATE)):
        raise UserError(
            f"the marker was given states {state.shape} and world states {environment.shape}",
            f"it marks the bimanual world: [T, 14] and [T, {len(ENVIRONMENT_STATE)}]",
        )
    if list(config.stages) != [name for name in STAGES if name in config.stages]:
        raise UserError(f"stages {', '.join(config.stages)} are not in their order", f"they are {', '.join(STAGES)}")
    seen = _seen(state.astype(np.float64), environment.astype(np.float64), success, config)
    marks = _marks([seen[name] for name in config.stages])
    if not config.off_by and not config.missed:
        return marks
    told = int.from_bytes(hashlib.sha256(episode.encode()).digest()[:8])
    return _blurred(marks, len(state), config, np.random.default_rng((_STREAM, config.seed, told)))


def mark_dataset(
    dataset: str | Path, config: ScriptedMarkerConfig | None = None
) -> Iterator[tuple[EpisodeEntry, list[Mark]]]:
    """Mark every episode of a data set recorded in the bimanual world; one is in memory at a time.

    Raises:
        UserError: it was recorded elsewhere, lacks its world's state, or does not tell what succeeded.
    """
    folder = open_lerobot(dataset)
    names = folder.info.features[ENVIRONMENT].names if ENVIRONMENT in folder.info.features else None
    if list(names or ()) != list(ENVIRONMENT_STATE):
        raise UserError(
            f"data set '{folder.root}' does not hold the bimanual world's state as '{ENVIRONMENT}'",
            "a scripted person marks simulated episodes only; mark it by hand: flywheel mark-progress",
        )
    for entry, table in folder.episodes():
        success = entry.facts.get("success")
        if success is None:
            raise UserError(
                f"data set '{folder.root}', episode {entry.index}: nothing says whether it succeeded",
                "record it in the simulator, which knows",
            )
        columns = [numpy_column(table.column(name)) for name in (STATE, ENVIRONMENT)]
        episode = str(entry.facts.get("episode_id", entry.index))
        yield entry, bimanual_marks(columns[0], columns[1], bool(success), config, episode=episode)


def keep_scripted_marks(
    labels: LabelLog,
    dataset: str | Path,
    config: ScriptedMarkerConfig | None = None,
    *,
    annotator: str = "scripted-marker",
    seconds_each: float = 0.0,
) -> int:
    """Say the marks of every episode of a data set in the label store, as people do on the page of marks.

    Said again, after a kill too, nothing is added.

    Args:
        labels: the label store.
        dataset: recorded in the bimanual world.
        config: what is marked, and how closely.
        annotator: who says it.
        seconds_each: of time that marking an episode is taken to cost.

    Returns:
        How many episodes were marked.

    Raises:
        UserError: as :func:`mark_dataset`.
        LabelStoreUnavailable: the label store does not answer.
    """
    config = config or ScriptedMarkerConfig()
    folder = open_lerobot(dataset)
    ids = {entry.index: episode_id for entry, episode_id in episode_ids(folder)}
    marked = 0
    for entry, marks in mark_dataset(dataset, config):
        said = EpisodeMarks(
            episode_id=ids[entry.index], length=entry.length, stages=len(config.stages), marks=tuple(marks)
        )
        told = f"{said.model_dump_json()} {config.model_dump_json()}"
        key = f"scripted-{hashlib.sha256(told.encode()).hexdigest()[:40]}"
        say_marks(labels, said, annotator=annotator, client_key=key, seconds=seconds_each)
        marked += 1
    return marked


def _seen(
    state: npt.NDArray[np.float64], world: npt.NDArray[np.float64], success: bool, config: ScriptedMarkerConfig
) -> dict[StageName, _Seen]:
    lid, lid_sin, lid_cos = world[:, 0:3], world[:, 3], world[:, 4]
    right = np.array([hand_place("right", row) for row in state[:, 7:13].astype(np.float32)]) - lid
    left = np.array([hand_place("left", row) for row in state[:, 0:6].astype(np.float32)])
    lug = world[:, 5:7] + LUG_REACH * np.stack([-world[:, 7], world[:, 8]], axis=1)
    ahead = np.abs(right[:, 0] * lid_cos + right[:, 1] * lid_sin) / config.ahead
    aside = np.abs(right[:, 1] * lid_cos - right[:, 0] * lid_sin) / config.aside
    above = np.abs(right[:, 2] - KNOB_GRASP_HEIGHT) / config.above
    away = np.linalg.norm(left - np.column_stack([lug, np.full(len(lug), LUG_HEIGHT)]), axis=1) / config.left
    # In tolerances: up to 1 is well placed.
    off = np.max([ahead, aside, above, away], axis=0)
    gap = state[:, 13] * 2 * FINGER_TRAVEL - KNOB[0]
    touching = (np.abs(gap) <= _PADS) & (off <= _LOOSE)
    placed = (off <= 1) & (state[:, 13] >= _OPEN)
    lift = world[:, 9]
    lifted = np.zeros(len(lift), np.bool_)
    if success:
        lifted[_held_up(lift)] = True
    return {
        "placed": _Seen(placed, off <= _LOOSE),
        "held": _Seen(touching, (gap <= _LOOSE * _PADS) & (off <= _LOOSE)),
        "off": _Seen(lift > _OFF_HEIGHT, lift > _BACK_HEIGHT),
        "lifted": _Seen(lifted, lifted),
    }


def _held_up(lift: npt.NDArray[np.float64]) -> int:
    """The frame at which the lid has been up long enough; the last where the recording ended with the success."""
    frames = round(HOLD_SECONDS * _FREQUENCY_HZ)
    up = np.convolve(lift >= LIFT_HEIGHT, np.ones(frames, np.int64))[: len(lift)]
    return int(np.argmax(up >= frames)) if (up >= frames).any() else len(lift) - 1


def _marks(stages: list[_Seen]) -> list[Mark]:
    """Walk through the frames: the next stage as soon as it is reached, the lowest that is lost when it has been.

    What a later stage shows, the earlier ones do not contradict: a lid that rises is held. After the last stage nothing
    is lost any more.
    """
    marks: list[Mark] = []
    level = 0
    later: Truth = np.zeros(len(stages[0].reached), np.bool_)
    reached: list[Truth] = [later] * len(stages)
    lost: list[Truth] = [later] * len(stages)
    for number in reversed(range(len(stages))):
        lost[number] = _lasting(~(stages[number].kept | later))
        reached[number] = later = stages[number].reached | later
    for frame in range(len(later)):
        if level == len(stages):
            break
        gone = next((number for number in range(level) if lost[number][frame]), None)
        if gone is not None:
            marks.append(Mark(frame=frame, stage=gone + 1, lost=True))
            level = gone
        elif reached[level][frame]:
            level += 1
            marks.append(Mark(frame=frame, stage=level))
    return marks


def _lasting(gone: Truth) -> Truth:
    """The first frames of every stretch that is long enough to be seen."""
    ahead = np.concatenate([gone, np.zeros(_LOST_FRAMES - 1, np.bool_)])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(ahead, _LOST_FRAMES).all(axis=1))


def _blurred(marks: list[Mark], length: int, config: ScriptedMarkerConfig, random: np.random.Generator) -> list[Mark]:
    """The same marks off by a few frames, some missed.

    Who missed where a stage was reached guesses it when the next is: somewhere between the marks around it. Missed
    setbacks are not seen at all, and neither is what is missed last.
    """
    blurred: list[Mark] = []
    level, last = 0, -1
    for mark in marks:
        off, overlooked = random.normal(0, config.off_by), random.random() < config.missed
        frame = max(last + 1, min(length - 1, mark.frame + round(off)))
        if overlooked or frame >= length:
            continue
        if mark.lost:
            if mark.stage > level:
                continue
        else:
            if mark.stage <= level or frame - last < mark.stage - level:
                continue
            guessed = sorted(random.choice(np.arange(last + 1, frame), mark.stage - level - 1, replace=False).tolist())
            blurred += [Mark(frame=at, stage=level + 1 + number) for number, at in enumerate(guessed)]
        blurred.append(mark.model_copy(update={"frame": frame}))
        level, last = (mark.stage - 1 if mark.lost else mark.stage), frame
    return blurred
