"""A backend of the standard library and NumPy alone: an empty room of 10 m by 10 m. Runs on Python 3.9 too.

Door 1 is at its far wall. Standing at x = 13 is a mistake of the backend's own, which the worker has to survive.
"""

from __future__ import annotations

import math

import numpy as np


class FlatBackend:
    name = "flat"

    def __init__(self, gpu=-1):
        self.gpu = gpu

    def versions(self):
        return {"flat": "1"}

    def capabilities(self):
        return ["rgb", "depth", "semantic"]

    def load(self, scene):
        return {"scene_id": scene["scene_id"], "description": None, "anchors": ["floor_room_1"]}

    def route(self, start, target):
        end = (5.0, 5.0) if isinstance(target, str) else target
        return {"points": [start, end], "lengths": [0.0, math.hypot(end[0] - start[0], end[1] - start[1])]}

    def seen_from(self, x, z, doors_open):
        return doors_open | 1 << 100

    def line_of_sight(self, a, b, doors_open):
        return True

    def doors_at(self, x, z):
        return 2 if z > 9 else 0

    def slide(self, x, z, dx, dz):
        return min(max(x + dx, 0.0), 10.0), min(max(z + dz, 0.0), 10.0)

    def room_at(self, x, z):
        if x == 13:
            raise ZeroDivisionError("thirteen")
        return "room_1"

    def slots(self, parent, relation):
        return [(1.0, 0.0, 1.0)]

    def show(self, moment):
        self.moment = moment

    def picture(self, camera, width, height, kinds):
        shapes = {"rgb": ((height, width, 3), np.uint8), "depth": ((height, width), np.float32)}
        shapes["semantic"] = ((height, width), np.int32)
        return {kind: np.zeros(*shapes[kind]) for kind in kinds}

    def close(self):
        pass
