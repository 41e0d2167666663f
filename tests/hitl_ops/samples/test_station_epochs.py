"""What stations sent, looked through: what counts, what is damaged, whose word stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder, make_manifest, publish_manifest
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.records.station_hdf5 import Verdict, read_station_facts
from hitl_ops.samples.station_epochs import (
    BALANCE_PLOT,
    arrived_epoch,
    collected_files,
    look_through_epoch,
    read_recordings,
    words_on,
)
from tests.support.station_recordings import record
from tests.support.station_verdicts import say_of_episode


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[LabelStore]:
    opened = LabelStore.open(f"sqlite:///{tmp_path / 'labels.db'}")
    yield opened
    opened.close()


@pytest.fixture
def epoch(tmp_path: Path) -> EpochFolder:
    """Station east sent a good, a bad, an aborted and an unjudged episode; a fifth is still on its way."""
    folder = EpochFolder(tmp_path / "incoming", "lift_lid", 1)
    sent: list[tuple[Verdict | None, bool]] = [("good", False), ("bad", False), ("good", True), (None, False)]
    for number, (label, aborted) in enumerate(sent):
        record(folder.episode(number, "east"), 10 + number, label=label, aborted=aborted, seed=number)
    publish_manifest(folder, make_manifest(folder, "east"))
    record(folder.episode(4, "east"), 10, seed=4)
    return folder


def test_counts_what_manifests_name_and_who_said_what(epoch: EpochFolder, tmp_path: Path) -> None:
    found = look_through_epoch(epoch, tmp_path / "sessions")
    assert read_recordings(tmp_path / "sessions") == found
    assert [len(found.judged(word)) for word in ("good", "bad", None)] == [1, 1, 1]
    assert (len(found.of_status("aborted")), len(found.episodes), found.stations) == (1, 4, ("east",))
    assert [one.frames for one in found.episodes] == [10, 11, 12, 13]
    assert found.human_seconds > 0
    assert (tmp_path / "sessions" / BALANCE_PLOT).stat().st_size > 5000
    assert [file.name for file in collected_files(epoch.base, "lift_lid", [1])] == [
        f"episode_{number}-east.hdf5" for number in range(4)
    ]
    assert collected_files(epoch.base, "lift_lid", [0, 2]) == []


def test_a_later_word_counts_and_changes_the_version(epoch: EpochFolder, tmp_path: Path, labels: LabelStore) -> None:
    before = look_through_epoch(epoch, tmp_path / "sessions", labels)
    good, bad = (read_station_facts(epoch.episode(number, "east")).episode_id for number in (0, 1))
    say_of_episode(labels, good, "bad", epoch=1)
    say_of_episode(labels, bad, "exclude", epoch=1)
    say_of_episode(labels, "of-another-store", "exclude", epoch=1)
    after = look_through_epoch(epoch, tmp_path / "sessions", labels)
    assert [len(after.judged(word)) for word in ("good", "bad", None)] == [0, 1, 1]
    assert [one.said_later for one in after.episodes] == [True, True, False, False]
    assert after.hash != before.hash
    assert words_on(collected_files(epoch.base, "lift_lid", [1]), labels) == ({good: "bad"}, {bad})


def test_damage_is_named_and_the_rest_is_read(epoch: EpochFolder, tmp_path: Path) -> None:
    cut = epoch.episode(0, "east")
    cut.write_bytes(cut.read_bytes()[:-7])
    changed = epoch.episode(1, "east")
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    epoch.episode(3, "east").unlink()
    found = look_through_epoch(epoch, tmp_path / "sessions")
    assert [len(one.file.split("/")) for one in found.damaged] == [4, 4, 4]
    reasons = [one.reason for one in found.damaged]
    for reason, said in zip(reasons, ("the manifest says", "checksum", "missing"), strict=True):
        assert said in reason
    assert len(found.episodes) == 1
    with pytest.raises(UserError, match="has gone"):
        collected_files(epoch.base, "lift_lid", [1])


def test_wrong_manifests_do_not_count(epoch: EpochFolder, tmp_path: Path) -> None:
    assert arrived_epoch(epoch).waits_for(()) == []
    assert arrived_epoch(epoch).waits_for(("east", "west")) == ["synced-west.json"]
    version = arrived_epoch(epoch).version
    epoch.manifest("west").write_text("{", encoding="utf-8")
    stray = EpochFolder(epoch.base, "lift_lid", 2)
    stray.path.mkdir()
    stray.manifest("east").write_bytes(epoch.manifest("east").read_bytes())
    assert arrived_epoch(epoch).version == version
    assert "is damaged" in arrived_epoch(epoch).damaged[0]
    assert "is of task 'lift_lid', epoch 1" in arrived_epoch(stray).damaged[0]
    assert look_through_epoch(epoch, tmp_path / "sessions").wrong_manifests == arrived_epoch(epoch).damaged
    with pytest.raises(UserError, match="nothing has come in"):
        look_through_epoch(stray, tmp_path / "none")
    assert not (tmp_path / "none").exists()
