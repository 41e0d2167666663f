"""Origins, bodies, headers, admin tokens, settings."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.errors import UserError
from ui_collect.admin_access import COOKIE, AdminAccess, read_or_make_admin_token
from ui_collect.security import origin_allowed
from ui_collect.settings import CollectSettings


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "right"),
    [
        ("", "localhost:8080", (), True),
        ("http://localhost:8080", "localhost:8080", (), True),
        ("https://play.example", "play.example", (), True),
        ("https://play.example:443", "play.example", (), True),
        ("http://play.example", "play.example:80", (), True),
        ("http://localhost:8081", "localhost:8080", (), False),
        ("http://evil.example", "localhost:8080", (), False),
        ("http://localhost.evil.example:8080", "localhost:8080", (), False),
        ("https://play.example", "127.0.0.1:8080", ("https://play.example",), True),
        ("null", "localhost:8080", (), False),
        ("file://", "localhost:8080", (), False),
        ("http://localhost:99999999", "localhost:8080", (), False),
        ("http://[::1", "localhost:8080", (), False),
        ("http://localhost:8080", "", (), False),
    ],
)
def test_only_pages_of_this_server_or_of_named_origins_may_talk_to_it(
    origin: str, host: str, allowed: tuple[str, ...], right: bool
) -> None:
    assert origin_allowed(origin, host, allowed) is right


def request(**headers: str) -> HTTPConnection:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw})


def test_the_admin_token_is_kept_as_its_hash_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "collect" / "admin.json"
    kept, token = read_or_make_admin_token(file)
    assert token is not None
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_make_admin_token(file) == (kept, None)
    access = AdminAccess(kept, secure=False)
    assert access.admits(request(authorization=f"Bearer {token}"))
    assert not access.admits(request(authorization=f"Bearer {token}x"))
    assert not access.admits(request(authorization=token))
    assert not access.admits(request())
    renewed, other = read_or_make_admin_token(file, renew=True)
    assert renewed != kept
    assert other not in (None, token)
    file.write_text("{")
    with pytest.raises(UserError, match="--new-admin-token"):
        read_or_make_admin_token(file)


def test_a_cookie_admits_until_logged_out_and_only_so_many_are_kept(tmp_path: Path) -> None:
    kept, _ = read_or_make_admin_token(tmp_path / "admin.json")
    access = AdminAccess(kept, secure=False)
    first = access.login()
    assert access.admits(request(cookie=f"{COOKIE}={first}"))
    assert not access.admits(request(cookie=f"{COOKIE}=x"))
    access.logout(request(cookie=f"{COOKIE}={first}"))
    assert not access.admits(request(cookie=f"{COOKIE}={first}"))
    values = [access.login() for _ in range(200)]
    assert len(access._cookies) <= 64
    assert access.admits(request(cookie=f"{COOKIE}={values[-1]}"))


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"allow_origin": ("play.example",)}, "is not an origin"),
        ({"allow_origin": ("https://play.example/path",)}, "is not an origin"),
        ({"certificate": "a.pem"}, "--certificate and --key"),
        ({"certificate": "a.pem", "key": "b.pem"}, "'a.pem' does not exist"),
        ({"idle_warning_s": 200.0}, "less than idle_end_s"),
        ({"capacity": 0}, "capacity"),
        ({"episodes_split": "../train"}, "episodes_split"),
        ({"capasity": 3}, "did you mean 'capacity'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings: dict[str, object], remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(CollectSettings, settings, source="test").checked()
    assert remedy in str(caught.value)
