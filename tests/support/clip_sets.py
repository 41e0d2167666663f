"""Small sets of clips as the reach world makes them: an arm's numbers that could be, and pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.preference import ClipFacts, ClipKind, ClipPair
from hitl_ops.records.clips import Clip, ClipSet, content_hash, open_clip_set, write_clip_set

FPS = 20.0
TASK = "Bring the hand to the ball"
Float = npt.NDArray[np.float64]

_LIMITS = np.array([2.967, 2.094, 2.967, 2.094, 2.967, 2.094, 3.054])
_LOW, _HIGH = np.array([0.2, -0.3, 0.2]), np.array([0.8, 0.3, 0.7])
# Heights of shoulder, elbow, wrist and flange of an upright KUKA iiwa over the joint below, metres.
_ARM = (0.36, 0.42, 0.40, 0.126)
_HOME = np.array([0.0, 0.5, 0.0, -1.2, 0.0, 0.9, 0.0])


def make_clips(
    count: int,
    *,
    steps: int | Sequence[int] = 30,
    seed: int = 0,
    kind: ClipKind = "reach",
    prefix: str = "clip",
    first: int = 0,
) -> list[Clip]:
    """Clips of an arm that goes to its target, the better the later in the list, with its true rewards.

    Args:
        count: how many.
        steps: of every clip, or of each in turn.
        seed: of all chance.
        kind: what they say they are.
        prefix: what their ids begin with.
        first: number of the first one's id.
    """
    chance = np.random.default_rng(seed)
    lengths = [steps] if isinstance(steps, int) else list(steps)
    skills = np.linspace(0.0, 1.0, count) if count > 1 else np.ones(1)
    return [
        _clip(f"{prefix}-{first + number:04d}", kind, lengths[number % len(lengths)], float(skill), chance)
        for number, skill in enumerate(skills)
    ]


def make_pairs(
    clips: Sequence[Clip], count: int, *, seed: int = 0, prefix: str = "pair", first: int = 0
) -> list[ClipPair]:
    """Pairs of different clips, by lot, half of them said to be chosen by disagreement."""
    chance = np.random.default_rng(seed)
    names = [clip.facts.clip_id for clip in clips]
    found = []
    for number in range(count):
        left, right = (names[int(place)] for place in chance.choice(len(names), 2, replace=False))
        torn = number % 2 == 0
        found.append(
            ClipPair(
                pair_id=f"{prefix}-{first + number:04d}",
                left=left,
                right=right,
                chosen_by="disagreement" if torn else "random",
                disagreement=float(chance.uniform(0.1, 0.5)) if torn else None,
            )
        )
    return found


def make_clip_set(folder: Path, clips: int = 8, pairs: int = 10, *, seed: int = 0, **keywords: Any) -> ClipSet:
    """Publish a set of clips and pairs.

    Args:
        folder: where, e.g. ``<store>/preference/000/rollouts/clips``.
        clips: how many clips.
        pairs: how many pairs.
        seed: of all chance.
        keywords: further ones of :func:`make_clips`.
    """
    made = make_clips(clips, seed=seed, **keywords)
    write_clip_set(folder, made, make_pairs(made, pairs, seed=seed), {"seed": seed})
    return open_clip_set(folder)


def _clip(name: str, kind: ClipKind, steps: int, skill: float, chance: np.random.Generator) -> Clip:
    target = chance.uniform(_LOW, _HIGH)
    start = _HOME + chance.normal(0.0, 0.25, 7)
    start[0] += chance.uniform(-0.5, 0.5)
    end = skill * _towards(target, start) + (1.0 - skill) * (start + chance.normal(0.0, 0.4, 7))
    way = np.linspace(0.0, 1.0, steps)[:, None] ** 0.7
    positions = np.clip(start + way * (end - start) + chance.normal(0.0, 0.004, (steps, 7)), -_LIMITS, _LIMITS)
    velocities = np.gradient(positions, 1.0 / FPS, axis=0) if steps > 1 else np.zeros_like(positions)
    hands = np.array([_hand(joints) for joints in positions])
    observations = np.concatenate([positions, velocities, np.tile(target, (steps, 1)), hands], axis=1)
    told = np.concatenate([positions[1:], positions[-1:]]) / _LIMITS
    actions = np.clip(told + chance.normal(0.0, 0.01, told.shape), -1.0, 1.0)
    distances = np.linalg.norm(hands - target, axis=1)
    numbers = observations.astype(np.float32), actions.astype(np.float32)
    facts = ClipFacts(
        clip_id=name,
        kind=kind,
        episode_id=f"episode-{name}",
        start=0,
        steps=steps,
        fps=FPS,
        task=TASK,
        policy_id="made-up",
        seed=0,
        content_hash=content_hash(*numbers),
    )
    return Clip(facts, *numbers, (-distances).astype(np.float32))


def _hand(joints: Float) -> Float:
    """Where the flange is, metres [3], of joint angles [7] in radians: joints turn about z and y in turns."""
    turned, place = np.eye(3), np.zeros(3)
    for number, height in enumerate(_ARM):
        place = place + turned @ np.array([0.0, 0.0, height])
        if number < 3:
            sign = -1.0 if number == 1 else 1.0
            turned = turned @ _about_z(joints[2 * number]) @ _about_y(sign * joints[2 * number + 1])
    return place


def _towards(target: Float, start: Float) -> Float:
    """Joint angles whose hand is near the target, by a few damped steps from others."""
    joints = start.copy()
    for _ in range(40):
        hand = _hand(joints)
        slopes = np.stack([(_hand(joints + step) - hand) / 1e-4 for step in np.eye(7) * 1e-4], axis=1)
        missing = target - hand
        joints = joints + slopes.T @ np.linalg.solve(slopes @ slopes.T + 0.01 * np.eye(3), missing)
        joints = np.clip(joints, -_LIMITS, _LIMITS)
        if np.linalg.norm(missing) < 0.01:
            break
    return joints


def _about_z(angle: float) -> Float:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _about_y(angle: float) -> Float:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
