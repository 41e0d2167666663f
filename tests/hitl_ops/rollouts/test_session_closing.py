"""What stays of plays: logs that replay to the same end, PARTNR's files, traces; nothing else passes for them."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.session_export import (
    EpisodeFile,
    Frame,
    list_episode_files,
    read_episode_file,
    read_session_file,
)
from hitl_ops.records.session_log import SessionLogWriter, list_session_logs, log_path, read_session_log, sealed
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.session_closing import ClosedPlay, close_play, close_session
from hitl_ops.rollouts.session_replay import moments, replay, restore
from tests.support.plays import STARTED, Player, header
from tests.support.random_plays import PLAY, play


def logged(folder: Path, play_id: str = "p1", **changes: object) -> Player:
    """Somebody about to play, with a log."""
    head = header(play_id, **changes)
    return Player(head, writer=SessionLogWriter.create(log_path(folder, play_id), head))


def played(folder: Path, play_id: str = "p1", **changes: object) -> Player:
    """The whole task, played by hand, corrected once, finished."""
    player = logged(folder, play_id, **changes)
    player.decide("Explore[bedroom_1]")
    player.run(30)
    player.override("Wait[]", decision_index=0)
    player.fetch_the_mug()
    player.run(12)
    player.finish()
    assert player.writer is not None
    player.writer.close()
    return player


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Player, ClosedPlay]:
    folder = tmp_path_factory.mktemp("sessions") / "s1"
    player = played(folder)
    return player, close_play(log_path(folder, "p1"))


# --- logs -----------------------------------------------------------------------------------------------------------


@given(happenings=PLAY)
@settings(max_examples=25)
def test_any_play_is_restored_from_its_log(happenings: list[tuple[int, tuple[object, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        player = logged(Path(folder))
        play(player, happenings)
        player.mark()
        assert player.writer is not None
        player.writer.close()
        session = restore(log_path(folder, "p1"))
        assert session.digest() == player.session.digest()
        assert session.decisions == player.session.decisions
        assert session.corrections == player.session.corrections
        assert (session.tick, session.next_n, session.last_seq, session.paused, session.asked_tick) == (
            player.session.tick,
            player.session.next_n,
            player.session.last_seq,
            player.session.paused,
            player.session.asked_tick,
        )
        answers, not_taken = session.take_answers(), player.session.take_answers()
        assert answers[len(answers) - len(not_taken) :] == not_taken
        # And both go on alike.
        for going_on in (session, player.session):
            going_on.paused = False
            for _ in range(100):
                going_on.step()
        assert session.digest() == player.session.digest()


def test_a_play_goes_on_after_its_process_ended(tmp_path: Path) -> None:
    player = logged(tmp_path)
    player.walk_to("kitchen_counter_1")
    player.act("Pick[mug_1]")
    player.run(4)
    assert player.writer is not None
    player.writer.flush()
    os.close(player.writer._descriptor)  # as a kill would
    player.writer._descriptor = -1
    with log_path(tmp_path, "p1").open("ab") as file:
        file.write(b'{"n":99')
    log, writer = SessionLogWriter.resume(log_path(tmp_path, "p1"))
    assert log.torn
    again = Player(log.header, writer=writer)
    again.session, again.seq = restore(log), player.seq
    again.run(30)
    assert again.session.world.facts.agents[0].held == "mug_1"
    again.walk_to("bedroom_bed_1")
    again.do("Place[mug_1, on, bedroom_bed_1, None, None]")
    again.finish()
    writer.close()
    result = close_play(log_path(tmp_path, "p1")).result
    assert result.success
    assert result.state_hash == again.session.digest()


@pytest.mark.slow
def test_a_replay_in_another_process_ends_the_same(tmp_path: Path, source_root: Path) -> None:
    player = played(tmp_path)
    code = "import sys; from hitl_ops.rollouts.session_replay import replay; print(replay(sys.argv[1]).state_hash)"
    for seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", code, str(log_path(tmp_path, "p1"))],
            cwd=source_root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert output.strip() == player.session.digest()


def test_moments_are_evenly_spaced_and_end_with_the_end(tmp_path: Path) -> None:
    player = played(tmp_path)
    log = read_session_log(log_path(tmp_path, "p1"))
    ticks = [(session.tick, session.over) for session in moments(log, 7)]
    last = player.session.tick
    assert ticks == [*((tick, False) for tick in range(0, last + 1, 7)), (last, True)]


def test_events_that_cannot_have_happened_are_told(tmp_path: Path) -> None:
    player = Player()
    player.run(5)
    player.pause()
    player.resume()
    path = log_path(tmp_path, "p1")
    rows = [header(), player.events[0], player.events[1].model_copy(update={"tick": 9})]
    path.write_bytes(b"".join(sealed(row.model_dump_json()) for row in rows))
    with pytest.raises(UserError, match=r"line 3: the resume of tick 9 cannot be applied: the world stands still"):
        restore(path)


def test_a_play_that_ends_otherwise_is_noticed_and_not_closed(tmp_path: Path) -> None:
    path = log_path(tmp_path, "p1")
    player = Player()
    player.run(9)
    end = player.finish("time").model_copy(update={"state_hash": "0" * 16})
    path.write_bytes(b"".join(sealed(row.model_dump_json()) for row in [header(), end]))
    assert "its state is " in (replay(path).difference or "")
    with pytest.raises(UserError, match=r"cannot be closed: replayed, its state is"):
        close_play(path)
    assert path.exists()
    assert list_episode_files(tmp_path) == []


# --- closing --------------------------------------------------------------------------------------------------------


def test_an_episode_file_holds_the_play(closed: tuple[Player, ClosedPlay]) -> None:
    player, files = closed
    content = read_episode_file(files.episode_file)
    assert content.episode.episode_id == "bring_the_mug"
    assert content.episode.finished
    assert (content.episode.attempt, content.episode.ended_by) == (1, "person")
    assert content.episode.user_index_to_agent_index_map == {0: 0}
    assert content.episode.agent_roles == {0: "human", 1: "ai"}
    assert content.episode.task_percent_complete == 1.0
    assert content.users[0].connection_record.user_id == "ann"
    assert content.session.start_timestamp == str(int(STARTED))
    assert content.metrics.task_state_success
    assert content.metrics.state_hash == player.session.digest()
    assert content.metrics.sim_step_count == player.session.tick
    assert content.decisions == player.session.decisions
    assert [c.corrected for c in files.corrections] == ["Wait[]"]


def test_frames_show_what_happened(closed: tuple[Player, ClosedPlay]) -> None:
    player, files = closed
    content = read_episode_file(files.episode_file)
    frames = [frame for frame in content.frames if isinstance(frame, Frame)]
    assert len(content.frames) == content.episode.frame_count == player.session.tick // 3 + 2
    # The last twelve ticks nothing moved: idle, but for the very end.
    assert content.frames[-4:-1] == [{}, {}, {}]
    assert frames[0].t == 0.0
    assert isinstance(content.frames[-1], Frame)
    assert content.frames[-1].users[0].finished_episode
    assert not frames[-2].users[0].finished_episode
    happened = [event for frame in frames for event in frame.users[0].events]
    assert [event.type for event in happened] == ["pick", "place", "episode_finished"]
    assert (happened[0].obj_handle, happened[1].receptacle_id) == ("mug_1", "bedroom_bed_1")
    mug = happened[0].obj_id
    assert {frame.users[0].held_object for frame in frames} == {None, mug}
    assert mug in {frame.users[0].selected_object for frame in frames}
    assert frames[-1].task_percent_complete == 1.0
    facts = player.session.world.facts
    last = {state.object_handle: state for state in frames[-1].object_states}
    assert set(last) == set(facts.objects)
    assert last["mug_1"].position == pytest.approx(facts.objects["mug_1"].position, abs=1e-3)
    assert last["mug_1"].states["is_clean"] is False
    agent, body = frames[-1].agent_states[0], facts.agents[0]
    assert (agent.position[0], agent.position[2]) == pytest.approx((body.x, body.z), abs=1e-3)
    assert 2 * math.atan2(agent.rotation[1], agent.rotation[3]) % math.tau == pytest.approx(
        body.yaw % math.tau, abs=1e-3
    )
    held = next(frame for frame in frames if frame.users[0].held_object == mug)
    assert held.agent_states[0].grasp_mgr_snap_idx == mug
    camera = held.users[0].camera_transform
    assert [row[3] for row in camera[:3]] == pytest.approx(
        [held.agent_states[0].position[0], 1.5, held.agent_states[0].position[2]]
    )
    for left in range(3):
        for right in range(3):
            dot = sum(camera[axis][left] * camera[axis][right] for axis in range(3))
            assert dot == pytest.approx(float(left == right), abs=1e-3)


def test_a_trace_is_as_good_as_any_other(closed: tuple[Player, ClosedPlay]) -> None:
    player, files = closed
    trace = read_trace(files.trace)
    assert trace.header.roles == {0: "human", 1: "ai"}
    assert trace.header.policies == {0: "human:ann", 1: "policy-1"}
    assert trace.decisions == player.session.decisions
    assert (trace.result.ended_by, trace.result.success) == ("person", True)


def test_the_log_is_compressed_and_closing_again_gives_the_same(closed: tuple[Player, ClosedPlay]) -> None:
    player, files = closed
    folder = files.log.parent
    assert list_session_logs(folder) == [files.log]
    assert read_session_log(files.log).events == player.events
    before = {file: file.read_bytes() for file in (files.log, files.trace, files.episode_file)}
    files.episode_file.unlink()
    assert close_play(files.log).result == files.result
    assert {file: file.read_bytes() for file in before} == before
    # A kill between writing the files and letting the open log go.
    left = log_path(folder, "p1")
    left.write_bytes(gzip.decompress(files.log.read_bytes()) + b'{"half')
    close_play(left)
    assert not left.exists()
    assert {file: file.read_bytes() for file in before} == before


def test_a_play_is_closed_only_when_it_is_over(tmp_path: Path) -> None:
    player = logged(tmp_path)
    path = log_path(tmp_path, "p1")
    with pytest.raises(UserError, match="still being written"):
        close_play(path)
    assert player.writer is not None
    player.writer.close()
    with pytest.raises(UserError, match="the play is not over"):
        close_play(path)
    with pytest.raises(UserError, match="does not exist"):
        close_play(log_path(tmp_path, "p9"))
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from hitl_ops.contracts import publish

    played(tmp_path)

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_fsync", full)
        with pytest.raises(UserError, match="disk full"):
            close_play(log_path(tmp_path, "p1"))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["p1.log.jsonl"]
    assert close_play(log_path(tmp_path, "p1")).result.success


def test_a_session_file_sums_its_plays_up(tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    with pytest.raises(UserError, match="has no plays"):
        close_session(folder)
    # The later play has the name that sorts first.
    played(folder, "b", index=0)
    player = logged(folder, "a", index=1, attempt=2, started=STARTED + 100)
    player.run(30)
    player.finish("skip")
    assert player.writer is not None
    player.writer.close()
    close_play(log_path(folder, "b"))
    with pytest.raises(UserError, match=r"'a.log.jsonl' is open"):
        close_session(folder)
    close_play(log_path(folder, "a"))
    content = read_session_file(close_session(folder, session_error="lost"))
    assert content.session.episode_indices == [0, 1]
    assert content.session.session_error == "lost"
    assert content.session.frame_count == sum(row.frame_count for row in content.episodes)
    assert (content.session.start_timestamp, content.session.session_id) == (str(int(STARTED)), "s1")
    assert [(row.play_id, row.finished, row.attempt) for row in content.episodes] == [("b", True, 1), ("a", False, 2)]
    assert [user.role for user in content.users] == ["human"]
    before = (folder / "session.json.gz").read_bytes()
    close_session(folder, session_error="lost")
    assert (folder / "session.json.gz").read_bytes() == before


def test_damaged_session_files_are_told(closed: tuple[Player, ClosedPlay], tmp_path: Path) -> None:
    _, files = closed
    path = tmp_path / "x.json.gz"
    with pytest.raises(UserError, match="does not exist"):
        read_episode_file(path)
    path.write_bytes(files.episode_file.read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        read_episode_file(path)
    body = json.loads(gzip.decompress(files.episode_file.read_bytes()))
    assert EpisodeFile.model_validate(body)
    for key, value in (("more", 1), ("frames", [{"t": 1.0}]), ("decisions", [{}])):
        path.write_bytes(gzip.compress(json.dumps({**body, key: value}).encode()))
        with pytest.raises(UserError, match=f"field '{key}"):
            read_episode_file(path)
