"""The list of an iteration's plays: what is whole is listed, what is not is named, nothing is missing."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_ops.contracts.decision import EpisodeResult
from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.traces import read_trace, write_trace
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.collected_plays import MANIFEST_FILE, PlayManifest, collect_plays, read_play_manifest
from tests.support.collected_plays import Collected, collection

Played = tuple[Collected, list[EpisodePlay]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Five sound plays."""
    return collection(tmp_path_factory.mktemp("collected"))


@pytest.fixture
def played(sound: Played, tmp_path: Path) -> Played:
    """A copy of them, to be spoiled."""
    collected, plays = sound
    collected.labels.close()
    shutil.copytree(collected.store.root, tmp_path / "store")
    copied = Collected(Store.at(tmp_path / "store"), people=dict(collected.people))
    return copied, plays


def _listed(collected: Collected) -> PlayManifest:
    return collect_plays(collected.labels, collected.store.iteration("planner", 0))


def test_lists_every_finished_play_with_what_it_was(sound: Played) -> None:
    collected, plays = sound
    manifest = _listed(collected)
    assert [play.play_id for play in manifest.plays] == [play.id for play in plays]
    assert (manifest.broken, manifest.never_begun) == ([], [])
    listed = manifest.plays[1]
    row = plays[1]
    assert (listed.episode_id, listed.attempt, listed.success) == (row.episode_id, 2, True)
    assert listed.participant_id == collected.people["ann"].participant_id
    assert (listed.seconds, listed.ended_by, listed.finish_id) == (row.seconds, "person", row.finish_id)
    assert (listed.split, listed.prompt_style) == ("train", "incremental")
    assert [play.reported for play in manifest.plays] == [False, False, False, True, False]
    assert {collected.sessions / file for file in listed.files} == set(collected.files(row).values())
    assert listed.trace(collected.sessions) == collected.files(row)["trace"]
    assert read_play_manifest(collected.sessions) == manifest


def test_the_hash_follows_the_plays_and_nothing_else(played: Played) -> None:
    collected, plays = played
    before = _listed(collected).hash
    assert _listed(collected).hash == before
    collected.report(plays[2])
    reported = _listed(collected).hash
    assert reported != before
    episode = read_episodes(episode_file(collected.store.episodes, "train"))[3]
    collected.play(episode, "dora", solve=False, tutorial=True)
    assert _listed(collected).hash == reported
    collected.play(episode, "dora", solve=False)
    assert _listed(collected).hash != reported


@pytest.mark.parametrize("kind", ["log", "episode", "trace"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "garbled"])
def test_a_damaged_file_is_named_and_spoils_only_its_play(kind: str, damage: str, played: Played) -> None:
    collected, plays = played
    file = collected.files(plays[2])[kind]
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :])
    manifest = _listed(collected)
    (broken,) = manifest.broken
    assert (broken.play_id, broken.episode_id) == (plays[2].id, plays[2].episode_id)
    assert str(file) in broken.reason
    assert len(manifest.plays) == 4


def _another_end(collected: Collected, play: EpisodePlay, **changes: object) -> None:
    file = collected.files(play)["trace"]
    trace = read_trace(file)
    result = EpisodeResult.model_validate({**trace.result.model_dump(), **changes})
    write_trace(file, trace.header, trace.decisions, result)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one, play: _another_end(one, play, success=False), "its success is False where True was kept"),
        (lambda one, play: _another_end(one, play, state_hash="00"), "its final state is 00 where"),
        (lambda one, play: _another_end(one, play, percent_complete=0.5), "its percent complete is 0.5 where 1.0"),
    ],
)
def test_a_record_that_says_otherwise_is_named(
    spoil: Callable[[Collected, EpisodePlay], None], said: str, played: Played
) -> None:
    collected, plays = played
    spoil(collected, plays[2])
    (broken,) = _listed(collected).broken
    assert plays[2].id in broken.reason and said in broken.reason


def test_anothers_record_under_a_plays_name_is_named(played: Played) -> None:
    collected, plays = played
    for kind, file in collected.files(plays[2]).items():
        shutil.copy(collected.files(plays[4])[kind], file)
    (broken,) = _listed(collected).broken
    assert broken.play_id == plays[2].id and plays[4].id in broken.reason


def test_a_play_left_unclosed_is_closed(played: Played) -> None:
    collected, _ = played
    episode = read_episodes(episode_file(collected.store.episodes, "train"))[3]
    left = collected.play(episode, "dora", close=False)
    assert not any(file.exists() for file in collected.files(left).values())
    manifest = _listed(collected)
    assert manifest.plays[-1].play_id == left.id and manifest.plays[-1].success
    assert all(file.is_file() for file in collected.files(left).values())


def test_an_unclosed_log_without_an_end_is_named(played: Played) -> None:
    collected, plays = played
    files = collected.files(plays[2])
    lines = gzip.decompress(files["log"].read_bytes()).splitlines(keepends=True)
    files["log"].unlink()
    files["log"].with_suffix("").write_bytes(b"".join(lines[:-1]))
    (broken,) = _listed(collected).broken
    assert "the play is not over" in broken.reason


def test_a_play_that_never_began_is_no_fault(played: Played) -> None:
    collected, _ = played
    row = collected.labels.start_play(collected.session("dora").id, "train_0003", 1)
    collected.labels.finish_play(row.id, percent_complete=0.0, success=False, ended_by="aborted", seconds=0.0)
    manifest = _listed(collected)
    assert (manifest.never_begun, manifest.broken, len(manifest.plays)) == ([row.id], [], 5)


def test_an_iteration_without_plays_gives_an_empty_list(played: Played) -> None:
    collected, _ = played
    paths = collected.store.iteration("planner", 7)
    manifest = collect_plays(collected.labels, paths)
    assert (manifest.plays, manifest.broken) == ([], [])
    assert read_play_manifest(paths.sessions) == manifest


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_play_manifest(tmp_path)
    (tmp_path / MANIFEST_FILE).write_text('{"program": "planner"}')
    with pytest.raises(UserError, match="field 'iteration': field required"):
        read_play_manifest(tmp_path)
