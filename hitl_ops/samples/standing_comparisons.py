"""Everything people said of a program's clips, joined with the clip sets as they lie in the store."""

from __future__ import annotations

from contextlib import closing

from hitl_ops.contracts.store import Store
from hitl_ops.labels.preferences import Preference, standing_preferences
from hitl_ops.samples.preference_samples import JoinedPreferences, join_preferences


def standing_words(store: Store, program: str, up_to: int | None = None) -> list[Preference]:
    """What stands; nothing where nobody ever said anything.

    Args:
        store: where everything is kept.
        program: whose clips.
        up_to: the last iteration that counts; None: all.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: the label store's URL is of no kind we know.
    """
    from hitl_ops.labels.label_store import LabelStore

    found = LabelStore.open_existing(store.labels_url)
    if found is None:
        return []
    with closing(found) as labels:
        words = standing_preferences(labels, program)
    return [word for word in words if up_to is None or word.iteration <= up_to]


def join_standing(
    store: Store, program: str, up_to: int | None = None, *, one_sided_count: bool = False
) -> JoinedPreferences:
    """What stands, and where the clips lie that it is about.

    Args:
        store: where everything is kept.
        program: whose clips.
        up_to: the last iteration that counts; None: all.
        one_sided_count: as of :func:`hitl_ops.samples.preference_samples.join_preferences`.

    Raises:
        UserError: as of that.
        LabelStoreUnavailable: the label store does not answer.
    """
    words = standing_words(store, program, up_to)
    return join_preferences(
        words, lambda number: store.iteration(program, number).clips, one_sided_count=one_sided_count
    )
