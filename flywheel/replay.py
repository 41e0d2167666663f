"""``flywheel replay``: play a person's play again from its log, and see that it ends as it did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hitl_ops.rollouts.session_replay import ReplayedPlay


def replay(
    what: Annotated[
        str, typer.Argument(metavar="SESSION|FILE", help="A session's id or folder, or the log of one play.")
    ],
    video: Annotated[
        Path | None, typer.Option(help="Film the play as mp4; of a session's plays, one file each, numbered.")
    ] = None,
) -> None:
    """Replay a session from its logs and compare where it ends with what was recorded.

    Prints, a play a line: the play, its ticks, how far the task came, the hash of the final state, and whether that
    is the recorded one. Exit code 2 where it is not.
    """
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.rollouts.session_replay import replay as replay_log

    differing: list[str] = []
    logs = _logs(what)
    for number, file in enumerate(logs, start=1):
        played = replay_log(file)
        print(_line(played))
        if played.difference is not None:
            differing.append(f"play {played.log.header.play_id} ends differently: {played.difference}")
        if video is not None:
            print(_film(played, video if len(logs) == 1 else video.with_stem(f"{video.stem}-{number}")))
    if differing:
        raise UserError("; ".join(differing), "replay it with the version that recorded it")


def _logs(what: str) -> list[Path]:
    """The logs meant: a file, those of a folder, or those of a session anywhere in the store; each play once."""
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import PROGRAMS, Store
    from hitl_ops.records.session_log import list_session_logs, play_of

    path = Path(what).expanduser()
    if path.is_file():
        return [path]
    folders = [path] if path.is_dir() else []
    if not folders and what.replace("-", "").isalnum():
        root = Store.from_environment().root
        folders = [folder for program in PROGRAMS for folder in sorted(root.glob(f"{program}/*/sessions/{what}"))]
    if not folders:
        raise UserError(f"session '{what}' does not exist", "give a session's id or folder, or the log of one play")
    # Of a play that was being closed when its process ended, the closed log is the same as the open one.
    plays = {play_of(log): log for folder in folders for log in list_session_logs(folder)}
    if not plays:
        raise UserError(f"session '{what}' has no logs", "its plays have not begun")
    return list(plays.values())


def _line(played: ReplayedPlay) -> str:
    session, finish = played.session, played.log.finish
    verdict = "not finished" if finish is None else "as recorded" if played.difference is None else "DIFFERS"
    return (
        f"{played.log.header.play_id}  {session.tick} ticks  {session.percent_complete:.0%} complete  "
        f"state {played.state_hash}  {verdict}"
    )


def _film(played: ReplayedPlay, path: Path) -> Path:
    from flywheel.progress_bar import progress_bar
    from hitl_ops.evaluation.play_film import film_play

    with progress_bar("video") as progress:
        film_play(played.log, path, progress)
    return path
