"""A scripted hand at the station: approach, descend, grasp, lift; as careful or as clumsy as it is told to be.

It looks at the lid and the bowl (a world's privileged state), never at the verdict. Its clumsiness is of the kind
people show: it reaches short and to one side, grips too high, closes too little, pulls too early. Whether that succeeds
is for the physics to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.worlds.bimanual.geometry import KNOB_GRASP_HEIGHT, LUG_HEIGHT, LUG_REACH, SIDES, Side
from hitl_ops.worlds.bimanual.kinematics import arm_joints, hand_place

Phase = Literal["approach", "descend", "grasp", "lift", "hold"]
PHASES: tuple[Phase, ...] = ("approach", "descend", "grasp", "lift", "hold")

_STREAM = 0xA12
_FREQUENCY_HZ = 50
_SECONDS: dict[Phase, float] = {"approach": 0.9, "descend": 0.7, "grasp": 0.4, "lift": 0.9, "hold": math.inf}
_CLEARANCE = 0.07
_LIFT = 0.15


class ScriptedArmsConfig(StrictConfig):
    """How well the scripted hand does it."""

    noise: float = Field(default=0.0, ge=0, le=1, description="Clumsiness: 0 is careful, 1 fails more often than not.")
    constancy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the clumsiness that is there in every episode; 0: anything from none to all of it.",
    )
    jitter: float = Field(
        default=0.0, ge=0, le=0.1, description="Tremor of every arm joint's target, radians, one standard deviation."
    )
    seed: int = Field(default=0, ge=0, description="Together with the episode's seed decides which mistakes are made.")

    def carelessness(self, drawn: float) -> float:
        """An episode's carelessness, for a number drawn evenly from 0 to 1."""
        return self.noise * (self.constancy + (1 - self.constancy) * drawn)

    @property
    def named(self) -> str:
        """What tells one hand's clumsiness from another's."""
        return f"{self.noise:g}-{self.constancy:g}" if self.constancy else f"{self.noise:g}"


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What goes wrong in one episode; all zero (and ``closing`` and ``patience`` one) is flawless.

    Attributes:
        ahead: how far beyond the knob's middle the right hand goes, metres along x.
        aside: the same along y.
        above: how much too high it grips, metres.
        turned: how much it is turned, radians.
        closing: share by which the fingers close, 1 is fully.
        patience: share of the time for grasping that is taken before lifting.
        left_aside: how far the left hand misses the lug's middle, metres along x.
    """

    ahead: float
    aside: float
    above: float
    turned: float
    closing: float
    patience: float
    left_aside: float

    @classmethod
    def drawn(cls, config: ScriptedArmsConfig, episode_seed: int) -> Mistakes:
        """The mistakes of one episode; the same seeds always give the same."""
        random = np.random.default_rng((_STREAM, config.seed, episode_seed))
        normal = random.standard_normal(5).tolist()
        carelessness, high, weak, hasty = random.random(4).tolist()
        # Carelessness is of the whole episode and pulls every mistake one way: whoever copies the middling one of many
        # careless hands is careless too, and only who tells the good ones apart can do better.
        careless = config.carelessness(carelessness)
        return cls(
            ahead=0.002 * normal[0] + careless * (-0.018 + 0.012 * normal[0]),
            aside=0.002 * normal[1] + careless * (0.014 + 0.012 * normal[1]),
            above=0.001 * abs(normal[2]) + careless * (0.018 + 0.026 * high),
            turned=0.03 * normal[3] + careless * 0.25 * normal[3],
            closing=1.0 - careless * (0.62 + 0.40 * weak),
            patience=1.0 - careless * (0.30 + 0.50 * hasty),
            left_aside=0.002 * normal[4] + careless * 0.010 * normal[4],
        )


@dataclass(slots=True)
class _Hand:
    """One hand's way: where it was at the phase's beginning and where it is to be at its end.

    A state of a hand is x, y, z in metres, the closing line's angle in radians, and the gripper's opening.
    """

    side: Side
    start: tuple[float, ...]
    end: tuple[float, ...]

    def joints(self, share: float) -> list[float]:
        """The seven joints when this share of the way is done."""
        eased = share**3 * (10 - 15 * share + 6 * share**2)  # least jerk
        x, y, z, closing, opening = (a + (b - a) * eased for a, b in zip(self.start, self.end, strict=True))
        return [*arm_joints(self.side, (x, y, z), closing), opening]


class ScriptedArms:
    """Plays one episode after the other; each is deterministic in its seed and what it reads.

    Args:
        config: how well it does it.

    Attributes:
        phase: what it is at.
        mistakes: what goes wrong in this episode.
    """

    def __init__(self, config: ScriptedArmsConfig | None = None) -> None:
        self.config = config or ScriptedArmsConfig()
        self.policy_id = f"scripted-arms-noise-{self.config.named}"
        self.phase: Phase = "approach"
        self.start(0)

    def start(self, seed: int) -> None:
        """Begin an episode.

        Args:
            seed: the episode's.
        """
        self.mistakes = Mistakes.drawn(self.config, seed)
        self._tremor = np.random.default_rng((_STREAM, 1, self.config.seed, seed))
        self._shake: npt.NDArray[np.float64] = np.zeros(14)
        self.phase = "approach"
        self._ticks = 0
        self._hands: list[_Hand] = []

    def act(self, reading: RobotReading) -> Float32:
        """The next joint targets, [14] float32.

        Args:
            reading: the world's reading with its environment state; the way is aimed anew when a phase begins.

        Raises:
            ValueError: the reading has no environment state.
        """
        if reading.environment_state is None:
            raise ValueError("the scripted hand needs a world that tells where the lid is")
        if not self._hands:
            self._hands = [self._resting(side, reading) for side in SIDES]
            self._aim(reading)
        elif self._ticks >= self._length():
            self.phase = PHASES[PHASES.index(self.phase) + 1]
            self._ticks = 0
            self._aim(reading)
        self._ticks += 1
        share = min(1.0, self._ticks / min(self._length(), _FREQUENCY_HZ))
        if self.phase == "hold":
            share = 1.0
        action = np.array([*self._hands[0].joints(share), *self._hands[1].joints(share)])
        if self.config.jitter:
            # Slow tremor: a hand's, not an encoder's.
            self._shake = 0.9 * self._shake + math.sqrt(1 - 0.9**2) * self._tremor.standard_normal(14)
            self._shake[[6, 13]] = 0.0
            action += self.config.jitter * self._shake
        return action.astype(np.float32)

    def _length(self) -> float:
        seconds = _SECONDS[self.phase]
        if self.phase == "grasp":
            seconds *= self.mistakes.patience
        return seconds * _FREQUENCY_HZ

    def _resting(self, side: Side, reading: RobotReading) -> _Hand:
        """A hand as the reading finds it."""
        first = 0 if side == "left" else 7
        joints = reading.position[first : first + 7]
        quarter = math.pi / 2 if side == "left" else -math.pi / 2
        state = (*hand_place(side, joints[:6]), float(joints[0] - joints[5]) + quarter, float(joints[6]))
        return _Hand(side, state, state)

    def _aim(self, reading: RobotReading) -> None:
        """Set out for the end of the phase that begins now."""
        assert reading.environment_state is not None
        lid_x, lid_y, lid_z, lid_sin, lid_cos, bowl_x, bowl_y, bowl_sin, bowl_cos, _ = (
            float(value) for value in reading.environment_state
        )
        wrong = self.mistakes
        left, right = self._hands
        lug = (bowl_x - LUG_REACH * bowl_sin + wrong.left_aside, bowl_y + LUG_REACH * bowl_cos)
        lug_angle = math.atan2(bowl_sin, bowl_cos)
        knob = (lid_x + wrong.ahead, lid_y + wrong.aside)
        knob_angle = math.atan2(lid_sin, lid_cos) + wrong.turned
        grip = lid_z + KNOB_GRASP_HEIGHT + wrong.above
        closed = 1.0 - wrong.closing
        left_end: tuple[float, ...]
        right_end: tuple[float, ...]
        if self.phase == "approach":
            left_end = (*lug, LUG_HEIGHT + _CLEARANCE, lug_angle, 1.0)
            right_end = (*knob, grip + _CLEARANCE, knob_angle, 1.0)
        elif self.phase == "descend":
            left_end, right_end = (*lug, LUG_HEIGHT, lug_angle, 1.0), (*knob, grip, knob_angle, 1.0)
        elif self.phase == "grasp":
            left_end, right_end = (*left.end[:4], 0.0), (*right.end[:4], closed)
        elif self.phase == "lift":
            x, y, z, angle, opening = right.end
            left_end, right_end = left.end, (x, y, z + _LIFT, angle, opening)
        else:
            left_end, right_end = left.end, right.end
        self._hands = [_Hand("left", left.end, left_end), _Hand("right", right.end, right_end)]
