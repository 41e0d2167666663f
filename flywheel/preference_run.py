"""One iteration of the preference program by hand: from clips to compare to the policy that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from flywheel.demo_stages import Stages
    from hitl_assets.preference_presets import PreferencePreset
    from hitl_ops.contracts.store import Store

COMPARING = "comparing"

# What a person calls the stages, in their order; all but the one in which people compare are assets.
PREFERENCE_STAGES: Mapping[str, str] = {
    "clip_pairs": "the arm acts, clips are cut and paired",
    COMPARING: "which is better? people say",
    "preference_labels": "what they said, with what they saw",
    "reward_model": "a reward is learned from it",
    "reach_policy": "the policy learns by the reward",
    "reach_control": "the control learns by the world's own",
    "reach_evaluation": "all reach for unseen targets",
    "reach_promotion": "not worse? then it serves",
}


@dataclass(frozen=True)
class PreferenceTurns:
    """What every stage of an iteration works with.

    Attributes:
        store: holds everything.
        instance: Dagster's.
        preset: name of the scale.
        overrides: ``section.key=value`` laid over it.
        chosen: the two together.
        errors: where stages and defects are told.
    """

    store: Store
    instance: dg.DagsterInstance
    preset: str
    overrides: Sequence[str]
    chosen: PreferencePreset
    errors: Console

    def job(self, name: str, key: str, stages: Stages) -> int:
        """Run a job of the graph for an iteration; returns an exit code.

        Raises:
            UserError: it failed by something that can be mended, or a check stopped it.
        """
        from flywheel.job_run import preference_scale, run_job
        from hitl_assets.preference_versions import report_preference_versions

        # What the run is made from is told before it starts: said later, it would count as a change.
        report_preference_versions(self.instance, self.store)
        return run_job(
            name,
            key,
            store=self.store,
            instance=self.instance,
            scale=preference_scale(self.preset, self.overrides),
            stages=stages,
            errors=self.errors,
        )


def run_preference_iteration(turns: PreferenceTurns, iteration: int, stages: Stages) -> int:
    """Open an iteration and bring it to its end, scripted people comparing; what is done already is not done again.

    Args:
        turns: what to work with.
        iteration: its number.
        stages: told what is at work.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended, or no policy serves yet.
    """
    from flywheel.compare_scripted import compare_by_script
    from hitl_assets.preference_iterations import open_first_preference_iteration
    from hitl_assets.preference_opening import open_preference_iteration

    if iteration:
        key = open_preference_iteration(turns.instance, turns.store, iteration)
    else:
        key = open_first_preference_iteration(turns.instance)
    if code := turns.job("preference_clips", key, stages):
        return code
    compare_by_script(turns.store, iteration, turns.chosen.annotator, stages.of(COMPARING))
    stages.ended()
    return turns.job("preference_learning", key, stages)
