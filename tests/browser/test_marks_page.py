"""The page of marks in a real browser: by keys alone, frame by frame, over reloads and a kill, and two people."""

from __future__ import annotations

import base64
import io
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from hitl_ops.labels.progress_marks import Mark
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.progress import stored_marks
from hitl_ops.samples.progress_rules import marks_progress
from tests.support.filmed_sets import make_filmed_set, number_in, shown
from tests.support.mark_server import MarkServer, mark_server
from tests.support.page_visitor import Visitor, hears_nothing, routed

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]

LENGTHS = (60, 45, 150)
NAMES = ("hands placed", "lid held", "lid lifted")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MarkServer]:
    make_filmed_set(tmp_path / "filmed", LENGTHS, gop=50)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    named = [word for name in NAMES for word in ("--stage", name)]
    with mark_server(tmp_path / "home", tmp_path / "filmed", "--invite", "20", *named, port=port) as running:
        yield running


def person(browser: Browser, width: int, pictures: Path, server: MarkServer, name: str) -> Visitor:
    """Somebody who has come in by the link."""
    visitor = Visitor(browser, width, pictures / "marks")
    page = visitor.page
    page.goto(server.link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Mark how far the robot came")
    expect(page.get_by_label("Your name")).to_be_focused()
    visitor.look(f"{name} joins")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#me")).to_have_text(name)
    assert server.invitation not in page.url, "the invitation does not stay in the address"
    return visitor


def at_frame(page: Page, frame: int) -> None:
    expect(page.locator("#clock")).to_contain_text(f"frame {frame} of")


def film_shows(page: Page, number: int) -> None:
    """Wait until the picture on the screen is the one with this number in it."""
    deadline = time.monotonic() + 60
    while True:
        told = page.evaluate(
            """() => {
              const video = document.getElementById("video");
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [48, 48];
              canvas.getContext("2d").drawImage(video, 0, 0, 48, 48);
              return canvas.toDataURL("image/png").split(",")[1];
            }"""
        )
        seen = number_in(np.asarray(Image.open(io.BytesIO(base64.b64decode(told))).convert("RGB")))
        if seen == number:
            return
        assert time.monotonic() < deadline, f"the film shows {seen}, not {number}"
        time.sleep(0.05)


def marked(server: MarkServer) -> dict[int, list[Mark]]:
    return stored_marks(server.labels, open_lerobot(server.home.parent / "filmed"), 3)


def eventually(right: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not right():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_keys_alone_frame_by_frame_reloads_and_a_kill(server: MarkServer, browser: Browser, pictures: Path) -> None:
    visitor = person(browser, 1280, pictures, server, "Kim")
    page = visitor.page
    expect(page.locator("#filter label")).to_have_text(["To mark 3", "All 3"])
    expect(page.locator("#said")).to_have_text("Nobody has marked this episode yet.")
    film_shows(page, shown(0, 0))
    visitor.press("ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowLeft")
    at_frame(page, 12)
    film_shows(page, shown(0, 12))
    visitor.press("1")
    expect(page.locator("#marks li")).to_have_text(["12: hands placed"])
    expect(page.locator("#saved")).to_have_text("Saved")
    assert marked(server) == {}, "begun is not done"
    visitor.press("3")
    expect(page.locator(".toast")).to_contain_text("Stage 1 is marked at frame 12 already")
    visitor.press("Shift+ArrowRight", "3")
    expect(page.locator(".toast").last).to_contain_text("Mark stage 2 first: at frame 22 stage 1 is.")
    visitor.press("2", "Shift+ArrowRight", "b", "Shift+ArrowRight", "2", "End", "3")
    at_frame(page, 59)
    film_shows(page, shown(0, 59))
    texts = ["12: hands placed", "22: lid held", "32: lid held lost", "42: lid held", "59: lid lifted"]
    expect(page.locator("#marks li")).to_have_text(texts)
    expect(page.locator("#said")).to_have_text("Marked to its end by you.")
    expect(page.locator("#saved")).to_have_text("Saved")
    visitor.look("marked")
    eventually(lambda: 0 in marked(server))
    said = marked(server)[0]
    assert [(one.frame, one.stage, one.lost) for one in said] == [
        (12, 1, False), (22, 2, False), (32, 2, True), (42, 2, False), (59, 3, False)
    ]  # fmt: skip
    # The curve on the page is the one that is written.
    drawn = page.evaluate(
        """async ([marks, length]) => {
          const { progressAt, corners } = await import("/story.js");
          return [Array.from({ length }, (_, frame) => progressAt(marks, frame, 3)), corners(marks, length, 3)];
        }""",
        [[one.model_dump() for one in said], 60],
    )
    expected = marks_progress(said, 60, 3)
    np.testing.assert_allclose(drawn[0], expected, atol=1e-6)
    assert all(abs(expected[frame] - at) < 1e-6 for frame, at in drawn[1] if frame != 32)

    # Undone one by one, moved, removed.
    visitor.press("u")
    expect(page.locator("#marks li")).to_have_text(texts[:4])
    visitor.press("ArrowLeft", "3", "ArrowLeft", "3")
    expect(page.locator("#marks li")).to_have_text([*texts[:4], "57: lid lifted"])
    page.locator("#marks button").nth(1).click()
    at_frame(page, 22)
    visitor.press("x")
    expect(page.locator(".toast").last).to_contain_text("1 later mark can no longer be")
    expect(page.locator("#marks li")).to_have_text([texts[0], texts[3], "57: lid lifted"])
    visitor.press("u")
    expect(page.locator("#marks li")).to_have_text([*texts[:4], "57: lid lifted"])
    expect(page.locator("#saved")).to_have_text("Saved")
    page.wait_for_url("**frame=22*")
    page.reload()
    at_frame(page, 22)
    film_shows(page, shown(0, 22))
    expect(page.locator("#marks li")).to_have_text([*texts[:4], "57: lid lifted"])
    assert marked(server)[0][-1].frame == 57
    visitor.press("c")
    film_shows(page, shown(0, 22, 1))

    # The next one, where nothing is reached.
    visitor.press("n")
    expect(page.locator("#facts")).to_contain_text("episode 1")
    film_shows(page, shown(1, 0, 1))
    visitor.press("Enter")
    expect(page.locator("#facts")).to_contain_text("episode 2")
    eventually(lambda: marked(server).get(1) == [])
    # Played, it comes to its end, and stops there.
    visitor.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    at_frame(page, 149)
    expect(page.locator("#play")).to_have_text("Play")

    # The server takes a mark in and is killed before anybody hears of it; the page says it again.
    def killed(route: Route) -> None:
        route.fetch()
        server.kill()
        route.abort()

    routed(page, "**/api/marks/labels", killed, times=1)
    visitor.press("Home", "Shift+ArrowRight", "1")
    expect(page.locator("#saved")).to_have_text("No connection: 1 kept here")
    visitor.press("Shift+ArrowRight", "2")
    expect(page.locator("#saved")).to_have_text("No connection: 2 kept here")
    server.start()
    # Not even a reload in between makes two of it, or none.
    page.reload()
    expect(page.locator("#saved")).to_have_text("Saved")
    eventually(lambda: page.evaluate("Object.keys(localStorage).filter(k => k.includes('unsent')).length") == 0)
    expect(page.locator("#marks li")).to_have_text(["10: hands placed", "20: lid held"])
    kept = [one for one in server.labels.labels("progress", superseded=True) if one.value["length"] == 150]
    assert [len(one.value["marks"]) for one in kept] == [1, 2], "each click once"
    visitor.complaints = [one for one in visitor.complaints if "Failed to load" not in one]
    visitor.close()


def test_two_people_do_not_collide(server: MarkServer, browser: Browser, pictures: Path) -> None:
    kim = person(browser, 1280, pictures, server, "Kim")
    expect(kim.page.locator("#facts")).to_contain_text("episode 0")
    film_shows(kim.page, shown(0, 0))
    lee = person(browser, 390, pictures, server, "Lee <b>")
    expect(lee.page.locator("#facts")).to_contain_text("episode 1")
    film_shows(lee.page, shown(1, 0))
    lee.look("phone")
    kim.press("n")
    expect(kim.page.locator("#facts")).to_contain_text("Lee <b> is looking at it")
    with hears_nothing(kim.page, "**/episodes"):
        for _ in range(2):
            lee.page.get_by_role("button", name="Ten frames on").tap()
        lee.page.get_by_role("button", name="hands placed").tap()
        expect(lee.page.locator("#saved")).to_have_text("Saved")
        lee.look("phone marked")
        kim.press("ArrowRight", "1")
    expect(kim.page.locator(".toast")).to_contain_text("Lee <b> has marked this episode meanwhile")
    expect(kim.page.locator("#marks li")).to_have_text(["20: hands placed"])
    kim.press("1", "Enter")
    expect(kim.page.locator("#saved")).to_have_text("Saved")
    eventually(lambda: marked(server) == {1: [Mark(frame=1, stage=1)]})
    expect(lee.page.locator("#said")).to_have_text("Marked to its end by Kim.")
    for one in (kim, lee):
        one.complaints = [text for text in one.complaints if "409" not in text]
        one.close()
