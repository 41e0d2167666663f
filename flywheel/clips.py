"""``flywheel clips``: clips of what was done, and the pairs of them that people are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.contracts.config import StrictConfig
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.preferences import Preference
    from hitl_ops.models.clip_reward import ClipReward
    from hitl_ops.records.clips import Clip, ClipSetFacts
    from hitl_ops.samples.clip_queries import ClipWorth

    ConfigT = TypeVar("ConfigT", bound=StrictConfig)


class ClipProgram(StrEnum):
    """Whose episodes clips are cut from."""

    planner = "planner"
    station = "station"
    preference = "preference"


KIND_OF = {"planner": "planner", "station": "station", "preference": "reach"}
"""What a program's clips say they are."""


def clips(
    program: Annotated[ClipProgram, typer.Option(help="Whose episodes the clips are cut from.")],
    iteration: Annotated[
        int | None,
        typer.Option(
            "--iteration",
            "-i",
            min=0,
            help="The iteration, or a station's epoch; by default the newest, or all epochs.",
        ),
    ] = None,
    reward: Annotated[
        Path | None,
        typer.Option(help="Folder of a learned reward: pairs are asked on which it disagrees. [default: by lot]"),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Preference program: folder of the arm's policy. [default: an arm that moves by lot]"),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Pairs to ask about, at most. [default: 50, or the preset's]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is drawn by lot. [default: 0]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The set's folder; by default rollouts/clips in the iteration's folder.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preference program: scale to start from. [default: laptop]")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Cut clips that people compare, from plays of the planner, from what stations recorded, or of the arm.

    A set that lies there already is replaced; clips that people have compared stay in it. A set of the arm is not
    replaced once somebody has compared clips of it. `flywheel compare` shows it.
    """
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.records.clips import open_clip_set

    if program is not ClipProgram.preference and (policy or preset):
        raise UserError(f"--{'policy' if policy else 'preset'} is for the arm", "leave it out, or name its program")
    store = Store.from_environment() if root is None else Store.at(root)
    key = store.newest_iteration(program) if iteration is None else iteration
    folder = out or store.iteration(program, key).clips
    asked = _Asked(store, program, iteration, reward, policy, pairs, seed, preset, config, overrides, folder, key)
    make = {
        ClipProgram.planner: _planner,
        ClipProgram.station: _station,
        ClipProgram.preference: _preference,
    }[program]
    with progress_bar("clips") as progress:
        facts = make(asked, progress)
    for file, why in facts.made.get("left_out", {}).items():
        print(f"left out: {why if file in why else f'{file}: {why}'}")
    print(f"{len(facts.clips)} clips, {len(open_clip_set(folder).pairs)} pairs: {folder}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line said."""

    store: Store
    program: ClipProgram
    iteration: int | None
    reward: Path | None
    policy: Path | None
    pairs: int | None
    seed: int | None
    preset: str | None
    file: Path | None
    overrides: list[str]
    out: Path
    key: int

    def config(self, model: type[ConfigT], **options: int | None) -> ConfigT:
        """A program's configuration; what stands on the command line lies over its file."""
        from flywheel.configuration import resolve_config

        named = {"pairs": self.pairs, "seed": self.seed, **options}
        return resolve_config(model, {"": model()}, preset="", file=self.file, overrides=self.overrides, options=named)

    def judge(self) -> ClipReward | None:
        """The learned reward.

        Raises:
            UserError: there is none where one was named, or it is of other clips.
        """
        if self.reward is None:
            return None
        from flywheel.learned_reward import reward_folder
        from hitl_ops.models.clip_reward import load_clip_reward

        judge = load_clip_reward(reward_folder(self.reward.expanduser().absolute()))
        judge.check([KIND_OF[self.program]])
        return judge

    def worth(self) -> ClipWorth | None:
        """What the learned reward says of clips."""
        from hitl_ops.samples.clip_queries import clip_worth

        judge = self.judge()
        return None if judge is None else clip_worth(judge.model, judge.worth)

    def words(self) -> Sequence[Preference]:
        """What people said of the clips of this iteration, wherever the set is to lie."""
        from hitl_ops.samples.standing_comparisons import standing_words

        return [word for word in standing_words(self.store, self.program) if word.iteration == self.key]

    def compared(self) -> list[Clip]:
        """Clips of the set in whose place the new one comes that people have compared."""
        from hitl_ops.samples.compared_clips import compared_clips

        return compared_clips(self.out, self.words())


def _planner(asked: _Asked, progress: Progress) -> ClipSetFacts:
    from hitl_ops.samples.planner_clips import PlannerClipConfig, make_planner_clips

    config = asked.config(PlannerClipConfig, iteration=asked.iteration)
    return make_planner_clips(asked.store, config, asked.out, progress, worth=asked.worth(), compared=asked.compared())


def _station(asked: _Asked, progress: Progress) -> ClipSetFacts:
    from hitl_ops.samples.station_clips import StationClipConfig, make_station_clips

    config = asked.config(StationClipConfig, epoch=asked.iteration)
    return make_station_clips(asked.store, config, asked.out, progress, worth=asked.worth(), compared=asked.compared())


def _preference(asked: _Asked, progress: Progress) -> ClipSetFacts:
    from flywheel.arm_clips import ArmClips, make_arm_clips

    wanted = ArmClips(asked.pairs, asked.seed, asked.preset or "laptop", asked.file, asked.overrides)
    return make_arm_clips(asked.store, asked.key, asked.out, wanted, asked.policy, asked.judge(), progress)
