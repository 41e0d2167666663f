"""``flywheel forget``: take a play back, so that nothing is made of it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def forget(
    play: Annotated[str, typer.Argument(metavar="PLAY", help="The play's id.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the play.")] = "",
    by: Annotated[str, typer.Option(help="Who asks for it; kept with the play.")] = "operator",
    files: Annotated[bool, typer.Option("--files", help="Also delete its records, for good.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let a play count again that was taken back.")] = False,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Take a play back: it counts nowhere from now on, and what was made of it is stale until it is made again.

    Its row stays in the label store, with who took it back and why; so do the labels about it, which count no more.
    """
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.rollouts.session_closing import delete_play_files

    if files and undo:
        raise UserError("--files and --undo exclude each other", "what is deleted cannot count again")
    store = Store.at(root) if root else Store.from_environment()
    labels = LabelStore.open(store.labels_url)
    kept = labels.restore_play(play) if undo else labels.withdraw_play(play, reason, by)
    session = labels.session(kept.session_id)
    if session is None:
        raise UserError(f"play '{play}' belongs to no session", "the label store was changed by hand: restore it")
    paths = store.iteration(session.program, session.iteration)
    where = f"iteration {paths.key} of '{session.program}'"
    if undo:
        print(f"play {play} of {where} counts again; materialise session_logs to take it up")
        return
    print(f"play {play} of {where} counts nowhere; materialise session_logs to make anew what was made of it")
    if files:
        for file in delete_play_files(paths.sessions, kept.session_id, play):
            print(f"deleted {file}")
