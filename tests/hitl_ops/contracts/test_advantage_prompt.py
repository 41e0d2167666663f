"""The words that tell a policy how well to act, and what is read out of them again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.advantage_prompt import (
    PromptStyle,
    advantage_prompt,
    label_prompts,
    split_advantage,
    style_of,
)
from hitl_ops.contracts.errors import UserError

STYLES = st.one_of(
    st.just(PromptStyle()),
    st.just(PromptStyle(name="binary")),
    st.integers(2, 20).map(lambda slices: PromptStyle(name="n_slices", slices=slices)),
)


@given(st.text().filter(lambda text: "Advantage=" not in text), st.lists(st.booleans(), max_size=3), st.booleans())
def test_a_prompt_carries_exactly_one_advantage_and_gives_its_task_back(
    task: str, before: list[bool], good: bool
) -> None:
    prompt = task
    for said in before:
        prompt = f"{prompt}, Advantage={said}"
    prompt = advantage_prompt(prompt, good)
    assert prompt.count("Advantage=") == 1 and prompt.endswith(f", Advantage={good}")
    again, advantage = split_advantage(prompt)
    assert advantage is good
    assert advantage_prompt(again, good) == prompt


def test_a_plain_prompt_has_no_advantage_and_the_last_of_several_counts() -> None:
    assert split_advantage("Lift the lid off the bowl") == ("Lift the lid off the bowl", None)
    assert split_advantage("Lift, Advantage=True, Advantage=False") == ("Lift", False)


def test_labels_are_worded_as_kai0_words_them() -> None:
    assert label_prompts("fold the cloth", "binary") == [
        "fold the cloth, Advantage: negative",
        "fold the cloth, Advantage: positive",
    ]
    assert label_prompts("fold the cloth", "n_slices", 3) == [f"fold the cloth, Advantage: {n}" for n in range(3)]
    assert label_prompts("fold, Advantage=True", "binary")[1] == "fold, Advantage: positive"


@given(st.sampled_from(["fold the cloth", "a, b", "Vorteil: 7"]), STYLES, st.integers(0, 19))
def test_what_is_said_is_read_again(task: str, style: PromptStyle, label: int) -> None:
    prompts = style.prompts(task)
    label %= len(prompts)
    said = prompts[label]
    assert split_advantage(said)[0] == task
    assert style.level(said) == pytest.approx(2 * label / (len(prompts) - 1) - 1)
    assert style_of([task, *prompts]) == style
    assert (style.prompt(said, True), style.prompt(said, False)) == (prompts[-1], prompts[0])
    assert style.prompt(said, None) == task
    assert style.reworded(said) == said and style.reworded(task) == task
    assert style.reworded(f"{task}, Advantage=True") == prompts[-1]
    assert style.reworded(f"{task}, Advantage: negative") == prompts[0]
    assert style.level(task) == 0


def test_two_styles_and_unknown_slices_are_refused() -> None:
    with pytest.raises(UserError, match="two styles"):
        style_of(["lift, Advantage=True", "lift, Advantage: positive"])
    with pytest.raises(UserError, match="slice 3 of 3"):
        PromptStyle(name="n_slices", slices=3).level("lift, Advantage: 3")
    assert style_of(["lift"]) == PromptStyle()
