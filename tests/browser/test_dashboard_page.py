"""The dashboard in a real browser: logging in, figures that keep themselves up to date, making invitations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.collect_server import CollectServer, collect_server
from tests.support.page_visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.integration]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    with collect_server(tmp_path_factory.mktemp("dashboard") / "home", "--partner", "none") as running:
        yield running


@pytest.mark.parametrize("width", [1280, 390])
def test_an_admin_looks_and_invites(server: CollectServer, browser: Browser, pictures: Path, width: int) -> None:
    visitor = Visitor(browser, width, pictures / "dashboard")
    page = visitor.page
    page.goto(f"{server.url}/admin")
    field = page.get_by_label("Admin token")
    field.focus()
    visitor.look("login")
    field.fill(server.admin_token)
    page.get_by_role("button", name="Log in").click()

    expect(page.locator("#episodes")).to_have_text("0 of 100")
    expect(page.locator("#places")).to_have_text("0 of 10 · 0")
    before = page.get_by_role("row").filter(has=page.get_by_role("button")).count()
    page.get_by_role("spinbutton", name="For people").fill("3")
    page.get_by_role("button", name="Make an invitation").click()
    link = page.get_by_text(re.compile(rf"^{re.escape(server.url)}/join#[\w-]{{43}}$"))
    expect(link).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="0 of 3").filter(has=page.get_by_role("button"))).to_have_count(1)
    expect(page.get_by_role("row").filter(has=page.get_by_role("button"))).to_have_count(before + 1)
    visitor.look("inside")
    row = page.get_by_role("row").filter(has_text="0 of 3").first
    row.get_by_role("button").click()
    expect(row).to_contain_text("revoked")

    people = page.locator("#sessions")
    there = int(people.inner_text())
    server.join()
    expect(people).to_have_text(str(there + 1))
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    assert visitor.complaints == []
    visitor.close()
    # The next visitor makes an invitation of the same size.
    for made in server.admin("GET", "/invitations").json():
        assert made["revoked"] == (made["max_uses"] == 3)
