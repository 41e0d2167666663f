"""Stands in for habitat-sim in tests, so that the worker's backend really runs where habitat-sim is not.

It is NOT habitat-sim, and what passes on it says nothing of habitat-sim's meshes, rays or pictures. It has just the
calls that the backend makes, with the names, arguments and defaults that habitat-sim's own sources give them
(src/esp/bindings, src_python/habitat_sim), and refuses every other attribute and argument. Its geometry is that of
the exported files, in NumPy: see ``geometry.py``.

``FLYWHEEL_HABITAT_DOUBLE`` says how it is to fail: "abort" as habitat-sim does without a graphics card.
"""

from __future__ import annotations

import os

from habitat_sim import agent, geo, gfx, nav, physics, sensor, simulator
from habitat_sim.simulator import SimulatorConfiguration

__version__ = "0.3.3+double"
built_with_bullet = True
stage_id = -1

__all__ = ["SimulatorConfiguration", "agent", "geo", "gfx", "nav", "physics", "sensor", "simulator"]

if os.environ.get("FLYWHEEL_HABITAT_DOUBLE") == "broken":
    raise ImportError("libEGL.so.1: cannot open shared object file")
