"""The solids that draw each form of furniture, in the furniture's own frame (front along +z)."""

from __future__ import annotations

from hitl_ops.worlds.household.catalog import FurnitureKind
from hitl_ops.worlds.household.scene_description import Color, Part

_PANEL = 0.03


def _shade(color: Color, factor: float) -> Color:
    return (min(1.0, color[0] * factor), min(1.0, color[1] * factor), min(1.0, color[2] * factor))


def furniture_parts(kind: FurnitureKind) -> tuple[Part, ...]:
    """The parts of one piece of furniture of ``kind``: at most a dozen coloured boxes and cylinders."""
    width, height, depth = kind.size
    builders = {
        "table": _table,
        "counter": _solid,
        "cabinet": _hollow,
        "appliance": _hollow if kind.container else _solid,
        "shelf": _shelf,
        "seat": _seat,
        "sofa": _sofa,
        "bed": _bed,
        "lamp": _lamp,
        "basin": _basin,
        "screen": _screen,
    }
    return tuple(builders[kind.form](width, height, depth, kind))


def _box(x: float, y: float, z: float, size: tuple[float, float, float], color: Color, role: str = "body") -> Part:
    return Part(center=(x, y, z), size=size, color=color, role=role)


def _table(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    leg = 0.05
    dark = _shade(kind.color, 0.75)
    legs = [
        _box(sx * (w / 2 - leg), (h - 0.04) / 2, sz * (d / 2 - leg), (leg, h - 0.04, leg), dark)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
    return [_box(0, h - 0.02, 0, (w, 0.04, d), kind.color), *legs]


def _solid(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    parts = [
        _box(0, (h - 0.05) / 2, 0, (w, h - 0.05, d), kind.color),
        _box(0, h - 0.025, 0, (w + 0.02, 0.05, d + 0.02), _shade(kind.color, 0.7)),
    ]
    if kind.powerable:
        for sx in (-1, 1):
            parts.append(
                Part(
                    shape="cylinder",
                    center=(sx * w / 4, h + 0.005, 0),
                    size=(0.2, 0.01, 0.2),
                    color=(0.5, 0.2, 0.15),
                    role="lamp",
                )
            )
    return parts


def _hollow(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    inner = _shade(kind.color, 1.1)
    parts = [
        _box(-w / 2 + _PANEL / 2, h / 2, 0, (_PANEL, h, d), kind.color),
        _box(w / 2 - _PANEL / 2, h / 2, 0, (_PANEL, h, d), kind.color),
        _box(0, h - _PANEL / 2, 0, (w, _PANEL, d), _shade(kind.color, 0.85)),
        _box(0, _PANEL / 2, 0, (w, _PANEL, d), inner),
        _box(0, h / 2, -d / 2 + _PANEL / 2, (w, h, _PANEL), inner),
        _box(0, h / 2, d / 2, (w - 0.01, h - 0.02, 0.02), _shade(kind.color, 0.92), "door"),
        _box(w / 2 - 0.08, h / 2, d / 2 + 0.02, (0.02, min(0.3, h / 3), 0.02), _shade(kind.color, 0.4), "door"),
    ]
    if h > 1.3:
        parts.append(_box(0, h / 2, 0, (w - 2 * _PANEL, _PANEL, d - 2 * _PANEL), inner))
    if kind.powerable:
        parts.append(_box(-w / 4, h - 0.06, d / 2 + 0.015, (0.08, 0.05, 0.02), (0.2, 0.5, 0.3), "lamp"))
    return parts


def _shelf(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    boards = max(2, round(h / 0.4))
    parts = [_box(side * (w / 2 - _PANEL / 2), h / 2, 0, (_PANEL, h, d), _shade(kind.color, 0.85)) for side in (-1, 1)]
    for level in range(boards):
        y = h - 0.015 - level * (h / boards)
        parts.append(_box(0, y, 0, (w, _PANEL, d), kind.color))
    return parts


def _seat(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    return [*_table(w, h, d, kind), _box(0, h + 0.22, -d / 2 + 0.02, (w, 0.44, 0.04), kind.color)]


def _sofa(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    dark = _shade(kind.color, 0.8)
    return [
        _box(0, h / 2, 0, (w, h, d), kind.color),
        _box(0, h + 0.2, -d / 2 + 0.1, (w, 0.45, 0.2), dark),
        _box(-w / 2 + 0.08, h + 0.08, 0, (0.16, 0.18, d), dark),
        _box(w / 2 - 0.08, h + 0.08, 0, (0.16, 0.18, d), dark),
    ]


def _bed(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    return [
        _box(0, h * 0.3, 0, (w, h * 0.6, d), (0.45, 0.32, 0.22)),
        _box(0, h * 0.8, 0.02, (w - 0.06, h * 0.4, d - 0.08), kind.color),
        _box(0, h * 0.8 + 0.02, -d / 2 + 0.3, (w - 0.1, h * 0.4, 0.45), (0.93, 0.93, 0.95)),
        _box(0, 0.5, -d / 2 + 0.03, (w, 1.0, 0.06), (0.40, 0.28, 0.19)),
    ]


def _lamp(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    return [
        Part(shape="cylinder", center=(0, 0.02, 0), size=(w * 0.8, 0.04, d * 0.8), color=kind.color),
        Part(shape="cylinder", center=(0, h / 2, 0), size=(0.04, h, 0.04), color=kind.color),
        Part(shape="cylinder", center=(0, h - 0.15, 0), size=(w, 0.3, d), color=(0.72, 0.66, 0.50), role="lamp"),
    ]


def _basin(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    return [
        *_solid(w, h, d, kind),
        _box(0, h + 0.001, 0.03, (w * 0.5, 0.01, d * 0.55), (0.45, 0.55, 0.62)),
        _box(0, h + 0.12, -d / 2 + 0.08, (0.04, 0.24, 0.04), (0.75, 0.77, 0.80)),
        _box(0, h + 0.23, -d / 2 + 0.15, (0.04, 0.03, 0.16), (0.75, 0.77, 0.80)),
    ]


def _screen(w: float, h: float, d: float, kind: FurnitureKind) -> list[Part]:
    return [
        _box(0, h / 2, 0, (w, h, d), _shade(kind.color, 1.8)),
        _box(0, h + 0.42, -d / 2 + 0.06, (w * 0.85, 0.7, 0.05), kind.color),
        _box(0, h + 0.42, -d / 2 + 0.09, (w * 0.80, 0.62, 0.01), (0.16, 0.20, 0.30), "lamp"),
    ]
