"""Scripted hands for gym-aloha's tasks: take, carry, hand over or insert; as careful or as clumsy as they are told.

They look at where the objects are (a world's privileged state), never at the verdict. A hand's way is laid in space and
turned into joints; what is clumsy about an episode is so from its beginning to its end, and whether that succeeds is
for the physics to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArmsConfig
from hitl_ops.worlds.aloha.kinematics import SIDES, AlohaKinematics, Side, hand_angles, hand_turn

Float64 = npt.NDArray[np.float64]

TRANSFER_PHASES = {
    "approach": 1.1,
    "descend": 0.7,
    "grasp": 0.4,
    "carry": 1.2,
    "meet": 0.8,
    "take": 0.5,
    "part": 0.8,
    "hold": math.inf,
}
"""What is done for the cube, and for how many seconds."""
INSERTION_PHASES = {"approach": 1.1, "descend": 0.7, "grasp": 0.4, "carry": 1.4, "insert": 1.2, "hold": math.inf}
"""The same for peg and socket."""

_STREAM = 0xA10
_FREQUENCY_HZ = 50
_CLEARANCE = 0.09
_PICK_PITCH = math.radians(75)
_PASS_PITCH = math.radians(60)
_MEETING = (0.0, 0.5, 0.25)
"""Where the cube is handed over, and above which line peg and socket meet."""
_REACHING = (0.0, -0.3, 0.8, 0.0, 0.5, 0.0)
"""An arm's joints with its hand over the table, pointing down: from here on its wrist is never straight."""
_YAWS = {"left": 0.0, "right": math.pi}
_HELD = {"cube": 0.606, "peg": 0.353, "socket": 0.656}
"""A gripper's opening when its fingers touch the sides of a thing."""
_PEG_RISE = 0.006
"""A hand that takes the peg stays this far above its middle, or its fingertips would touch the table."""


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What goes wrong in one episode; all zero (and ``closing`` one) is flawless.

    Attributes:
        ahead: how far beyond an object's middle a hand that takes it goes, metres, away from its own arm.
        aside: how far it misses the middle along y.
        above: how much too high it takes it.
        turned: how much it is turned about the upright, radians.
        closing: share by which fingers close, 1 is fully; what matters is how a thing's width compares.
        short: how far from the other's object a hand stops, metres, when it takes the cube over or inserts.
        astray: how far it misses it upwards.
    """

    ahead: float
    aside: float
    above: float
    turned: float
    closing: float
    short: float
    astray: float

    @classmethod
    def drawn(cls, config: ScriptedArmsConfig, episode_seed: int) -> Mistakes:
        """The mistakes of one episode; the same seeds always give the same."""
        random = np.random.default_rng((_STREAM, config.seed, episode_seed))
        normal = random.standard_normal(6).tolist()
        carelessness, high, weak = random.random(3).tolist()
        # Of the whole episode, and one way, as with the other scripted hand: the middling careless one fails.
        careless = config.carelessness(carelessness)
        return cls(
            ahead=0.002 * normal[0] + careless * (-0.014 + 0.006 * normal[0]),
            aside=0.001 * normal[1] + careless * (0.007 + 0.006 * normal[1]),
            above=0.001 * abs(normal[2]) + careless * (0.010 + 0.014 * high),
            turned=0.02 * normal[3] + careless * 0.15 * normal[3],
            closing=max(0.0, 1.0 - careless * (1.0 + 0.4 * weak)),
            short=0.001 * abs(normal[4]) + careless * (0.052 + 0.010 * normal[4]),
            astray=0.001 * normal[5] + careless * (0.006 + 0.006 * normal[5]),
        )


@dataclass(slots=True)
class _Hand:
    """One hand's way in this phase, from joints to joints: through space it would twist where the wrist is straight.

    A hand's place is x, y, z in metres, yaw, pitch and roll in radians, and the gripper's opening; its joints are the
    arm's six and that opening.
    """

    side: Side
    place: tuple[float, ...]
    start: tuple[float, ...]
    end: tuple[float, ...]

    def at(self, share: float) -> list[float]:
        """Its joints when this share of the way is done."""
        eased = share**3 * (10 - 15 * share + 6 * share**2)  # least jerk
        return [a + (b - a) * eased for a, b in zip(self.start, self.end, strict=True)]


@dataclass(frozen=True, slots=True)
class _Thing:
    """Where an object is, [3] metres, and how it is turned, [3, 3]."""

    place: Float64
    turn: Float64

    @classmethod
    def read(cls, pose: npt.ArrayLike) -> _Thing:
        """From gym-aloha's seven numbers."""
        x, y, z, *quaternion = np.asarray(pose, dtype=np.float64).tolist()
        a, b, c, d = np.array(quaternion) / np.linalg.norm(quaternion)
        turn = (
            (1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)),
            (2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)),
            (2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)),
        )
        return cls(np.array((x, y, z)), np.array(turn))


