"""Somebody who uses the page in a real browser, and notices what nobody should have to put up with."""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Locator, Page, Playwright, Route, TimeoutError, expect

# Software GL, so that the page is drawn the same on every machine, with a graphics card or without.
_FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE_MS = 60_000

# Texts whose contrast with their ground is below what WCAG 2.2 (1.4.3) asks for. Texts over pictures have grounds of
# their own; disabled controls are exempt.
_CHANGING = "document.getAnimations().some(a => a instanceof CSSTransition && a.playState === 'running')"
_FAINT_TEXTS = r"""
() => {
  const numbers = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const part = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    let layers = [];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== 'none') return null;
      const [r, g, b, a = 1] = numbers(style.backgroundColor);
      if (a > 0) layers.push([r, g, b, a]);
      if (a === 1) break;
    }
    const over = (under, [r, g, b, a]) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
    return layers.reduceRight(over, [255, 255, 255]);
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(':disabled, .unseen')) continue;
    const style = getComputedStyle(element);
    const under = ground(element);
    if (under === null) continue;
    const [a, b] = [luminance(numbers(style.color)), luminance(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
}
"""
_NAMELESS_CONTROLS = r"""
() => [...document.querySelectorAll('button, a[href], input, select, textarea, [role=option], dialog, nav, section')]
  .filter((element) => element.checkVisibility())
  .filter((element) => {
    const by = (element.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id));
    const said = [element.getAttribute('aria-label'), ...by.map((label) => label && label.textContent)];
    if (element.labels) said.push(...[...element.labels].map((label) => label.textContent));
    if (element.matches('button, a, [role=option]')) said.push(element.textContent);
    return !said.some((text) => text && text.trim());
  })
  .map((element) => element.outerHTML.slice(0, 120))
"""


