"""What people said of pairs, as data versions (see ``told_versions``), and how far an iteration's pairs are answered.

A version says what was chosen, by whom, of which clips; how long it took them does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from hitl_assets.preference_iterations import PREFERENCE_LOOP, PROGRAM, preference_input
from hitl_assets.preference_presets import PreferencePreset
from hitl_assets.told_versions import NOTHING, new_observations, version_of
from hitl_ops.contracts.store import Store

if TYPE_CHECKING:
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.preferences import Preference


@dataclass(frozen=True)
class Answered:
    """How far an iteration's pairs are answered.

    Attributes:
        answers: pairs that somebody's word stands of, each counted once, however many have said something of it.
        wanted: pairs after which the iteration learns.
        version: of everything that stands up to the iteration.
        unshown: pairs nobody has answered and nobody can: a clip of theirs cannot be shown.
        one_sided: people who say nearly always the same side; their answers are not counted.
    """

    answers: int
    wanted: int
    version: str
    unshown: int = 0
    one_sided: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Answers that are still to be given."""
        return max(0, self.wanted - self.answers)

    @property
    def told(self) -> str:
        """What is missing, and what did not count, as people are told."""
        told = f"{self.answers} of {self.wanted} comparisons: {self.missing} are missing"
        if self.unshown:
            told += f"; {self.unshown} pairs cannot be shown"
        if self.one_sided:
            told += f"; what {', '.join(self.one_sided)} said does not count, nearly always the same side"
        return told


def words_up_to(labels: LabelStore | None, iteration: int) -> list[Preference]:
    """Everything that stands of an iteration's pairs, and of those before it; none where there is no label store.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    from hitl_ops.labels.preferences import standing_preferences

    if labels is None:
        return []
    return [word for word in standing_preferences(labels, PROGRAM) if word.iteration <= iteration]


def version_of_words(words: Iterable[Preference]) -> str:
    """Hash of what people said."""
    from hitl_ops.labels.preferences import preference_target

    said = sorted([preference_target(word.said, word.annotator), word.said.model_dump_json()] for word in words)
    return version_of(said) if said else NOTHING


def answered(store: Store, words: Iterable[Preference], chosen: PreferencePreset, iteration: int) -> Answered:
    """How far an iteration's pairs are answered.

    Args:
        store: holds its clips.
        words: what stands up to the iteration.
        chosen: the program's preset.
        iteration: its number.

    Raises:
        UserError: the iteration has no clips, or what is noted of them is damaged.
    """
    from hitl_ops.labels.annotator_consistency import annotator_consistency
    from hitl_ops.records.clips import open_clip_set
    from hitl_ops.records.unshown_clips import pairs_not_shown
    from hitl_ops.samples.comparison_queue import fits

    given = list(words)
    clip_set = open_clip_set(store.iteration(PROGRAM, iteration).clips)
    own = [word for word in given if word.iteration == iteration and not word.said.repeat and fits(word.said, clip_set)]
    suspects = set()
    if chosen.reward.weigh_annotators:
        suspects = {name for name, one in annotator_consistency(given).items() if one.one_sided}
    pairs = {word.said.pair_id for word in own if word.annotator not in suspects}
    unshown = pairs_not_shown(clip_set).keys() - pairs
    return Answered(
        len(pairs),
        # Where nothing at all can be shown, nothing is learned.
        max(1, chosen.wanted_of(iteration, len(clip_set.pairs) - len(unshown))),
        version_of_words(given),
        len(unshown),
        tuple(sorted(suspects & {word.annotator for word in own})),
    )


def preference_observations(
    instance: dg.DagsterInstance, labels: LabelStore | None, keys: Iterable[str]
) -> list[dg.AssetObservation]:
    """The observations that say how everything stands now, those left out that would say nothing new.

    Args:
        instance: Dagster's instance.
        labels: the label store; None where nobody ever said anything.
        keys: partition keys of the iterations, those that are being opened included.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    opened = sorted(keys, key=int)
    words = words_up_to(labels, int(opened[-1])) if opened else []
    return new_observations(
        instance,
        {
            (preference_input.key, key): (version_of_words(w for w in words if w.iteration <= int(key)), {})
            for key in opened
        },
    )


def report_preference_versions(instance: dg.DagsterInstance, store: Store) -> int:
    """Tell Dagster how everything stands now, in all opened iterations; returns how many versions are new.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    from resources.store import StoreResource

    with StoreResource(home=str(store.root)).opened_labels() as labels:
        told = preference_observations(instance, labels, PREFERENCE_LOOP.opened(instance))
    for observation in told:
        instance.report_runless_asset_event(observation)
    return len(told)