class ScriptedAloha:
    """Plays one episode after the other, of either task; each is deterministic in its seed and what it reads.

    Args:
        config: how well it does it.

    Attributes:
        phase: what it is at.
        mistakes: what goes wrong in this episode.

    Raises:
        UserError: gym-aloha is not installed.
    """

    def __init__(self, config: ScriptedArmsConfig | None = None) -> None:
        self.config = config or ScriptedArmsConfig()
        self.policy_id = f"scripted-aloha-noise-{self.config.named}"
        self._kinematics = AlohaKinematics()
        self.start(0)

    def start(self, seed: int) -> None:
        """Begin an episode.

        Args:
            seed: the episode's.
        """
        self.mistakes = Mistakes.drawn(self.config, seed)
        self._tremor = np.random.default_rng((_STREAM, 1, self.config.seed, seed))
        self._shake: Float64 = np.zeros(14)
        self.phase = "approach"
        self._phases = TRANSFER_PHASES
        self._ticks = 0
        self._hands: list[_Hand] = []

    def act(self, reading: RobotReading) -> Float32:
        """The next joint targets, [14] float32.

        Args:
            reading: the world's reading with its environment state; the way is aimed anew when a phase begins.

        Raises:
            ValueError: the reading's environment state is of neither task.
        """
        if not self._hands:
            things = 0 if reading.environment_state is None else len(reading.environment_state)
            if things not in (7, 14):
                raise ValueError("the scripted hands need a world that tells where the cube, or peg and socket, are")
            self._phases = TRANSFER_PHASES if things == 7 else INSERTION_PHASES
            self._hands = [self._resting(side, reading) for side in SIDES]
            self._aim(reading)
        elif self._ticks >= self._length():
            names = list(self._phases)
            self.phase = names[names.index(self.phase) + 1]
            self._ticks = 0
            self._aim(reading)
        self._ticks += 1
        share = 1.0 if self.phase == "hold" else min(1.0, self._ticks / self._length())
        target = np.array([joint for hand in self._hands for joint in hand.at(share)])
        if self.config.jitter:
            # Slow tremor: a hand's, not an encoder's.
            self._shake = 0.9 * self._shake + math.sqrt(1 - 0.9**2) * self._tremor.standard_normal(14)
            self._shake[[6, 13]] = 0.0
            target += self.config.jitter * self._shake
        return target.astype(np.float32)

    def _length(self) -> float:
        return self._phases[self.phase] * _FREQUENCY_HZ

    def _resting(self, side: Side, reading: RobotReading) -> _Hand:
        """A hand as the reading finds it."""
        first = 0 if side == "left" else 7
        *joints, opening = (float(joint) for joint in reading.position[first : first + 7])
        place, turn = self._kinematics.hand(side, joints)
        state = (*joints, opening)
        return _Hand(side, (*place.tolist(), *_angles(side, turn), opening), state, state)

    def _aim(self, reading: RobotReading) -> None:
        """Set out for the end of the phase that begins now."""
        assert reading.environment_state is not None
        things = [_Thing.read(pose) for pose in reading.environment_state.reshape(-1, 7)]
        places = self._transfer(things[0]) if len(things) == 1 else self._insertion(reading, *things)
        self._hands = [self._sent(hand, place) for hand, place in zip(self._hands, places, strict=True)]

    def _sent(self, hand: _Hand, place: tuple[float, ...]) -> _Hand:
        """A hand that sets out for a place."""
        if place[:6] == hand.place[:6]:
            return _Hand(hand.side, place, hand.end, (*hand.end[:6], place[6]))
        near = _REACHING if self.phase == "approach" else hand.end[:6]
        joints = self._kinematics.joints(hand.side, place[:3], hand_turn(*place[3:6]), near)
        return _Hand(hand.side, place, hand.end, (*joints.tolist(), place[6]))

    def _over(self, side: Side, thing: _Thing, rise: float) -> tuple[float, ...]:
        """A hand that is to take an object, open."""
        wrong, away = self.mistakes, 1.0 if side == "left" else -1.0
        x, y, z = thing.place.tolist()
        spot = (x + away * wrong.ahead, y + wrong.aside, z + rise + wrong.above)
        return (*spot, _YAWS[side] + wrong.turned, _PICK_PITCH, 0.0, 1.0)

    def _closed(self, thing: str) -> float:
        """A gripper's opening once it has closed about a thing: who closes too little does so whatever its width."""
        return (1.0 - self.mistakes.closing) * _HELD[thing] / _HELD["cube"]

    def _transfer(self, cube: _Thing) -> list[tuple[float, ...]]:
        """Where the hands are to be at the end of this phase: the right takes the cube, the left takes it over."""
        wrong = self.mistakes
        left, right = (hand.place for hand in self._hands)
        closed = self._closed("cube")
        x, y, z = _MEETING
        if self.phase == "approach":
            right = _raised(self._over("right", cube, 0.0), _CLEARANCE)
        elif self.phase == "descend":
            right = self._over("right", cube, 0.0)
        elif self.phase == "grasp":
            right = (*right[:6], closed)
        elif self.phase == "carry":
            right = (x, y, z, _YAWS["right"], _PASS_PITCH, 0.0, closed)
            # On its side, so that its fingers pass above and below those that hold the cube.
            left = (x - 0.12, y, z, _YAWS["left"], 0.0, math.pi / 2, 1.0)
        elif self.phase == "meet":
            cube_x, cube_y, cube_z = cube.place.tolist()
            # Where the cube is not, nothing is reached for: it may have been lost on the way.
            if math.dist(cube.place, _MEETING) > 0.08:
                cube_x, cube_y, cube_z = _MEETING
            left = (cube_x - 0.004 - wrong.short, cube_y, cube_z + wrong.astray, *left[3:])
        elif self.phase == "take":
            left = (*left[:6], closed)
        elif self.phase == "part":
            left = (left[0] - 0.08, *left[1:])
            right = (right[0] + 0.08, *right[1:6], 1.0)
        return [left, right]

    def _insertion(self, reading: RobotReading, peg: _Thing, socket: _Thing) -> list[tuple[float, ...]]:
        """The same for the right's peg and the left's socket."""
        wrong = self.mistakes
        left, right = (hand.place for hand in self._hands)
        around_socket, around_peg = self._closed("socket"), self._closed("peg")
        if self.phase in ("approach", "descend"):
            above = _CLEARANCE if self.phase == "approach" else 0.0
            left = _raised(self._over("left", socket, 0.0), above)
            right = _raised(self._over("right", peg, _PEG_RISE), above)
        elif self.phase == "grasp":
            left, right = (*left[:6], around_socket), (*right[:6], around_peg)
        elif self.phase in ("carry", "insert"):
            x, y, z = _MEETING
            # Half of what is between their middles; the peg is at the pin when that is 0.05.
            apart = 0.095 if self.phase == "carry" else 0.036 + wrong.short / 2
            left = self._bringing("left", reading, socket, (x - apart, y, z), around_socket)
            right = self._bringing("right", reading, peg, (x + apart, y, z + wrong.astray), around_peg)
        return [left, right]

    def _bringing(
        self, side: Side, reading: RobotReading, thing: _Thing, place: tuple[float, float, float], opening: float
    ) -> tuple[float, ...]:
        """Where a hand is to be for what it holds to be at a place, unturned."""
        first = 0 if side == "left" else 7
        at, turn = self._kinematics.hand(side, reading.position[first : first + 6])
        back = thing.turn.T
        if math.dist(at, thing.place) > 0.08:  # nothing is in the hand: it goes there all the same
            return (*place, _YAWS[side], _PICK_PITCH, 0.0, opening)
        spot = np.array(place) + back @ (at - thing.place)
        return (*spot.tolist(), *_angles(side, back @ turn), opening)


def _raised(state: tuple[float, ...], height: float) -> tuple[float, ...]:
    return (*state[:2], state[2] + height, *state[3:])


def _angles(side: Side, turn: Float64) -> tuple[float, float, float]:
    """Yaw, pitch and roll; the right hand's yaw, which is half a turn, without a jump there."""
    yaw, pitch, roll = hand_angles(turn)
    return (yaw % math.tau if side == "right" else yaw), pitch, roll
