"""The server of the games page over real sockets: what it tells, whom it lets in, and what goes wrong."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.records.round_games import PICTURES, PICTURES_FILE, RESULT_FILE, STEPS_FILE
from tests.support.games_server import BY_EXPERT, COURSE, GamesServer, games_folder, games_server, painted, shown_game
from ui_collect.games.server import serve_games
from ui_collect.games.settings import GamesSettings

pytestmark = [pytest.mark.integration]

GAME = "000-bc-bc-00-0000"
CONTROL = "000-bc_control-bc-00-0000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GamesServer]:
    home = tmp_path_factory.mktemp("games") / "home"
    shown_game(home, 0, part="bc", thoughts=True)
    shown_game(home, 1, part="bc", won=False)
    shown_game(home, 0, part="bc", round_number=1)
    shown_game(home, 0, part="bc_control", course=COURSE[:2])
    shown_game(home, 0, part="dpo", phase="dpo")
    shown_game(home, 0, iteration=1, won=False, course=COURSE[:1])
    # Generous: what is asked too often is the matter of a test of its own.
    with games_server(home, settings={"joins_per_s": 1000, "join_burst": 1000}) as running:
        yield running


def told(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def line(answer: httpx.Response, status: int) -> str:
    """What a refusal says: one line, which names nothing of the machine."""
    text = str(told(answer, status)["message"])
    assert "\n" not in text and "/" not in text, text
    return text


def test_lists_the_newest_round_first_with_figures(server: GamesServer) -> None:
    answer = told(server.ask("list"))
    names = ["001-bc-00-0000", "000-dpo-dpo-00-0000", CONTROL, "000-bc-bc-01-0000", GAME, "000-bc-bc-00-0001"]
    assert [game["id"] for game in answer["games"]] == names
    assert (answer["found"], answer["there"], answer["won"], answer["damaged"]) == (6, 6, 4, 0)
    labelled = sum(expert is not None for _, expert, _ in COURSE)
    agreed = sum(agent == expert for agent, expert, _ in COURSE)
    [game] = [one for one in answer["games"] if one["id"] == GAME]
    assert (game["outcome"], game["result"]["steps"], game["result"]["by_expert"]) == ("won", len(COURSE), 1)
    assert game["agreement"] == pytest.approx(agreed / labelled) and 0 < game["agreement"] < 1
    assert answer["agreement"] == pytest.approx((4 * agreed + 2) / (4 * labelled + 3)), "weighted by labelled steps"
    assert answer["choices"] == {"iterations": [1, 0], "parts": ["bc", "bc_control", "dpo"], "rounds": [0, 1]}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"part": "dpo"}, ["000-dpo-dpo-00-0000"]),
        ({"part": "bc_control"}, [CONTROL]),
        ({"round": 1}, ["000-bc-bc-01-0000"]),
        ({"outcome": "lost"}, ["001-bc-00-0000", "000-bc-bc-00-0001"]),
        ({"iteration": 0, "part": "bc", "round": 0, "outcome": "won"}, [GAME]),
        ({"outcome": "damaged"}, []),
        ({"limit": 2}, ["001-bc-00-0000", "000-dpo-dpo-00-0000"]),
    ],
)
def test_lists_what_is_wanted(server: GamesServer, wanted: dict[str, Any], found: list[str]) -> None:
    assert server.listed(**wanted) == found


def test_tells_every_step_as_it_was_written(server: GamesServer) -> None:
    answer = told(server.ask(f"games/{GAME}"))
    steps = answer["steps"]
    assert [item["step"]["agent_action"] for item in steps] == [agent for agent, _, _ in COURSE]
    assert [item["step"]["expert_action"] for item in steps] == [expert for _, expert, _ in COURSE]
    assert [item["agrees"] for item in steps] == [True, False, None, False, True, True, True, True]
    assert steps[BY_EXPERT]["step"]["executed_by"] == "expert"
    assert steps[BY_EXPERT]["step"]["executed"] == COURSE[BY_EXPERT][1]
    assert steps[3]["step"]["agent_thought"] == "agent's thought 3"
    assert steps[2]["step"]["prompt"].endswith("You pick up the mug 2 from the countertop 1.\n>")


def test_pictures_are_those_the_agent_saw_pixel_by_pixel(server: GamesServer) -> None:
    stamp = told(server.ask(f"games/{GAME}"))["stamp"]
    for step in (0, len(COURSE) - 1):
        answer = server.ask(f"games/{GAME}/{stamp}/pictures/{step}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert "private" in answer.headers["cache-control"] and "immutable" in answer.headers["cache-control"]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), painted(step, 64))
    assert "pictures, not number" in line(server.ask(f"games/{GAME}/{stamp}/pictures/{len(COURSE)}"), 409)
    line(server.ask(f"games/{GAME}/{'0' * 32}/pictures/0"), 404)


def test_lets_in_by_the_link_alone(server: GamesServer) -> None:
    paths = ("list", f"games/{GAME}", f"games/{GAME}/{'0' * 32}/pictures/0")
    for headers in ({}, {"authorization": "Bearer " + "x" * 43}, {"cookie": "flywheel_admin=" + "x" * 43}):
        for path in paths:
            line(httpx.get(f"{server.url}/api/games/{path}", headers=headers), 401)
    with httpx.Client(base_url=server.url) as browser:
        assert told(browser.get("/api/games/me")) == {"inside": False}
        line(browser.post("/api/games/enter", json={"token": "x" * 43}), 401)
        assert "set-cookie" not in browser.post("/api/games/enter", json={"token": "x" * 43}).headers
        entered = browser.post("/api/games/enter", json={"token": server.invitation})
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/api/games" in cookie
        assert server.invitation not in cookie
        assert told(browser.get("/api/games/me")) == {"inside": True}
        assert browser.get("/api/games/list").status_code == 200
        foreign = {"origin": "https://elsewhere.example"}
        refused = browser.post("/api/games/enter", json={"token": server.invitation}, headers=foreign)
        assert refused.status_code == 403
    log = (server.home / "dagger" / "games_page" / "requests.jsonl").read_text()
    assert server.invitation not in log


def test_forged_ids_are_looked_up_nowhere(server: GamesServer) -> None:
    secret = server.home / "dagger" / "secret.json"
    secret.write_text("kept")
    # A game beside the games' folder, with a name as games have them.
    shutil.copytree(games_folder(server.home, 0, "bc") / "bc-00-0000", server.home / "dagger" / "000" / "bc-00-0007")
    forged = (
        "../../secret.json",
        "..%2f..%2fsecret.json",
        "%2e%2e%2f%2e%2e%2fbc-00-0007",
        "000-..",
        "000-bc-00-0000%00",
        "000-bc-00-0000%0a",
        "000-bc-00-00000000000000000000",
        "٠٠٠-bc-00-0000",
        "000-awbc-00-0000",
        "000-..-bc-00-0000",
    )
    for name in forged:
        for path in (f"games/{name}", f"games/{name}/{'0' * 32}/pictures/0"):
            answer = server.ask(path)
            assert answer.status_code in (400, 404) and "kept" not in answer.text, path
    for name in ("000-bc-00-0007", "009-bc-00-0000", "000-bc-00-0999"):
        assert line(server.ask(f"games/{name}"), 404).startswith("This game is not there")
    for bad in ("-1", "100000", "x", "..%2f0"):
        assert server.ask(f"games/{GAME}/{'0' * 32}/pictures/{bad}").status_code in (400, 404)
    for query in ({"part": "../bc"}, {"round": -1}, {"limit": 10**9}, {"folder": "/etc"}):
        assert server.ask("list", params=query).status_code == 400, query
    assert httpx.get(f"{server.url}/..%2fgames.py").status_code == 404


def test_page_and_answers_carry_the_security_headers(server: GamesServer) -> None:
    page = httpx.get(f"{server.url}/games")
    assert page.status_code == 200 and page.headers["content-security-policy"].startswith("default-src 'self'")
    assert page.headers["x-content-type-options"] == "nosniff"
    answer = server.ask("list")
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-frame-options"] == "DENY"
    for name in ("games.js", "game_list.js", "game_view.js", "step.js", "api.js", "made.js", "games.css", "steps.css"):
        assert httpx.get(f"{server.url}/{name}").status_code == 200, name


# --- games that come, go and are broken -----------------------------------------------------------------------


def broken(game: Path, how: str) -> None:
    """Damage a game's folder."""
    match how:
        case "result":
            (game / RESULT_FILE).write_text('{"game_id": ')
        case "no steps":
            (game / STEPS_FILE).unlink()
        case "steps":
            lines = (game / STEPS_FILE).read_text().splitlines()
            (game / STEPS_FILE).write_text("\n".join([*lines[:2], lines[2][:40], *lines[3:]]))
        case "fewer steps":
            (game / STEPS_FILE).write_text("".join((game / STEPS_FILE).read_text().splitlines(True)[:-1]))
        case "another's name":
            shutil.copy(game.parents[1] / "bc" / "games" / "bc-00-0000" / RESULT_FILE, game / RESULT_FILE)
        case "too large":
            with (game / STEPS_FILE).open("ab") as file:
                file.truncate(2**25)
        case "a folder":
            (game / RESULT_FILE).unlink()
            (game / RESULT_FILE).mkdir()


