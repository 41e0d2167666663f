"""What differs from episode to episode: where things stand and how they are turned, their weights and frictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STREAM = 0x11D  # keeps these draws apart from everyone else's who starts from the episode's seed


@dataclass(frozen=True, slots=True)
class EpisodeSetup:
    """One episode's conditions.

    Attributes:
        bowl_x: the bowl's middle, metres.
        bowl_y: the bowl's middle, metres.
        bowl_yaw: radians about z.
        lid_yaw: radians about z.
        lid_mass: kilograms.
        bowl_mass: kilograms.
        knob_friction: Coulomb's coefficient between the knob and a finger.
        table_friction: between the bowl and the table.
    """

    bowl_x: float
    bowl_y: float
    bowl_yaw: float
    lid_yaw: float
    lid_mass: float
    bowl_mass: float
    knob_friction: float
    table_friction: float

    @classmethod
    def of_seed(cls, seed: int) -> EpisodeSetup:
        """The conditions of an episode; the same seed always gives the same."""
        draw = np.random.default_rng((_STREAM, seed)).uniform
        bowl_yaw = float(draw(-0.40, 0.40))
        return cls(
            bowl_x=float(draw(0.33, 0.41)),
            bowl_y=float(draw(-0.05, 0.05)),
            bowl_yaw=bowl_yaw,
            lid_yaw=bowl_yaw + float(draw(-0.20, 0.20)),
            lid_mass=float(draw(0.12, 0.30)),
            bowl_mass=float(draw(0.30, 0.50)),
            knob_friction=float(draw(0.45, 0.90)),
            table_friction=float(draw(0.35, 0.70)),
        )
