"""Which decisions become samples, and that nothing else does."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import Sample
from hitl_ops.samples.build import SampleConfig, SampleSummary, build_samples
from hitl_ops.samples.parquet import manifest_hash, read_manifest, read_samples

Record = Callable[..., Path]
OK = "Successful execution!"
KEPT = [
    "Explore[kitchen_1]",
    "Navigate[mug_1]",
    "Pick[mug_1]",
    "Place[mug_1, on, table_1, None, None]",
    "Clean[mug_1]",
    "Navigate[sink_1]",
    "Done[]",
]


def build(folder: Path, **config: Any) -> tuple[list[Sample], SampleSummary]:
    out = folder.parent / "out.parquet"
    summary = build_samples(folder, SampleConfig(**config), out)
    samples = list(read_samples(out))
    assert summary.samples == len(samples)
    assert summary.decisions + summary.dropped.get("cut", 0) == len(samples) + sum(summary.dropped.values())
    return samples, summary


def actions(samples: list[Sample], agent: int = 0) -> list[str]:
    return [sample.completion.removesuffix("<end_act>") for sample in samples if sample.agent == agent]


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def test_failures_and_perception_are_dropped_done_is_kept(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1")
    samples, summary = build(traces)
    assert actions(samples) == KEPT
    assert summary.dropped == {"response": 1, "tool": 1}
    first = samples[0]
    assert first.sample_id == "e1/0/distilled"
    assert first.prompt.endswith("Next Agent_Action:<act>")
    assert first.completion == "Explore[kitchen_1]<end_act>"
    assert (first.trace, first.policy_id, first.scene_id, first.task_type, first.split) == (
        "e1.jsonl.gz",
        "oracle:0",
        "home_1",
        "spatial",
        "train",
    )
    assert [sample.step for sample in samples] == [0, 3, 4, 5, 6, 7, 8]


def test_a_failed_decision_stays_in_later_prompts(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1")
    samples, _ = build(traces)
    assert "Failed to pick!" in samples[1].prompt
    for earlier, later in itertools.pairwise(samples):
        assert later.prompt.startswith(earlier.prompt + earlier.completion)


def test_successful_only_and_drop_tools_can_be_lifted(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1")
    assert len(build(traces, successful_only=False)[0]) == 8
    assert len(build(traces, drop_tools=())[0]) == 8
    assert "Navigate[mug_1]" not in actions(build(traces, drop_tools=["Navigate"])[0])


@pytest.mark.parametrize(
    ("config", "percent", "kept"),
    [
        ({}, 0.5, True),
        ({}, 0.49, False),
        ({"source": "human_gold"}, 0.74, False),
        ({"source": "human_gold"}, 0.75, True),
        ({"percent_cut": 0.8}, 0.79, False),
        ({"percent_cut": 0.0}, 0.0, True),
        ({"cut_on": "max"}, 0.0, True),
        ({"cut_on": "last", "early_stop": True}, 0.0, False),
        ({"early_stop": True}, 0.0, True),
    ],
)
def test_percent_cut(traces: Path, record_trace: Record, config: dict[str, Any], percent: float, kept: bool) -> None:
    # The last logged percent is the result's; the maximum, 1.0, lies in the middle of the episode.
    record_trace(traces, "e1", final_percent=percent)
    samples, summary = build(traces, **config)
    assert bool(samples) is kept
    assert (summary.episodes_kept, summary.episodes_cut) == ((1, 0) if kept else (0, 1))


def test_early_stop_turns_what_follows_success_into_done(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1", agents=(0, 1))
    samples, summary = build(traces, early_stop=True)
    assert actions(samples, 0) == actions(samples, 1) == [*KEPT[:5], "Done[]"]
    assert summary.rewritten == 2
    assert summary.dropped["after the peak"] == 2
    # The rewritten step is the one that read "Navigate[sink_1]".
    assert samples[-1].step == 15
    assert "Clean[mug_1]" in samples[-1].prompt


def test_early_stop_teaches_no_giving_up(traces: Path, record_trace: Record) -> None:
    steps = [("Pick[mug_1]", OK, 0.0), ("Place[a]", OK, 0.5), ("Pick[mug_1]", OK, 0.0), ("Wait[]", OK, 0.0)]
    record_trace(traces, "e1", steps=steps)
    samples, summary = build(traces, early_stop=True)
    assert actions(samples) == ["Pick[mug_1]", "Place[a]"]
    assert summary.rewritten == 0


def test_early_stop_leaves_an_episode_that_ends_on_its_peak(traces: Path, record_trace: Record) -> None:
    # The success came about while the last action was still under way, so only the result knows of it.
    steps = [("Pick[mug_1]", OK, 0.2), ("Clean[mug_1]", OK, 0.1)]
    record_trace(traces, "e1", steps=steps, final_percent=1.0)
    assert actions(build(traces, early_stop=True)[0]) == ["Pick[mug_1]", "Clean[mug_1]"]


def test_roles_decide_not_numbers(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1", agents=(0, 1), roles={0: "human", 1: "ai"})
    assert {sample.agent for sample in build(traces)[0]} == {1}
    assert {sample.agent for sample in build(traces, roles=["human"])[0]} == {0}
    assert {sample.agent for sample in build(traces, roles=["human", "ai"])[0]} == {0, 1}
    assert {sample.agent for sample in build(traces, roles=["human", "ai"], agents=[1])[0]} == {1}
    assert build(traces, agents=[0])[0] == []


def test_both_agents_when_both_are_ai(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1", agents=(0, 1))
    samples, summary = build(traces)
    assert summary.by_agent == {"0": 7, "1": 7}
    assert len({sample.sample_id for sample in samples}) == 14


@pytest.mark.parametrize(
    ("source", "weight"), [("expert", 5.0), ("human_gold", 1.0), ("distilled", 0.5), ("dagger", 1.0)]
)
def test_default_weights(traces: Path, record_trace: Record, source: str, weight: float) -> None:
    record_trace(traces, "e1")
    assert {sample.weight for sample in build(traces, source=source)[0]} == {weight}
    assert {sample.weight for sample in build(traces, source=source, weight=2.25)[0]} == {2.25}


def test_iteration_source_and_prompt_style_are_recorded(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    record_trace(traces, "e1")
    samples, summary = build(traces, iteration=3, source="human_gold", prompt_style="snapshot")
    assert {(sample.iteration, sample.source) for sample in samples} == {(3, "human_gold")}
    manifest = read_manifest(tmp_path / "out.parquet")
    assert manifest.notes["prompt_style"] == summary.prompt_style == "snapshot"
    assert SampleConfig.model_validate_json(manifest.notes["config"]).iteration == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 50])
def test_limit_per_episode_is_spread_and_keeps_the_last(traces: Path, record_trace: Record, limit: int) -> None:
    record_trace(traces, "e1")
    chosen = actions(build(traces, max_samples_per_episode=limit)[0])
    assert len(chosen) == min(limit, 7)
    assert chosen[-1] == "Done[]"
    assert chosen == [action for action in KEPT if action in chosen]


def test_same_traces_same_bytes(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        record_trace(traces, name)
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    one = build_samples(traces, SampleConfig(), first)
    two = build_samples(traces, SampleConfig(), second)
    assert first.read_bytes() == second.read_bytes()
    assert one == two
    samples = list(read_samples(first))
    assert [sample.episode_id for sample in samples] == sorted(sample.episode_id for sample in samples)
    assert one.manifest_hash == manifest_hash(reversed(samples)) == read_manifest(first).hash


@pytest.mark.parametrize("change", [{"weight": 0.25}, {"early_stop": True}, {"source": "dagger", "weight": 0.5}])
def test_manifest_follows_the_content(traces: Path, record_trace: Record, change: dict[str, Any]) -> None:
    record_trace(traces, "e1")
    assert build(traces)[1].manifest_hash != build(traces, **change)[1].manifest_hash


def test_manifest_ignores_what_is_not_learned(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1")
    assert build(traces)[1].manifest_hash == build(traces, iteration=1)[1].manifest_hash


def test_nothing_passes(traces: Path, record_trace: Record) -> None:
    record_trace(traces, "e1", final_percent=0.1)
    samples, summary = build(traces)
    assert samples == [] and summary.episodes_cut == 1


def test_episodes_no_longer_in_the_set_are_not_taught(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    for episode in ("train-0", "train-0~2", "train-1", "train-1~1", "train-10"):
        record_trace(traces, episode)
    out = tmp_path / "o.parquet"
    summary = build_samples(traces, SampleConfig(), out, expected=["train-0", "train-7"])
    assert {sample.episode_id for sample in read_samples(out)} == {"train-0", "train-0~2"}
    assert (summary.traces, summary.episodes_kept, summary.episodes_cut, summary.episodes_not_expected) == (5, 2, 0, 3)
    assert summary.dropped == {"episode not expected": 27, "response": 2, "tool": 2}
    assert summary.decisions == summary.samples + sum(summary.dropped.values()) == 45
    everything = build_samples(traces, SampleConfig(), out)
    assert (everything.episodes_kept, everything.episodes_not_expected) == (5, 0)
    assert build_samples(traces, SampleConfig(), out, expected=[]).samples == 0


def test_progress_is_told_after_each_trace(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    record_trace(traces, "a")
    record_trace(traces, "b")
    told: list[tuple[int, int, str]] = []
    build_samples(traces, SampleConfig(), tmp_path / "o.parquet", lambda *what: told.append(what))
    assert told == [(1, 2, "7 samples"), (2, 2, "14 samples")]


def test_one_corrupt_trace_stops_it_and_leaves_the_old_file(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    record_trace(traces, "a")
    out = tmp_path / "o.parquet"
    build_samples(traces, SampleConfig(), out)
    before = out.read_bytes()
    path = record_trace(traces, "b")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"b\.jsonl\.gz', line \d+"):
        build_samples(traces, SampleConfig(), out)
    assert out.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["o.parquet", "traces"]


def test_an_episode_twice_is_refused(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    path = record_trace(traces, "a")
    (traces / "b.jsonl.gz").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"sample 'a/0/distilled' occurs twice .*b\.jsonl\.gz"):
        build_samples(traces, SampleConfig(), tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()


def test_empty_folder_and_foreign_prompts(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trace"):
        build_samples(traces, SampleConfig(), tmp_path / "o.parquet")
    path = record_trace(traces, "a")
    from hitl_ops.records.traces import read_trace, write_trace

    trace = read_trace(path)
    trace.decisions[4].prompt += " Thought:"
    write_trace(path, trace.header, trace.decisions, trace.result)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz', decision 4: the prompt does not end with '<act>'"):
        build_samples(traces, SampleConfig(), tmp_path / "o.parquet")


@pytest.mark.slow
def test_only_one_trace_is_held_at_a_time(
    traces: Path, record_trace: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc

    from hitl_ops.contracts.decision import EpisodeHeader
    from hitl_ops.records.traces import Trace
    from hitl_ops.samples import build as module

    for number in range(6):
        record_trace(traces, f"e{number}")
    alive: list[int] = []
    real = module.read_trace

    def watched(path: Path) -> Trace:
        alive.append(sum(type(thing) is EpisodeHeader for thing in gc.get_objects()))
        return real(path)

    monkeypatch.setattr(module, "read_trace", watched)
    build_samples(traces, SampleConfig(), tmp_path / "o.parquet")
    assert len(alive) == 6
    assert max(alive) <= 1


@pytest.mark.slow
def test_a_kill_leaves_no_half_file(traces: Path, record_trace: Record, tmp_path: Path) -> None:
    for number in range(8):
        record_trace(traces, f"e{number}")
    out = tmp_path / "out" / "o.parquet"
    # The child stands still after its fourth trace, in the middle of writing, until it is killed.
    child_code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from hitl_ops.samples.build import SampleConfig, build_samples\n"
        "def progress(done, total, note=''):\n"
        "    if done == 4:\n        print('half', flush=True)\n        time.sleep(600)\n"
        "build_samples(Path(sys.argv[1]), SampleConfig(), Path(sys.argv[2]), progress)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", child_code, str(traces), str(out)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        assert any(".part-" in file.name for file in out.parent.iterdir())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]
    assert not out.exists()
    summary = build_samples(traces, SampleConfig(), out)
    assert summary.samples == len(list(read_samples(out))) == 56


@pytest.mark.slow
def test_kills_while_a_file_is_replaced_show_the_old_or_the_new_one(
    traces: Path, record_trace: Record, tmp_path: Path
) -> None:
    for number in range(6):
        record_trace(traces, f"e{number}")
    out = tmp_path / "out" / "o.parquet"
    good = {}
    for weight in (0.25, 0.75):
        build_samples(traces, SampleConfig(weight=weight), out)
        good[weight] = out.read_bytes()
    child_code = (
        "import sys\nfrom pathlib import Path\n"
        "from hitl_ops.samples.build import SampleConfig, build_samples\nprint('go', flush=True)\n"
        "while True:\n    for weight in (0.25, 0.75):\n"
        "        build_samples(Path(sys.argv[1]), SampleConfig(weight=weight), Path(sys.argv[2]))\n"
    )
    for delay in (0.0, 0.017):
        with subprocess.Popen(
            [sys.executable, "-c", child_code, str(traces), str(out)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.3 + delay)
            child.kill()
        assert out.read_bytes() in good.values()
