"""Episodes by HTTP: the station's half and the server's half, over real sockets and real files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hitl_ops.contracts.station_epoch import EpochFolder, EpochManifest, make_manifest, missing_of, read_manifest
from robot_client.station_config import UploadSection
from robot_client.sync.http_upload import HttpUpload
from robot_client.sync.sending import SyncFailed, SyncStopped
from tests.support.station_recordings import record
from tests.support.upload_server import TOKEN, upload_server
from ui_collect.station import incoming as incoming_module
from ui_collect.station.incoming import UPLOAD_MARK, IncomingEpisodes

PIECE = 1000


@pytest.fixture
def here(tmp_path: Path) -> EpochFolder:
    folder = EpochFolder(tmp_path / "station", "lift_lid", 2)
    for number in range(3):
        record(folder.episode(number), 10, seed=number)
    return folder


@pytest.fixture
def incoming(tmp_path: Path) -> IncomingEpisodes:
    return IncomingEpisodes(tmp_path / "server" / "incoming")


@pytest.fixture
def there(incoming: IncomingEpisodes) -> EpochFolder:
    return EpochFolder(incoming.base, "lift_lid", 2)


@pytest.fixture
def url(incoming: IncomingEpisodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("FLYWHEEL_UPLOAD_TOKEN", TOKEN)
    with upload_server(incoming) as address:
        yield address


def upload(url: str) -> HttpUpload:
    return HttpUpload(
        UploadSection(enabled=True, url=url, chunk_mb=PIECE / 2**20, timeout_s=5),
        again_s=0.01,
    )


def send(way: HttpUpload, folder: EpochFolder, *, stop_after: int = 10**9) -> list[str]:
    """Send an epoch; returns what was said. ``stop_after`` so many words the station is left."""
    said: list[str] = []
    way.send(folder, make_manifest(folder), said.append, lambda: len(said) > stop_after)
    return said


def put(
    client: httpx.Client, folder: EpochFolder, manifest: EpochManifest, offset: int, content: bytes
) -> httpx.Response:
    episode = manifest.episodes[0]
    return client.put(
        f"/upload/{folder.task}/{folder.epoch}/{episode.name}",
        params={"sha256": episode.sha256, "bytes": episode.bytes, "offset": offset},
        content=content,
    )


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as made:
        yield made


def test_an_epoch_arrives_is_verified_and_only_then_noted(here: EpochFolder, there: EpochFolder, url: str) -> None:
    said = send(upload(url), here)
    manifest = make_manifest(here)
    assert missing_of(there, manifest) == []
    assert read_manifest(there.manifest()) == manifest
    assert said[-1] == "3 episodes verified on the server"
    # Nothing but the episodes: no pieces are left behind.
    assert sorted(file.name for file in there.raw.iterdir()) == [episode.name for episode in manifest.episodes]
    # Once more is harmless and sends nothing.
    assert send(upload(url), here) == ["the server verifies", "3 episodes verified on the server"]


def test_a_sync_that_was_stopped_goes_on_where_it_was(here: EpochFolder, there: EpochFolder, url: str) -> None:
    pieces = (here.episode(0).stat().st_size - 1) // PIECE + 1
    assert pieces > 6
    with pytest.raises(SyncStopped):
        send(upload(url), here, stop_after=4)
    (partial,) = there.raw.glob(f"*{UPLOAD_MARK}*")
    assert partial.stat().st_size == 4 * PIECE
    assert not there.manifest().exists()
    said = send(upload(url), here)
    assert len([words for words in said if words.startswith("episode_0.hdf5")]) == pieces - 4
    assert missing_of(there, make_manifest(here)) == []


def test_a_piece_that_was_kept_though_the_answer_was_lost_is_not_doubled(
    here: EpochFolder, there: EpochFolder, client: httpx.Client, url: str
) -> None:
    manifest = make_manifest(here)
    content = here.episode(0).read_bytes()
    assert put(client, here, manifest, 0, content[:PIECE]).json() == {"have": PIECE, "complete": False}
    again = put(client, here, manifest, 0, content[:PIECE])
    assert again.status_code == 409
    assert again.json()["have"] == PIECE
    send(upload(url), here)
    assert (there.raw / "episode_0.hdf5").read_bytes() == content


def test_bytes_that_changed_on_the_way_are_refused_and_sent_again(
    here: EpochFolder, there: EpochFolder, client: httpx.Client, url: str
) -> None:
    manifest = make_manifest(here)
    content = bytearray(here.episode(0).read_bytes())
    content[-50] ^= 1
    refused = put(client, here, manifest, 0, bytes(content))
    assert refused.status_code == 422
    assert "the checksum differs" in refused.json()["message"]
    assert list(there.raw.iterdir()) == []
    send(upload(url), here)
    assert missing_of(there, manifest) == []


def test_what_is_no_episode_is_refused(here: EpochFolder, there: EpochFolder, url: str) -> None:
    here.episode(1).write_bytes(b"no HDF5 at all" * 300)
    with pytest.raises(SyncFailed, match=r"episode_1\.hdf5 is no episode"):
        send(upload(url), here)
    assert not there.manifest().exists()


def test_another_stations_episode_of_the_same_name_is_never_written_over(
    here: EpochFolder, there: EpochFolder, url: str, tmp_path: Path
) -> None:
    send(upload(url), here)
    other = EpochFolder(tmp_path / "other", "lift_lid", 2)
    record(other.episode(0), 12, seed=9)
    with pytest.raises(SyncFailed, match="is there already: give each station a name of its own"):
        send(upload(url), other)
    assert missing_of(there, make_manifest(here)) == []


def test_an_epoch_is_not_noted_while_an_episode_is_missing(
    here: EpochFolder, there: EpochFolder, client: httpx.Client
) -> None:
    refused = client.post("/upload/lift_lid/2/finished", content=make_manifest(here).model_dump_json())
    assert refused.status_code == 422
    assert "3 of 3 episodes are missing" in refused.json()["message"]
    assert not there.manifest().exists()


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("lift_lid/0/..%2f..%2fevil.hdf5", {}),
        ("..%2fup/0/episode_0.hdf5", {}),
        ("lift_lid/0/episode_0.txt", {}),
        ("lift_lid/0/episode_0.hdf5", {"sha256": "../x"}),
        ("lift_lid/0/episode_0.hdf5", {"bytes": "99999999999999"}),
        ("lift_lid/0/episode_0.hdf5", {"bytes": "many"}),
        ("lift_lid/-1/episode_0.hdf5", {}),
    ],
)
def test_addresses_that_lead_elsewhere_are_refused(
    client: httpx.Client, incoming: IncomingEpisodes, path: str, query: dict[str, str]
) -> None:
    answer = client.put(
        f"/upload/{path}", params={"sha256": "0" * 64, "bytes": "10", "offset": "0", **query}, content=b"x"
    )
    assert 400 <= answer.status_code < 500
    assert not list(incoming.base.rglob("*"))


def test_only_whoever_has_the_token_may_send(
    here: EpochFolder, incoming: IncomingEpisodes, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_UPLOAD_TOKEN", "guessed")
    with pytest.raises(SyncFailed, match="The upload token is not right"):
        send(upload(url), here)
    assert not list(incoming.base.rglob("*"))


def test_a_full_disk_on_the_server_is_told_and_costs_nothing(
    here: EpochFolder, there: EpochFolder, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(incoming_module.os, "fsync", full)
        with pytest.raises(SyncFailed, match="The server cannot keep it: its disk is full"):
            send(upload(url), here)
    send(upload(url), here)
    assert missing_of(there, make_manifest(here)) == []


def test_a_server_that_is_away_is_named_from_the_first_try_on(
    here: EpochFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with pytest.raises(SyncFailed, match=r"upload server http://127\.0\.0\.1:9 cannot be reached"):
        upload("http://127.0.0.1:9").send(here, make_manifest(here), said.append, lambda: False)
    assert said == ["upload server http://127.0.0.1:9 cannot be reached (Connection refused); trying again"] * 4


def test_a_kill_between_the_last_piece_and_the_check_is_made_up_for(
    here: EpochFolder, there: EpochFolder, incoming: IncomingEpisodes, client: httpx.Client
) -> None:
    manifest = make_manifest(here)
    episode = manifest.episodes[0]
    coming = incoming.coming("lift_lid", 2, episode.name, episode.sha256, episode.bytes)
    coming.partial.parent.mkdir(parents=True)
    coming.partial.write_bytes(here.episode(0).read_bytes())
    answer = client.get(f"/upload/lift_lid/2/{episode.name}", params={"sha256": episode.sha256, "bytes": episode.bytes})
    assert answer.json() == {"have": episode.bytes, "complete": True}
    assert [file.name for file in there.raw.iterdir()] == [episode.name]


def test_pieces_nobody_adds_to_are_swept(incoming: IncomingEpisodes, there: EpochFolder) -> None:
    there.raw.mkdir(parents=True)
    old, new = (there.raw / f"episode_{number}.hdf5{UPLOAD_MARK}{'0' * 16}" for number in range(2))
    for file in (old, new):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert incoming.sweep() == 1
    assert not old.exists()
    assert new.exists()


def test_requests_are_noted_without_the_token(
    here: EpochFolder, incoming: IncomingEpisodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_UPLOAD_TOKEN", TOKEN)
    with upload_server(incoming) as url:
        send(upload(url), here)
    log = (incoming.base.parent / "uploads.jsonl").read_text()
    assert "/upload/lift_lid/2/" in log
    assert TOKEN not in log
