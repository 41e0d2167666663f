"""Schematic pictures of where the agent stands, drawn from the game's facts. They are ours, not AI2-THOR's.

From above to below: a row with a tile for every receptacle of the room, the one stood at framed; that receptacle,
closed or with what is in or on it; and the hand with what it holds. Nothing is shown that the text does not tell:
what lies in a closed receptacle stays hidden. Kinds differ by colour and shape; a ring is red where a thing is hot and
blue where it is cool, a white spot says clean, a stroke sliced, a glow that a lamp was turned on. From ``LABELS_FROM``
pixels on names are written beside, and below that the picture is ours.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hitl_ops.worlds.alfworld.engine import Fact

LABELS_FROM = 192
LEAST_SIZE = 24
_CAPTION = "schematic, not AI2-THOR"

_Colour = tuple[int, int, int]
_WALL: _Colour = (222, 224, 226)
_FLOOR: _Colour = (176, 160, 140)
_INK: _Colour = (30, 30, 36)
_HOT: _Colour = (220, 40, 30)
_COOL: _Colour = (40, 110, 230)
_GLOW: _Colour = (255, 232, 120)
_WHITE: _Colour = (255, 255, 255)
_SHAPES = 5


@dataclass(frozen=True, slots=True)
class VisibleScene:
    """What can be seen.

    Attributes:
        receptacles: all of the room, sorted.
        here: the one stood at; empty in the middle of the room.
        closed: whether it is closed.
        things: what is seen in or on it, sorted.
        held: what the hand holds; empty where nothing.
        states: for every thing its states: "hot", "cool", "clean", "sliced", "lit".
    """

    receptacles: tuple[str, ...]
    here: str
    closed: bool
    things: tuple[str, ...]
    held: str
    states: dict[str, frozenset[str]]


def visible_scene(facts: Iterable[Fact]) -> VisibleScene:
    """Pick out of all facts what the agent sees from where it stands."""
    said: dict[str, set[tuple[str, ...]]] = {}
    for predicate, names in facts:
        said.setdefault(predicate, set()).add(names)
    standing = {names[1] for names in said.get("atlocation", ())}
    here = sorted(names[0] for names in said.get("receptacleatlocation", ()) if names[1] in standing)
    place = here[0] if here else ""
    closed = (place,) in said.get("openable", ()) and (place,) not in said.get("opened", ())
    inside = sorted((names[0] for names in said.get("inreceptacle", ()) if names[1] == place), key=_natural)
    words = {"ishot": "hot", "iscool": "cool", "isclean": "clean", "issliced": "sliced", "istoggled": "lit"}
    states: dict[str, set[str]] = {}
    for predicate, word in words.items():
        for (thing,) in said.get(predicate, ()):
            states.setdefault(thing, set()).add(word)
    held = sorted(names[1] for names in said.get("holds", ()))
    return VisibleScene(
        receptacles=tuple(sorted({names[0] for names in said.get("receptacleatlocation", ())}, key=_natural)),
        here=place,
        closed=closed,
        things=() if closed else tuple(inside),
        held=held[0] if held else "",
        states={thing: frozenset(known) for thing, known in states.items()},
    )


def draw_schematic(facts: Iterable[Fact], size: int) -> NDArray[np.uint8]:
    """The picture, uint8 [size, size, 3], rows from the top.

    Args:
        facts: all that is true.
        size: edge in pixels, at least ``LEAST_SIZE``.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"a picture of {size} pixels shows nothing; {LEAST_SIZE} are the least")
    scene = visible_scene(facts)
    image = Image.new("RGB", (size, size), _WALL)
    draw = ImageDraw.Draw(image)
    labels = _Labels(draw, size)
    row, hand = round(size * 0.16), round(size * 0.80)
    draw.rectangle((0, hand, size, size), fill=_FLOOR)
    _draw_room(draw, scene, (0, 0, size, row))
    if scene.here:
        margin = max(1, size // 24)
        _draw_receptacle(draw, labels, scene, (margin, row + margin, size - margin, hand - margin))
    _draw_hand(draw, labels, scene, (0, hand, size, size))
    labels.write((size * 0.36, size - labels.height - 2), _CAPTION)
    return np.asarray(image, dtype=np.uint8)


_Box = tuple[float, float, float, float]


def _draw_room(draw: ImageDraw.ImageDraw, scene: VisibleScene, box: _Box) -> None:
    """A tile for every receptacle."""
    for cell, name in zip(_grid(box, len(scene.receptacles), rows=2), scene.receptacles, strict=False):
        draw.rectangle(_inset(cell, 1), fill=_colour(_kind(name), 0.55))
        if name == scene.here:
            draw.rectangle(_inset(cell, 0), outline=_INK, width=max(1, round((box[3] - box[1]) / 12)))


def _draw_receptacle(draw: ImageDraw.ImageDraw, labels: _Labels, scene: VisibleScene, box: _Box) -> None:
    colour = _colour(_kind(scene.here), 0.55)
    draw.rectangle(box, fill=colour, outline=_INK)
    if scene.closed:
        left, top, right, bottom = box
        middle = (left + right) / 2
        draw.line((middle, top, middle, bottom), fill=_INK, width=max(1, round((right - left) / 40)))
        for side in (-1, 1):  # two door handles
            x, y = middle + side * (right - left) * 0.08, (top + bottom) / 2
            draw.ellipse(_round(x, y, (right - left) * 0.03), fill=_WHITE, outline=_INK)
    else:
        inner = _inset(box, (box[2] - box[0]) * 0.06)
        draw.rectangle(inner, fill=_mixed(colour, _WHITE, 0.6))
        for cell, thing in zip(_grid(inner, len(scene.things)), scene.things, strict=False):
            _draw_thing(draw, thing, scene.states.get(thing, frozenset()), cell)
            labels.write((cell[0] + 2, cell[3] - labels.height - 1), thing)
    labels.write((box[0] + 3, box[1] + 1), f"{scene.here}{' (closed)' if scene.closed else ''}")


def _draw_hand(draw: ImageDraw.ImageDraw, labels: _Labels, scene: VisibleScene, box: _Box) -> None:
    left, top, _, bottom = box
    cell = (left + 2, top + 2, left + (bottom - top) - 2, bottom - 2)
    draw.rectangle(cell, outline=_INK)
    if scene.held:
        _draw_thing(draw, scene.held, scene.states.get(scene.held, frozenset()), cell)
        labels.write((cell[2] + 4, top + 2), f"holds {scene.held}")


def _draw_thing(draw: ImageDraw.ImageDraw, thing: str, states: frozenset[str], cell: _Box) -> None:
    x, y = (cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2
    radius = max(1.5, min(cell[2] - cell[0], cell[3] - cell[1]) * 0.34)
    if "lit" in states:
        draw.ellipse(_round(x, y, radius * 1.45), fill=_GLOW)
    kind = _kind(thing)
    colour = _colour(kind, 0.85)
    _draw_shape(draw, _number(kind, 1) % _SHAPES, (x, y, radius), colour)
    width = max(1, round(radius / 5))
    for state, ring in (("hot", _HOT), ("cool", _COOL)):
        if state in states:
            draw.ellipse(_round(x, y, radius * 1.3), outline=ring, width=width)
    if "clean" in states:
        draw.ellipse(_round(x - radius * 0.3, y - radius * 0.3, max(1.0, radius * 0.25)), fill=_WHITE)
    if "sliced" in states:
        draw.line((x - radius, y + radius, x + radius, y - radius), fill=_INK, width=width)


def _draw_shape(draw: ImageDraw.ImageDraw, shape: int, where: tuple[float, float, float], colour: _Colour) -> None:
    x, y, r = where
    if shape == 0:
        draw.ellipse(_round(x, y, r), fill=colour, outline=_INK)
    elif shape == 1:
        draw.rectangle(_round(x, y, r * 0.85), fill=colour, outline=_INK)
    elif shape == 2:
        draw.polygon([(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)], fill=colour, outline=_INK)
    elif shape == 3:
        draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=colour, outline=_INK)
    else:
        draw.rectangle((x - r, y - r * 0.4, x + r, y + r * 0.4), fill=colour, outline=_INK)


class _Labels:
    """Names, where the picture is large enough to read them."""

    def __init__(self, draw: ImageDraw.ImageDraw, size: int) -> None:
        self._draw = draw
        self._font = ImageFont.load_default(size=max(9, size // 32)) if size >= LABELS_FROM else None
        self.height = max(9, size // 32) + 2 if self._font else 0

    def write(self, at: tuple[float, float], text: str) -> None:
        if self._font is not None:
            self._draw.text(at, text, fill=_INK, font=self._font)


def _grid(box: _Box, count: int, rows: int | None = None) -> Sequence[_Box]:
    """As many equal cells, in rows from the top left."""
    if count == 0:
        return []
    rows = rows or max(1, round(math.sqrt(count * (box[3] - box[1]) / (box[2] - box[0]))))
    columns = math.ceil(count / rows)
    width, height = (box[2] - box[0]) / columns, (box[3] - box[1]) / rows
    corners = ((box[0] + n % columns * width, box[1] + n // columns * height) for n in range(count))
    return [(x, y, x + width, y + height) for x, y in corners]


def _inset(box: _Box, by: float) -> _Box:
    left, top, right, bottom = box
    return left + by, top + by, max(left + by, right - 1 - by), max(top + by, bottom - 1 - by)


def _round(x: float, y: float, radius: float) -> _Box:
    return x - radius, y - radius, x + radius, y + radius


def _kind(name: str) -> str:
    return name.rpartition(" ")[0] or name


def _natural(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition(" ")
    return (kind, int(number)) if number.isdigit() else (name, 0)


def _number(kind: str, at: int) -> int:
    return hashlib.sha256(kind.encode()).digest()[at]


def _colour(kind: str, saturation: float) -> _Colour:
    """A kind's colour, the same for ever."""
    value = 0.55 + 0.4 * _number(kind, 2) / 255
    red, green, blue = colorsys.hsv_to_rgb(_number(kind, 0) / 256, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _mixed(one: _Colour, other: _Colour, share: float) -> _Colour:
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
