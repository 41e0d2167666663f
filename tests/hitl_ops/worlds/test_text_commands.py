"""Commands and tasks of text games: what is written is read back, in both dialects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES
from hitl_ops.worlds.household.catalog import FURNITURE, OBJECTS, ROOMS, spoken
from hitl_ops.worlds.text_commands import TextCommand, in_dialect, parse_command, render_command
from hitl_ops.worlds.text_tasks import WORDINGS, TextTask, parse_task

THINGS = st.sampled_from(sorted(spoken(kind) for kind in OBJECTS))
PLACES = st.builds(
    "{} {}".format, st.sampled_from([spoken(r) for r in ROOMS]), st.sampled_from([spoken(f) for f in FURNITURE])
)
NUMBERS = st.integers(1, 30)
ALONE = ("inventory", "look", "help")
ONE = ("go", "open", "close", "use", "examine")
TWO = ("take", "put", "clean", "heat", "cool", "slice")


@st.composite
def commands(draw: st.DrawFn) -> TextCommand:
    verb = draw(st.sampled_from([*ALONE, *ONE, *TWO]))
    thing, place = f"{draw(THINGS)} {draw(NUMBERS)}", f"{draw(PLACES)} {draw(NUMBERS)}"
    if verb in ALONE:
        return TextCommand(verb)
    return TextCommand(verb, thing) if verb in ONE else TextCommand(verb, thing, place)


@given(commands())
def test_what_is_written_is_read_back_in_both_dialects(command: TextCommand) -> None:
    for dialect in ("papers", "alfworld"):
        written = render_command(command, dialect)
        assert parse_command(written) == command
        assert parse_command(f"  {written.upper().replace(' ', '  ')} ") == command
        assert in_dialect(written, "papers") == str(command)


def test_the_dialects_differ_in_one_verb() -> None:
    put = TextCommand("put", "mug 1", "desk 2")
    assert render_command(put) == "put mug 1 in/on desk 2"
    assert render_command(put, "alfworld") == "move mug 1 to desk 2"
    assert parse_command("put mug 1 in desk 2") == parse_command("put mug 1 on desk 2") == put
    take = "take mug 1 from desk 2"
    assert in_dialect(take, "papers") == in_dialect(take, "alfworld") == take


@pytest.mark.parametrize(
    "text",
    ["", "mug 1", "go", "go to", "take mug 1", "put mug 1", "put mug 1 desk 2", "clean mug 1", "looks", "fly away"],
)
def test_what_is_no_command_is_not_read(text: str) -> None:
    assert parse_command(text) is None
    assert in_dialect(text, "alfworld") == text


@given(st.sampled_from(FAMILIES), st.integers(0, WORDINGS - 1), THINGS, PLACES)
def test_tasks_are_read_back(family: str, wording: int, thing: str, place: str) -> None:
    task = TextTask(family, thing, place)
    sentence = task.sentence(wording)
    assert parse_task(sentence) == task
    assert parse_task(f"You are in the middle of a room.\n\nYour task is to: {sentence}\n") == task
    assert parse_task(sentence.rstrip(".")) == task


def test_alfworlds_own_sentences_are_read() -> None:
    assert parse_task("put a clean mug in coffeetable.") == TextTask(
        "pick_clean_then_place_in_recep", "mug", "coffeetable"
    )
    assert parse_task("look at cd under the desklamp.") == TextTask("look_at_obj_in_light", "cd", "desklamp")
    assert parse_task("find two soapbar and put them in garbagecan.").count == 2
    assert parse_task("heat some egg and put it in diningtable.").treatment == "heat"


def test_a_task_of_another_form_is_refused() -> None:
    with pytest.raises(UserError, match="'juggle three mugs' is not of a known form"):
        parse_task("Your task is to: juggle three mugs")
