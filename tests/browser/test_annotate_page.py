"""Annotators at the real page of the real server: by keys alone, by touch, two at one play, over reloads and kills."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from playwright.sync_api import Error as PlaywrightError

from hitl_ops.labels.rows import Label
from hitl_ops.worlds.household.episode_generator import generate_candidate
from tests.support.annotate_server import AnnotateServer, annotate_server
from tests.support.mistaken_plays import collect_mistaken_plays
from tests.support.page_visitor import Visitor, routed

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(900)]

WIDTHS = [1280, 390]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotate") / "home"
    made = (generate_candidate("train", number) for number in range(50))
    episodes = [episode for episode in made if episode is not None][:3]
    collect_mistaken_plays(folder, episodes)
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[AnnotateServer]:
    with annotate_server(home, "--invite", "20", page=True) as running:
        yield running


def link(server: AnnotateServer) -> str:
    """Lets an annotator in."""
    return f"{server.url}/annotate#{server.invitation}"


def annotator(browser: Browser, width: int, pictures: Path, server: AnnotateServer, name: str) -> Visitor:
    """Somebody who has come in by the link, and looks at the queue."""
    visitor = Visitor(browser, width, pictures / "annotate")
    page = visitor.page
    page.goto(link(server))
    expect(page.get_by_role("heading", level=1)).to_have_text("Correct what the AI does")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Plays to look at")
    assert "#" not in page.url, "the invitation does not stay in the address"
    return visitor


def open_play(visitor: Visitor, number: int) -> None:
    """Open one of the plays of the queue, counted from 0, and wait for its picture."""
    visitor.page.locator(".queue-open").nth(number).click()
    wait_for_picture(visitor)


def wait_for_picture(visitor: Visitor) -> None:
    expect(visitor.page.locator(".review")).to_be_visible()
    expect(visitor.page.locator(".replay-note")).to_be_hidden()


def play_of(page: Page) -> str:
    found = re.search(r"at=([0-9a-f]{16})", page.url)
    assert found is not None
    return found[1]


def marks_in(server: AnnotateServer, play: str, name: str | None = None) -> list[Label]:
    """What annotators said about a play's decisions, in order."""
    names = {one.id: one.display_name for one in server.labels.annotators("planner", 0)} if name else {}
    return [
        label
        for label in server.labels.labels("correction", superseded=True)
        if label.target.startswith(f"play/{play}/") and (name is None or names.get(label.annotator) == name)
    ]


def eventually[T](look: Callable[[], T], right: Callable[[T], bool]) -> T:
    """What is seen once it is right."""
    deadline = time.monotonic() + 60
    while True:
        seen = look()
        if right(seen) or time.monotonic() > deadline:
            assert right(seen), seen
            return seen
        time.sleep(0.1)


def card(visitor: Visitor) -> Locator:
    return visitor.page.get_by_role("region", name="This decision")


def saved(visitor: Visitor) -> None:
    expect(visitor.page.locator(".chip.saved")).to_have_text("Saved")


