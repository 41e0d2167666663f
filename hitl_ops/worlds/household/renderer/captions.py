"""The strip under a video: what the task is, what each agent is doing, how far they have come."""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.tools import SUCCESS

_PAPER = (27, 30, 37)
_INK = (238, 240, 244)
_FAINT_INK = (158, 166, 180)
_BAR = (58, 63, 75)
_DONE = (76, 187, 120)
_FAILED = (245, 166, 66)
_PADDING = 10

Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Answered(NamedTuple):
    """An action that has ended.

    Attributes:
        action: as ``Tool[args]``; empty where none has ended yet.
        response: the world's answer to it.
    """

    action: str
    response: str


@dataclass(frozen=True, slots=True)
class Captions:
    """What is written under a frame.

    Attributes:
        instruction: the task, as given to the agents.
        actions: what each agent is doing, in the order of the agents, e.g. ``"Pick[mug_1]"``.
        progress: percent complete, 0 … 1.
        note: anything else worth saying, e.g. the simulation step; may be empty.
        answered: what each agent's last action came to, in the order of the agents; empty leaves the line out.
    """

    instruction: str
    actions: tuple[str, ...]
    progress: float
    note: str = ""
    answered: tuple[Answered, ...] = ()


@functools.lru_cache(maxsize=4)
def caption_strip(captions: Captions, width: int, height: int) -> Image.Image:
    """The strip as a picture of ``width`` × ``height`` pixels; do not draw on it, it is kept for the next frame."""
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    rows = 2 if captions.answered else 1  # of every pair of agents
    lines = 3 + rows * -(-len(captions.actions) // 2)
    pitch = (height - 1.5 * _PADDING) / lines
    font = _font(max(10.0, pitch * 0.66))
    left, right, y = _PADDING, width - _PADDING, _PADDING / 2
    for line in wrapped(captions.instruction, font, right - left, 2):
        draw.text((left, y), line, font=font, fill=_INK)
        y += pitch
    y = _PADDING / 2 + 2 * pitch
    column = (right - left) / 2
    for number, action in enumerate(captions.actions):
        x, top = left + (number % 2) * column, y + (number // 2) * rows * pitch
        side = pitch * 0.62
        chip = agent_chip(number, round(side))
        image.paste(chip, (round(x), round(top) + 2), chip)
        beside, space = x + side + _PADDING * 0.7, column - side - 2 * _PADDING
        draw.text((beside, top), fitted(action, font, space), font=font, fill=_INK)
        if number < len(captions.answered) and captions.answered[number].response:
            answered = captions.answered[number]
            # The answer first: where there is no room for both, it is what counts.
            text = fitted(f"{answered.response} · {answered.action}", font, space)
            draw.text((beside, top + pitch), text, font=font, fill=_DONE if answered.response == SUCCESS else _FAILED)
    _progress(draw, captions, font, (left, height - _PADDING / 2 - pitch * 0.8, right, height - _PADDING))
    return image


@functools.lru_cache(maxsize=16)
def agent_chip(number: int, side: int) -> Image.Image:
    """An agent's number on its colour, ``side`` × ``side`` pixels, clear round it; do not draw on it, it is kept."""
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    red, green, blue = (round(255 * value) for value in appearance.agent_color(number))
    draw.rounded_rectangle((0, 0, side - 1, side - 1), side / 4, fill=(red, green, blue))
    draw.text((side / 2, side / 2), str(number), font=_font(max(8.0, side * 0.9)), fill=(255, 255, 255), anchor="mm")
    return image


@functools.lru_cache(maxsize=16)
def _font(size: float) -> Font:
    return ImageFont.load_default(size=size)


@functools.lru_cache(maxsize=4096)
def _length(text: str, font: Font) -> float:
    """Pixels of a line. The same lines come in frame after frame, and measuring one takes most of a strip's time."""
    return font.getlength(text)


def _progress(
    draw: ImageDraw.ImageDraw, captions: Captions, font: Font, box: tuple[float, float, float, float]
) -> None:
    left, top, right, bottom = box
    share = min(1.0, max(0.0, captions.progress))
    percent = f"{100 * share:.0f} %"
    written = _length(percent, font) + _PADDING
    noted = _length(captions.note, font) + _PADDING if captions.note else 0.0
    end = right - written - noted
    middle = (top + bottom) / 2
    bar = (left, middle - 4, end, middle + 4)
    draw.rounded_rectangle(bar, 4, fill=_BAR)
    if share > 0:
        draw.rounded_rectangle((left, middle - 4, left + max(8.0, (end - left) * share), middle + 4), 4, fill=_DONE)
    draw.text((end + _PADDING, middle), percent, font=font, fill=_INK, anchor="lm")
    draw.text((right, middle), captions.note, font=font, fill=_FAINT_INK, anchor="rm")


def wrapped(text: str, font: Font, width: float, lines: int) -> list[str]:
    """Break ``text`` between words into at most ``lines`` lines of ``width`` pixels; the last may be cut short."""
    done: list[str] = []
    line = ""
    words = text.split()
    for number, word in enumerate(words):
        longer = f"{line} {word}" if line else word
        if not line or _length(longer, font) <= width:
            line = longer
        elif len(done) < lines - 1:
            done.append(line)
            line = word
        else:
            line = " ".join([line, *words[number:]])
            break
    return [fitted(part, font, width) for part in [*done, line] if part]


def fitted(text: str, font: Font, width: float) -> str:
    """``text``, cut and ended with "…" if it is wider than ``width`` pixels."""
    if _length(text, font) <= width:
        return text
    length = bisect.bisect_right(range(len(text)), width, key=lambda n: _length(text[:n] + "…", font))
    return text[: max(0, length - 1)] + "…"
