"""A labelled floor plan of a home and a moment in it, for reports and videos. Drawn with Pillow.

Pillow rather than matplotlib, which takes several times as long, while a video wants a plan for every frame.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hitl_ops.contracts.publish import publishing
from hitl_ops.worlds.household.facts import Facts, ObjectFacts
from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.renderer.agent_body import hand
from hitl_ops.worlds.household.renderer.camera import home_bounds
from hitl_ops.worlds.household.renderer.structure import solid_stretches
from hitl_ops.worlds.household.scene_description import Color, Furniture, ObjectShape, Part, SceneDescription, Vec3

_FINER = 2  # drawn this many times larger, then averaged down: smooth edges
_MARGIN = 0.35
_PAPER = (250, 250, 248)
_INK = (43, 46, 54)
_FAINT_INK = (88, 92, 102)
_WALL = (66, 70, 80)
_AGENT_RADIUS = 0.24

Box = tuple[float, float, float, float]


class FloorPlan:
    """The plan of one home; what never changes is drawn once."""

    def __init__(
        self,
        description: SceneDescription,
        shapes: Mapping[str, ObjectShape],
        width: int = 960,
        height: int | None = None,
        label_things: bool = True,
    ) -> None:
        """Prepare the plan.

        Args:
            description: the home.
            shapes: object kind → shape.
            width: pixels.
            height: pixels; None takes what the home needs. The home is fitted into the middle.
            label_things: whether furniture and objects are named, not only rooms (small plans are calmer without).
        """
        self._description = description
        self._shapes = shapes
        self._label_things = label_things
        x0, z0, x1, z1 = home_bounds(description)
        span_x, span_z = x1 - x0 + 2 * _MARGIN, z1 - z0 + 2 * _MARGIN
        self.width = width
        self.height = height if height is not None else round(width * span_z / span_x)
        self._scale = min(width / span_x, self.height / span_z) * _FINER
        self._origin = (
            (x0 + x1) / 2 - width * _FINER / self._scale / 2,
            (z0 + z1) / 2 - self.height * _FINER / self._scale / 2,
        )
        self._taken: list[Box] = []
        self._ground = self._draw_ground()

    def draw(self, facts: Facts, trails: Sequence[Sequence[tuple[float, float]]] = ()) -> NDArray[np.uint8]:
        """The plan of a moment.

        Args:
            facts: the moment.
            trails: for each agent the places (x, z) it has been to, drawn as a line; may be empty.

        Returns:
            uint8 [height, width, 3].
        """
        image = self._ground.copy()
        draw = ImageDraw.Draw(image)
        taken = list(self._taken)
        self._draw_doors(draw, facts)
        for number, trail in enumerate(trails):
            if len(trail) > 1:
                line = [self._at(x, z) for x, z in trail]
                draw.line(
                    line,
                    fill=_bytes(appearance.agent_color(number), 0.35),
                    width=round(0.05 * self._scale),
                    joint="curve",
                )
        spots = [self._draw_object(draw, thing, facts) for thing in facts.objects.values()]
        for number, agent in enumerate(facts.agents):
            self._draw_agent(draw, number, (agent.x, agent.z), agent.yaw)
            taken.append(self._around(agent.x, agent.z, _AGENT_RADIUS, _AGENT_RADIUS))
        for thing in facts.objects.values():
            if thing.relation == "held":  # in the hand, hence over the agent
                self._draw_object(draw, thing, facts)
        if self._label_things:
            taken += spots
            for furniture in self._description.furniture:
                half_x, half_z = _footprint(furniture)
                spot = self._around(furniture.position[0], furniture.position[2], half_x, half_z)
                self._label(draw, furniture.name, spot, taken, furniture=True)
            for name, spot in zip(facts.objects, spots, strict=True):
                self._label(draw, name, spot, taken, furniture=False)
        return np.asarray(image.reduce(_FINER))

    def save(self, path: str | Path, facts: Facts, trails: Sequence[Sequence[tuple[float, float]]] = ()) -> None:
        """Write the plan of a moment as PNG, atomically.

        Raises:
            UserError: the disk is full or the place cannot be written.
        """
        picture = Image.fromarray(self.draw(facts, trails))
        with publishing(path) as temporary:
            picture.save(temporary, format="PNG")

    # --- what never changes ------------------------------------------------------------------------------------

    def _draw_ground(self) -> Image.Image:
        image = Image.new("RGB", (self.width * _FINER, self.height * _FINER), _PAPER)
        draw = ImageDraw.Draw(image)
        for room in self._description.rooms:
            x0, z0, x1, z1 = room.bounds
            draw.rectangle((*self._at(x0, z0), *self._at(x1, z1)), fill=_bytes(room.floor_color, 0.45))
        for furniture in self._description.furniture:
            for part in sorted(furniture.parts, key=lambda part: part.center[1] + part.size[1] / 2):
                if part.role != "door":
                    self._draw_part(draw, part, furniture.position, furniture.yaw, _bytes(part.color, 0.2))
        for wall in self._description.walls:
            for start, end in solid_stretches(wall.start, wall.end, self._description.doors):
                draw.line((self._at(*start), self._at(*end)), fill=_WALL, width=round(wall.thickness * self._scale))
                for x, z in (start, end):
                    half = wall.thickness / 2
                    if (x, z) in (wall.start, wall.end) and self._meets_wall(x, z):
                        draw.rectangle((*self._at(x - half, z - half), *self._at(x + half, z + half)), fill=_WALL)
        for room in self._description.rooms:
            self._label_room(draw, room.name, room.bounds)
        return image

    def _meets_wall(self, x: float, z: float) -> bool:
        ends = [point for wall in self._description.walls for point in (wall.start, wall.end)]
        return sum(math.dist((x, z), point) < 0.05 for point in ends) > 1

    def _label_room(self, draw: ImageDraw.ImageDraw, name: str, bounds: Box) -> None:
        """A room's name where it covers least of what stands or may come to lie there."""
        font = self._font(0.27)
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font, anchor="mm")
        half_x, half_z = (right - left) / 2 / self._scale, (bottom - top) / 2 / self._scale
        x0, z0, x1, z1 = bounds
        pieces = [
            (p.position[0] - w, p.position[2] - d, p.position[0] + w, p.position[2] + d)
            for p in self._description.furniture
            for w, d in [_footprint(p)]
        ]
        places = [*self._description.floor_slots.get(name, ()), *((x, 0.0, z) for x, z in self._description.spawns)]
        pieces += [(x - 0.25, z - 0.25, x + 0.25, z + 0.25) for x, _, z in places]
        middle = ((x0 + x1) / 2, (z0 + z1) / 2)
        best: tuple[float, float, float] | None = None
        for row in range(9):
            z = z0 + 0.25 + half_z + (z1 - z0 - 0.5 - 2 * half_z) * row / 8
            for column in range(7):
                x = x0 + 0.2 + half_x + max(0.0, x1 - x0 - 0.4 - 2 * half_x) * column / 6
                spot = (x - half_x, z - half_z, x + half_x, z + half_z)
                cost = sum(_overlap(spot, piece) for piece in pieces) * 100 + math.dist((x, z), middle)
                if best is None or cost < best[0]:
                    best = (cost, x, z)
        if best is None:
            return
        draw.text(self._at(best[1], best[2]), name, font=font, fill=_INK, anchor="mm")
        self._taken.append(self._around(best[1], best[2], half_x, half_z))

    # --- what changes ------------------------------------------------------------------------------------------

    def _draw_doors(self, draw: ImageDraw.ImageDraw, facts: Facts) -> None:
        """A closed door as a bar in its doorway, an open one turned out of it."""
        for door in self._description.doors:
            (ax, az), (bx, bz) = door.start, door.end
            color = _bytes(appearance.DOOR_LEAF)
            if facts.doors_open.get(door.name, door.open_at_start):
                bx, bz = ax + (bz - az), az - (bx - ax)
                color = _bytes(appearance.DOOR_LEAF, 0.35)
            draw.line((self._at(ax, az), self._at(bx, bz)), fill=color, width=round(0.06 * self._scale))

    def _draw_object(self, draw: ImageDraw.ImageDraw, thing: ObjectFacts, facts: Facts) -> Box:
        """Draw an object; returns the pixels it covers."""
        position: Vec3 = thing.position
        if thing.relation == "held":
            position = hand(facts.agents[int(thing.parent.removeprefix("agent_"))])
        put_away = thing.relation == "within" and not facts.furniture_open.get(thing.parent, True)
        reach = 0.05
        for part in self._shapes[thing.kind].parts:
            red, green, blue, _ = appearance.tinted(part.color, thing.states, float(part.role == "lamp"))
            color = _bytes((red, green, blue), 0.55 if put_away else 0.0)
            self._draw_part(draw, part, position, 0.0, color, _FAINT_INK if put_away else _INK)
            reach = max(reach, *(abs(part.center[i]) + part.size[i] / 2 for i in (0, 2)))
        return self._around(position[0], position[2], reach, reach)

    def _draw_agent(self, draw: ImageDraw.ImageDraw, number: int, place: tuple[float, float], yaw: float) -> None:
        x, z = place
        color = _bytes(appearance.agent_color(number))
        ahead = (math.cos(yaw), -math.sin(yaw))
        tip = self._at(x + ahead[0] * _AGENT_RADIUS * 1.75, z + ahead[1] * _AGENT_RADIUS * 1.75)
        sides = [
            self._at(x + _AGENT_RADIUS * math.cos(yaw + turn), z - _AGENT_RADIUS * math.sin(yaw + turn))
            for turn in (0.75, -0.75)
        ]
        outline = max(1, round(0.03 * self._scale))
        draw.polygon([tip, *sides], fill=color, outline=_PAPER, width=outline)
        box = self._around(x, z, _AGENT_RADIUS, _AGENT_RADIUS)
        draw.ellipse(box, fill=color, outline=_PAPER, width=outline)
        draw.text(self._at(x, z), str(number), font=self._font(0.28), fill=(255, 255, 255), anchor="mm")

    # --- drawing -----------------------------------------------------------------------------------------------

    def _draw_part(
        self,
        draw: ImageDraw.ImageDraw,
        part: Part,
        origin: Vec3,
        yaw: float,
        color: tuple[int, int, int],
        outline: tuple[int, int, int] | None = None,
    ) -> None:
        """A part seen from above."""
        cosine, sine = math.cos(yaw), math.sin(yaw)
        edge = outline or (int(color[0] * 0.72), int(color[1] * 0.72), int(color[2] * 0.72))

        def place(dx: float, dz: float) -> tuple[float, float]:
            lx, lz = part.center[0] + dx, part.center[2] + dz
            return self._at(origin[0] + cosine * lx + sine * lz, origin[2] - sine * lx + cosine * lz)

        half_x, half_z = part.size[0] / 2, part.size[2] / 2
        if part.shape == "box":
            corners = [place(sx * half_x, sz * half_z) for sx, sz in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            draw.polygon(corners, fill=color, outline=edge, width=_FINER)
        else:
            middle, radius = place(0.0, 0.0), half_x * self._scale
            box = (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)
            draw.ellipse(box, fill=color, outline=edge, width=_FINER)

    def _label(self, draw: ImageDraw.ImageDraw, text: str, spot: Box, taken: list[Box], furniture: bool) -> None:
        """Write a name in or beside ``spot``, inside the room, where nothing else is.

        Where all is taken, furniture is named all the same and an object is not.
        """
        font = self._font(0.155 if furniture else 0.13)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font, anchor="mm")
        half_x, half_y = (right - left) / 2 + _FINER, (bottom - top) / 2 + _FINER
        x, y = (spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2
        places = [(x, spot[3] + half_y), (x, spot[1] - half_y), (spot[2] + half_x, y), (spot[0] - half_x, y)]
        if furniture:
            places = [(x, y), (x, spot[3] - half_y), (x, spot[1] + half_y), *places]
        room = self._room_around(x, y)
        boxes = []
        for x, y in places:
            x = min(max(x, room[0] + half_x), room[2] - half_x)
            y = min(max(y, room[1] + half_y), room[3] - half_y)
            boxes.append((x - half_x, y - half_y, x + half_x, y + half_y))
        free = [box for box in boxes if not any(_touch(box, other) for other in taken)]
        if not free and not furniture:
            return
        box = free[0] if free else min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken))
        draw.text(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            text,
            font=font,
            fill=_INK,
            anchor="mm",
            stroke_width=_FINER if furniture else 0,
            stroke_fill=_PAPER,
        )
        taken.append(box)

    def _room_around(self, x: float, y: float) -> Box:
        """The pixels of the room that holds a pixel; of the whole plan where none does."""
        for room in self._description.rooms:
            x0, z0, x1, z1 = room.bounds
            box = (*self._at(x0, z0), *self._at(x1, z1))
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                return box
        return (0.0, 0.0, float(self.width * _FINER), float(self.height * _FINER))

    def _font(self, metres: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The font whose letters are this high, but never too small to read."""
        return _font_of_size(max(10.0 * _FINER, metres * self._scale))

    def _at(self, x: float, z: float) -> tuple[float, float]:
        return ((x - self._origin[0]) * self._scale, (z - self._origin[1]) * self._scale)

    def _around(self, x: float, z: float, half_x: float, half_z: float) -> Box:
        return (*self._at(x - half_x, z - half_z), *self._at(x + half_x, z + half_z))


@functools.lru_cache(maxsize=32)
def _font_of_size(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _footprint(furniture: Furniture) -> tuple[float, float]:
    """Half of what a piece of furniture covers along x and z."""
    cosine, sine = abs(math.cos(furniture.yaw)), abs(math.sin(furniture.yaw))
    width, _, depth = furniture.size
    return (cosine * width + sine * depth) / 2, (sine * width + cosine * depth) / 2


def _touch(a: Box, b: Box) -> bool:
    """Whether two rectangles share any area."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _overlap(a: Box, b: Box) -> float:
    """Area two rectangles share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _bytes(color: Color, paler: float = 0.0) -> tuple[int, int, int]:
    """A colour as Pillow wants it, mixed with white by the share ``paler``."""
    red, green, blue = (round(255 * min(1.0, value + (1 - value) * paler)) for value in color)
    return (red, green, blue)
