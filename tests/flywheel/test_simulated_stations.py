"""Simulated stations beside a laboratory's own: its token goes on opening, and a server that has died is told of."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flywheel import simulated_stations
from flywheel.cli import run
from flywheel.side_processes import said, stop
from flywheel.simulated_stations import TOKEN_VARIABLE, UPLOADS, StationServers, collect_epoch, start_upload_server
from hitl_assets.station_presets import chosen_station_preset
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.tokens import new_token
from ui_collect.admin_access import read_or_make_admin_token


def _answer(url: str, token: str) -> int:
    file = f"{url}/upload/lift_lid/1/episode_0.hdf5?sha256={'0' * 64}&bytes=8"
    asked = urllib.request.Request(file, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.integration
@pytest.mark.slow
def test_the_upload_token_of_real_stations_stays(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    file = tmp_path / "station" / "upload-token.json"
    _, theirs = read_or_make_admin_token(file)
    before, own = file.read_bytes(), new_token()
    process, log = start_upload_server(store, own)
    try:
        url = said(process, log, UPLOADS, "the upload server")
        assert theirs is not None and (_answer(url, own), _answer(url, theirs)) == (200, 401)
    finally:
        stop(process)
    assert file.read_bytes() == before
    assert own not in log.read_text()


def test_a_token_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["station", "--root", str(tmp_path), "--token-env", TOKEN_VARIABLE]
    for token, more, what in (("short", [], "at least 20 letters"), (new_token(), ["--new-token"], "exclude")):
        monkeypatch.setenv(TOKEN_VARIABLE, token)
        assert run([*words, *more]) == 2
        assert what in capsys.readouterr().err


def test_a_server_that_has_died_ends_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def waiting_client(*_: object, **__: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return started[-1]

    monkeypatch.setattr(simulated_stations, "start", waiting_client)
    dead = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    dead.wait()
    servers = StationServers(8123, "http://127.0.0.1:8124", "t", {"the policy server": (dead, tmp_path / "its.log")})
    with pytest.raises(UserError, match=r"the policy server has ended \(exit code 3\).*its\.log"):
        collect_epoch(Store.at(tmp_path), chosen_station_preset("tiny_ci", []), servers, 1)
    assert [process.poll() is not None for process in started] == [True]