def test_a_correction_with_the_keyboard_alone(server: AnnotateServer, browser: Browser, pictures: Path) -> None:
    visitor = annotator(browser, 1280, pictures, server, "Keyboard Kim")
    page = visitor.page
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_focused()
    visitor.look("queue")
    visitor.press("Enter")
    wait_for_picture(visitor)
    play = play_of(page)
    expect(page.get_by_role("slider", name="Moment of the play")).to_be_focused()
    page.wait_for_timeout(800)
    visitor.look("play")

    visitor.press("e")
    field = page.get_by_role("combobox", name="What would have been right?")
    expect(field).to_be_focused()
    page.keyboard.type("xyzzy")
    expect(page.get_by_role("listbox", name="What would have been right?")).to_contain_text("Nothing of that name")
    visitor.press("Tab", "Enter")
    expect(page.get_by_role("alert").filter(has_text="Choose what would have been right")).to_be_visible()
    assert marks_in(server, play) == [], "nothing that was not possible can be said"
    expect(field).to_be_focused()
    visitor.press("Control+a")
    page.keyboard.type("walk kitchen")
    visitor.look("choosing")
    best = page.get_by_role("option", selected=True).filter(has_text="alk to the").locator("span").first.inner_text()
    visitor.press("Enter")
    expect(page.get_by_role("textbox", name="Why?")).to_be_focused()
    page.keyboard.type("It was needed there.")
    visitor.press("Enter")
    expect(card(visitor)).to_contain_text(f"Right: {best}")
    expect(card(visitor)).to_contain_text("It was needed there.")
    saved(visitor)
    [mark] = marks_in(server, play)
    assert mark.value["verdict"] == "error"
    assert mark.value["reason"] == "It was needed there."
    assert mark.value["corrected"].startswith("Navigate[kitchen")
    assert 0 < (mark.seconds or 0) < 600, "human time is counted"
    visitor.look("marked")

    visitor.press("Control+z")
    expect(card(visitor)).not_to_contain_text("Right:")
    last = eventually(lambda: marks_in(server, play)[-1], lambda one: one.value["verdict"] == "withdrawn")
    assert last.target == mark.target
    visitor.press("k", "e")
    page.keyboard.type("wait")
    visitor.press("Enter", "Enter")
    eventually(lambda: marks_in(server, play), lambda marks: len(marks) == 3)
    visitor.press("Delete")
    eventually(lambda: marks_in(server, play), lambda marks: len(marks) == 4)
    visitor.press("Control+z")
    visitor.told("Undone: it is marked as before.")
    eventually(lambda: marks_in(server, play)[-1].value["verdict"], lambda verdict: verdict == "error")

    visitor.press("p")
    prompt = page.get_by_role("dialog", name="What the AI saw").get_by_role("region", name="Prompt")
    expect(prompt).to_contain_text("Task:")
    visitor.look("prompt")
    visitor.press("Escape", "h")
    expect(page.get_by_role("dialog", name="Looking at a play")).to_be_visible()
    visitor.look("help")
    visitor.press("Escape", "f")
    expect(page.get_by_role("dialog", name="Finish this play?")).to_contain_text("one decision as an error")
    visitor.press("Enter")
    page.wait_for_url(lambda url: "at=" in url and play not in url)
    wait_for_picture(visitor)
    visitor.press("q")
    expect(page.get_by_role("listitem").filter(has_text="You finished it")).to_have_count(1)
    expect(page.locator(".figures")).to_contain_text("1 by you")
    visitor.look("queue-later")
    visitor.close()


def test_by_touch(server: AnnotateServer, browser: Browser, pictures: Path) -> None:
    visitor = annotator(browser, 390, pictures, server, "Touching Tove")
    page = visitor.page
    visitor.look("queue")
    open_play(visitor, 1)
    play = play_of(page)
    page.wait_for_timeout(800)
    visitor.look("play")
    track = page.get_by_role("slider", name="Moment of the play")
    box = track.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 0.7 * box["width"], box["y"] + box["height"] / 2)
    expect(track).to_have_attribute("aria-valuenow", re.compile(r"^[1-9]\d"))
    page.get_by_role("button", name="Next worth a look").or_(
        page.get_by_role("button", name="Previous worth a look")
    ).first.tap()
    page.get_by_role("button", name="AI’s view", exact=True).tap()
    page.wait_for_timeout(800)
    visitor.look("eyes")
    page.get_by_role("button", name="This is an error").tap()
    page.get_by_role("combobox", name="What would have been right?").fill("look around")
    visitor.look("choosing")
    page.get_by_role("option").filter(has_text="Look around").first.tap()
    page.get_by_role("button", name="Save the error").tap()
    saved(visitor)
    eventually(lambda: marks_in(server, play, "Touching Tove"), lambda marks: len(marks) == 1)
    visitor.look("marked")
    page.get_by_role("button", name="Undo").tap()
    eventually(lambda: marks_in(server, play, "Touching Tove")[-1].value["verdict"], lambda said: said == "withdrawn")
    visitor.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_one_looks_at_any_moment_of_a_play(
    server: AnnotateServer, browser: Browser, pictures: Path, width: int
) -> None:
    visitor = annotator(browser, width, pictures, server, f"Looking Lou {width}")
    page = visitor.page
    open_play(visitor, 0)
    track = page.get_by_role("slider", name="Moment of the play")

    def moment() -> int:
        return int(track.get_attribute("aria-valuenow") or "-1")

    visitor.press("Home")
    assert moment() == 0
    visitor.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert moment() == 3
    visitor.press("ArrowLeft", "PageDown")
    assert moment() == 12
    visitor.press("End")
    last = moment()
    assert last == int(track.get_attribute("aria-valuemax") or "0") > 20
    visitor.press("Home", "+", "+", "Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    eventually(moment, lambda now: now >= 4)
    visitor.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    stopped = moment()
    page.wait_for_timeout(700)
    assert moment() == stopped

    box = track.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], y, steps=5)
    page.mouse.up()
    assert abs(moment() - last / 2) <= 2

    numbers = []
    visitor.press("Home")
    for _ in range(3):
        visitor.press("k")
        numbers.append(card(visitor).locator(".eyebrow").inner_text())
    assert [re.search(r"decision (\d+) of", text)[1] for text in numbers] == ["2", "3", "4"]  # type: ignore[index]
    visitor.press("n")
    expect(card(visitor)).to_contain_text("Worth a look")
    rows = page.get_by_role("listbox", name="All decisions").get_by_role("option")
    rows.nth(0).click()
    expect(rows.nth(0)).to_have_attribute("aria-selected", "true")
    for key, name in (("2", "Person’s view"), ("3", "AI’s view"), ("1", "From above")):
        visitor.press(key)
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
        page.wait_for_timeout(600)
        visitor.look(f"view-{key}")
    visitor.close()