@pytest.mark.parametrize(
    ("how", "listed"),
    [
        ("result", True),
        ("no steps", True),
        ("steps", False),
        ("fewer steps", False),
        ("another's name", True),
        ("too large", True),
        ("a folder", True),
    ],
)
def test_a_damaged_game_is_one_line_and_the_others_are_there(server: GamesServer, how: str, listed: bool) -> None:
    game = shown_game(server.home, 20)
    try:
        assert "000-bc-00-0020" in server.listed()
        broken(game.folder, how)
        if listed:
            assert server.listed(outcome="damaged") == ["000-bc-00-0020"]
        assert line(server.ask("games/000-bc-00-0020"), 409).startswith("This game cannot be shown: ")
        [found] = told(server.ask("list", params={"outcome": "damaged"}))["games"]
        assert found["id"] == "000-bc-00-0020" and found["result"] is None
        assert found["problem"] and "/" not in found["problem"] and "\n" not in found["problem"]
        assert GAME in server.listed() and server.ask(f"games/{GAME}").status_code == 200
    finally:
        shutil.rmtree(game.folder)


@pytest.mark.parametrize("how", ["no file", "cut", "another key", "no pictures", "numbers"])
def test_damaged_pictures_leave_the_steps_readable(server: GamesServer, how: str) -> None:
    game = shown_game(server.home, 21)
    file = game.folder / PICTURES_FILE
    match how:
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "another key":
            save_file({"others": painted(0, 8)[None]}, file)
        case "no pictures":
            save_file({PICTURES: np.zeros((8, 4), np.uint8)}, file)
        case "numbers":
            save_file({PICTURES: np.zeros(8, np.uint8)}, file)
    try:
        answer = told(server.ask("games/000-bc-00-0021"))
        if how == "no file":
            file.unlink()
        picture = f"games/000-bc-00-0021/{answer['stamp']}/pictures/0"
        # Without the file, another game stands in its place.
        line(server.ask(picture), 404 if how == "no file" else 409)
        assert server.ask(f"games/{GAME}").status_code == 200
    finally:
        shutil.rmtree(game.folder)


