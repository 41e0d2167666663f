"""A browser for the tests of pages, where the machine has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.page_visitor import artefact_folder, installed_chromium, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# Not for the whole run: while Playwright has the thread's event loop, no test can have one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if installed_chromium() is None:
        pytest.skip("no Chromium: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, open_browser(playwright) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artefact_folder(tmp_path_factory.getbasetemp())
