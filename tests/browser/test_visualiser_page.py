"""The visualiser in a real browser: robots come, are seen and go, and a page that lost its server finds it again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from hitl_ops.contracts.robot import CameraSpec, RobotSpec
from tests.support.page_visitor import Visitor
from tests.support.policy_server import RunningServer, serving
from tests.support.robot_policies import CAMERAS, WatchedPolicy, served

pytestmark = [pytest.mark.browser, pytest.mark.integration]

ARMS = RobotSpec(
    name="test arms",
    joint_names=tuple(
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in ("waist", "shoulder", "elbow", "forearm", "wrist_pitch", "wrist_roll", "gripper")
    ),
    cameras=tuple(CameraSpec(name=name, height=96, width=128) for name in CAMERAS),
)


class WavingPolicy(WatchedPolicy):
    """Waves with every joint, each at its own pace."""

    def _chunk(self, state: np.ndarray) -> np.ndarray:
        ahead = np.arange(50, dtype=np.float32)[:, None] / 50
        paces = 1 + np.arange(14, dtype=np.float32) / 7
        return (state[None, :] + 0.4 * np.sin(paces * ahead)).astype(np.float32)


@contextmanager
def robot(running: RunningServer, prompt: str) -> Iterator[None]:
    """A robot that looks at a moving pattern and asks some times a second, for the length of a block."""
    over = threading.Event()

    def live() -> None:
        rows, columns = np.mgrid[:96, :128]
        with running.client() as client:
            began = time.monotonic()
            while not over.wait(0.15):
                now = time.monotonic() - began
                state = np.array([math.sin(now * (1 + joint / 7)) for joint in range(14)], np.float32)
                pattern = ((rows + columns + 60 * now) % 64 * 4).astype(np.uint8)
                images = {name: np.stack([np.roll(pattern, 30 * k, k % 2) for k in range(3)]) for name in CAMERAS}
                client.infer({"state": state, "images": images, "prompt": prompt})

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_robots_come_are_seen_and_go(browser: Browser, pictures: Path, width: int, dark: bool) -> None:
    visitor = Visitor(browser, width, pictures / "visualiser")
    page = visitor.page
    if dark:
        page.emulate_media(color_scheme="dark")
    with serving(served(WavingPolicy(ARMS, seconds=0.02), "station-003-0123456789")) as running:
        page.goto(running.page_url)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#policy")).to_contain_text("station-003-0123456789")
        visitor.look("empty")
        with robot(running, "Lift the lid off the bowl"), robot(running, "<i>Fold</i> the shirt, Advantage=False"):
            first = page.get_by_role("region", name="Robot 1")
            expect(page.get_by_role("region")).to_have_count(2)
            expect(page.locator("#robots")).to_have_text("2 of 32")
            for prompt in ("Lift the lid off the bowl, Advantage=True", "<i>Fold</i> the shirt, Advantage=True"):
                expect(page.locator(".prompt").filter(has_text=prompt)).to_have_count(1)
            expect(first.get_by_role("img", name="Camera cam_left_wrist")).to_be_visible()
            expect(first.locator(".joint")).to_have_count(14)
            expect(page.locator("#rate")).not_to_have_text("–")
            expect(first.get_by_role("img", name="Camera cam_high")).to_have_js_property("naturalWidth", 128)
            drawn = first.locator(".joint canvas").first.evaluate(
                "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
            )
            assert drawn > 10
            before = first.locator(".joint .value").first.inner_text()
            expect(first.locator(".joint .value").first).not_to_have_text(before)
            page.wait_for_timeout(2000)
            visitor.look("two robots")
        expect(page.get_by_role("region")).to_have_count(0)
        expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#link")).to_have_text("no connection; trying again")
    assert [text for text in visitor.complaints if "WebSocket" not in text and "ERR_CONNECTION" not in text] == []
    visitor.close()
