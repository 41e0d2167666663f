"""Films without a server: what is in them, where they lie, and what cannot be shown."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import SessionLogWriter, log_path, read_session_log
from hitl_ops.rollouts.partner_decisions import OVERRIDDEN
from tests.support.annotate_server import frames_of
from tests.support.plays import Player, header
from ui_collect.annotate.film_cache import FilmCache
from ui_collect.annotate.film_worker import MakeFilm, make_film
from ui_collect.annotate.reviewed_play import ReviewedPlay, play_again
from ui_collect.keyframes import pictured

PLAY, SESSION = "0123456789abcdef", "fedcba9876543210"


def recorded(folder: Path, play_id: str = PLAY, *, finished: bool = True) -> Path:
    """A short play in which the person decides for the partner once."""
    file = log_path(folder, play_id)
    head = header(play_id, session_id=SESSION)
    with SessionLogWriter.create(file, head) as writer:
        player = Player(head, writer=writer)
        player.decide("Explore[bedroom_1]")
        player.run(15)
        player.override("Navigate[kitchen_counter_1]", decision_index=0)
        player.run(20)
        player.act("Pick[mug_1]")
        player.run(30)
        if finished:
            player.finish("skip")
        writer.flush()
    return file


def test_only_what_a_policy_decided_can_be_marked(tmp_path: Path) -> None:
    log = read_session_log(recorded(tmp_path))
    play, _ = play_again(log)
    first, ordered, *others = play.decisions
    assert (first.action, first.response, first.overridden, first.can_be_marked) == (
        "Explore[bedroom_1]",
        OVERRIDDEN,
        True,
        True,
    )
    assert (ordered.policy_id, ordered.role, ordered.can_be_marked) == ("human:ann", "ai", False)
    assert first.admissible and first.prompt and not any(one.can_be_marked for one in others if one.role == "human")
    assert play.judged == [first.index]
    assert [play.decision(one.index) for one in play.decisions] == play.decisions
    assert play.decision(len(play.decisions)) is None and play.decision(-1) is None
    assert ReviewedPlay.model_validate_json(play.model_dump_json()) == play


def test_a_film_shows_what_either_agent_knows(tmp_path: Path) -> None:
    file = recorded(tmp_path)
    _, film = play_again(read_session_log(file))
    picture = pictured(frames_of(film))
    assert picture.over and not picture.success
    log = read_session_log(file)
    # The partner has been to the bedroom; without its eyes there is less to see.
    from hitl_ops.rollouts.session_replay import restore

    session = restore(log)
    known = [set(session.world.state.knowledge[agent].objects) for agent in (0, 1)]
    names = list(session.world.state.facts.objects)
    assert {names[index] for index in picture.objects} == known[0] | known[1]


def test_a_play_under_way_or_of_other_rules_is_not_shown(tmp_path: Path) -> None:
    log = read_session_log(recorded(tmp_path, finished=False))
    with pytest.raises(UserError, match="is not over"):
        play_again(log)
    file = recorded(tmp_path / "other")
    log = read_session_log(file)
    finish = log.events[-1].model_copy(update={"state_hash": "00"})
    log.events[-1] = finish
    with pytest.raises(UserError, match="its state is"):
        play_again(log)


def test_the_process_makes_a_film_once_and_says_what_it_cannot_make(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    cache = FilmCache.of(store, 100)
    folder = store.iteration("planner", 3).sessions / SESSION
    asked = MakeFilm(play_id=PLAY, session_id=SESSION, program="planner", iteration=3)
    outcome, reason = make_film(asked, store, cache)
    assert outcome == "damaged" and "does not exist" in reason
    file = recorded(folder)
    assert make_film(asked, store, cache) == ("made", "")
    assert cache.holds(PLAY) and cache.play(PLAY).play_id == PLAY
    file.unlink()
    assert make_film(asked, store, cache) == ("made", ""), "what is there is not made again"
    assert not list(cache.folder.glob("*.part-*"))


def test_a_damaged_play_is_thrown_away(tmp_path: Path) -> None:
    cache = FilmCache(tmp_path / "films", 2**20)
    kept = play_again(read_session_log(recorded(tmp_path / "logs")))
    for damage in (lambda content: content[:-20], lambda content: b"nothing", lambda content: gzip.compress(b"{}")):
        cache.keep(*kept)
        (file,) = cache.folder.glob("*.json.gz")
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(FileNotFoundError):
            cache.play(PLAY)
        assert not cache.holds(PLAY) and not list(cache.folder.iterdir())
    cache.keep(*kept)
    assert cache.play(PLAY) == kept[0]


def test_what_was_not_looked_at_longest_goes_first(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    ids = [f"{number:016x}" for number in range(4)]
    cache = FilmCache(tmp_path / "films", 1)
    for play_id in ids[:2]:
        cache.keep(*play_again(read_session_log(recorded(folder, play_id))))
    assert [cache.holds(play_id) for play_id in ids[:2]] == [False, True], "the newest stays, whatever its size"
    size = sum(file.stat().st_size for file in cache.folder.iterdir())
    roomy = FilmCache(cache.folder, int(size * 2.5))
    roomy.keep(*play_again(read_session_log(recorded(folder, ids[2]))))
    for number, play_id in enumerate(ids[1:3]):
        for file in cache.folder.glob(f"{play_id}*"):
            os.utime(file, (1000 + number, 1000 + number))
    assert roomy.holds(ids[1]), "looked at just now"
    roomy.keep(*play_again(read_session_log(recorded(folder, ids[3]))))
    assert [roomy.holds(play_id) for play_id in ids] == [False, True, False, True]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "0" * 15, "0" * 17, "A" * 16, "0123456789abcde\n"])
def test_no_other_name_becomes_a_file(tmp_path: Path, name: str) -> None:
    cache = FilmCache(tmp_path, 1000)
    with pytest.raises(ValueError):
        cache.holds(name)
    with pytest.raises(ValueError):
        MakeFilm(play_id=name, session_id=SESSION, program="planner", iteration=0)
