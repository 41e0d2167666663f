"""Whether everything people were promised lies on disk: acknowledged events in the logs, finished plays closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.session_events import ActEvent, ControlEvent, FinishEvent, OverrideEvent, SessionEvent
from hitl_ops.records.session_export import episode_file_path, read_episode_file
from hitl_ops.records.session_log import SessionLog, list_session_logs, play_of, read_session_log
from hitl_ops.records.traces import read_trace, trace_path
from hitl_ops.rollouts.session_closing import TRACE_FOLDER
from hitl_ops.rollouts.session_replay import replay
from ui_collect.scripted_people.page import PlayLedger, Said
from ui_collect.scripted_people.person import Person


@dataclass
class Audit:
    """What was found.

    Attributes:
        plays: plays people took part in.
        acknowledged: events people were told are on disk.
        lost: those that are not, in words.
        closed: finished plays whose record is complete and replays to the recorded state.
        invalid: finished plays where that is not so, and files nobody could read, in words.
        half_files: files of unfinished writes.
    """

    plays: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    closed: int = 0
    invalid: list[str] = field(default_factory=list)
    half_files: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.lost and not self.invalid and not self.half_files


def audit(store: Store, labels: LabelStore, people: Iterable[Person], *, replays: bool = True) -> Audit:
    """Hold what people were told against what is on disk.

    Args:
        store: the server's.
        labels: its label store.
        people: who played.
        replays: play every finished play again and compare its end; takes a tenth of a second or so each.
    """
    found = Audit()
    for person in people:
        row = labels.session_by_token(person.token)
        if row is None:
            found.lost.append(f"person {person.report.number}: the session is gone")
            continue
        folder = store.iteration(row.program, row.iteration).sessions / row.id
        logs = _logs(folder, found)
        for index, ledger in sorted(person.page.ledgers.items()):
            found.plays += 1
            _check_events(f"person {person.report.number}, play {index}", ledger, logs.get(index), found)
        for play in labels.session_plays(row.id):
            if play.finished_at is not None and play.record_file:
                _check_record(folder, play, found, replays=replays)
            elif play.finished_at is not None:
                found.invalid.append(f"play {play.id} is finished ({play.ended_by}) and has no record")
    for path in sorted(store.root.rglob(f"*{TEMPORARY_MARK}*")):
        found.half_files.append(str(path.relative_to(store.root)))
    return found


def _logs(folder: Path, found: Audit) -> dict[int, SessionLog]:
    """A session's logs by the play's index."""
    logs: dict[int, SessionLog] = {}
    for file in list_session_logs(folder):
        try:
            log = read_session_log(file)
        except UserError as error:
            found.invalid.append(str(error))
            continue
        logs[log.header.index] = log
    return logs


def _check_events(who: str, ledger: PlayLedger, log: SessionLog | None, found: Audit) -> None:
    promised = {seq: said for seq, said in ledger.said.items() if seq <= ledger.saved_seq}
    found.acknowledged += len(promised)
    if log is None:
        if promised or ledger.saved_n >= 0:
            found.lost.append(f"{who}: there is no log")
        return
    if ledger.saved_n >= len(log.events):
        found.lost.append(f"{who}: event {ledger.saved_n} was acknowledged, the log holds {len(log.events)}")
    kept = {event.seq: event for event in log.events if isinstance(event, ControlEvent | ActEvent | OverrideEvent)}
    finished = any(isinstance(event, FinishEvent) for event in log.events)
    for seq, said in promised.items():
        if said.kind in ("skip", "finish"):
            if not finished:
                found.lost.append(f"{who}: {said.kind} {seq} was acknowledged, and the play is not finished")
        elif seq not in kept:
            found.lost.append(f"{who}: {said.kind} {seq} ({said.what}) was acknowledged and is not in the log")
        elif not _same(said, kept[seq]):
            found.lost.append(f"{who}: {said.kind} {seq} is kept as something else than '{said.what}'")


def _same(said: Said, event: SessionEvent) -> bool:
    if isinstance(event, ControlEvent):
        return said.kind == "control" and said.what == str((event.forward, event.strafe, event.turn))
    return isinstance(event, ActEvent | OverrideEvent) and said.kind == event.kind and said.what == event.action


def _check_record(folder: Path, play: EpisodePlay, found: Audit, *, replays: bool) -> None:
    try:
        record = read_episode_file(episode_file_path(folder, play.id))
        if record.episode.task_percent_complete != play.percent_complete:
            raise UserError(f"play {play.id}: its record and its row tell different outcomes", "")
        read_trace(trace_path(folder / TRACE_FOLDER, play.id))
        log = next(file for file in list_session_logs(folder, closed=True) if play_of(file) == play.id)
        finish = read_session_log(log).finish
        if finish is None or finish.state_hash != play.state_hash:
            raise UserError(f"play {play.id}: its log and its row tell different ends", "")
        if replays and (difference := replay(log).difference) is not None:
            raise UserError(f"play {play.id} replays differently: {difference}", "")
    except StopIteration:
        found.invalid.append(f"the log of play {play.id} is not closed")
    except UserError as error:
        found.invalid.append(str(error))
    else:
        found.closed += 1
