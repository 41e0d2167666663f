"""What the page does when something comes between: no place, no line, no person, a second window, a wrong link."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.support.collect_server import CollectServer, collect_server
from tests.support.page_visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(900)]

SHORT = {"idle_warning_s": 6, "idle_end_s": 400, "reconnect_within_s": 3, "queue_grace_s": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    home = tmp_path_factory.mktemp("between") / "home"
    options = ("--partner", "none", "--capacity", "1", "--invite", "9")
    with collect_server(home, *options, settings=SHORT, page=True) as running:
        yield running


def begin(visitor: Visitor, server: CollectServer) -> None:
    """Come in, and agree to take part."""
    visitor.page.goto(f"{server.url}/join#{server.invitation}")
    visitor.page.get_by_role("checkbox").check()
    visitor.page.get_by_role("button", name="I agree").click()


def in_tutorial(visitor: Visitor) -> None:
    expect(visitor.page.get_by_role("region", name="Tutorial")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_links_that_lead_nowhere_say_so(server: CollectServer, browser: Browser, pictures: Path, width: int) -> None:
    visitor = Visitor(browser, width, pictures / "interruptions")
    visitor.page.goto(server.url)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("You need an invitation")
    visitor.look("no-invitation")
    visitor.page.goto(f"{server.url}/join#{'x' * 43}")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("This invitation does not work")
    visitor.look("wrong-invitation")
    visitor.context.close()
    # The browser itself reports the refused request; nothing else went wrong.
    assert all("403" in complaint or "400" in complaint for complaint in visitor.complaints), visitor.complaints


@pytest.mark.parametrize("width", [1280, 390])
def test_one_waits_for_a_place_and_gets_the_one_that_becomes_free(
    server: CollectServer, browser: Browser, pictures: Path, width: int
) -> None:
    first = Visitor(browser, width, pictures / "interruptions")
    begin(first, server)
    in_tutorial(first)
    second = Visitor(browser, width, pictures / "interruptions")
    begin(second, server)
    expect(second.page.get_by_role("heading", level=1)).to_have_text("All places are taken")
    expect(second.page.locator(".queue")).to_have_text("You are number 1 in the queue.")
    second.look("queue")
    first.close()
    in_tutorial(second)
    second.close()


def test_a_home_that_is_late_is_drawn_when_it_comes(server: CollectServer, browser: Browser, pictures: Path) -> None:
    visitor = Visitor(browser, 1280, pictures / "interruptions")
    page = visitor.page
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503)

    def colours() -> int:
        picture = np.asarray(Image.open(io.BytesIO(page.locator("canvas").first.screenshot())).convert("RGB"))
        return len(np.unique(picture.reshape(-1, 3), axis=0))

    page.route("**/api/homes/*.glb", refuse)
    begin(visitor, server)
    in_tutorial(visitor)
    while len(refused) < 2:
        page.wait_for_timeout(200)
    empty = colours()
    with page.expect_response(lambda answer: "/api/homes/" in answer.url and answer.ok):
        page.unroute("**/api/homes/*.glb")
    for _ in range(50):
        if colours() > empty + 100:
            break
        page.wait_for_timeout(200)
    assert colours() > empty + 100
    visitor.look("late-home")
    visitor.complaints[:] = [complaint for complaint in visitor.complaints if "503" not in complaint]
    visitor.close()


def test_a_quiet_person_is_asked_and_a_second_window_takes_over(
    server: CollectServer, browser: Browser, pictures: Path
) -> None:
    visitor = Visitor(browser, 1280, pictures / "interruptions")
    page = visitor.page
    begin(visitor, server)
    in_tutorial(visitor)
    band = page.locator(".band")
    expect(band).to_contain_text("Are you still there?")
    visitor.look("idle")
    band.get_by_role("button", name="I am here").click()
    expect(band).to_be_hidden()

    other = visitor.context.new_page()
    other.goto(server.url)
    expect(other.get_by_role("region", name="Tutorial")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are playing somewhere else")
    visitor.look("elsewhere")
    page.get_by_role("button", name="Play here").click()
    in_tutorial(visitor)
    expect(other.get_by_role("heading", level=1)).to_have_text("You are playing somewhere else")
    visitor.close()


def test_the_page_comes_back_by_itself_after_the_server_was_killed(
    browser: Browser, pictures: Path, tmp_path: Path
) -> None:
    options = ["--partner", "none", "--invite", "9"]
    with collect_server(tmp_path / "home", *options, page=True) as server:
        visitor = Visitor(browser, 1280, pictures / "interruptions")
        page = visitor.page
        begin(visitor, server)
        in_tutorial(visitor)
        expect(page.locator(".hint")).to_contain_text("Open the kitchen fridge")
        visitor.press("Shift+Space")
        visitor.told("You opened the kitchen fridge.")
        expect(page.locator(".hint")).to_contain_text("Pick up the mug")
        visitor.press("Space")
        visitor.told("You picked up the mug.")
        expect(page.locator(".chip.saved")).to_have_text("Saved")
        page.wait_for_timeout(1200)
        server.kill()
        band = page.locator(".band")
        expect(band).to_contain_text("The connection is lost.")
        visitor.look("lost")
        port = re.search(r":(\d+)$", server.url)
        assert port is not None
        with collect_server(tmp_path / "home", *options, "--port", port[1], page=True):
            expect(band).to_be_hidden()
            in_tutorial(visitor)
            expect(page.locator(".hand")).to_have_text("In your hand: mug")
            goal = "living room couch"
            visitor.go_to(goal)
            expect(page.locator(".hint")).to_contain_text(f"Put the mug on the {goal}")
            visitor.press("Space")
            expect(page.get_by_role("heading", level=1)).to_have_text("Ready?")
            visitor.context.close()
    refused = [complaint for complaint in visitor.complaints if "ERR_CONNECTION_REFUSED" not in complaint]
    assert refused == []
