"""The data card counts what is there; the text export has PARTNR's layout; leakage is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_ops.contracts.episode import Episode, write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import Sample
from hitl_ops.samples.build import SampleConfig, build_samples
from hitl_ops.samples.data_card import write_data_card
from hitl_ops.samples.export_text import export_sample_texts
from hitl_ops.samples.leakage import SplitContents, check_leakage
from hitl_ops.samples.parquet import read_samples, write_samples

Record = Callable[..., Path]


@pytest.fixture
def parquet(tmp_path: Path, record_trace: Record) -> Path:
    folder = tmp_path / "traces"
    record_trace(folder, "e1", agents=(0, 1))
    record_trace(folder, "e2", task_type="temporal", scene_id="home_2")
    build_samples(folder, SampleConfig(), tmp_path / "distilled.parquet")
    return tmp_path / "distilled.parquet"


@pytest.mark.slow
def test_the_card_counts(parquet: Path, tmp_path: Path) -> None:
    card = write_data_card(parquet, tmp_path / "card")
    assert (card.samples, card.episodes, card.homes) == (21, 2, 2)
    assert card.by_task_type == {"spatial": 14, "temporal": 7}
    assert card.by_agent == {"0": 14, "1": 7}
    assert card.weight_by_source == {"distilled": 10.5}
    assert card.actions == {"Navigate": 6, "Clean": 3, "Done": 3, "Explore": 3, "Pick": 3, "Place": 3}
    assert card.largest_episode_share == pytest.approx(14 / 21)
    # Both agents of e1 took the same steps from the same text.
    assert (card.duplicates, card.contradictions, card.empty) == (7, 0, 0)
    # "Place[mug_1, on, table_1, None, None]<end_act>" is the longest completion: five words.
    assert card.completion_length.maximum == 5
    assert card.completion_length.total == 3 * (6 + 5)
    assert card.samples_per_episode.mean == 10.5
    body = json.loads((tmp_path / "card" / "data_card.json").read_text())
    assert body["samples"] == 21 and body["warnings"] == card.warnings == ["33% of the samples are duplicates"]
    page = (tmp_path / "card" / "data_card.md").read_text()
    assert "| temporal | 7 | 33.3% |" in page
    plots = sorted(path.name for path in (tmp_path / "card" / "plots").iterdir())
    assert all(f"](plots/{name})" in page for name in plots) and len(plots) == 5
    assert all((tmp_path / "card" / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in plots)


@pytest.mark.slow
def test_the_card_counts_tokens_by_the_given_tokenizer(parquet: Path, tmp_path: Path) -> None:
    card = write_data_card(parquet, tmp_path / "card", tokenizer=len)
    samples = list(read_samples(parquet))
    assert card.token_unit == "tokens"
    assert card.prompt_length.maximum == max(len(sample.prompt) for sample in samples)


@pytest.mark.slow
def test_the_card_is_the_same_twice(parquet: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_data_card(parquet, tmp_path / name)
    first = {path.relative_to(tmp_path / "one"): path for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert len(first) == 7
    for relative, path in first.items():
        assert path.read_bytes() == (tmp_path / "two" / relative).read_bytes(), relative


def test_the_card_points_at_what_is_wrong(parquet: Path, tmp_path: Path) -> None:
    samples = list(read_samples(parquet))
    broken = [
        samples[0].model_copy(update={"weight": 0.0, "completion": "<end_act>", "sample_id": "a"}),
        samples[0].model_copy(update={"weight": 0.0, "completion": "Done[]<end_act>", "sample_id": "b"}),
    ]
    write_samples(tmp_path / "broken.parquet", broken, prompt_style="incremental")
    card = write_data_card(tmp_path / "broken.parquet", tmp_path / "card")
    assert (card.empty, card.contradictions, card.duplicates) == (1, 1, 0)
    assert card.warnings == ["1 samples have an empty prompt or completion", "every weight is zero"]


def test_a_card_of_nothing(tmp_path: Path) -> None:
    write_samples(tmp_path / "none.parquet", [], prompt_style="incremental")
    card = write_data_card(tmp_path / "none.parquet", tmp_path / "card")
    assert card.samples == 0 and card.warnings == ["there is no sample"]


def test_export_layout(parquet: Path, tmp_path: Path) -> None:
    out = tmp_path / "text"
    (out / "iteration_0" / "distilled" / "stale").mkdir(parents=True)
    (out / "iteration_1" / "expert" / "e9").mkdir(parents=True)
    assert export_sample_texts(parquet, out) == 21
    assert sorted(path.name for path in (out / "iteration_0" / "distilled").iterdir()) == ["e1", "e2"]
    files = sorted((out / "iteration_0" / "distilled" / "e2").iterdir(), key=lambda path: path.name)
    assert [path.name for path in files] == [f"sample_{number}.txt" for number in range(7)]
    assert files[0].read_text() == "Task: e2\nNext Agent_Action:<act>Explore[kitchen_1]<end_act>"
    assert (out / "iteration_1" / "expert" / "e9").is_dir()
    assert not [path for path in out.rglob("*.part-*")]


def test_export_refuses_ids_that_would_leave_the_folder(parquet: Path, tmp_path: Path) -> None:
    first = next(read_samples(parquet))
    bad: list[Sample] = [first, first.model_copy(update={"episode_id": "../../x", "sample_id": "x"})]
    write_samples(tmp_path / "bad.parquet", bad, prompt_style="incremental")
    with pytest.raises(UserError, match="cannot name a folder"):
        export_sample_texts(tmp_path / "bad.parquet", tmp_path / "text")
    assert [path for path in (tmp_path / "text").rglob("*") if path.is_file()] == []


def episodes(path: Path, *rows: tuple[str, str, int | None]) -> Path:
    write_episodes(
        path,
        [
            Episode(
                episode_id=name,
                scene_id=home,
                instruction="",
                info={} if seed is None else {"flywheel": {"seed": seed}},
            )
            for name, home, seed in rows
        ],
    )
    return path


def test_clean_splits(parquet: Path, tmp_path: Path) -> None:
    val = episodes(tmp_path / "val.json.gz", ("v1", "home_8", 1), ("v2", "home_8", 2))
    test = episodes(tmp_path / "test.json.gz", ("t1", "home_9", 3))
    report = check_leakage({"train": [parquet, tmp_path / "traces"], "val": val, "test": test})
    assert report.clean
    assert report.counts["train"] == {"episode": 2, "home": 2, "seed": 1}
    assert report.counts["val"] == {"episode": 2, "home": 1, "seed": 2}
    assert report.explain() == "train, val, test: no episode, home or seed shared"


def test_leaks_are_named(parquet: Path, tmp_path: Path) -> None:
    val = episodes(tmp_path / "val.json.gz", ("e1", "home_8", 1))
    test = episodes(tmp_path / "test.json.gz", ("t1", "home_2", 7), ("t2", "home_8", 9))
    report = check_leakage({"train": [parquet, tmp_path / "traces"], "val": val, "test": test})
    assert not report.clean
    found = [(overlap.splits, overlap.kind, overlap.values) for overlap in report.overlaps]
    assert found == [
        (("train", "val"), "episode", ["e1"]),
        (("train", "test"), "home", ["home_2"]),
        (("train", "test"), "seed", ["7"]),
        (("val", "test"), "home", ["home_8"]),
    ]
    assert "train and test share 1 home(s): home_2" in report.explain()


def test_files_that_name_no_seed_share_none(tmp_path: Path) -> None:
    a = episodes(tmp_path / "a.json.gz", ("1", "x", None))
    b = episodes(tmp_path / "b.json.gz", ("2", "y", None))
    assert check_leakage({"a": a, "b": b, "c": SplitContents(episodes={"3"})}).clean


def test_unknown_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(UserError, match="is no source of a split"):
        check_leakage({"a": tmp_path / "a.csv"})
