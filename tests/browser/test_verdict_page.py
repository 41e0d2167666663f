"""The verdict page in a real browser: by keys alone, over reloads and a kill, two people, with and without cameras."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from hitl_ops.labels.station_verdicts import station_verdicts
from tests.support.page_visitor import Visitor, hears_nothing, routed
from tests.support.station_recordings import record, robot
from tests.support.station_server import StationServer, epoch_folder, station_server

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StationServer]:
    home = tmp_path / "home"
    filmed = robot("cam_high", "cam_wrist", size=(120, 160))
    for number, label in enumerate((None, None, "good", "bad")):
        where = epoch_folder(home, 1).episode(number)
        record(where, 100, spec=filmed, label=label, seed=number, episode_id=f"e{number}")
    record(epoch_folder(home, 2).episode(0), 50, spec=robot(environment=2), label=None, seed=9, episode_id="bare")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with station_server(home, "--invite", "20", "--target", "40", port=port) as running:
        yield running


def person(browser: Browser, width: int, pictures: Path, server: StationServer, name: str) -> Visitor:
    """Somebody who has come in by the link."""
    visitor = Visitor(browser, width, pictures / "verdicts")
    page = visitor.page
    page.goto(server.link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Say how the robot did")
    expect(page.get_by_label("Your name")).to_be_focused()
    visitor.look(f"{name} joins")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#me")).to_have_text(name)
    assert server.invitation not in page.url, "the invitation does not stay in the address"
    return visitor


def shown(page: Page, key: str) -> None:
    """Wait until an episode is on the screen."""
    page.wait_for_url(f"**at={key}")


def playing(page: Page) -> None:
    """Wait until the video is there and runs."""
    page.wait_for_function("() => document.getElementById('video').currentTime > 0.2")
    expect(page.locator("#note")).to_be_hidden()


def counts(page: Page, to_judge: int, every: int, bad: int, good: int) -> None:
    told = [f"To judge {to_judge}", f"All {every}", f"Bad {bad}", f"Good {good}"]
    expect(page.locator("#filter label")).to_have_text(told)


def eventually(right: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not right():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_keys_alone_reloads_and_a_kill(server: StationServer, browser: Browser, pictures: Path) -> None:
    visitor = person(browser, 1280, pictures, server, "Kim")
    page = visitor.page
    shown(page, "e0")
    playing(page)
    counts(page, 3, 5, 1, 1)
    expect(page.locator("#progress")).to_have_text("2 of 40 judged")
    expect(page.locator("#facts")).to_contain_text("station: no verdict")
    visitor.look("first episode")
    playing_now = page.get_by_role("button", name="Pause")
    paused = page.get_by_role("button", name="Play", exact=True)
    if paused.is_visible():
        visitor.press("Space")
    expect(playing_now).to_be_visible()
    visitor.press("Space")
    expect(paused).to_be_visible()
    assert page.evaluate("document.getElementById('video').paused")

    visitor.press("g")
    shown(page, "e1")
    visitor.press("b")
    shown(page, "bare")
    counts(page, 1, 5, 2, 2)
    expect(page.locator("#note")).to_contain_text("There is no video")
    expect(page.locator(".curve")).to_have_count(16)
    visitor.look("no camera")
    visitor.press("u")
    shown(page, "e1")
    expect(page.locator("#said")).to_have_text("Taken back by you; what the station said counts.")
    expect(page.locator("#saved")).to_have_text("Saved")
    assert station_verdicts(server.labels) == ({"e0": "good"}, set())
    visitor.press("x", "ArrowLeft")
    expect(page.locator("#saved")).to_have_text("Saved")
    assert station_verdicts(server.labels) == ({"e0": "good"}, {"e1"})
    page.reload()
    expect(page.locator("#me")).to_have_text("Kim")
    counts(page, 1, 5, 1, 2)

    # The server takes a verdict in and is killed before anybody hears of it; the page says it again.
    def killed(route: Route) -> None:
        route.fetch()
        server.kill()
        route.abort()

    page.locator("#which-all + label").click()
    page.get_by_role("button", name="Episode 3").click()
    shown(page, "e3")
    expect(page.locator("#facts")).to_contain_text("station: bad")
    routed(page, "**/api/verdicts/labels", killed, times=1)
    visitor.press("g")
    expect(page.locator("#saved")).to_have_text("No connection: 1 kept here")
    visitor.look("no connection")
    assert len(server.labels.labels("verdict")) == 3, "it had been taken in"
    server.start()
    # Not even a reload in between makes two of it, or none.
    page.reload()
    expect(page.locator("#saved")).to_have_text("Saved")
    eventually(lambda: page.evaluate("Object.keys(localStorage).filter(k => k.includes('unsent')).length") == 0)
    said = [label for label in server.labels.labels("verdict", superseded=True) if label.target == "station/e3"]
    assert [label.value["said"] for label in said] == ["good"] and said[0].seconds > 0
    counts(page, 1, 5, 0, 3)
    visitor.complaints = [one for one in visitor.complaints if "Failed to load" not in one]
    visitor.close()


def test_two_people_do_not_collide(server: StationServer, browser: Browser, pictures: Path) -> None:
    kim = person(browser, 1280, pictures, server, "Kim")
    shown(kim.page, "e0")
    lee = person(browser, 390, pictures, server, "Lee <b>")
    shown(lee.page, "e1")
    playing(lee.page)
    lee.look("phone")
    # Kim goes where Lee is, and is told; both say something, and the second is told what the first said.
    kim.press("ArrowRight")
    shown(kim.page, "e1")
    expect(kim.page.locator("#facts")).to_contain_text("Lee <b> is looking at it")
    with hears_nothing(kim.page, "**/episodes"):
        lee.page.get_by_role("button", name="Good", exact=False).and_(lee.page.locator(".say")).tap()
        expect(lee.page.locator("#saved")).to_have_text("Saved")
        kim.press("b")
    expect(kim.page.locator(".toast")).to_contain_text("Lee <b> said good meanwhile")
    shown(kim.page, "e1")
    expect(kim.page.locator("#said")).to_have_text("Good, said by Lee <b>.")
    assert station_verdicts(server.labels).verdicts == {"e1": "good"}
    kim.press("b")
    expect(kim.page.locator("#saved")).to_have_text("Saved")
    eventually(lambda: station_verdicts(server.labels).verdicts == {"e1": "bad"})
    expect(kim.page.locator("#undo")).to_be_enabled()
    kim.look("after differing")
    for one in (kim, lee):
        one.complaints = [text for text in one.complaints if "409" not in text]
        one.close()