def test_new_games_appear_and_gone_ones_are_told_of(server: GamesServer) -> None:
    name = "000-bc-00-0030"
    assert name not in server.listed()
    game = shown_game(server.home, 30)
    assert server.ask(f"games/{name}").status_code == 200, "found by itself, before any list"
    assert name in server.listed()
    before = told(server.ask(f"games/{name}"))["stamp"]
    shutil.rmtree(game.folder)
    assert "not any more" in line(server.ask(f"games/{name}"), 404)
    assert name not in server.listed()
    shown_game(server.home, 30, course=COURSE[:3])
    after = told(server.ask(f"games/{name}"))
    assert len(after["steps"]) == 3 and after["stamp"] != before
    line(server.ask(f"games/{name}/{before}/pictures/0"), 404)
    shutil.rmtree(game.folder)


def test_games_of_one_number_in_different_parts_are_kept_apart(server: GamesServer) -> None:
    assert len(told(server.ask(f"games/{GAME}"))["steps"]) == len(COURSE)
    other = told(server.ask(f"games/{CONTROL}"))
    assert len(other["steps"]) == 2 and (other["game"]["part"], other["game"]["phase"]) == ("bc_control", "bc")
    assert server.ask(f"games/{CONTROL}/{other['stamp']}/pictures/1").status_code == 200
    line(server.ask("games/000-dpo-bc-00-0000"), 404)


def test_games_are_left_as_they_are(server: GamesServer) -> None:
    def seen() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in (server.home / "dagger" / "000").rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = seen()
    stamp = told(server.ask(f"games/{GAME}"))["stamp"]
    server.ask(f"games/{GAME}/{stamp}/pictures/0")
    server.listed()
    assert seen() == before


# --- starts and bounds ----------------------------------------------------------------------------------------


def test_waits_for_games_and_makes_a_new_link_at_each_start(tmp_path: Path) -> None:
    server = GamesServer(tmp_path / "home").start()
    try:
        assert told(server.ask("list"))["there"] == 0
        shown_game(server.home, 0, part="bc")
        assert server.listed() == [GAME]
        first = server.invitation
        with pytest.raises(UserError, match="are shown already"):
            serve_games(GamesSettings(port=0), Store.at(server.home))
        assert server.stop() == 0 and "stopped" in server.said
        server.start()
        assert server.invitation != first and server.listed() == [GAME]
        old = {"authorization": f"Bearer {first}"}
        line(httpx.get(f"{server.url}/api/games/list", headers=old), 401)
        assert server.stop() == 0
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def test_bounds_what_one_address_asks_and_tries(tmp_path: Path) -> None:
    settings = {"requests_per_s": 0.01, "request_burst": 3, "joins_per_s": 0.01, "join_burst": 2}
    with games_server(tmp_path / "home", settings=settings) as server:
        assert server.url.startswith("http://127.0.0.1:"), "this machine alone by default"
        assert [server.ask("list").status_code for _ in range(4)] == [200, 200, 200, 429]
        tries = [httpx.get(f"{server.url}/api/games/list").status_code for _ in range(3)]
        assert tries == [401, 401, 429]
        body = {"token": server.invitation}
        assert httpx.post(f"{server.url}/api/games/enter", json=body).status_code == 429, "guesses count alike"
