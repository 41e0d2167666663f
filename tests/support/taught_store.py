"""A store for tests with three generations of policies, and the people who taught them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitl_ops.contracts.correction import DecisionCorrection, join_label_ids, prompt_hash
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_bytes, publish_json
from hitl_ops.contracts.sample import Sample
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import EpisodePlay, Label
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
from hitl_ops.samples.parquet import write_samples
from hitl_ops.samples.provenance import PROVENANCE_FILE, write_provenance

PROMPT = "Next Agent_Action:<act>"


@dataclass
class Taught:
    """Who is who in the store of :func:`taught_store`.

    Attributes:
        store: three iterations; each policy started from the one before.
        labels: the people.
        policies: the policies' ids, by iteration.
        plays: ann's play, bob's play, and one of ann's that taught nothing.
        annotator: eve's id.
        said: eve's first word on a decision, her last on it, her word on another, and bob's in his play.
    """

    store: Store
    labels: LabelStore
    policies: list[str]
    plays: list[EpisodePlay]
    annotator: str
    said: list[Label]


def sample(sample_id: str, source: str, iteration: int, *, trace: str = "", labels: Sequence[int] = ()) -> Sample:
    """A sample ``<episode>/…`` of which only where it comes from matters."""
    parts = sample_id.split("/")
    episode = parts[1] if parts[0].isdigit() else parts[0]
    weight = {"distilled": 0.5, "human_gold": 1.0, "expert": 5.0}[source]
    return Sample(
        sample_id=sample_id,
        episode_id=episode,
        split="train",
        scene_id="home",
        task_type="spatial",
        step=int(parts[-2]),
        agent=0,
        source=source,  # type: ignore[arg-type]
        iteration=iteration,
        prompt=PROMPT,
        completion="Wait[]<end_act>",
        weight=weight,
        policy_id="oracle" if source == "distilled" else "planner-000-x",
        trace=f"{trace or episode}.jsonl.gz",
        label_id=join_label_ids(labels),
    )


def write_taught(store: Store, iteration: int, samples: Sequence[Sample], parent: str) -> str:
    """Write an iteration's policy as far as its lineage goes: samples, provenance, card; the weights are none."""
    paths = store.iteration("planner", iteration)
    file = paths.samples / "training_mix.parquet"
    manifest = write_samples(file, samples, prompt_style="incremental")
    publish_bytes(paths.policy / MERGED_FOLDER / "model.safetensors", b"no weights")
    write_provenance(file, paths.policy / PROVENANCE_FILE)
    card = PolicyCard(program="planner", iteration=iteration, parent=parent, samples_hash=manifest.hash, config={})
    publish_json(paths.policy / CARD_FILE, card)
    return card.policy_id


def taught_store(store: Store) -> Taught:
    """Iteration 0 learned from the teacher, 1 from ann's and bob's plays and eve's corrections as well.

    Iteration 2 started from 1 and learned from the teacher alone.
    """
    labels = LabelStore.open(store.labels_url)
    people = [
        labels.use_invitation(labels.create_invitation("planner", 1)[1], display_name=name) for name in ("ann", "bob")
    ]
    plays = []
    for number, (person, success) in enumerate([(people[0], False), (people[1], True), (people[0], False)]):
        play = labels.start_play(person.session.id, f"train_{number}", 1)
        plays.append(
            labels.finish_play(
                play.id, percent_complete=1.0 if success else 0.5, success=success, ended_by="person", seconds=60.0
            )
        )
    eve = labels.admit_annotator(labels.create_invitation("planner", 1, purpose="annotate")[1], "Eve <e>").annotator

    def correct(annotator: str, play: EpisodePlay, decision: int, corrected: str, key: str) -> Label:
        said = DecisionCorrection(
            verdict="error",
            original="Wait[]",
            corrected=corrected,
            reason="the cup is <here>",
            policy_id="planner-000-x",
            prompt_hash=prompt_hash(PROMPT),
        )
        return labels.add_label(
            "correction",
            program="planner",
            iteration=1,
            annotator=annotator,
            client_key=key,
            value=said.model_dump(mode="json"),
            seconds=15.0,
            episode_play_id=play.id,
            decision_index=decision,
        )

    said = [
        correct(eve.id, plays[0], 3, "Done[]", "a"),
        correct(eve.id, plays[0], 3, "Pick[cup_1]", "b"),
        correct(eve.id, plays[0], 5, "Done[]", "c"),
        correct(people[1].participant.id, plays[1], 2, "Explore[kitchen_1]", "d"),
    ]
    distilled = [sample(f"000/train_{n // 2}/{n}/distilled", "distilled", 0) for n in range(6)]
    first = write_taught(store, 0, distilled, "tiny")
    second = write_taught(
        store,
        1,
        [
            *distilled,
            sample("001/train_1/0/human_gold", "human_gold", 1, trace=plays[1].id),
            sample(f"001/train_0/{plays[0].id}/3/expert", "expert", 1, trace=plays[0].id, labels=[said[0].id]),
            sample(f"001/train_0/{plays[0].id}/5/expert", "expert", 1, trace=plays[0].id, labels=[said[2].id]),
            sample(
                f"001/train_1/{plays[1].id}/2/expert", "expert", 1, trace=plays[1].id, labels=[said[3].id, said[2].id]
            ),
        ],
        first,
    )
    third = write_taught(store, 2, [*distilled[:4], sample("002/train_9~1/0/distilled", "distilled", 2)], second)
    return Taught(store, labels, [first, second, third], plays, eve.id, said)
