"""``flywheel rank-clips``: clips from the best to the worst, by what a learned reward holds them to be worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.train_reward import RewardProgram

if TYPE_CHECKING:
    from hitl_ops.evaluation.clip_ranking import RankedClip


def rank_clips(
    reward: Annotated[Path, typer.Option(help="Folder of a learned reward.")],
    program: Annotated[RewardProgram | None, typer.Option(help="Whose clips, of the newest that has some.")] = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", "-i", min=0, help="With --program: of this iteration.")
    ] = None,
    clips: Annotated[Path | None, typer.Option(help="Folder of one clip set, wherever it lies.")] = None,
    most: Annotated[int, typer.Option(min=0, help="Show so many from either end; 0: all.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON, the best first.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write all of them to, as JSON.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Rank a set of clips by a learned reward, with the file that each was cut from.

    A reward that was taught that a clip is worth its steps' mean ranks by that, any other one by their sum.
    """
    from flywheel.learned_reward import reward_folder
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.models.clip_reward import load_clip_reward
    from hitl_ops.records.clips import open_clip_set

    if (program is None) == (clips is None):
        raise UserError("it is not said which clips to rank", "name either --program or --clips")
    if clips is not None and iteration is not None:
        raise UserError("--iteration is of a program's clips", "leave it out, or name --program in place of --clips")
    folder = clips.expanduser() if clips is not None else _newest(str(program), iteration, root)
    found = open_clip_set(folder)
    judge = load_clip_reward(reward_folder(reward.expanduser().absolute()))
    judge.check(facts.kind for facts in found.facts.clips)

    from hitl_ops.evaluation import clip_ranking

    ranked = clip_ranking.rank_clips(found, judge.score, judge.worth)
    if out is not None:
        clip_ranking.write_ranking(ranked, out)
    if as_json:
        _print_json(ranked)
        return
    print(clip_ranking.ranking_table(ranked, most))
    means = clip_ranking.mean_scores(ranked)
    if len(means) > 1:
        print("by who acted, per step: " + ", ".join(f"{name or 'unknown'} {mean:.4f}" for name, mean in means.items()))


def _newest(program: str, iteration: int | None, root: Path | None) -> Path:
    """The clip set of an iteration, or the newest there is."""
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    if iteration is not None:
        return store.iteration(program, iteration).clips
    newest = store.newest_iteration(program)
    folders = (store.iteration(program, number).clips for number in range(newest, -1, -1))
    return next((folder for folder in folders if folder.is_dir()), store.iteration(program, newest).clips)


def _print_json(ranked: list[RankedClip]) -> None:
    import json

    print(json.dumps([one.model_dump(mode="json") for one in ranked], indent=2))
