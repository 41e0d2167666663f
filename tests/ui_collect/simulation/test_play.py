"""One play inside a worker: events in, messages out, and a disk that may be full."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.planner import Observation
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_events import ActEvent
from hitl_ops.records.session_log import read_session_log
from hitl_ops.rollouts.session_replay import replay
from hitl_ops.serving.decision_client import DecisionClient
from hitl_ops.worlds.household.scene import SceneLost
from hitl_ops.worlds.household.tools import SUCCESS
from tests.support.plays import small_episode
from ui_collect.keyframes import pictured
from ui_collect.simulation.messages import Act, Finish, Input, OpenPlay, Override, Skip
from ui_collect.simulation.opening import open_play
from ui_collect.simulation.partners import OraclePartner, PartnerReply, PolicyPartner, Switchboard
from ui_collect.simulation.play import Answers, Play

PLAY, SESSION = "00000000000000aa", "00000000000000bb"


class Scripted:
    """A partner that says what it was told to say."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[tuple[Observation, int]] = []
        self.says: list[str] = []
        self.closed = False

    def ask(self, observation: Observation, asked_tick: int) -> None:
        self.asked.append((observation, asked_tick))

    def reply(self) -> PartnerReply | None:
        if not self.says or not self.asked:
            return None
        return PartnerReply(self.says.pop(0), "", "scripted", self.asked[-1][1], 3.0, {"logprob": -1.0})

    def close(self) -> None:
        self.closed = True


class Stage:
    """A play and everything it said."""

    def __init__(self, root: Path) -> None:
        self.store = Store.at(root)
        self.partner = Scripted()
        self.said: list[tuple[str, Any]] = []
        self.seq = -1
        self.play = self.opened()

    def opened(self, answers: Answers | None = None, **changes: Any) -> Play:
        asked = OpenPlay(
            play_id=PLAY,
            session_id=SESSION,
            iteration="000",
            episode=small_episode().model_dump(mode="json"),
            attempt=1,
            participant="ann",
            **changes,
        )
        opened = open_play(asked, self.store, "policy-1")
        assert opened.log is not None
        self.told = opened.told
        return Play(
            PLAY,
            opened.session,
            opened.log,
            log_name=opened.log_name,
            partner=self.partner,
            send=lambda kind, payload: self.said.append((kind, payload)),
            answers=answers,
        )

    def lose_the_scene(self) -> None:
        """As a worker does whose scene was killed: the log is closed, and the play taken up again from it."""
        self.play.give_up()
        self.play.log.close()
        self.play = self.opened(self.play.answers, resume=True)
        self.play.join()

    @property
    def log(self) -> Path:
        return self.store.iteration("planner", 0).sessions / SESSION / f"{PLAY}.log.jsonl"

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def act(self, action: str) -> None:
        self.play.take(Act(play_id=PLAY, seq=self.next_seq(), action=action))

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            if self.play.moves:
                self.play.tick()
            self.play.tell()
            self.play.log.flush()  # the disk of these tests is as fast as their clock
            self.play.check_log()

    def until(self, condition: Callable[[], bool], ticks: int = 2000) -> None:
        for _ in range(ticks):
            if condition():
                return
            self.run(1)
        raise AssertionError("waited in vain")

    def heard(self, kind: str) -> list[Any]:
        return [payload for said, payload in self.said if said == kind]

    def do(self, action: str) -> str:
        before = len(self.heard("answer"))
        self.act(action)
        self.until(lambda: len(self.heard("answer")) > before)
        assert self.heard("answer")[-1]["seq"] == self.seq
        return str(self.heard("answer")[-1]["response"])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.play.log.close()


def test_nothing_moves_before_somebody_looks_and_after_they_left(stage: Stage) -> None:
    assert not stage.play.moves and not stage.said
    stage.play.join()
    kinds = [kind for kind, _ in stage.said]
    assert kinds == ["frame", "saved", "partner", "missing"]
    assert stage.heard("frame")[0][0] == 1
    assert stage.heard("missing")[0]["lines"] and "bed" in stage.heard("missing")[0]["lines"][0]
    stage.play.take(Input(play_id=PLAY, seq=0, forward=1.0))
    stage.run(10)
    picture = pictured(stage.heard("frame"))
    assert (picture.tick, picture.seq) == (10, 0)
    body = stage.play.session.world.facts.agents[0]
    assert picture.agents[0].x == pytest.approx(body.x, abs=0.001)
    stage.play.leave()
    told = len(stage.said)
    stage.run(10)
    assert stage.play.session.tick == 10
    assert {kind for kind, _ in stage.said[told:]} <= {"saved"}
    stage.play.join()
    stage.run(5)
    # The keys were let go when nobody looked any more.
    assert stage.play.session.world.facts.agents[0].x == pytest.approx(body.x)
    assert stage.play.session.tick == 15


