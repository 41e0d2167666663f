"""A person's whole way through the real page of the real server, at a desk and with a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from tests.support.collect_server import CollectServer, collect_server
from tests.support.page_visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    home = tmp_path_factory.mktemp("way") / "home"
    with collect_server(home, "--partner", "oracle", "--invite", "9", page=True, shared_tasks=True) as running:
        yield running


def target_of(visitor: Visitor) -> str:
    """Where the mug belongs, as the task says it."""
    found = re.search(r"put it on the (.+)\.", visitor.page.get_by_role("heading", level=1).inner_text())
    assert found is not None
    return found[1]


def consent(visitor: Visitor) -> None:
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Play with a partner")
    agree = page.get_by_role("button", name="I agree")
    expect(agree).to_be_disabled()
    visitor.look("consent")
    page.get_by_role("checkbox").check()
    agree.click()


def tutorial(visitor: Visitor) -> None:
    page = visitor.page
    lessons = page.get_by_role("region", name="Tutorial")
    expect(lessons).to_be_visible()
    visitor.look("tutorial")
    if visitor.narrow:
        visitor.push_stick(-1, 0, 900)
        visitor.push_stick(0, -1, 1200)
    else:
        visitor.hold("q", 900)
        visitor.hold("s", 1200)
    expect(lessons.locator("li.done")).to_have_count(2)
    visitor.go_to("kitchen fridge", "fridge")
    if visitor.narrow:
        page.locator(".touch").get_by_role("button", name="Open the kitchen fridge").tap()
    else:
        expect(page.locator(".hint")).to_contain_text("Open the kitchen fridge")
        visitor.press("Shift+Space")
    visitor.told("You opened the kitchen fridge.")
    visitor.look("opened")
    if visitor.narrow:
        page.locator(".touch").get_by_role("button", name="Pick up the mug").tap()
    else:
        expect(page.locator(".hint")).to_contain_text("Pick up the mug")
        visitor.press("Space")
    visitor.told("You picked up the mug.")
    expect(lessons.locator("li.done")).to_have_count(5)
    goal = target_of(visitor)
    visitor.go_to(goal)
    if visitor.narrow:
        page.locator(".touch").get_by_role("button", name=f"Put the mug on the {goal}").tap()
    else:
        expect(page.locator(".hint")).to_contain_text(f"Put the mug on the {goal}")
        visitor.press("Space")
    # Solving it is the end of the tutorial.
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready?")
    visitor.look("ready")
    page.get_by_role("button", name="Start the task").click()


def open_and_pick(visitor: Visitor) -> None:
    """Get the mug out of the fridge, with the mouse or a finger on the things themselves."""
    page = visitor.page
    visitor.go_to("kitchen fridge", "fridge")
    page.wait_for_timeout(1500)  # until one has turned to it
    x, y = visitor.middle_of_view()
    touch = page.touchscreen.tap if visitor.narrow else page.mouse.click
    touch(x, y)
    visitor.told("You opened the kitchen fridge.")
    expect(page.locator(".hint")).to_contain_text("Pick up the mug")
    page.wait_for_timeout(500)
    touch(*visitor.pointed_at())
    visitor.told("You picked up the mug.")
    expect(page.locator(".hand")).to_have_text("In your hand: mug")
    visitor.look("in-hand")


def correct_partner(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Tell it what to do instead").click()
    dialog = page.get_by_role("dialog", name="What should your partner do instead?")
    expect(dialog).to_be_visible()
    dialog.get_by_label("What to do").select_option(label="Look around a room")
    dialog.get_by_role("combobox", name="Which room").fill("bath")
    visitor.look("correction")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Tell it").click()
    visitor.told(re.compile("looks around the bathroom|looked around the bathroom|has been told"))
    expect(page.locator(".partner-line")).to_contain_text("bathroom")


def reload_in_the_middle(visitor: Visitor) -> None:
    page = visitor.page
    instruction = page.get_by_role("heading", level=1).inner_text()
    expect(page.locator(".chip.saved")).to_have_text("Saved")
    page.wait_for_timeout(1200)
    page.reload()
    visitor.told(re.compile("Welcome back"))
    expect(page.get_by_role("heading", level=1)).to_have_text(instruction)
    expect(page.locator(".hand")).to_have_text("In your hand: mug")
    visitor.look("resumed")


def deliver(visitor: Visitor) -> None:
    page = visitor.page
    goal = target_of(visitor)
    visitor.go_to(goal)
    within_reach = page.get_by_role("region", name="Within reach")
    within_reach.get_by_role("button", name=f"Put the mug on the {goal}").click()
    visitor.told(f"You put the mug on the {goal}.")
    expect(page.locator(".hand")).to_have_text("")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_goes_the_whole_way(server: CollectServer, browser: Browser, pictures: Path, width: int) -> None:
    visitor = Visitor(browser, width, pictures)
    page = visitor.page
    page.goto(f"{server.url}/join#{server.invitation}")
    consent(visitor)
    assert "#" not in page.url, "the invitation does not stay in the address"
    tutorial(visitor)
    expect(page.get_by_role("region", name="Partner")).to_be_visible()
    expect(page.locator(".missing li").first).to_contain_text("ug")
    visitor.look("episode")
    open_and_pick(visitor)
    reload_in_the_middle(visitor)
    if not visitor.narrow:
        visitor.press("m")
        visitor.look("map")
        visitor.press("m", "h")
        visitor.look("help")
        visitor.press("Escape")
    correct_partner(visitor)
    deliver(visitor)
    expect(page.locator(".percent")).to_have_text("Done")
    visitor.look("done")
    say_it_is_done(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Task complete")
    page.get_by_text("Yes", exact=True).click()
    page.get_by_label("What is missing").fill("Nothing at all.")
    visitor.look("feedback")
    page.get_by_role("button", name="Send and stop for today").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you!")
    expect(page.locator(".totals")).to_contain_text("1task played1completed")
    visitor.look("thanks")
    visitor.close()


def say_it_is_done(page: Page) -> None:
    """Finish the play, unless it ends by itself meanwhile: what is done, ends after a while."""
    if not page.locator(".play").count():
        return
    try:
        page.get_by_role("button", name=re.compile("^Finish")).last.click(timeout=10_000)
        page.get_by_role("dialog", name="Finish this task?").get_by_role("button", name="Finish").click(timeout=10_000)
    except TimeoutError:
        expect(page.locator(".play")).to_have_count(0)


def test_what_the_person_said_is_kept(server: CollectServer) -> None:
    kinds = [label.kind for label in server.labels.labels()]
    assert kinds.count("feedback") >= 2
    assert "correction" in kinds
