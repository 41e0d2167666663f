"""What agent and language model read of a game, and who acts where both answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.rollouts.beta_schedule import BetaSchedule, expert_acts
from hitl_ops.rollouts.text_history import TextHistory, after_thought, completion, thought_completion, thought_of

OPENING = "You are in a room.\nYour task is to: put a mug in desk."


def history(turns: int) -> TextHistory:
    made = TextHistory("put a mug in desk.", OPENING)
    for number in range(turns):
        made.add(f"go to desk {number}", f"You arrive at desk {number}.")
    return made


def test_prompt_ends_where_the_completion_goes_on() -> None:
    game = history(1)
    assert game.prompt() == f"{OPENING}\n> go to desk 0\nYou arrive at desk 0.\n>"
    game.add("look", "You see.")
    assert game.prompt().startswith(
        f"{OPENING}\n> go to desk 0\nYou arrive at desk 0.\n>{completion('look')}\nYou see."
    )


def test_only_the_oldest_turns_are_left_out_and_that_is_said() -> None:
    assert history(3).prompt(2) == (
        f"{OPENING}\n...\n> go to desk 1\nYou arrive at desk 1.\n> go to desk 2\nYou arrive at desk 2.\n>"
    )
    assert "..." not in history(3).prompt(3)
    assert history(3).prompt(0) == f"{OPENING}\n...\n>"


@given(turns=st.integers(0, 12), limit=st.integers(0, 15))
def test_prompt_always_has_the_task_and_at_most_the_turns_asked_for(turns: int, limit: int) -> None:
    prompt = history(turns).prompt(limit)
    assert prompt.startswith(OPENING) and prompt.endswith("\n>")
    assert prompt.count("> go to") == min(turns, limit)


def test_language_model_reads_examples_and_the_whole_game() -> None:
    read = history(30).expert_prompt("An example.\n")
    assert read == f"An example.\n\n{history(30).prompt()}"
    assert history(1).expert_prompt("") == history(1).prompt()


def test_thoughts_stand_before_their_commands() -> None:
    game = history(0)
    game.add("look", "You see.", thought="I am\nlost.")
    thought = f"{game.opening}\n>{thought_completion('I am lost.')}\n>{completion('look')}\nYou see.\n>"
    assert game.prompt() == thought
    assert after_thought(f"{OPENING}\n>", "so") == f"{OPENING}\n> think: so\n>"
    assert thought_of(" think: so \n") == "so" and thought_of("") == "" and thought_of(" think:") == ""


def test_commands_of_several_lines_stay_one_line() -> None:
    game = history(0)
    game.add("you, a hand,\n\na hand", "Nothing happens.")
    assert game.prompt() == f"{OPENING}\n> you, a hand, a hand\nNothing happens.\n>"


def test_schedules() -> None:
    assert [BetaSchedule().at(n, 3) for n in range(3)] == [0, 0, 0]
    assert [BetaSchedule(start=0.3).at(n, 3) for n in range(3)] == [0.3, 0.3, 0.3]
    assert [BetaSchedule(kind="linear", start=1).at(n, 5) for n in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert BetaSchedule(kind="linear", start=0.7).at(0, 1) == 0.7
    assert [BetaSchedule(kind="exponential", start=1, decay=0.5, end=0.2).at(n, 4) for n in range(4)] == [
        1,
        0.5,
        0.25,
        0.2,
    ]


def test_who_acts_follows_from_the_place_alone_and_as_often_as_said() -> None:
    places = [(round_number, game, step) for round_number in range(3) for game in range(20) for step in range(25)]

    def drawn(beta: float, seed: int = 0) -> list[bool]:
        return [expert_acts(beta, seed=seed, round_number=r, game=g, step=s) for r, g, s in places]

    assert not any(drawn(0)) and all(drawn(1))
    assert drawn(0.3) == drawn(0.3) != drawn(0.3, seed=1)
    assert sum(drawn(0.3)) / len(places) == pytest.approx(0.3, abs=0.05)
    # A higher coefficient only adds steps at which the expert acts.
    assert all(not low or high for low, high in zip(drawn(0.3), drawn(0.6), strict=True))
