"""The games page in a real browser: listed and narrowed, stepped through by keys, over reloads, damage and restarts."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from hitl_ops.records.round_games import RESULT_FILE, STEPS_FILE
from tests.support.games_server import BY_EXPERT, COURSE, TASK, GamesServer, games_server, shown_game
from tests.support.page_visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]

GAME = "000-bc-bc-00-0000"
LAST = len(COURSE) - 1
DIFFERING = [number for number, (agent, expert, _) in enumerate(COURSE) if expert not in (None, agent)]


# One server for all: nobody changes anything by looking.
@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GamesServer]:
    home = tmp_path_factory.mktemp("games") / "home"
    shown_game(home, 0, part="bc", thoughts=True)
    shown_game(home, 1, part="bc", won=False, task="look at bowl under the desklamp.", course=COURSE[:3])
    shown_game(home, 0, part="bc", round_number=1)
    shown_game(home, 0, part="dpo", phase="dpo", course=COURSE[4:])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with games_server(home, port=port) as running:
        yield running


def visitor(browser: Browser, width: int, pictures: Path, server: GamesServer) -> Visitor:
    """Somebody who has opened the link."""
    made = Visitor(browser, width, pictures / "games")
    made.page.goto(server.link)
    expect(made.page.locator("#rows tr").first).to_be_visible()
    assert server.invitation not in made.page.url, "the secret does not stay in the address"
    return made


def at_step(page: Page, step: int, steps: int = len(COURSE)) -> None:
    """Wait until a step is on the screen, with its picture, and see that it is in the address."""
    expect(page.locator("#where")).to_have_text(f"Step {step + 1} of {steps}")
    page.wait_for_function(
        """step => {
          const picture = document.getElementById("picture");
          return picture.complete && picture.naturalWidth > 0 && picture.src.endsWith(`/${step}`);
        }""",
        arg=step,
    )
    assert page.url.endswith(f"/{step}")


def red(page: Page) -> int:
    """How red the picture on the screen is at its top: ten more at each step."""
    script = """() => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [64, 64];
      const drawing = canvas.getContext("2d");
      drawing.drawImage(document.getElementById("picture"), 0, 0);
      return drawing.getImageData(0, 0, 1, 1).data[0];
    }"""
    return int(page.evaluate(script))


def colour(page: Page, part: str) -> str:
    return str(page.locator(part).evaluate("part => getComputedStyle(part).borderTopColor"))


def test_games_are_listed_and_narrowed(server: GamesServer, browser: Browser, pictures: Path) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    expect(page.locator("#rows tr")).to_have_count(4)
    expect(page.locator("#summary")).to_have_text(re.compile(r"^4 games, 3 won, the agent agrees .* at 7\d % of"))
    first = page.locator("#rows tr", has_text="000 bc 0").first
    expect(first).to_contain_text(TASK)
    expect(first).to_contain_text("pick clean then place in recep")
    expect(first).to_contain_text("won")
    expect(first).to_contain_text(f"71 %5 of {len(COURSE) - 1}")
    someone.look("list")
    page.get_by_label("Outcome").select_option("lost")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows")).to_contain_text("look at bowl under the desklamp.")
    page.get_by_label("Outcome").select_option("")
    page.get_by_label("Phase").select_option("dpo")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows .name")).to_contain_text("000 dpo 0")
    page.get_by_label("Phase").select_option("bc")
    expect(page.locator("#rows tr")).to_have_count(3)
    page.get_by_label("Round").select_option("1")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows .name")).to_contain_text("000 bc 1")
    # What was chosen outlives a reload, and the way to a game and back.
    page.reload()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.get_by_label("Round")).to_have_value("1")
    page.get_by_role("link", name=TASK).press("Enter")
    at_step(page, 0)
    page.get_by_role("link", name="All games").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.get_by_role("link", name=TASK)).to_be_focused()
    page.get_by_label("Phase").select_option("dpo")
    expect(page.locator("#summary")).to_have_text("No game is like that.")
    someone.close()


def test_a_game_is_stepped_through_by_keys(server: GamesServer, browser: Browser, pictures: Path) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    page.goto(f"{server.url}/games#{GAME}")
    at_step(page, 0)
    expect(page.get_by_role("heading", level=1)).to_have_text(TASK)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert red(page) == 5
    expect(page.locator("figcaption")).to_contain_text("Flywheel's own drawing")
    expect(page.locator("figcaption")).to_contain_text("not AI2-THOR's")
    assert page.locator("#picture").evaluate("part => getComputedStyle(part).imageRendering") == "pixelated"
    someone.press("ArrowRight")
    at_step(page, 1)
    assert red(page) == 15
    someone.press("ArrowLeft", "ArrowLeft")
    at_step(page, 0)
    someone.press("End", "ArrowRight")
    at_step(page, LAST)
    expect(page.locator("#answer")).to_contain_text("The game is won.")
    someone.press("Home")
    at_step(page, 0)
    for number in [*DIFFERING, DIFFERING[0]]:
        someone.press("d")
        at_step(page, number)
    # The slider takes the same keys, once each.
    page.get_by_label("Step", exact=True).focus()
    someone.press("Home", "ArrowRight", "ArrowRight")
    at_step(page, 2)
    page.locator("#strip span").nth(5).click()
    at_step(page, 5)
    # Steps leave no trail: one step back is the list.
    page.go_back()
    expect(page.locator("#rows tr").first).to_be_visible()
    someone.close()


def test_both_actions_are_told_and_what_differs_is_marked(
    server: GamesServer, browser: Browser, pictures: Path
) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    page.goto(f"{server.url}/games#{GAME}/0")
    at_step(page, 0)
    expect(page.locator(".agent .command")).to_have_text(COURSE[0][0])
    expect(page.locator(".expert .command")).to_have_text(COURSE[0][0])
    expect(page.locator(".stands")).to_have_text("same")
    assert colour(page, ".act.agent") == colour(page, ".act.expert")
    calm = colour(page, ".act.agent")
    someone.look("same")
    someone.press("ArrowRight")
    at_step(page, 1)
    agent, expert, response = COURSE[BY_EXPERT]
    expect(page.locator(".agent .command")).to_have_text(agent)
    expect(page.locator(".expert .command")).to_have_text(str(expert))
    expect(page.locator(".stands")).to_have_text("different")
    assert colour(page, ".act.agent") != colour(page, ".act.expert") == calm
    expect(page.locator(".agent .thought")).to_have_text("agent's thought 1")
    expect(page.locator(".expert .thought")).to_have_text("expert's thought 1")
    expect(page.locator(".expert .done")).to_have_text("executed")
    expect(page.locator(".agent .done")).to_have_count(0)
    expect(page.locator("#answer")).to_have_text(response)
    expect(page.locator("#figures")).to_contain_text("14 ms")
    expect(page.locator("#figures")).to_contain_text("−0.50 nats")
    expect(page.locator("#prompt")).to_have_text(re.compile(rf"> {re.escape(COURSE[0][0])}\n.*\n>$", re.DOTALL))
    expect(page.locator("#told")).to_contain_text("They differ.")
    page.get_by_text("commands could be carried out").click()
    expect(page.locator("#admissible .agent")).to_have_text(agent)
    expect(page.locator("#admissible .expert")).to_have_text(str(expert))
    someone.look("different")
    someone.press("ArrowRight")
    at_step(page, 2)
    expect(page.locator(".stands")).to_have_text("no label")
    expect(page.locator(".expert")).to_contain_text("no answer")
    # Marks above the slider say the same at one look.
    marks = [str(one.get_attribute("class")).split()[0] for one in page.locator("#strip span").all()]
    assert [number for number, mark in enumerate(marks) if mark == "differs"] == DIFFERING
    assert [number for number, mark in enumerate(marks) if mark == "unlabelled"] == [2]
    someone.close()


def test_a_game_plays_by_itself_and_stops_at_its_end(server: GamesServer, browser: Browser, pictures: Path) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    page.goto(f"{server.url}/games#{GAME}/{LAST - 2}")
    at_step(page, LAST - 2)
    someone.press("Space")
    expect(page.locator("#play")).to_contain_text("Pause")
    at_step(page, LAST)
    expect(page.locator("#play")).to_contain_text("Play")
    page.locator("#play").click()
    expect(page.locator("#where")).to_have_text(f"Step 2 of {len(COURSE)}")
    # Whoever steps by themselves has stopped it.
    someone.press("Home")
    expect(page.locator("#play")).to_contain_text("Play")
    page.wait_for_timeout(1500)
    at_step(page, 0)
    someone.close()


def test_a_reload_keeps_the_place(server: GamesServer, browser: Browser, pictures: Path) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    page.goto(f"{server.url}/games#{GAME}/3")
    at_step(page, 3)
    someone.press("ArrowRight")
    at_step(page, 4)
    page.reload()
    at_step(page, 4)
    expect(page.locator(".agent .command")).to_have_text(COURSE[4][0])
    # The address may be sent; beyond the end is the end.
    page.goto(f"{server.url}/games#{GAME}/99")
    at_step(page, LAST)
    someone.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_width_and_both_schemes_are_readable(
    server: GamesServer, browser: Browser, pictures: Path, width: int, scheme: str
) -> None:
    someone = visitor(browser, width, pictures / scheme, server)
    page = someone.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    damaged = shown_game(server.home, 40)
    (damaged.folder / RESULT_FILE).write_text("{")
    try:
        expect(page.locator("#rows tr")).to_have_count(5)
        expect(page.get_by_role("row")).to_have_count(6)
        someone.look("list")
        page.goto(f"{server.url}/games#{GAME}/1")
        at_step(page, 1)
        page.get_by_text("More about this game").click()
        page.get_by_text("commands could be carried out").click()
        someone.look("different")
        someone.press("End")
        at_step(page, LAST)
        someone.look("end")
    finally:
        shutil.rmtree(damaged.folder)
    someone.close()


def test_new_games_appear_and_damaged_ones_are_one_line(server: GamesServer, browser: Browser, pictures: Path) -> None:
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    expect(page.locator("#rows tr")).to_have_count(4)
    game = shown_game(server.home, 50, task="heat some egg and put it in garbagecan.")
    link = page.get_by_role("link", name="heat some egg")
    expect(link).to_be_visible()
    steps = (game.folder / STEPS_FILE).read_text()
    (game.folder / STEPS_FILE).write_text(steps[:700])
    link.click()
    expect(page.locator("#problem")).to_contain_text("This game cannot be shown: ")
    expect(page.locator("#game")).to_be_hidden()
    page.get_by_role("link", name="All games").click()
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#rows tr", has_text="damaged")).to_have_count(1)
    expect(page.locator("#rows tr", has_text="damaged").locator("a")).to_have_count(0)
    someone.look("damaged")
    shutil.rmtree(game.folder)
    expect(page.locator("#rows tr")).to_have_count(4)
    page.goto(f"{server.url}/games#000-bc-00-0050/2")
    expect(page.locator("#problem")).to_have_text("This game is not there, or not any more.")
    page.goto(f"{server.url}/games#{GAME}/2")
    at_step(page, 2)
    expect(page.locator("#problem")).to_be_hidden()
    # The browser itself notes refused requests; nothing else is to be complained of.
    someone.complaints = [one for one in someone.complaints if "Failed to load resource" not in one]
    someone.close()


def test_a_game_that_goes_while_it_is_looked_at(server: GamesServer, browser: Browser, pictures: Path) -> None:
    game = shown_game(server.home, 60)
    someone = visitor(browser, 1280, pictures, server)
    page = someone.page
    page.goto(f"{server.url}/games#000-bc-00-0060/0")
    at_step(page, 0)
    shutil.rmtree(game.folder)
    someone.press("End")
    # The steps are there already; the picture is not.
    expect(page.locator("#picture-problem")).to_have_text("This game is not there, or not any more.")
    expect(page.locator(".agent .command")).to_have_text(COURSE[LAST][0])
    expect(page.locator("#picture")).to_be_hidden()
    someone.complaints = [one for one in someone.complaints if "Failed to load resource" not in one]
    someone.close()


def test_nobody_looks_without_the_link_and_forged_places_lead_to_the_list(
    server: GamesServer, browser: Browser, pictures: Path
) -> None:
    someone = Visitor(browser, 1280, pictures / "games")
    page = someone.page
    page.goto(f"{server.url}/games#{GAME}/2")
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator("#problem")).to_have_text("Open the link that the server printed.")
    expect(page.locator("#rows tr")).to_have_count(0)
    someone.look("no link")
    page.keyboard.type("x" * 43)
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("not known here")
    page.get_by_label("Token").fill(server.invitation)
    page.keyboard.press("Enter")
    at_step(page, 2)
    for forged in ("../../labels.db", "000-bc-00-0000/../..", "%2e%2e%2fsecret", "%zz"):
        page.goto("about:blank")
        page.goto(f"{server.url}/games#{forged}")
        expect(page.locator("#rows tr")).to_have_count(4)
        expect(page.locator("#game")).to_be_hidden()
    someone.complaints = [one for one in someone.complaints if "Failed to load resource" not in one]
    someone.close()


def test_a_server_that_is_away_is_told_and_its_next_link_goes_on(
    tmp_path: Path, browser: Browser, pictures: Path
) -> None:
    shown_game(tmp_path / "home", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with games_server(tmp_path / "home", port=port) as own:
        someone = visitor(browser, 1280, pictures, own)
        page = someone.page
        own.kill()
        expect(page.locator("#problem")).to_have_text("No connection; trying again.")
        expect(page.locator("#rows tr")).to_have_count(1)
        own.start()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(own.link)
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(page.locator("#problem")).to_be_hidden()
        someone.complaints = [one for one in someone.complaints if "Failed to load resource" not in one]
        someone.close()