def test_two_annotators_at_one_play(server: AnnotateServer, browser: Browser, pictures: Path) -> None:
    first = annotator(browser, 1280, pictures, server, "Ada")
    open_play(first, 2)
    play = play_of(first.page)
    first.press("e")
    first.page.keyboard.type("wait")
    first.press("Enter", "Enter")
    saved(first)

    second = annotator(browser, 390, pictures, server, "Ben")
    row = second.page.locator(f'[data-play="{play}"]')
    expect(row).to_contain_text("Ada has it open")
    second.look("queue-taken")
    row.get_by_role("button").click()
    wait_for_picture(second)
    expect(second.page.locator(".review-head")).to_contain_text("Ada is here too")
    expect(card(second)).to_contain_text("Ada: an error")
    second.look("others-opinion")
    second.press("e")
    second.page.keyboard.type("look around")
    second.press("Enter")
    second.page.keyboard.type("Nobody had been there.")
    second.press("Enter")
    saved(second)
    expect(card(second)).to_contain_text("You: an error")
    assert {label.value["corrected"].split("[")[0] for label in marks_in(server, play)} == {"Wait", "Explore"}
    # Whoever comes back to a play sees what others have said meanwhile.
    first.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(card(first)).to_contain_text("Ben: an error")
    for visitor in (first, second):
        visitor.press("f")
        visitor.page.get_by_role("button", name="Finish, next play").click()
        expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    eventually(
        lambda: [
            label for label in server.labels.labels("verdict", superseded=True) if label.target == f"play/{play}/review"
        ],
        lambda reviews: len(reviews) == 2,
    )

    first.page.goto(f"{server.url}/annotate?at={play}")
    wait_for_picture(first)
    expect(first.page.locator(".review-head")).to_contain_text("% agreed")
    expect(card(first)).to_contain_text("Ben: an error")
    expect(card(first)).to_contain_text("Nobody had been there.")
    first.look("agreement")
    first.press("q")
    expect(first.page.locator(".figures")).to_contain_text("κ")
    first.close()
    second.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_reload_loses_nothing(server: AnnotateServer, browser: Browser, pictures: Path, width: int) -> None:
    name = f"Reloading Ray {width}"
    visitor = annotator(browser, width, pictures, server, name)
    page = visitor.page
    open_play(visitor, 0)
    play = play_of(page)
    visitor.press("k", "e")
    page.keyboard.type("wait")
    visitor.press("Enter")
    page.keyboard.type("Half a rea")
    about = card(visitor).locator(".raw").inner_text()
    page.reload()
    wait_for_picture(visitor)
    expect(card(visitor).locator(".raw")).to_have_text(about)
    reason = page.get_by_role("textbox", name="Why?")
    expect(reason).to_be_focused()
    expect(reason).to_have_value("Half a rea")
    visitor.press("End")
    page.keyboard.type("son")

    # The line is down while it is saved, and still when the page is loaded anew.
    routed(page, "**/api/annotate/labels", lambda route: route.abort())
    visitor.press("Enter")
    expect(page.locator(".band")).to_contain_text("The connection is lost.")
    expect(page.locator(".chip.saved")).to_have_text("1 not sent yet")
    visitor.look("lost")
    page.reload()
    wait_for_picture(visitor)
    expect(card(visitor)).to_contain_text("Half a reason")
    assert marks_in(server, play, name) == []
    page.unroute("**/api/annotate/labels")
    saved(visitor)
    expect(page.locator(".band")).to_be_hidden()
    [mark] = marks_in(server, play, name)
    assert mark.value["reason"] == "Half a reason"
    page.reload()
    wait_for_picture(visitor)
    expect(card(visitor)).to_contain_text("Half a reason")
    visitor.press("Control+z")
    eventually(lambda: marks_in(server, play, name)[-1].value["verdict"], lambda verdict: verdict == "withdrawn")
    visitor.complaints[:] = [said for said in visitor.complaints if "ERR_FAILED" not in said]
    visitor.close()


