"""habitat_sim.sensor: cameras (SensorBindings.cpp)."""

from __future__ import annotations

import enum


class SensorType(enum.Enum):
    """What is seen."""

    NONE = 0
    COLOR = 1
    DEPTH = 2
    SEMANTIC = 4


class SensorSubType(enum.Enum):
    """How it is seen."""

    NONE = 0
    PINHOLE = 1
    ORTHOGRAPHIC = 2


class CameraSensorSpec:
    """A camera. habitat-sim takes any attribute here; a misspelt one would be lost there, and is refused here."""

    __slots__ = (
        "channels",
        "clear_color",
        "far",
        "gpu2gpu_transfer",
        "hfov",
        "near",
        "noise_model",
        "orientation",
        "ortho_scale",
        "position",
        "resolution",
        "sensor_subtype",
        "sensor_type",
        "uuid",
    )

    def __init__(self) -> None:
        self.uuid, self.sensor_type, self.sensor_subtype = "", SensorType.COLOR, SensorSubType.PINHOLE
        self.position, self.orientation = [0.0, 1.5, 0.0], [0.0, 0.0, 0.0]
        self.noise_model, self.resolution, self.channels = "None", [128, 128], 4
        self.near, self.far, self.hfov, self.ortho_scale = 0.01, 1000.0, 90.0, 0.1
        self.gpu2gpu_transfer, self.clear_color = False, None
