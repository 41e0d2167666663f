"""The dashboard and invitations, as an admin's browser or program uses them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import self_signed
from tests.support.collect_server import CollectServer, collect_server, person

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    home = tmp_path_factory.mktemp("admin") / "home"
    with collect_server(home, "--partner", "oracle", "--iteration", "3", "--target", "7") as running:
        yield running


def test_the_dashboard_opens_with_the_token_alone(server: CollectServer) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as browser:
        outside = browser.get("/admin")
        assert outside.status_code == 200
        assert "Admin token" in outside.text and "Live sessions" not in outside.text
        assert browser.post("/admin/login", json={"token": "A" * 43}).status_code == 401
        assert browser.post("/admin/login", json={"token": "x"}).status_code == 400
        inside = browser.post("/admin/login", json={"token": server.admin_token})
        assert inside.status_code == 200
        cookie = inside.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/admin" in cookie
        assert server.admin_token not in cookie
        page = browser.get("/admin")
        assert page.status_code == 200 and "Live sessions" in page.text
        assert browser.get("/admin/api/overview").status_code == 200
        foreign = browser.post("/admin/invitations", json={}, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert browser.post("/admin/logout").status_code == 200
        assert browser.get("/admin/api/overview").status_code == 401


def test_guessing_the_token_is_slow(server: CollectServer) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as browser:
        codes = [browser.post("/admin/login", json={"token": "B" * 43}).status_code for _ in range(12)]
    assert codes[-1] == 429


def test_every_page_forbids_inline_scripts_and_framing(server: CollectServer) -> None:
    for path in ("/admin", "/admin/assets/dashboard.js", "/available", "/nothing", "/health"):
        answer = httpx.get(f"{server.url}{path}", timeout=30)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = httpx.get(f"{server.url}/admin", timeout=30).text
    assert "<script>" not in page and "style=" not in page and "onclick" not in page
    for name, kind in (("dashboard.js", "text/javascript"), ("dashboard.css", "text/css")):
        answer = httpx.get(f"{server.url}/admin/assets/{name}", timeout=30)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)


def test_an_invitation_lets_in_as_many_as_it_says_until_it_is_revoked(server: CollectServer) -> None:
    made = server.admin("POST", "/invitations", json={"max_uses": 2, "days": 1})
    assert made.status_code == 201
    invitation, link = made.json()["invitation"], made.json()["link"]
    assert (invitation["iteration"], invitation["uses"], invitation["max_uses"]) == (3, 0, 2)
    address, _, token = link.partition("/join#")
    assert address == server.url

    def join() -> httpx.Response:
        return httpx.post(f"{server.url}/api/join", json={"invitation": token}, timeout=30)

    assert join().status_code == 200
    assert join().status_code == 200
    third = join()
    assert (third.status_code, third.json()["code"]) == (403, "invitation_used_up")
    more = server.admin("POST", "/invitations", json={"max_uses": 5}).json()
    revoked = server.admin("POST", f"/invitations/{more['invitation']['id']}/revoke")
    assert revoked.status_code == 200 and revoked.json()["revoked"]
    token = more["link"].partition("#")[2]
    assert (join().status_code, join().json()["code"]) == (403, "forbidden")
    assert server.admin("POST", "/invitations/0123456789abcdef/revoke").status_code == 404
    assert server.admin("POST", "/invitations/..%2f..%2fx/revoke").status_code in (400, 404)
    assert server.admin("POST", "/invitations", json={"max_uses": 0}).status_code == 400
    listed = server.admin("GET", "/invitations").json()
    assert {row["id"] for row in listed} >= {invitation["id"], more["invitation"]["id"]}
    assert "token" not in str(listed)


def test_the_figures_tell_what_people_gave(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann:
            await ann.to_episode()
            await ann.solve()
            assert (await ann.hear_stage("feedback"))["result"]["success"]
            live = {row["stage"]: row for row in server.overview()["live"]}
            assert live["feedback"]["connected"]
            await ann.say("end")
            await ann.hear_stage("thanks")

    asyncio.run(way())
    time.sleep(1.2)  # workers tell how they do once a second
    figures = server.overview()
    (now,) = [one for one in figures["iterations"] if one["iteration"] == 3]
    assert (now["plays_finished"], now["plays_successful"], now["success_rate"]) == (1, 1, 1.0)
    assert now["human_seconds"] > 0
    assert figures["target"] == 7
    assert figures["disk"]["sessions_bytes"] >= 0 and figures["disk"]["free_bytes"] > 0
    assert figures["loop_lag"]["p99_ms"] >= figures["loop_lag"]["p50_ms"] >= 0
    (worker,) = figures["workers"]["workers"]
    assert worker["ticks"] > 0
    assert figures["memory_mb"] > 20


def test_with_a_certificate_everything_goes_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    words = ("--certificate", str(certificate), "--key", str(key), "--partner", "none")
    with collect_server(tmp_path / "home", *words) as server:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=server.url, verify=trusting, timeout=30) as browser:
            joined = browser.post("/api/join", json={"invitation": server.invitation}, headers={"origin": server.url})
            assert joined.headers["strict-transport-security"]
            inside = browser.post("/admin/login", json={"token": server.admin_token})
            assert "Secure" in inside.headers["set-cookie"]

        async def way() -> None:
            async with person(server, joined.json()["token"], ssl=trusting, origin=server.url) as ann:
                await ann.hear_stage("consent")

        asyncio.run(way())