def test_a_whole_play_by_hand_and_its_record(stage: Stage) -> None:
    play = stage.play
    play.join()
    assert stage.do("Navigate[mug_1]") == SUCCESS
    assert stage.do("Pick[mug_1]") == SUCCESS
    assert stage.do("Navigate[bedroom_bed_1]") == SUCCESS
    assert stage.do("Pick[nothing_1]").startswith("Node with name nothing_1")
    assert stage.do("Place[mug_1, on, bedroom_bed_1, None, None]") == SUCCESS
    assert stage.heard("missing")[-1]["lines"] == []
    stage.until(lambda: play.over is not None, 100)
    assert play.over is not None and (play.over.reason, play.over.success) == ("task", True)
    assert pictured(stage.heard("frame")).over
    assert stage.partner.closed
    play.log.close()
    log = read_session_log(stage.log)
    assert log.header.participant == "ann" and log.header.partner_policy == "policy-1"
    assert log.finish is not None and log.finish.reason == "person"
    played_again = replay(stage.log)
    assert played_again.difference is None and played_again.state_hash == play.over.state_hash
    assert play.over.log == f"sessions/{SESSION}/{PLAY}.log.jsonl"
    # Marks say every second how far the world has come.
    ticks = [event.tick for event in log.events]
    assert max(after - before for before, after in itertools.pairwise(ticks)) <= 30


def test_saved_says_what_is_on_disk(stage: Stage) -> None:
    stage.play.join()
    stage.play.take(Input(play_id=PLAY, seq=4, turn=1.0))
    stage.act("Pick[mug_1]")  # seq 0: older than 4, so it never happened
    stage.play.take(Act(play_id=PLAY, seq=7, action="Explore[bedroom_1]"))
    assert stage.heard("saved") == [{"seq": -1, "n": stage.heard("saved")[0]["n"]}]
    stage.play.log.flush()
    stage.play.check_log()
    saved = stage.heard("saved")[-1]
    events = read_session_log(stage.log).events
    assert saved == {"seq": 7, "n": events[-1].n}
    assert [event.kind for event in events] == ["pause", "resume", "control", "act"]
    for repeated in (4, 7):
        stage.play.take(Act(play_id=PLAY, seq=repeated, action="Pick[mug_1]"))
    assert stage.play.log.next_n == len(events)


def test_the_partner_is_asked_and_heard(stage: Stage) -> None:
    play, partner = stage.play, stage.partner
    play.join()
    stage.run(1)
    ((observation, tick),) = partner.asked
    assert (observation.agent, tick) == (1, 0)
    assert stage.heard("partner")[-1]["status"] == "thinking"
    stage.run(40)
    partner.says.append("Navigate[kitchen_fridge_1]")
    stage.run(2)
    assert stage.heard("partner")[-1] == {
        "status": "acting",
        "action": "Navigate[kitchen_fridge_1]",
        "response": "",
        "decision": 0,
    }
    stage.until(lambda: len(partner.asked) == 2)
    stage.run(1)
    done, thinking = stage.heard("partner")[-2:]
    assert (done["status"], done["response"], done["decision"]) == ("done", SUCCESS, 0)
    assert thinking["status"] == "thinking"
    assert partner.asked[1][0].prompt.startswith(partner.asked[0][0].prompt)
    partner.away = True
    stage.run(1)
    assert stage.heard("partner")[-1]["status"] == "away"
    partner.away = False
    partner.says.append("Done[]")
    stage.run(5)
    assert (stage.heard("partner")[-1]["status"], stage.heard("partner")[-1]["action"]) == ("done", "Done[]")


