"""The compare page in a real browser: by keys alone, undone, over reloads, a slow line and a kill, and two people."""

from __future__ import annotations

import base64
import io
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from hitl_ops.labels.preferences import Preference, say_preference, standing_preferences
from tests.support.clip_sets import TASK, make_clip_set
from tests.support.compare_server import CompareServer, clips_of, compare_server
from tests.support.filmed_sets import number_in
from tests.support.page_visitor import Visitor, routed
from tests.support.painted_clips import shown

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]

STEPS = (12, 20)
PAIRS = 200
SHOWN = "document.querySelector('.duel.shown')"


# One server for all: each test has people of its own.
@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompareServer]:
    home = tmp_path_factory.mktemp("compare") / "home"
    make_clip_set(clips_of(home), 12, PAIRS, steps=STEPS)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    chosen = {"queue.overlap": 0.0, "queue.repeats": 0.0}
    with compare_server(home, "--invite", "20", port=port, settings=chosen) as running:
        yield running


def person(browser: Browser, width: int, pictures: Path, server: CompareServer, name: str) -> Visitor:
    """Somebody who has come in by the link."""
    visitor = Visitor(browser, width, pictures / "compare")
    page = visitor.page
    page.goto(server.link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Say which of two is better")
    expect(page.get_by_label("Your name")).to_be_focused()
    visitor.look(f"{name} joins")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#me")).to_have_text(name)
    assert server.invitation not in page.url, "the invitation does not stay in the address"
    return visitor


def pair(page: Page) -> str:
    """The pair on the screen, once both its films can be judged."""
    expect(page.locator("[data-choice=left]")).to_be_enabled()
    return str(page.evaluate(f"{SHOWN}.dataset.pair"))


def say(page: Page, key: str) -> str:
    """Say something by a key, and wait for the next pair; returns the one that was on the screen."""
    before = pair(page)
    page.keyboard.press(key)
    page.wait_for_function(f"before => {SHOWN} && {SHOWN}.dataset.pair !== before", arg=before)
    return before


def clips_shown(page: Page) -> list[int]:
    """The numbers of the clips whose films are on the left and on the right."""
    deadline = time.monotonic() + 60
    while True:
        told: list[str] = page.evaluate(
            """() => [...document.querySelectorAll(".duel.shown video")].map((video) => {
              const canvas = document.createElement("canvas");
              [canvas.width, canvas.height] = [64, 64];
              canvas.getContext("2d").drawImage(video, 0, 0, 64, 64);
              return canvas.toDataURL("image/png").split(",")[1];
            })"""
        )
        seen = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGBA")) for one in told]
        # A film whose first frame is not drawn yet leaves nothing.
        if all(picture[..., 3].min() == 255 for picture in seen):
            return [number_in(picture) // shown("clip-1", 0) for picture in seen]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def prefetched(page: Page) -> None:
    """Wait until the next two pairs are there."""
    page.wait_for_function(
        """() => {
          const videos = [...document.querySelectorAll(".duel video")];
          return videos.length === 6 && videos.every((one) => one.readyState >= 3 || one.ended);
        }"""
    )


def frames(page: Page) -> list[int]:
    """How many frames of both films on the screen were decoded so far."""
    script = "video => video.getVideoPlaybackQuality().totalVideoFrames"
    found: list[int] = page.evaluate(f"[...{SHOWN}.querySelectorAll('video')].map({script})")
    return found


def eventually(right: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not right():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def known(server: CompareServer, name: str) -> str:
    """The id somebody's words are kept under."""
    [found] = [one.id for one in server.labels.annotators("preference") if one.display_name == name]
    return found


def words(server: CompareServer, name: str) -> dict[str, Preference]:
    """What stands of what somebody said, by pair."""
    said = standing_preferences(server.labels, "preference", annotator=known(server, name))
    return {word.said.pair_id: word for word in said}


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved")


def test_both_films_play_together_and_loop(server: CompareServer, browser: Browser, pictures: Path) -> None:
    visitor = person(browser, 1280, pictures, server, "Ada")
    page = visitor.page
    pair(page)
    expect(page.locator("#task")).to_have_text(TASK)
    first = frames(page)
    # More frames than either has: both begin anew.
    eventually(lambda: min(frames(page)) > max(first) + max(STEPS))
    apart = page.evaluate(
        f"""async () => {{
          const videos = [...{SHOWN}.querySelectorAll("video")];
          const seen = [];
          for (let n = 0; n < 60; n += 1) {{
            await new Promise((next) => requestAnimationFrame(next));
            const apart = Math.abs(videos[0].currentTime - videos[1].currentTime);
            if (videos.every((one) => !one.paused && !one.ended)) seen.push(apart);
          }}
          return seen;
        }}"""
    )
    assert apart and sorted(apart)[len(apart) // 2] < 0.25
    visitor.look("compare")
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_contain_text("Play")
    eventually(lambda: page.evaluate(f"[...{SHOWN}.querySelectorAll('video')].every(one => one.paused)"))
    stopped = frames(page)
    page.wait_for_timeout(400)
    assert frames(page) == stopped
    page.keyboard.press("r")
    eventually(lambda: min(frames(page)) > max(stopped))
    page.keyboard.press("s")
    expect(page.locator(".duel.shown .sheet").first).to_be_visible()
    visitor.look("stills")
    page.keyboard.press("s")
    # What comes next is there already, and takes no more place than what is shown.
    place = page.locator("#stage").bounding_box()
    keys = page.locator(".choices").bounding_box()
    assert page.locator(".duel").count() == 3
    say(page, "ArrowLeft")
    assert (page.locator("#stage").bounding_box(), page.locator(".choices").bounding_box()) == (place, keys)
    visitor.close()


def test_twenty_by_keyboard_are_kept_as_they_were_seen(
    server: CompareServer, browser: Browser, pictures: Path, record_property: Callable[[str, Any], None]
) -> None:
    visitor = person(browser, 1280, pictures, server, "Kim")
    page = visitor.page
    pair(page)
    keys = ("ArrowLeft", "ArrowRight", "t", "x")
    choices = ("left", "right", "tie", "cant_tell")
    order, seen = [], {}
    begun = time.monotonic()
    for number in range(20):
        if number in (3, 11):
            seen[pair(page)] = clips_shown(page)
        order.append(say(page, keys[number % 4]))
    seconds = time.monotonic() - begun
    record_property("seconds_for_twenty_comparisons", round(seconds, 2))
    print(f"20 comparisons by keyboard in {seconds:.2f} s")
    saved(page)
    kept = words(server, "Kim")
    assert list(kept) == order and len(set(order)) == 20
    assert [word.said.choice for word in kept.values()] == list(choices) * 5
    for name, clips in seen.items():
        said = kept[name].said
        assert [said.left, said.right] == [f"clip-{number:04d}" for number in clips], "what was seen is what is kept"
    assert all(0 < word.seconds <= seconds + 5 for word in kept.values())
    # A quarter of them could not be told: these pairs stay open to others.
    expect(page.locator("#progress")).to_have_text(re.compile(rf"1\d of {PAIRS} answered"))
    expect(page.locator("#mine")).to_have_text("20 by you")
    expect(page.locator("#rate")).to_contain_text("a minute")
    # A key that is held down says one thing.
    before = pair(page)
    prefetched(page)
    for _ in range(3):
        page.keyboard.down("t")
    page.keyboard.up("t")
    page.wait_for_function(f"before => {SHOWN}.dataset.pair !== before", arg=before)
    saved(page)
    assert len(words(server, "Kim")) == 21
    page.keyboard.press("a")
    expect(page.locator("#overview tbody tr")).to_contain_text(["Kim (you)", "Ada"])
    visitor.look("how we answer")
    visitor.close()


def test_undone_reloaded_and_said_otherwise(server: CompareServer, browser: Browser, pictures: Path) -> None:
    visitor = person(browser, 1280, pictures, server, "Uma")
    page = visitor.page
    order = [say(page, "ArrowLeft") for _ in range(3)]
    saved(page)
    # Taken back at once: nothing stands of it, whatever becomes of the page.
    visitor.press("z")
    expect(page.locator(f".duel.shown[data-pair={order[2]}]")).to_have_count(1)
    saved(page)
    assert list(words(server, "Uma")) == order[:2]
    expect(page.locator("#mine")).to_have_text("2 by you")
    visitor.press("Backspace")
    expect(page.locator(f".duel.shown[data-pair={order[1]}]")).to_have_count(1)
    saved(page)
    page.reload()
    assert pair(page) == order[1], "what was taken back is asked again"
    assert list(words(server, "Uma")) == order[:1]
    assert say(page, "ArrowRight") == order[1]
    assert say(page, "t") == order[2]
    saved(page)
    assert [word.said.choice for word in words(server, "Uma").values()] == ["left", "right", "tie"]
    # Undo reaches over the reload.
    visitor.press("z", "z", "z")
    expect(page.locator(f".duel.shown[data-pair={order[0]}]")).to_have_count(1)
    expect(page.locator("#undo")).to_be_disabled()
    saved(page)
    assert words(server, "Uma") == {}
    assert [say(page, "x") for _ in range(3)] == order, "in their order again"
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f".duel.shown[data-pair={order[2]}]")).to_have_count(1)
    # The space bar pauses, whichever button was pressed before.
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_contain_text("Play")
    saved(page)
    assert list(words(server, "Uma")) == order[:2]
    visitor.close()


def test_a_slow_line_and_a_kill_lose_no_choice(server: CompareServer, browser: Browser, pictures: Path) -> None:
    visitor = person(browser, 1280, pictures, server, "Sam")
    page = visitor.page
    pair(page)
    prefetched(page)

    held: list[Route] = []
    slow = True

    def hold(route: Route) -> None:
        if slow:
            held.append(route)
        else:
            route.continue_()

    routed(page, "**/api/compare/labels", hold)
    order = [say(page, "ArrowLeft") for _ in range(2)]
    assert page.locator("#saved").text_content() != "Saved", "the next pair waits for no answer"
    slow = False
    for route in held:
        route.continue_()
    saved(page)
    page.unroute("**/api/compare/labels")

    # The server keeps a choice and is killed before anybody hears of it; the page says it again.
    def killed(route: Route) -> None:
        route.fetch()
        server.kill()
        route.abort()

    prefetched(page)
    routed(page, "**/api/compare/labels", killed, times=1)
    order.append(say(page, "ArrowRight"))
    expect(page.locator("#saved")).to_have_text("No connection: 1 kept here")
    order.append(say(page, "t"))
    expect(page.locator("#saved")).to_have_text("No connection: 2 kept here")
    visitor.look("no connection")
    server.start()
    # Not even a reload in between makes two of it, or none.
    page.reload()
    saved(page)
    eventually(lambda: page.evaluate("Object.keys(localStorage).filter(k => k.includes('unsent')).length") == 0)
    pair(page)
    kept = server.labels.labels("preference", annotator=known(server, "Sam"), superseded=True)
    assert [one.value["pair_id"] for one in kept] == order, "each once"
    assert [one.value["choice"] for one in kept] == ["left", "left", "right", "tie"]
    visitor.complaints = [one for one in visitor.complaints if "Failed to load" not in one]
    visitor.close()


def test_two_people_at_once_and_nothing_left(server: CompareServer, browser: Browser, pictures: Path) -> None:
    make_clip_set(clips_of(server.home, 1), 4, 5, steps=STEPS, seed=3)
    kim = person(browser, 1280, pictures, server, "Max")
    lee = person(browser, 390, pictures, server, "Lee <b>")
    lee.look("phone")
    assert pair(kim.page) != pair(lee.page)
    expect(lee.page.locator("#task")).to_have_text(TASK)
    for name in ("Left", "Tie"):
        before = pair(lee.page)
        lee.page.get_by_role("button", name=name).tap()
        expect(lee.page.locator(f".duel.shown[data-pair={before}]")).to_have_count(0)
    expect(lee.page.get_by_role("heading", level=1)).to_have_text("Nothing to compare just now")
    expect(lee.page.locator("#note")).to_contain_text("Others are at the last pairs.")
    lee.look("phone others")
    for number in range(3):
        pair(kim.page)
        kim.press("ArrowRight")
        expect(kim.page.locator("#mine")).to_have_text(f"{number + 1} by you")
    expect(kim.page.locator("#note")).to_contain_text("Nothing is left to compare for you. Thank you!")
    kim.look("done")
    max_said, lee_said = words(server, "Max"), words(server, "Lee <b>")
    assert (len(max_said), len(lee_said)) == (3, 2) and not max_said.keys() & lee_said.keys()
    assert {word.iteration for word in (max_said | lee_said).values()} == {1}
    # The next clips come by themselves.
    make_clip_set(clips_of(server.home, 2), 4, 5, steps=STEPS, seed=4)
    assert pair(kim.page) != pair(lee.page)
    # Somebody who says left whatever stands there is named to everybody.
    template = next(iter(max_said.values())).said
    for number in range(20):
        said = template.model_copy(update={"pair_id": f"other-{number}", "choice": "left"})
        say_preference(server.labels, said, program="preference", iteration=0, annotator="Lefty",
                       client_key=f"lefty-{number:04d}", seconds=0.5)  # fmt: skip
    kim.press("a")
    row = kim.page.locator("#overview tbody tr", has_text="Lefty")
    expect(row).to_contain_text("nearly always one side")
    expect(kim.page.locator("#warning")).to_have_text(
        "Lefty says nearly always the same side, whichever clip stands there."
    )
    expect(kim.page.locator("#overview tbody tr", has_text="Lee <b>")).to_have_count(1)
    kim.look("answers")
    kim.close()
    lee.close()
