"""Words said of a station's episodes afterwards, for tests."""

from __future__ import annotations

import uuid

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Label
from hitl_ops.labels.station_verdicts import PROGRAM, EpisodeVerdict, SaidOfEpisode, episode_target


def say_of_episode(labels: LabelStore, episode_id: str, said: SaidOfEpisode, *, epoch: int) -> Label:
    """Say something of an episode, as somebody on the page does."""
    return labels.add_label(
        "verdict",
        program=PROGRAM,
        iteration=epoch,
        annotator="eva",
        client_key=uuid.uuid4().hex,
        value=EpisodeVerdict(episode_id=episode_id, said=said).model_dump(mode="json"),
        seconds=2.0,
        target=episode_target(episode_id),
    )