def installed_chromium() -> str | None:
    """The machine's own Chromium or Chrome; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def open_browser(playwright: Playwright) -> Iterator[Browser]:
    """A headless browser for the length of a block."""
    browser = playwright.chromium.launch(executable_path=installed_chromium(), args=_FLAGS)
    try:
        yield browser
    finally:
        browser.close()


def artefact_folder(otherwise: Path) -> Path:
    """Where screenshots are kept: ``FLYWHEEL_TEST_ARTEFACTS``, or ``otherwise``."""
    folder = Path(os.environ.get("FLYWHEEL_TEST_ARTEFACTS") or otherwise) / "page"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Visitor:
    """A person at a browser.

    Args:
        browser: the browser.
        width: of its window, CSS pixels; narrow ones are held in a hand and touched.
        pictures: where screenshots go.
    """

    def __init__(self, browser: Browser, width: int, pictures: Path) -> None:
        self.narrow = width < 600
        height = 844 if self.narrow else 800
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=self.narrow,
            is_mobile=self.narrow,
            device_scale_factor=2 if self.narrow else 1,
        )
        self.context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.width = width
        self.complaints: list[str] = []
        self._pictures = pictures
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._taken = 0
        self.page.on("dialog", lambda dialog: self._complain(f"{dialog.type} dialog", dialog.dismiss))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._hear)
        # The last messages both ways, for whoever has to find out why a test failed.
        self._wire: deque[str] = deque(maxlen=40)
        self.page.on("websocket", self._listen)

    def _complain(self, text: str, then: Any) -> None:
        self.complaints.append(text)
        then()

    def _listen(self, socket: Any) -> None:
        def note(direction: str) -> Any:
            def take(payload: Any) -> None:
                if isinstance(payload, str) and not re.search(r'"type":"(ping|pong|saved|missing)"', payload):
                    self._wire.append(f"{direction} {payload[:200]}")

            return take

        socket.on("framesent", note("->"))
        socket.on("framereceived", note("<-"))

    def _hear(self, message: Any) -> None:
        # A server that is away is the subject of a test of its own, not a defect of the page.
        if message.type in ("error", "warning") and "WebSocket connection" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def look(self, name: str) -> None:
        """Take a picture, and look for what would keep somebody from using the page."""
        self._taken += 1
        picture = self._pictures / f"{self.width}-{self._taken:02d}-{name}.png"
        try:
            self.page.screenshot(path=picture)
        except Error:
            # Software GL on a busy machine now and then has no picture ready; what is tested is the page.
            self.page.wait_for_timeout(1000)
            self.page.screenshot(path=picture)
        wide = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name}: {wide} pixels stick out"
        assert self.page.locator("main").count() == 1
        assert self.page.locator("h1").count() == 1
        for _ in range(50):
            # A button that has just become usable is still changing its colour.
            if not self.page.evaluate(_CHANGING):
                break
            self.page.wait_for_timeout(100)
        assert self.page.evaluate(_FAINT_TEXTS) == [], name
        assert self.page.evaluate(_NAMELESS_CONTROLS) == [], name

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def hold(self, key: str, milliseconds: int) -> None:
        """Hold a key down for a while."""
        self.page.keyboard.down(key)
        self.page.wait_for_timeout(milliseconds)
        self.page.keyboard.up(key)

    def push_stick(self, right: float, up: float, milliseconds: int) -> None:
        """Push the stick with a finger, by shares of its radius, and let it go."""
        box = self.page.locator(".stick").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        finger = self.context.new_cdp_session(self.page)
        there = [{"x": x + right * box["width"] / 2, "y": y - up * box["width"] / 2}]
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": there})
        self.page.wait_for_timeout(milliseconds)
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def go_to(self, name: str, typed: str = "") -> None:
        """Walk somewhere by its name, or the first letters of it, and wait until one is there."""
        if self.narrow:
            self.page.locator(".touch").get_by_role("button", name="Go to…").tap()
        else:
            self.press("n")
        field = self.page.get_by_role("combobox")
        expect(field).to_be_focused()
        field.type(typed or name)
        self.page.keyboard.press("Enter")
        self.told(f"You walked to the {name}.")

    def told(self, text: str | re.Pattern[str]) -> Locator:
        """Wait until a notice says so."""
        notice = self.page.locator(".toast", has_text=text).first
        try:
            notice.wait_for()
        except TimeoutError as error:
            self.page.screenshot(path=self._pictures / f"{self.width}-not-told.png")
            raise AssertionError("\n".join([f"nobody said {text!r}", *self._wire, *self.complaints])) from error
        return notice

    def pointed_at(self) -> tuple[float, float]:
        """The place on the screen of the thing the hint is about."""
        hint = self.page.locator(".hint.pointing")
        hint.wait_for()
        box = hint.bounding_box()
        assert box is not None
        tip = float(hint.evaluate("hint => parseFloat(hint.style.getPropertyValue('--tip'))"))
        return box["x"] + tip, box["y"] + box["height"] + 12

    def middle_of_view(self) -> tuple[float, float]:
        """The middle of the person's view on the screen."""
        box = self.page.locator(".first-person").bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def close(self) -> None:
        """Leave; raises what was noticed on the way."""
        self.context.close()
        assert self.complaints == []


_IN_FORCE = re.compile(r"\?in-force$")
_WAIT_UNTIL_IN_FORCE = """
async () => {
  while ((await (await fetch("?in-force")).text()) !== "routed") await new Promise(requestAnimationFrame);
}
"""


def routed(page: Page, address: str, handler: Callable[[Route], None], times: int | None = None) -> None:
    """``page.route``, in force when it returns.

    The browser tells a loaded page to have its requests looked at, and does not wait until the page has heard it. Keys
    go before other messages, so what is asked for upon the next one would reach the server where the page is busy.

    Args:
        page: whose requests.
        address: a pattern of addresses.
        handler: decides what becomes of them.
        times: how many it decides about; by default all.
    """
    page.route(address, handler, times=times)
    page.route(_IN_FORCE, lambda route: route.fulfill(body="routed"))
    page.evaluate(_WAIT_UNTIL_IN_FORCE)
    page.unroute(_IN_FORCE)


@contextmanager
def hears_nothing(page: Page, address: str) -> Iterator[None]:
    """What a page asks of an address waits until the end of the block: what others do meanwhile, it cannot know."""
    waiting: list[Route] = []
    over = False

    def hold(route: Route) -> None:
        if over or route.request.method != "GET":
            route.continue_()
        else:
            waiting.append(route)

    routed(page, address, hold)
    yield
    over = True
    for route in waiting:
        route.continue_()
    page.unroute(address, hold)
