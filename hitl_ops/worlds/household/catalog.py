"""What homes are made of: kinds of rooms, furniture and objects, with their affordances and looks.

Kinds are written with underscores (``coffee_table``); a name is a kind and a number (``coffee_table_1``);
instructions say it with spaces ("the coffee table").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hitl_ops.worlds.household.scene_description import Color, ObjectShape, Part

FurnitureForm = Literal[
    "table", "counter", "cabinet", "shelf", "seat", "sofa", "bed", "appliance", "lamp", "basin", "screen"
]


@dataclass(frozen=True)
class FurnitureKind:
    """A kind of furniture.

    Attributes:
        kind: name of the kind.
        form: which solids draw it.
        size: full extent (width, height, depth) in metres; its front is the width's side.
        color: main colour.
        surface: things can stand on it.
        container: things can lie in it; it is then articulated and starts closed.
        faucet: it gives water.
        powerable: it can be switched on and off.
    """

    kind: str
    form: FurnitureForm
    size: tuple[float, float, float]
    color: Color
    surface: bool = True
    container: bool = False
    faucet: bool = False
    powerable: bool = False


_WOOD: Color = (0.62, 0.44, 0.28)
_DARK_WOOD: Color = (0.40, 0.27, 0.17)
_PALE_WOOD: Color = (0.78, 0.64, 0.45)
_WHITE: Color = (0.90, 0.90, 0.88)
_STEEL: Color = (0.66, 0.69, 0.72)
_BLUE: Color = (0.35, 0.47, 0.62)
_GREEN: Color = (0.42, 0.55, 0.42)
_RED: Color = (0.66, 0.33, 0.30)
_BLACK: Color = (0.13, 0.13, 0.14)

FURNITURE: dict[str, FurnitureKind] = {
    kind.kind: kind
    for kind in (
        FurnitureKind("counter", "counter", (1.8, 0.9, 0.6), _PALE_WOOD),
        FurnitureKind("sink", "basin", (0.9, 0.9, 0.6), _STEEL, faucet=True),
        FurnitureKind("fridge", "appliance", (0.8, 1.8, 0.7), _WHITE, surface=False, container=True),
        FurnitureKind("cabinet", "cabinet", (1.0, 1.0, 0.5), _WOOD, container=True),
        FurnitureKind("stove", "appliance", (0.8, 0.9, 0.6), _STEEL, powerable=True),
        FurnitureKind("dishwasher", "appliance", (0.7, 0.85, 0.6), _STEEL, surface=False, container=True),
        FurnitureKind("dining_table", "table", (1.6, 0.75, 0.9), _WOOD),
        FurnitureKind("chair", "seat", (0.5, 0.45, 0.5), _DARK_WOOD),
        FurnitureKind("sideboard", "cabinet", (1.5, 0.85, 0.45), _DARK_WOOD, container=True),
        FurnitureKind("couch", "sofa", (1.9, 0.45, 0.9), _BLUE),
        FurnitureKind("armchair", "sofa", (0.9, 0.45, 0.85), _RED),
        FurnitureKind("coffee_table", "table", (1.1, 0.45, 0.6), _DARK_WOOD),
        FurnitureKind("tv_stand", "screen", (1.5, 0.55, 0.45), _BLACK, powerable=True),
        FurnitureKind("bookcase", "shelf", (1.0, 1.6, 0.35), _WOOD),
        FurnitureKind("standing_lamp", "lamp", (0.4, 1.6, 0.4), _BLACK, surface=False, powerable=True),
        FurnitureKind("side_table", "table", (0.55, 0.55, 0.55), _PALE_WOOD),
        FurnitureKind("bed", "bed", (1.6, 0.5, 2.0), _BLUE),
        FurnitureKind("nightstand", "table", (0.55, 0.55, 0.45), _WOOD),
        FurnitureKind("wardrobe", "cabinet", (1.3, 1.9, 0.6), _PALE_WOOD, surface=False, container=True),
        FurnitureKind("dresser", "cabinet", (1.2, 0.9, 0.5), _DARK_WOOD, container=True),
        FurnitureKind("desk", "table", (1.4, 0.75, 0.7), _PALE_WOOD),
        FurnitureKind("shelf", "shelf", (0.9, 1.2, 0.35), _PALE_WOOD),
        FurnitureKind("filing_cabinet", "cabinet", (0.6, 1.1, 0.6), _STEEL, container=True),
        FurnitureKind("bathtub", "basin", (1.7, 0.55, 0.8), _WHITE, faucet=True),
        FurnitureKind("vanity", "basin", (1.0, 0.85, 0.5), _WHITE, faucet=True),
        FurnitureKind("washing_machine", "appliance", (0.65, 0.85, 0.6), _WHITE, container=True, powerable=True),
        FurnitureKind("drying_rack", "table", (1.0, 0.8, 0.5), _STEEL),
        FurnitureKind("bench", "table", (1.2, 0.45, 0.4), _WOOD),
        FurnitureKind("console_table", "table", (1.0, 0.8, 0.35), _DARK_WOOD),
        FurnitureKind("toy_chest", "cabinet", (0.9, 0.5, 0.5), _RED, container=True),
        FurnitureKind("workbench", "counter", (1.7, 0.9, 0.65), _DARK_WOOD),
        FurnitureKind("stool", "seat", (0.4, 0.5, 0.4), _GREEN),
    )
}


@dataclass(frozen=True)
class RoomKind:
    """A kind of room: what stands in it always, and what may."""

    kind: str
    always: tuple[str, ...]
    maybe: tuple[str, ...]
    floor_color: Color


ROOMS: dict[str, RoomKind] = {
    room.kind: room
    for room in (
        RoomKind(
            "kitchen",
            ("sink", "fridge", "counter", "stove"),
            ("cabinet", "dishwasher", "counter", "stool", "shelf"),
            (0.80, 0.77, 0.70),
        ),
        RoomKind(
            "living_room",
            ("couch", "coffee_table"),
            ("tv_stand", "bookcase", "armchair", "standing_lamp", "side_table", "cabinet"),
            (0.70, 0.58, 0.45),
        ),
        RoomKind(
            "bedroom",
            ("bed", "nightstand"),
            ("wardrobe", "dresser", "chair", "desk", "standing_lamp"),
            (0.66, 0.62, 0.70),
        ),
        RoomKind("bathroom", ("vanity",), ("bathtub", "shelf", "cabinet", "stool"), (0.67, 0.76, 0.79)),
        RoomKind(
            "office", ("desk", "chair"), ("filing_cabinet", "bookcase", "standing_lamp", "shelf"), (0.62, 0.64, 0.58)
        ),
        RoomKind("dining_room", ("dining_table", "chair"), ("sideboard", "chair", "console_table"), (0.72, 0.62, 0.50)),
        RoomKind("laundry_room", ("washing_machine", "sink"), ("drying_rack", "shelf", "cabinet"), (0.72, 0.74, 0.76)),
        RoomKind("hallway", ("console_table",), ("bench", "shelf", "standing_lamp"), (0.76, 0.70, 0.60)),
        RoomKind("playroom", ("toy_chest", "shelf"), ("bench", "side_table", "stool", "bookcase"), (0.80, 0.72, 0.55)),
        RoomKind("garage", ("workbench",), ("shelf", "cabinet", "stool", "washing_machine"), (0.58, 0.58, 0.58)),
    )
}


@dataclass(frozen=True)
class ObjectKind:
    """A kind of movable object and what can be done to it.

    Attributes:
        kind: name of the kind.
        homes: room kinds it is usually found in.
        shape: how it is drawn.
        size: full extent in metres.
        color: main colour.
        cleanable: it can be dirty and be cleaned.
        fillable: it can hold water and be poured.
        powerable: it can be switched on and off.
    """

    kind: str
    homes: tuple[str, ...]
    shape: Literal["box", "cylinder", "sphere"]
    size: tuple[float, float, float]
    color: Color
    cleanable: bool = False
    fillable: bool = False
    powerable: bool = False

    def start_states(self) -> dict[str, bool]:
        """The states objects of this kind have, with their values when nothing else is said."""
        states: dict[str, bool] = {}
        if self.cleanable:
            states["is_clean"] = True
        if self.fillable:
            states["is_filled"] = False
        if self.powerable:
            states["is_powered_on"] = False
        return states


def _objects(
    homes: tuple[str, ...],
    rows: str,
) -> list[ObjectKind]:
    """Read rows of ``kind shape width height depth r g b [flags]``; flags: c cleanable, f fillable, p powerable."""
    kinds = []
    for row in rows.strip().splitlines():
        kind, shape, *rest = row.split()
        numbers = [float(value) for value in rest[:6]]
        flags = rest[6] if len(rest) > 6 else ""
        kinds.append(
            ObjectKind(
                kind,
                homes,
                shape,  # type: ignore[arg-type]  # the rows below hold only the three shapes
                (numbers[0], numbers[1], numbers[2]),
                (numbers[3], numbers[4], numbers[5]),
                cleanable="c" in flags,
                fillable="f" in flags,
                powerable="p" in flags,
            )
        )
    return kinds


_KITCHEN = ("kitchen", "dining_room")
_LIVING = ("living_room", "playroom", "hallway")
_OFFICE = ("office", "bedroom")
_BATH = ("bathroom", "laundry_room")
_BEDROOM = ("bedroom", "hallway", "laundry_room")
_GARAGE = ("garage", "laundry_room")

OBJECTS: dict[str, ObjectKind] = {
    kind.kind: kind
    for kind in [
        *_objects(
            _KITCHEN,
            """
            mug cylinder .09 .10 .09 .80 .30 .25 cf
            cup cylinder .08 .09 .08 .85 .80 .55 cf
            bowl cylinder .16 .07 .16 .40 .60 .75 cf
            plate cylinder .22 .03 .22 .92 .92 .90 c
            pan cylinder .24 .06 .24 .20 .20 .22 c
            pot cylinder .22 .16 .22 .55 .56 .58 cf
            kettle cylinder .18 .22 .18 .75 .20 .20 fp
            teapot sphere .18 .18 .18 .90 .85 .70 cf
            jug cylinder .13 .24 .13 .55 .70 .80 cf
            pitcher cylinder .14 .26 .14 .80 .85 .90 cf
            bottle cylinder .08 .26 .08 .25 .55 .35 cf
            glass cylinder .07 .13 .07 .80 .90 .95 cf
            fork box .03 .02 .18 .75 .75 .78 c
            knife box .03 .02 .20 .70 .70 .74 c
            spoon box .03 .02 .17 .78 .78 .80 c
            spatula box .06 .02 .28 .25 .25 .28 c
            ladle box .07 .05 .28 .62 .62 .66 c
            tray box .36 .03 .24 .55 .40 .28 c
            colander cylinder .22 .10 .22 .80 .82 .84 c
            apple sphere .08 .08 .08 .80 .20 .18 c
            banana box .05 .04 .18 .92 .82 .25
            orange sphere .08 .08 .08 .95 .55 .15
            lemon sphere .06 .06 .06 .95 .90 .30
            bread box .12 .12 .26 .78 .58 .34
            cereal box .08 .28 .20 .90 .65 .20
            can cylinder .07 .11 .07 .75 .25 .25
            jar cylinder .09 .13 .09 .85 .75 .60 cf
            toaster box .28 .20 .18 .72 .73 .75 p
            blender cylinder .16 .36 .16 .30 .32 .36 fp
            sandwich box .12 .06 .12 .85 .72 .48
            """,
        ),
        *_objects(
            _LIVING,
            """
            book box .15 .04 .22 .30 .40 .65
            magazine box .20 .01 .27 .85 .50 .55
            remote box .05 .02 .17 .15 .15 .17
            cushion box .40 .12 .40 .80 .55 .30
            candle cylinder .06 .10 .06 .95 .92 .80 p
            vase cylinder .13 .26 .13 .45 .65 .70 cf
            picture box .22 .18 .03 .55 .45 .35 c
            blanket box .35 .10 .30 .60 .40 .55
            speaker box .14 .24 .14 .18 .18 .20 p
            ball sphere .18 .18 .18 .85 .35 .20
            plant cylinder .18 .32 .18 .30 .58 .30
            basket cylinder .30 .22 .30 .75 .60 .40
            lamp cylinder .18 .34 .18 .90 .85 .65 p
            clock cylinder .16 .16 .06 .92 .92 .92
            puzzle box .26 .05 .20 .45 .70 .60
            doll box .10 .26 .08 .90 .65 .60 c
            robot box .14 .22 .12 .55 .60 .75 p
            drum cylinder .22 .18 .22 .80 .30 .30
            """,
        ),
        *_objects(
            _OFFICE,
            """
            laptop box .33 .03 .24 .60 .62 .65 p
            notebook box .16 .02 .22 .25 .55 .50
            pen box .02 .02 .14 .15 .20 .60
            stapler box .05 .06 .14 .70 .20 .25
            scissors box .07 .02 .18 .80 .40 .30
            folder box .24 .02 .31 .85 .75 .40
            keyboard box .42 .03 .15 .25 .25 .27 c
            phone box .08 .01 .16 .12 .12 .14 p
            tablet box .18 .01 .25 .20 .20 .22 p
            calculator box .09 .02 .15 .35 .35 .38
            headphones box .18 .08 .20 .18 .18 .22
            radio box .26 .16 .10 .60 .35 .25 p
            """,
        ),
        *_objects(
            _BATH,
            """
            towel box .30 .08 .20 .55 .75 .85 c
            soap box .09 .04 .06 .90 .85 .92
            sponge box .10 .04 .07 .95 .85 .30 c
            shampoo cylinder .07 .20 .07 .45 .70 .50
            toothbrush box .02 .02 .19 .30 .65 .80 c
            hairbrush box .07 .04 .22 .60 .35 .45 c
            hairdryer box .10 .20 .22 .75 .35 .50 p
            bucket cylinder .26 .26 .26 .30 .50 .80 cf
            detergent box .14 .26 .09 .25 .45 .80
            """,
        ),
        *_objects(
            _BEDROOM,
            """
            pillow box .45 .12 .30 .92 .92 .95
            shirt box .28 .04 .24 .35 .55 .80 c
            hat cylinder .24 .12 .24 .55 .42 .30
            shoe box .11 .10 .28 .30 .25 .22 c
            backpack box .30 .40 .18 .25 .35 .50
            umbrella box .06 .06 .60 .55 .20 .25
            watch box .05 .03 .08 .75 .65 .35
            wallet box .10 .02 .09 .38 .25 .18
            scarf box .25 .05 .18 .75 .30 .40
            """,
        ),
        *_objects(
            _GARAGE,
            """
            hammer box .10 .05 .30 .60 .40 .25
            wrench box .06 .03 .22 .60 .62 .66 c
            flashlight cylinder .05 .16 .05 .85 .75 .20 p
            rope cylinder .24 .08 .24 .80 .70 .50
            drill box .20 .20 .08 .20 .50 .45 p
            """,
        ),
    ]
}

OBJECT_SHAPES: dict[str, ObjectShape] = {
    kind.kind: ObjectShape(
        kind=kind.kind,
        parts=(Part(shape=kind.shape, center=(0.0, kind.size[1] / 2, 0.0), size=kind.size, color=kind.color),),
    )
    for kind in OBJECTS.values()
}


def kind_of(name: str) -> str:
    """The kind in a name: ``coffee_table_1`` is a ``coffee_table``."""
    return name.rsplit("_", 1)[0]


def spoken(kind: str) -> str:
    """A kind as people say it: ``coffee_table`` becomes ``coffee table``."""
    return kind.replace("_", " ")
