"""The tasks of household text games in ALFWorld's words, written and read.

Each family has the two templates of ALFWorld's goal library (Shridhar et al. 2021, arXiv 2010.03768). Kinds of
things and places are whatever the world calls them: "mug", "coffeetable", "kitchen counter".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hitl_ops.contracts.errors import UserError

Treatment = Literal["clean", "heat", "cool"]

_TEMPLATES: dict[str, tuple[str, str]] = {
    # The order in which a sentence is tried: "put a clean mug in …" is not about a thing called "clean mug".
    "pick_clean_then_place_in_recep": ("put a clean {thing} in {place}.", "clean some {thing} and put it in {place}."),
    "pick_heat_then_place_in_recep": ("put a hot {thing} in {place}.", "heat some {thing} and put it in {place}."),
    "pick_cool_then_place_in_recep": ("put a cool {thing} in {place}.", "cool some {thing} and put it in {place}."),
    "pick_two_obj_and_place": ("put two {thing} in {place}.", "find two {thing} and put them in {place}."),
    "look_at_obj_in_light": ("look at {thing} under the {place}.", "examine the {thing} with the {place}."),
    "pick_and_place_simple": ("put a {thing} in {place}.", "put some {thing} on {place}."),
}
WORDINGS = 2
"""Ways each task can be said."""
_TREATMENTS: dict[str, Treatment] = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
}
_OPENING = re.compile(r"your task is to:\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextTask:
    """What is to be done.

    Attributes:
        family: one of ``contracts.text_game.FAMILIES``.
        thing: the kind of thing, "mug"; any of the kind will do.
        place: the kind of place it goes to, "coffee table"; in ``look_at_obj_in_light`` the kind of light.
    """

    family: str
    thing: str
    place: str

    @property
    def treatment(self) -> Treatment | None:
        """What must be done to the thing first."""
        return _TREATMENTS.get(self.family)

    @property
    def under_light(self) -> bool:
        """Whether the thing is to be held under a light instead of put somewhere."""
        return self.family == "look_at_obj_in_light"

    @property
    def count(self) -> int:
        """How many things must lie in one place in the end."""
        return 2 if self.family == "pick_two_obj_and_place" else 1

    def sentence(self, wording: int = 0) -> str:
        """The task in ALFWorld's words, ``wording`` 0 … ``WORDINGS`` − 1; ``parse_task`` reads it back equal."""
        return _TEMPLATES[self.family][wording].format(thing=self.thing, place=self.place)


def _form(template: str) -> re.Pattern[str]:
    pattern = re.escape(template.rstrip("."))
    for noun in ("thing", "place"):
        pattern = pattern.replace(re.escape(f"{{{noun}}}"), f"(?P<{noun}>.+?)")
    return re.compile(pattern + r"\.?")


_FORMS = tuple((family, _form(template)) for family, templates in _TEMPLATES.items() for template in templates)


def parse_task(text: str) -> TextTask:
    """Read a task: the sentence alone, or a whole opening that ends with "Your task is to: …".

    Raises:
        UserError: it is none of the twelve sentences.
    """
    found = _OPENING.search(text)
    sentence = " ".join((found.group(1) if found else text).lower().split())
    for family, form in _FORMS:
        match = form.fullmatch(sentence)
        if match is not None:
            return TextTask(family, match["thing"], match["place"])
    raise UserError(f"task '{sentence}' is not of a known form", "known tasks read like 'put a clean mug in desk.'")
