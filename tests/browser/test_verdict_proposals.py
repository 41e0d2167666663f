"""What an estimator proposes on the verdict page: shown, confirmed by a key, overruled, kept, and told when stale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from hitl_ops.contracts.store import Store
from hitl_ops.labels.station_verdicts import EpisodeVerdict, standing_verdicts, station_verdicts
from hitl_ops.samples.proposed_verdicts import ProposalConfig, propose_verdicts
from tests.support.page_visitor import Visitor
from tests.support.proposed_verdicts import spread_rule, untrained_estimator
from tests.support.station_recordings import record, robot
from tests.support.station_server import StationServer, epoch_folder, station_server

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(600)]


def come_in(browser: Browser, width: int, pictures: Path, server: StationServer, name: str) -> Visitor:
    visitor = Visitor(browser, width, pictures / "proposals")
    visitor.page.goto(server.link)
    visitor.page.get_by_label("Your name").fill(name)
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#me")).to_have_text(name)
    return visitor


def stored(server: StationServer) -> dict[str, EpisodeVerdict]:
    return {name: said for name, (_, said) in standing_verdicts(server.labels).items()}


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved")


def test_what_is_proposed_is_confirmed_or_overruled(tmp_path: Path, browser: Browser, pictures: Path) -> None:
    home = tmp_path / "home"
    folder = epoch_folder(home, 1)
    spec = robot("cam_high", "cam_wrist")
    for number in range(4):
        record(folder.episode(number), 40, spec=spec, label=None, seed=9 - 3 * number, episode_id=f"e{number}")
    record(folder.episode(4), 20, spec=robot(), label=None, seed=9, episode_id="bare")
    estimator = untrained_estimator(tmp_path / "estimator")
    with station_server(home, "--invite", "20") as server:
        kim = come_in(browser, 1280, pictures, server, "Kim")
        page = kim.page
        page.wait_for_url("**at=e0")
        for place in ("#order", "#proposal", "#enter", "#value"):
            expect(page.locator(place)).to_be_hidden()
        kim.press("Enter")
        kim.look("as before")

        # Proposals come while the page is open.
        store = Store.at(home)
        first = propose_verdicts(estimator, store, folder).proposals
        made = propose_verdicts(estimator, store, folder, ProposalConfig(rule=spread_rule(first))).proposals
        by_score = sorted(made.episodes, key=lambda one: one.score)
        assert [one.said for one in by_score] == ["bad", "unsure", "good", "good"]
        by_doubt = sorted(made.episodes, key=lambda one: -one.doubt)
        expect(page.locator("#order")).to_be_visible()
        expect(page.locator("#proposed")).to_have_text(re.compile("^The estimator: (good|bad|unsure), 0[.]"))
        assert server.labels.labels("verdict", superseded=True) == [], "nobody has said anything"
        page.evaluate("location.hash = ''")
        page.reload()

        # What it is unsure of comes first, and a key alone makes no verdict of that.
        unsure, *others = by_doubt
        assert unsure.episode_id != "e0", "otherwise nothing is seen of the order"
        page.wait_for_url(f"**at={unsure.episode_id}")
        expect(page.locator("#proposed")).to_have_text(f"The estimator: unsure, {unsure.score:.2f}")
        expect(page.locator("#confirm")).to_be_hidden()
        expect(page.locator("#value canvas")).to_be_visible()
        expect(page.locator("#list .chip.proposed")).to_have_count(4)
        names = [f"Episode {one.episode_id[1]}" for one in by_doubt]
        expect(page.locator("#list b")).to_have_text([*names, "Episode 4"])
        page.wait_for_function("() => document.getElementById('video').currentTime > 0.2")
        kim.look("unsure first")
        kim.press("Enter")
        kim.told("The estimator is unsure")
        assert stored(server) == {}
        kim.press("g")

        # Confirmed, then overruled.
        confirmed, overruled, left = others
        page.wait_for_url(f"**at={confirmed.episode_id}")
        expect(page.locator("#proposed")).to_have_text(f"The estimator: {confirmed.said}, {confirmed.score:.2f}")
        kim.look("to be confirmed")
        kim.press("Enter")
        page.wait_for_url(f"**at={overruled.episode_id}")
        differently = "bad" if overruled.said == "good" else "good"
        kim.press(differently[0])
        page.wait_for_url(f"**at={left.episode_id}")
        saved(page)
        assert station_verdicts(server.labels).verdicts == {
            unsure.episode_id: "good", confirmed.episode_id: confirmed.said, overruled.episode_id: differently
        }  # fmt: skip
        said = stored(server)
        for one, by_key in ((unsure, False), (confirmed, True), (overruled, False)):
            shown = said[one.episode_id].proposal
            assert shown is not None
            assert (shown.said, shown.score, shown.confirmed) == (one.said, one.score, by_key)
            assert shown.estimator == made.estimator.weights
        expect(page.locator("#agreed")).to_have_text("People agree with what was proposed in 1 of 2.")

        # It is still there after a reload, and the key changes nothing of it.
        page.locator("#which-all + label").click()
        page.get_by_role("button", name=re.compile(f"Episode {overruled.episode_id[1]}")).click()
        page.wait_for_url(f"**at={overruled.episode_id}")
        page.reload()
        expect(page.locator("#said")).to_have_text(f"{differently.capitalize()}, said by you.")
        kim.press("Enter")
        kim.told("A person has judged this one")
        kim.press("u")
        saved(page)
        assert overruled.episode_id not in station_verdicts(server.labels).verdicts
        kim.press("Enter")
        saved(page)
        assert station_verdicts(server.labels).verdicts[overruled.episode_id] == overruled.said
        expect(page.locator("#agreed")).to_have_text("People agree with what was proposed in 2 of 2.")
        # Whoever comes next is led past what Kim is at: that must not be the last one.
        with page.expect_response(f"**/{overruled.episode_id}/here"):
            page.get_by_role("button", name=re.compile(f"Episode {overruled.episode_id[1]}")).click()

        # On a telephone; then the estimator is trained on, and nothing can be confirmed any more.
        lee = come_in(browser, 390, pictures, server, "Lee")
        lee.page.wait_for_url(f"**at={left.episode_id}")
        expect(lee.page.locator("#confirm")).to_be_visible()
        lee.look("phone")
        facts = estimator / "estimator.json"
        facts.write_text(facts.read_text() + "\n")
        expect(lee.page.locator("#proposed")).to_contain_text("out of date: the estimator is another one by now")
        expect(lee.page.locator("#confirm")).to_be_hidden()
        lee.look("out of date")
        lee.page.locator(".say.good").tap()
        saved(lee.page)
        assert stored(server)[left.episode_id].proposal is None
        lee.page.wait_for_url("**at=bare")
        expect(lee.page.locator("#proposal")).to_be_hidden()
        for one in (kim, lee):
            one.close()