def test_a_person_decides_for_the_partner(stage: Stage) -> None:
    play, partner = stage.play, stage.partner
    play.join()
    override = Override(play_id=PLAY, seq=3, decision=0, action="Pick[kettle_1]", by="ann")
    play.take(override)
    assert stage.heard("error")[-1]["code"] == "unknown_decision"
    partner.says.append("Explore[bedroom_1]")
    stage.run(5)
    play.take(override)
    stage.until(lambda: bool(stage.heard("answer")))
    answer = stage.heard("answer")[-1]
    assert (answer["seq"], answer["action"]) == (3, "Pick[kettle_1]")
    play.take(Finish(play_id=PLAY, seq=9))
    assert play.over is not None and play.over.reason == "person" and not play.over.success
    (correction,) = play.over.corrections
    assert (correction["original"], correction["corrected"]) == ("Explore[bedroom_1]", "Pick[kettle_1]")
    assert correction["prompt"] == partner.asked[0][0].prompt
    assert play.over.missing


@pytest.mark.parametrize(
    ("end", "reason"), [(Skip(play_id=PLAY, seq=1), "skip"), ("idle", "idle"), ("server", "server")]
)
def test_a_play_ends_once(stage: Stage, end: Any, reason: str) -> None:
    stage.play.join()
    stage.run(3)
    for _ in range(2):
        if isinstance(end, str):
            stage.play.close(end)
        else:
            stage.play.take(end)
    assert stage.play.over is not None and stage.play.over.reason == reason
    stage.act("Pick[mug_1]")
    stage.play.join()
    stage.play.leave()
    stage.run(3)
    stage.play.log.close()
    assert [event.kind for event in read_session_log(stage.log).events] == ["pause", "resume", "finish"]


def test_a_play_is_taken_up_where_its_log_ends(stage: Stage) -> None:
    play = stage.play
    play.join()
    stage.partner.says.append("Explore[bedroom_1]")
    assert stage.do("Navigate[mug_1]") == SUCCESS
    stage.act("Pick[mug_1]")
    play.log.flush()
    at = play.session.digest(), play.session.tick
    play.log.close()  # as a kill does: without a word to the play
    again = stage.opened(resume=True)
    assert (again.session.digest(), again.session.tick) == at
    assert stage.told["resumed"] and stage.told["next_seq"] == stage.seq + 1
    stage.play = again
    assert not again.moves
    stage.said.clear()
    again.join()
    assert stage.heard("saved")[0]["seq"] == stage.seq
    assert stage.heard("partner")[-1]["status"] == "acting"
    stage.until(lambda: again.session.world.facts.agents[0].held == "mug_1")


def test_what_was_not_answered_when_the_scene_was_lost_is_answered_after(stage: Stage) -> None:
    """Each once: what the log has an answer to, what waited for the disk, and what is still under way."""
    stage.play.join()
    assert stage.do("Navigate[mug_1]") == SUCCESS
    stage.act("Navigate[bedroom_bed_1]")
    for _ in range(10):
        stage.play.tick()
    broken_off = stage.seq
    stage.act("Navigate[mug_1]")
    assert len(stage.heard("answer")) == 1, "the disk has not said yet that it holds this"
    stage.lose_the_scene()
    stage.run(1)
    assert stage.heard("answer")[1:] == [
        {"seq": broken_off, "action": "Navigate[bedroom_bed_1]", "response": "Interrupted."}
    ]
    stage.lose_the_scene()
    stage.until(lambda: len(stage.heard("answer")) > 2)
    assert [answer["seq"] for answer in stage.heard("answer")] == [0, broken_off, stage.seq]


def test_an_answer_that_only_the_log_brings_about_is_told(stage: Stage) -> None:
    """The scene was lost between the log's taking an act in and its being carried out."""
    stage.play.join()
    stage.act("Navigate[mug_1]")
    stage.run(3)
    log = stage.play.log
    log.append(
        ActEvent(
            n=log.next_n, tick=stage.play.session.tick, wall=time.time(), seq=stage.next_seq(), action="Navigate[mug_1]"
        )
    )
    stage.lose_the_scene()
    stage.until(lambda: len(stage.heard("answer")) == 2)
    assert [answer["response"] for answer in stage.heard("answer")] == ["Interrupted.", SUCCESS]


