"""What is on the screen when there is little room, and what never is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from robot_client.episode_run import EpisodeProgress
from robot_client.policy_connection import Link, ServedPolicy
from robot_client.screens import StationView, TerminalScreen
from robot_client.states import CONTROLS, State

TROUBLE = "robot holds: camera 'cam_high' gave its last picture 9.0 s ago: check its cable and its process"


def panel(state: State, columns: int, rows: int, *, said: int = 6) -> list[str]:
    """The lines of the last picture."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None, width=columns, height=rows)
    progress = EpisodeProgress(frames=79, seconds=1.6, chunks=4, latency_ms=9, late_steps=1, holding="holding position")
    link = Link(True, ServedPolicy("act-7"), "", 1)
    view = StationView("Lift the lid", state=state, link=link, progress=progress)
    with TerminalScreen(console) as screen:
        for number in range(said - 1):
            screen.say(f"something happened {number}")
        screen.say(TROUBLE, wrong=True)
        output.truncate(0)
        screen.show(view)
        shown = output.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\0", "").splitlines()
    last = max(number for number, line in enumerate(lines) if "Flywheel station" in line)
    return [line.strip("│ \r") for line in lines[last:]]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(("columns", "rows"), [(120, 40), (80, 24), (60, 14)])
def test_state_keys_frames_and_latency_are_always_shown(state: State, columns: int, rows: int) -> None:
    lines = panel(state, columns, rows)
    assert len(lines) <= rows
    text = "\n".join(lines)
    for words in (f"[{state}]", "frames   79", "latency  9 ms, chunk 4, 1 step had passed", "Ctrl+C"):
        assert words in text
    for control in CONTROLS[state]:
        assert f"{control.key}        {control.does}" in text
    assert "..." not in lines[-1], "nothing was cut off"


def test_the_newest_event_is_the_last_to_go() -> None:
    text = " ".join(panel(State.LABELING, 80, 24))
    assert TROUBLE in text
    assert "something happened 4" in text
    assert "something happened 0" in " ".join(panel(State.LABELING, 120, 40))
    assert TROUBLE in " ".join(panel(State.READY, 80, 16))


def test_what_happens_again_is_counted_and_a_soft_robot_is_not_said_to_hold() -> None:
    output = io.StringIO()
    with TerminalScreen(Console(file=output, width=120, height=40)) as screen:
        for _ in range(3):
            screen.say("label the episode first", wrong=True)
        screen.show(StationView("Lift the lid"))
    assert "! label the episode first (×3)" in output.getvalue()
    assert output.getvalue().count("label the episode first") == 1
    assert "holding position" in " ".join(panel(State.LABELING, 120, 40))
    assert "holding position" not in " ".join(panel(State.DAMPING, 120, 40))
