"""How a policy is told in words how well to act: the one place that training writes from and serving asks from.

There are three ways of saying it. Stations say what a person said of an episode, ``"<task>, Advantage=True"``. Labels
made from progress say it as kai0 does, in two steps (``"<task>, Advantage: positive"``) or in slices of equal share
(``"<task>, Advantage: 7"``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError

ADVANTAGE_TRUE = "Advantage=True"
ADVANTAGE_FALSE = "Advantage=False"
ADVANTAGE_POSITIVE = "Advantage: positive"
ADVANTAGE_NEGATIVE = "Advantage: negative"
_SAID = {ADVANTAGE_TRUE: True, ADVANTAGE_FALSE: False, ADVANTAGE_POSITIVE: True, ADVANTAGE_NEGATIVE: False}
_ENDING = re.compile(r",?\s*(Advantage=(?:True|False)|Advantage: (?:positive|negative|\d+))\Z")

StyleName = Literal["verdict", "binary", "n_slices"]


class PromptStyle(StrictConfig):
    """The words in which the prompts of a data set, and of the policy trained on it, name an advantage."""

    name: StyleName = Field(
        default="verdict",
        description="verdict: Advantage=True or False, as people judge episodes; binary: Advantage: positive or "
        "negative; n_slices: Advantage: and the number of the slice",
    )
    slices: int = Field(default=2, ge=2, le=1000, description="how many there are to tell apart")

    def prompts(self, task: str) -> list[str]:
        """The task with each advantage there is, the worst first; an advantage ``task`` carries is replaced."""
        bare = split_advantage(task)[0]
        words = {
            "verdict": [ADVANTAGE_FALSE, ADVANTAGE_TRUE],
            "binary": [ADVANTAGE_NEGATIVE, ADVANTAGE_POSITIVE],
            "n_slices": [f"Advantage: {number}" for number in range(self.slices)],
        }[self.name]
        return [f"{bare}, {word}" for word in words]

    def prompt(self, task: str, good: bool | None) -> str:
        """The task with the best advantage there is, the worst, or none."""
        if good is None:
            return split_advantage(task)[0]
        return self.prompts(task)[-1 if good else 0]

    def reworded(self, prompt: str) -> str:
        """The same prompt in this style's words: good becomes the best there is, bad the worst; slices stay."""
        task, good = split_advantage(prompt)
        if good is None and self.name == "n_slices" and (found := _ENDING.search(prompt.strip())):
            return f"{task}, {found.group(1)}"
        return self.prompt(task, good)

    def level(self, prompt: str) -> float:
        """What a prompt says, as a number for policies that read none: 1 the best, -1 the worst, 0 nothing said.

        Slices in between lie evenly in between.

        Raises:
            UserError: it names a slice that there is not.
        """
        task, good = split_advantage(prompt)
        if good is not None:
            return 1.0 if good else -1.0
        found = _ENDING.search(prompt.strip())
        if found is None:
            return 0.0
        number = int(found.group(1).rpartition(" ")[2])
        if number >= self.slices:
            raise UserError(
                f"prompt '{prompt}' names slice {number} of {self.slices}", f"label '{task}' anew, or train anew"
            )
        return 2.0 * number / (self.slices - 1) - 1.0


def label_prompts(task: str, style: Literal["binary", "n_slices"], slices: int = 10) -> list[str]:
    """The prompts of an advantage-labelled data set by label, as kai0's ``gt_label.py`` writes them.

    Args:
        task: in words; an advantage it already carries is replaced.
        style: two labels, or one a slice.
        slices: how many, with ``n_slices``.
    """
    return PromptStyle(name=style, slices=slices if style == "n_slices" else 2).prompts(task)


def advantage_prompt(task: str, good: bool) -> str:
    """The prompt a station's policy is trained or asked with: ``"<task>, Advantage=True"`` or ``"…, Advantage=False"``.

    An advantage that ``task`` already ends with is replaced, so the result never carries two.
    """
    return PromptStyle().prompt(task, good)


def split_advantage(prompt: str) -> tuple[str, bool | None]:
    """Part a prompt into its task and whether its advantage is good; None where it names none, or a slice."""
    task, advantage = prompt.strip(), None
    last: str | None = None
    # A prompt that went through several hands may carry several: the last one said is the one meant.
    while found := _ENDING.search(task):
        task = task[: found.start()].rstrip()
        last = found.group(1) if last is None else last
    if last is not None:
        advantage = _SAID.get(last)
    return task, advantage


def style_of(prompts: Iterable[str]) -> PromptStyle:
    """The style in which prompts name advantages; that of verdicts where none does.

    Raises:
        UserError: they name them in different styles.
    """
    found: dict[StyleName, str] = {}
    highest = 1
    for prompt in prompts:
        ending = _ENDING.search(prompt.strip())
        if ending is None:
            continue
        word = ending.group(1)
        if word in (ADVANTAGE_TRUE, ADVANTAGE_FALSE):
            found.setdefault("verdict", prompt)
        elif word in (ADVANTAGE_POSITIVE, ADVANTAGE_NEGATIVE):
            found.setdefault("binary", prompt)
        else:
            found.setdefault("n_slices", prompt)
            highest = max(highest, int(word.rpartition(" ")[2]))
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise UserError(f"prompts name advantages in two styles: '{one}' and '{other}'", "label the data set anew")
    name = next(iter(found), "verdict")
    return PromptStyle(name=name, slices=highest + 1 if name == "n_slices" else 2)