@pytest.mark.parametrize("when", ["under way", "answered, not told", "lost as it began", "not in the log"])
def test_a_decision_for_the_partner_is_answered_after_the_scene_was_lost(
    stage: Stage, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.partner.says = ["Navigate[bedroom_bed_1]"]
    stage.play.join()
    stage.until(lambda: bool(stage.play.session.decisions))
    seq = stage.next_seq()
    override = Override(play_id=PLAY, seq=seq, action="Navigate[mug_1]", decision=0)
    if when == "lost as it began":

        def apply(_event: Any) -> None:
            raise SceneLost("the scene's worker has ended", "")

        monkeypatch.setattr(stage.play.session, "apply", apply)
        with pytest.raises(SceneLost):
            stage.play.take(override)
    elif when != "not in the log":
        stage.play.take(override)
        stage.run(1)
    if when == "answered, not told":
        while not stage.play.answers.waiting:
            stage.play.tick()
    assert not stage.heard("answer")
    stage.lose_the_scene()
    stage.play.take(override)  # as a page does that was not told it is kept
    stage.until(lambda: bool(stage.heard("answer")))
    stage.run(30)
    (answer,) = stage.heard("answer")
    assert answer == {"seq": seq, "action": "Navigate[mug_1]", "response": SUCCESS}


def test_a_play_that_was_over_is_over_again(stage: Stage) -> None:
    stage.play.join()
    stage.play.close("idle")
    over = stage.play.over
    assert over is not None
    stage.play.log.close()
    asked = OpenPlay(
        play_id=PLAY, session_id=SESSION, iteration="000", episode={}, attempt=1, resume=True, participant="ann"
    )
    opened = open_play(asked, stage.store, "")
    assert opened.log is None
    assert opened.session.finish is not None and opened.session.finish.state_hash == over.state_hash


def test_with_a_full_disk_the_world_stands_still_and_nothing_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage.play
    play.join()
    stage.run(3)
    assert play.log.flush()
    write, full = os.pwrite, True

    def pwrite(descriptor: int, content: Any, offset: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    stage.act("Explore[bedroom_1]")
    assert not play.log.flush()
    stage.run(1)
    tick = play.session.tick
    stage.run(5)
    assert not play.moves and play.session.tick == tick
    (error,) = stage.heard("error")
    assert error["code"] == "storage_full" and "disk full" in error["message"]
    stage.act("Pick[mug_1]")
    assert stage.play.session.last_seq == stage.seq - 1, "what is not logged does not happen"
    full = False
    assert play.log.retry()
    stage.run(5)
    assert play.moves and play.session.tick > tick
    # The page sends again what was not saved.
    play.take(Act(play_id=PLAY, seq=stage.seq, action="Pick[mug_1]"))
    play.log.flush()
    stage.run(1)
    assert stage.heard("saved")[-1]["seq"] == stage.seq


# --- partners -----------------------------------------------------------------------------------------------------


def test_the_oracle_takes_a_moment(stage: Stage) -> None:
    now = [10.0]
    partner = OraclePartner(stage.play.session, thinks_s=0.3, clock=lambda: now[0])
    observation = stage.play.session.wants_decision()
    assert observation is not None
    partner.ask(observation, 0)
    assert partner.reply() is None
    now[0] += 0.31
    reply = partner.reply()
    assert reply is not None and reply.action in observation.admissible
    assert (reply.policy_id, reply.asked_tick) == ("oracle-partial", 0)
    assert reply.latency_ms >= 300
    assert partner.reply() is None


def test_a_policy_that_is_away_is_asked_again(stage: Stage, tmp_path: Path) -> None:
    now = [10.0]
    session = stage.play.session
    switchboard = Switchboard(DecisionClient(tmp_path / "nobody.sock"))
    partner = PolicyPartner(switchboard, session, PLAY, "incremental", clock=lambda: now[0])
    observation = session.wants_decision()
    assert observation is not None and session.wants_decision() is None
    partner.ask(observation, 0)
    switchboard.receive()
    assert partner.away and switchboard.last_refusal and switchboard.waiting == 0
    assert partner.reply() is None and session.wants_decision() is None
    now[0] += 1.0
    assert partner.reply() is None
    assert session.wants_decision() == observation
