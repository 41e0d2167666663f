"""One weighted training set out of all iterations so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_text
from hitl_ops.contracts.sample import Sample, Source
from hitl_ops.contracts.store import Store
from hitl_ops.samples import training_mix
from hitl_ops.samples.parquet import read_manifest, read_samples, write_samples
from hitl_ops.samples.training_mix import MixConfig, MixSummary, build_training_mix, mix_path
from hitl_ops.training.sample_reader import read_sample_rows, split_episodes


def _prompt(text: str) -> str:
    return f"{text}\nNext Agent_Action:<act>"


class Shelf:
    """Sample files of several iterations."""

    def __init__(self, root: Path) -> None:
        self.store = Store.at(root)

    def put(
        self,
        iteration: int,
        source: Source,
        *says: tuple[str, str],
        episode: str = "e1",
        trace: str = "",
        style: str = "incremental",
    ) -> list[Sample]:
        """Samples of one trace: what was read, and what is to be done."""
        trace = trace or f"{source}-{iteration}"
        samples = [
            Sample(
                sample_id=f"{episode}/{trace}/{step}/{source}",
                episode_id=episode,
                split="train",
                scene_id="home",
                task_type="spatial",
                step=step,
                agent=1,
                source=source,
                iteration=iteration,
                prompt=_prompt(prompt),
                completion=f"{action}<end_act>",
                weight=77.0,
                policy_id="policy-1",
                trace=f"{trace}.jsonl.gz",
                label_id="3" if source == "expert" else "",
            )
            for step, (prompt, action) in enumerate(says)
        ]
        file = self.store.iteration("planner", iteration).samples / f"{source}.parquet"
        before = list(read_samples(file)) if file.is_file() else []
        write_samples(file, [*before, *samples], prompt_style=style)
        return samples

    def verdict(self, iteration: int, promote: bool) -> None:
        text = json.dumps({"promote": promote, "reason": "as the test wants", "episodes": 3})
        publish_text(self.store.iteration("planner", iteration).evaluation / "gate.json", text)

    def mix(self, iteration: int = 1, **config: Any) -> tuple[MixSummary, list[Sample]]:
        summary = build_training_mix(self.store, "planner", iteration, MixConfig(**config))
        return summary, list(read_samples(self.file(iteration)))

    def file(self, iteration: int = 1) -> Path:
        return mix_path(self.store.iteration("planner", iteration))

    def taken(self, iteration: int = 1, **config: Any) -> list[str]:
        """Ids of the samples taken."""
        return [sample.sample_id for sample in self.mix(iteration, **config)[1]]


@pytest.fixture
def shelf(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Shelves; the card's pictures take seconds, so only the test that looks at the card has one drawn."""
    if request.function is not test_the_file_says_what_it_is_made_of:
        monkeypatch.setattr(training_mix, "write_data_card", lambda parquet, out_dir: None)
    return Shelf(tmp_path)


def test_the_first_iteration_is_the_teachers(shelf: Shelf) -> None:
    (taught,) = shelf.put(0, "distilled", ("a", "Wait[]"))
    summary, (sample,) = shelf.mix(0)
    assert sample == taught.model_copy(update={"sample_id": f"000/{taught.sample_id}", "weight": 0.5})
    assert (summary.samples, summary.episodes, summary.by_source) == (1, 1, {"distilled": 1})
    assert (summary.by_iteration, summary.weight_by_source) == ({"000": {"distilled": 1}}, {"distilled": 0.5})
    assert summary.prompt_style == "incremental" and summary.manifest_hash == read_manifest(shelf.file(0)).hash


