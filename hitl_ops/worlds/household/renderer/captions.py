"""The strip under a video: what the task is, what each agent is doing, how far they have come."""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from hitl_ops.worlds.household.renderer import appearance

_PAPER = (27, 30, 37)
_INK = (238, 240, 244)
_FAINT_INK = (158, 166, 180)
_BAR = (58, 63, 75)
_DONE = (76, 187, 120)
_PADDING = 10

Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Captions:
    """What is written under a frame.

    Attributes:
        instruction: the task, as given to the agents.
        actions: what each agent is doing, in the order of the agents, e.g. ``"Pick[mug_1]"``.
        progress: percent complete, 0 … 1.
        note: anything else worth saying, e.g. the simulation step; may be empty.
    """

    instruction: str
    actions: tuple[str, ...]
    progress: float
    note: str = ""


@functools.lru_cache(maxsize=4)
def caption_strip(captions: Captions, width: int, height: int) -> Image.Image:
    """The strip as a picture of ``width`` × ``height`` pixels; do not draw on it, it is kept for the next frame."""
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    lines = 3 + -(-len(captions.actions) // 2)
    pitch = (height - 1.5 * _PADDING) / lines
    font = ImageFont.load_default(size=max(10.0, pitch * 0.66))
    left, right, y = _PADDING, width - _PADDING, _PADDING / 2
    for line in wrapped(draw, captions.instruction, font, right - left, 2):
        draw.text((left, y), line, font=font, fill=_INK)
        y += pitch
    y = _PADDING / 2 + 2 * pitch
    column = (right - left) / 2
    for number, action in enumerate(captions.actions):
        x, top = left + (number % 2) * column, y + (number // 2) * pitch
        red, green, blue = (round(255 * value) for value in appearance.agent_color(number))
        side = pitch * 0.62
        draw.rounded_rectangle((x, top + 2, x + side, top + 2 + side), side / 4, fill=(red, green, blue))
        draw.text((x + side / 2, top + 2 + side / 2), str(number), font=font, fill=(255, 255, 255), anchor="mm")
        text = fitted(draw, action, font, column - side - 2 * _PADDING)
        draw.text((x + side + _PADDING * 0.7, top), text, font=font, fill=_INK)
    _progress(draw, captions, font, (left, height - _PADDING / 2 - pitch * 0.8, right, height - _PADDING))
    return image


def _progress(
    draw: ImageDraw.ImageDraw, captions: Captions, font: Font, box: tuple[float, float, float, float]
) -> None:
    left, top, right, bottom = box
    share = min(1.0, max(0.0, captions.progress))
    percent = f"{100 * share:.0f} %"
    written = draw.textlength(percent, font=font) + _PADDING
    noted = draw.textlength(captions.note, font=font) + _PADDING if captions.note else 0.0
    end = right - written - noted
    middle = (top + bottom) / 2
    bar = (left, middle - 4, end, middle + 4)
    draw.rounded_rectangle(bar, 4, fill=_BAR)
    if share > 0:
        draw.rounded_rectangle((left, middle - 4, left + max(8.0, (end - left) * share), middle + 4), 4, fill=_DONE)
    draw.text((end + _PADDING, middle), percent, font=font, fill=_INK, anchor="lm")
    draw.text((right, middle), captions.note, font=font, fill=_FAINT_INK, anchor="rm")


def wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float, lines: int) -> list[str]:
    """Break ``text`` between words into at most ``lines`` lines of ``width`` pixels; the last may be cut short."""
    done: list[str] = []
    line = ""
    words = text.split()
    for number, word in enumerate(words):
        longer = f"{line} {word}" if line else word
        if not line or draw.textlength(longer, font=font) <= width:
            line = longer
        elif len(done) < lines - 1:
            done.append(line)
            line = word
        else:
            line = " ".join([line, *words[number:]])
            break
    return [fitted(draw, part, font, width) for part in [*done, line] if part]


def fitted(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """``text``, cut and ended with "…" if it is wider than ``width`` pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    length = bisect.bisect_right(range(len(text)), width, key=lambda n: draw.textlength(text[:n] + "…", font=font))
    return text[: max(0, length - 1)] + "…"