def test_a_correction_that_was_cancelled_does_not_come_back(
    server: AnnotateServer, browser: Browser, pictures: Path
) -> None:
    visitor = annotator(browser, 1280, pictures, server, "Cancelling Cas")
    page = visitor.page
    open_play(visitor, 0)
    visitor.press("e")
    page.keyboard.type("wait")
    visitor.press("Escape", "Escape")
    expect(page.get_by_role("form", name="Correction")).to_have_count(0)
    page.reload()
    wait_for_picture(visitor)
    expect(page.get_by_role("slider", name="Moment of the play")).to_be_focused()
    expect(page.get_by_role("form", name="Correction")).to_have_count(0)
    visitor.close()


def try_now(page: Page) -> None:
    """Press the button of the lost connection; the page tries by itself too, and where it has, the button is gone."""
    with contextlib.suppress(PlaywrightError):
        page.get_by_role("button", name="Try now").click(timeout=2000)


def test_a_server_killed_between_click_and_reply_keeps_the_click_once(
    home: Path, browser: Browser, pictures: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    with annotate_server(copy, "--invite", "2", page=True) as server:
        visitor = annotator(browser, 1280, pictures, server, "Killed Kay")
        page = visitor.page
        open_play(visitor, 0)
        play = play_of(page)

        def kill(route: Route) -> None:
            route.fetch()
            server.kill()
            route.abort()

        routed(page, "**/api/annotate/labels", kill, times=1)
        visitor.press("e")
        page.keyboard.type("wait")
        visitor.press("Enter", "Enter")
        expect(page.locator(".band")).to_contain_text("The connection is lost.")
        assert len(marks_in(server, play, "Killed Kay")) == 1, "it was stored; only the reply was lost"
        with annotate_server(copy, "--port", server.url.rsplit(":", 1)[1], page=True) as again:
            try_now(page)
            saved(visitor)
            expect(page.locator(".band")).to_be_hidden()
            expect(card(visitor)).to_contain_text("You: an error")
            assert len(marks_in(again, play, "Killed Kay")) == 1
            visitor.press("q")
            page.get_by_role("button", name="Close this iteration").click()
            page.get_by_role("dialog").get_by_role("button", name="Close it").click()
            expect(page.get_by_role("status").filter(has_text="has been closed")).to_be_visible()
            expect(page.get_by_role("button", name="Close this iteration")).to_be_disabled()
            visitor.context.close()
    expected = ("ERR_FAILED", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    assert [said for said in visitor.complaints if not any(kind in said for kind in expected)] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_what_cannot_be_done_is_said(server: AnnotateServer, browser: Browser, pictures: Path, width: int) -> None:
    visitor = Visitor(browser, width, pictures / "annotate" / "states")
    page = visitor.page
    heading = page.get_by_role("heading", level=1)
    page.goto(f"{server.url}/annotate")
    expect(heading).to_have_text("You need an annotation link")
    visitor.look("no-link")
    page.goto(f"{server.url}/annotate#{'x' * 43}")
    page.reload()
    page.get_by_label("Your name").fill("Nobody")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("alert").filter(has_text=re.compile("invitation"))).to_be_visible()
    visitor.look("wrong-link")
    page.goto("about:blank")
    page.goto(link(server))
    page.get_by_label("Your name").fill(f"Lost Lee {width}")
    page.get_by_role("button", name="Begin").click()
    expect(heading).to_have_text("Plays to look at")
    page.get_by_text("Chosen", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="You have not chosen any play")).to_be_visible()
    visitor.look("empty")
    page.get_by_text("All", exact=True).click()
    page.get_by_role("checkbox", name="Choose play 2").check()
    page.get_by_text("Chosen", exact=True).click()
    expect(page.locator(".queue-row")).to_have_count(1)

    page.goto(f"{server.url}/annotate?at={'0' * 16}")
    expect(heading).to_have_text("This play cannot be shown")
    visitor.look("no-play")
    page.get_by_role("button", name="Back to the queue").click()
    expect(heading).to_have_text("Plays to look at")

    def away(route: Route) -> None:
        route.abort()

    routed(page, "**/api/annotate/**", away)
    page.get_by_text("Failed", exact=True).click()
    expect(page.locator(".band")).to_contain_text("The connection is lost.")
    visitor.look("lost")
    page.unroute("**/api/annotate/**", away)
    try_now(page)
    expect(page.locator(".band")).to_be_hidden()

    kept: Any = page.evaluate("JSON.parse(localStorage.getItem('flywheel.annotate.annotator'))")
    page.evaluate(
        "kept => localStorage.setItem('flywheel.annotate.annotator', JSON.stringify(kept))",
        {**kept, "token": "y" * 43},
    )
    page.reload()
    expect(heading).to_have_text("This link does not work any more")
    visitor.look("refused")
    visitor.context.close()
    expected = ("ERR_FAILED", "401", "403", "404")
    assert [said for said in visitor.complaints if not any(kind in said for kind in expected)] == []