def test_every_source_of_every_iteration_is_weighted_by_where_it_comes_from(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"), ("b", "Done[]"))
    shelf.put(1, "human_gold", ("c", "Wait[]"), episode="e2")
    shelf.put(1, "expert", ("d", "Wait[]"), episode="e2")
    shelf.put(2, "expert", ("e", "Wait[]"), episode="e3~1")
    shelf.put(3, "expert", ("f", "Wait[]"))
    summary, samples = shelf.mix(2)
    assert [(sample.sample_id[:3], sample.source, sample.iteration, sample.weight) for sample in samples] == [
        ("000", "distilled", 0, 0.5),
        ("000", "distilled", 0, 0.5),
        ("001", "human_gold", 1, 1.0),
        ("001", "expert", 1, 5.0),
        ("002", "expert", 2, 5.0),
    ]
    assert summary.by_iteration == {
        "000": {"distilled": 2},
        "001": {"expert": 1, "human_gold": 1},
        "002": {"expert": 1},
    }
    assert summary.weight_by_source == {"distilled": 1.0, "human_gold": 1.0, "expert": 10.0}
    assert summary.episodes == 3
    assert list(summary.inputs) == ["000/distilled", "001/human_gold", "001/expert", "002/expert"]
    assert [sample.label_id for sample in samples] == ["", "", "", "3", "3"]
    other = shelf.mix(2, expert=1.0, human_gold=0.25, distilled=3.0)[1]
    assert [sample.weight for sample in other] == [3.0, 3.0, 0.25, 1.0, 1.0]


def test_the_file_says_what_it_is_made_of(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"))
    shelf.put(1, "expert", ("d", "Wait[]"))
    summary, _ = shelf.mix(1)
    notes = read_manifest(shelf.file()).notes
    assert json.loads(notes["taken"]) == summary.by_iteration
    assert json.loads(notes["inputs"]) == summary.inputs
    file = shelf.store.iteration("planner", 1).samples / "expert.parquet"
    assert summary.inputs["001/expert"] == read_manifest(file).hash
    assert MixConfig.model_validate_json(notes["config"]) == MixConfig()
    card = json.loads((shelf.file().with_suffix("") / "data_card.json").read_text())
    assert card["by_source"] == {"distilled": 1, "expert": 1} and card["manifest_hash"] == summary.manifest_hash


def test_the_same_files_give_the_same_bytes(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"), ("b", "Done[]"))
    shelf.put(1, "expert", ("d", "Wait[]"))
    first = shelf.mix(1)[0]
    content = shelf.file().read_bytes()
    assert shelf.mix(1)[0] == first and shelf.file().read_bytes() == content
    assert shelf.mix(1, expert=4.0)[0].manifest_hash != first.manifest_hash


def test_what_weighs_nothing_or_is_not_asked_for_is_not_read(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"))
    shelf.put(1, "human_gold", ("b", "Wait[]"))
    shelf.put(1, "expert", ("a", "Done[]"))
    assert [one[:3] for one in shelf.taken(1)] == ["001", "001"]  # the teacher was corrected
    weightless, samples = shelf.mix(1, expert=0)
    assert [sample.source for sample in samples] == ["distilled", "human_gold"]
    assert "001/expert" not in weightless.inputs and weightless.dropped == {}
    assert [sample.source for sample in shelf.mix(1, sources=("expert",))[1]] == ["expert"]


def test_a_correction_is_the_last_word_on_its_prompt(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("start", "Wait[]"), ("later", "Wait[]"))
    shelf.put(1, "human_gold", ("start", "Explore[kitchen_1]"), ("other", "Wait[]"), trace="play-1")
    shelf.put(1, "expert", ("start", "Explore[bedroom_1]"), trace="play-1")
    summary, samples = shelf.mix(1)
    assert [(sample.prompt.split("\n")[0], sample.completion, sample.source) for sample in samples] == [
        ("later", "Wait[]<end_act>", "distilled"),
        ("other", "Wait[]<end_act>", "human_gold"),
        ("start", "Explore[bedroom_1]<end_act>", "expert"),
    ]
    assert summary.dropped == {"corrected": 2}


def test_a_later_correction_contradicts_an_earlier_one(shelf: Shelf) -> None:
    shelf.put(1, "expert", ("a", "Wait[]"), ("b", "Wait[]"))
    shelf.put(2, "expert", ("a", "Done[]"), ("b", "Wait[]"))
    summary, samples = shelf.mix(2)
    assert [(sample.iteration, sample.prompt[0], sample.completion) for sample in samples] == [
        (1, "b", "Wait[]<end_act>"),
        (2, "a", "Done[]<end_act>"),
    ]
    assert summary.dropped == {"corrected otherwise later": 1, "said in an earlier iteration": 1}
    assert [sample.completion for sample in shelf.mix(1)[1]] == ["Wait[]<end_act>"] * 2


def test_what_was_said_before_is_not_said_again(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"), trace="one")
    shelf.put(0, "distilled", ("a", "Wait[]"), trace="two")
    shelf.put(1, "human_gold", ("a", "Wait[]"), ("b", "Wait[]"))
    shelf.put(2, "human_gold", ("a", "Wait[]"), ("b", "Done[]"))
    summary, samples = shelf.mix(2)
    # The teacher says so twice in one iteration, a person is another source, "b" is answered otherwise.
    assert [sample.sample_id for sample in samples] == [
        "000/e1/one/0/distilled",
        "000/e1/two/0/distilled",
        "001/e1/human_gold-1/0/human_gold",
        "001/e1/human_gold-1/1/human_gold",
        "002/e1/human_gold-2/1/human_gold",
    ]
    assert summary.dropped == {"said in an earlier iteration": 1}


def test_ids_are_unique_over_iterations(shelf: Shelf) -> None:
    for iteration in (1, 2):
        shelf.put(iteration, "human_gold", (f"a{iteration}", "Wait[]"), trace="same")
    assert shelf.taken(2) == ["001/e1/same/0/human_gold", "002/e1/same/0/human_gold"]


def test_a_refused_iterations_people_are_left_out_later(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"))
    shelf.put(1, "distilled", ("b", "Wait[]"))
    shelf.put(1, "human_gold", ("c", "Wait[]"))
    shelf.put(1, "expert", ("a", "Done[]"))
    shelf.put(2, "expert", ("e", "Wait[]"))
    shelf.verdict(1, promote=True)
    assert len(shelf.taken(2)) == 4
    shelf.verdict(1, promote=False)
    summary, samples = shelf.mix(2)
    # What they corrected is what it was.
    assert [(sample.iteration, sample.source) for sample in samples] == [
        (0, "distilled"),
        (1, "distilled"),
        (2, "expert"),
    ]
    assert summary.refused == ["001"]
    assert len(shelf.taken(2, refused_iterations="keep")) == 4
    # When its own training is repeated, it is the same training.
    own, samples = shelf.mix(1)
    assert (own.refused, len(samples)) == ([], 3)


def test_a_verdict_that_is_none_is_told(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"))
    publish_text(shelf.store.iteration("planner", 0).evaluation / "gate.json", '{"promote": "perhaps"}')
    with pytest.raises(UserError, match=r"gate\.json' is corrupt"):
        shelf.mix(1)
    assert not shelf.file().exists()


def test_dialects_are_not_mixed_and_empty_files_have_none(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"), style="snapshot")
    shelf.put(1, "expert")
    assert shelf.mix(1)[0].prompt_style == "snapshot"
    shelf.put(1, "expert", ("b", "Wait[]"))
    with pytest.raises(UserError, match=r"2 dialects of prompts \(incremental, snapshot\)"):
        shelf.mix(1)


def test_nothing_at_all_is_told(shelf: Shelf) -> None:
    with pytest.raises(UserError, match="there is no sample of distilled or human_gold or expert in iterations 000 to"):
        shelf.mix(1)
    shelf.put(1, "expert")
    with pytest.raises(UserError, match="there is no sample"):
        shelf.mix(1)


def test_a_damaged_file_leaves_the_last_mix_as_it_was(shelf: Shelf) -> None:
    shelf.put(0, "distilled", ("a", "Wait[]"))
    shelf.mix(1)
    before = shelf.file().read_bytes()
    file = shelf.store.iteration("planner", 0).samples / "distilled.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x55
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="is corrupt"):
        shelf.mix(1)
    assert shelf.file().read_bytes() == before


def test_an_episode_never_sits_on_both_sides_of_the_validation_split(shelf: Shelf) -> None:
    for number in range(12):
        for variation in ("", "~1"):
            episode = f"train_{number:04d}{variation}"
            shelf.put(0, "distilled", (f"{episode} a", "Wait[]"), episode=episode, trace=episode)
        for iteration in (1, 2):
            for source in ("human_gold", "expert"):
                shelf.put(
                    iteration,
                    source,  # type: ignore[arg-type]
                    (f"{number} {iteration} {source}", "Wait[]"),
                    episode=f"train_{number:04d}",
                    trace=f"play-{iteration}-e{number}-{source}",
                )
    shelf.mix(2)
    rows = read_sample_rows(shelf.file(2))
    aside = split_episodes((row.episode_id for row in rows), 0.25, seed=0)
    assert len(rows) == 12 * 6 and len(aside) == 3
    sides = [original_episode_id(row.episode_id) in aside for row in rows]
    assert sum(sides) == 3 * 6
    by_trace = {row.trace: side for row, side in zip(rows, sides, strict=True)}
    for number in range(12):
        assert (
            len({side for trace, side in by_trace.items() if f"{number:04d}" in trace or f"-e{number}-" in trace}) == 1
        )


def test_plays_of_one_episode_stay_together(shelf: Shelf) -> None:
    for play in ("play-a", "play-b"):
        shelf.put(1, "human_gold", *((f"{play} {step}", "Wait[]") for step in range(3)), trace=play)
    shelf.mix(1)
    assert [(row.trace, row.step) for row in read_sample_rows(shelf.file())] == [
        (f"{play}.jsonl.gz", step) for play in ("play-a", "play-b") for step in range(3)
    ]
