"""Homes as pages fetch them: those somebody was shown, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hitl_ops.worlds.habitat.home_export import home_glb
from hitl_ops.worlds.household.layout import generate_home
from ui_collect.home_files import HomeFiles, home_route

HOME = generate_home("val", 1)


@pytest.fixture
def homes() -> HomeFiles:
    return HomeFiles(kept=2)


@pytest.fixture
def client(homes: HomeFiles) -> Iterator[TestClient]:
    app = FastAPI()
    home_route(app, homes)
    with TestClient(app) as client:
        yield client


def test_a_home_is_there_once_somebody_was_shown_it(homes: HomeFiles, client: TestClient) -> None:
    address = f"/api/homes/{HOME.scene_id}.glb"
    assert client.get(address).status_code == 404
    homes.keep(HOME)
    answer = client.get(address)
    assert answer.status_code == 200 and answer.headers["content-type"] == "model/gltf-binary"
    assert answer.headers["content-encoding"] == "gzip" and answer.content == home_glb(HOME)
    plain = client.get(address, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == answer.content
    assert len(gzip.compress(plain.content)) < 10_000
    again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content


@pytest.mark.parametrize(
    "name", ["flywheel_val_002", "..%2f..%2fetc%2fpasswd", "%2e%2e", "flywheel_val_001%00", "", "flywheel_val_001.glb"]
)
def test_names_nobody_was_told_lead_nowhere(homes: HomeFiles, client: TestClient, name: str) -> None:
    homes.keep(HOME)
    assert client.get(f"/api/homes/{name}.glb").status_code == 404


def test_what_was_shown_last_is_kept(homes: HomeFiles, client: TestClient) -> None:
    shown = [generate_home("val", number) for number in range(3)]
    for home in (*shown[:2], shown[0], shown[2]):
        homes.keep(home)
    found = [client.get(f"/api/homes/{home.scene_id}.glb").status_code for home in shown]
    assert found == [200, 404, 200]


def test_who_stops_waiting_takes_nothing_from_the_next(homes: HomeFiles) -> None:
    async def check() -> None:
        for number in range(2):
            homes.keep(generate_home("val", number))
        waiting = asyncio.create_task(homes.file("flywheel_val_001"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        file = await homes.file("flywheel_val_001")
        assert file is not None and file.content == home_glb(HOME)

    asyncio.run(check())


def test_a_home_that_changes_under_its_name_is_made_anew(homes: HomeFiles) -> None:
    async def check() -> None:
        homes.keep(HOME)
        first = await homes.file(HOME.scene_id)
        homes.keep(HOME.model_copy(deep=True))
        assert await homes.file(HOME.scene_id) is first
        homes.keep(HOME.model_copy(update={"doors": HOME.doors[:-1]}))
        second = await homes.file(HOME.scene_id)
        assert first is not None and second is not None and first.tag != second.tag

    asyncio.run(check())
