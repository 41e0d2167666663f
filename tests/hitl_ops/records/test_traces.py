"""Traces survive the disk, and say clearly when they did not."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.records.traces import (
    UnfinishedTrace,
    list_traces,
    read_trace,
    read_trace_header,
    read_traces,
    trace_path,
    write_trace,
)

TEXT = st.text(max_size=40)
NUMBER = st.floats(min_value=0, max_value=1e9, allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
HEADER = st.builds(
    EpisodeHeader,
    episode_id=TEXT,
    scene_id=TEXT,
    task_type=TEXT,
    split=TEXT,
    instruction=TEXT,
    seed=st.integers(-(2**63), 2**63 - 1),
    roles=st.dictionaries(st.integers(0, 3), st.sampled_from(["human", "ai"]), max_size=2),
    policies=st.dictionaries(st.integers(0, 3), TEXT, max_size=2),
    world=TEXT,
    scene=st.sampled_from(["kinematic", "habitat"]),
    scene_backend=TEXT,
    scene_dataset=TEXT,
)
DECISION = st.builds(
    Decision,
    index=st.integers(0, 10_000),
    agent=st.integers(0, 1),
    role=st.sampled_from(["human", "ai"]),
    policy_id=TEXT,
    sim_step=st.integers(0, 20_000),
    prompt=TEXT,
    admissible=st.lists(TEXT, max_size=3),
    reply=TEXT,
    action=TEXT,
    response=TEXT,
    end_step=st.integers(0, 20_000),
    percent_complete=st.floats(0, 1),
    latency_ms=NUMBER,
    world_graph=st.dictionaries(TEXT, JSON, max_size=3),
    stats=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)
RESULT = st.builds(
    EpisodeResult,
    percent_complete=st.floats(0, 1),
    success=st.booleans(),
    sim_steps=st.integers(0, 20_000),
    replans=st.dictionaries(st.integers(0, 3), st.integers(0, 100), max_size=2),
    runtime_s=NUMBER,
    ended_by=st.sampled_from(["done", "step_limit", "decision_limit", "person", "budget", "error"]),
    explanation=TEXT,
    state_hash=TEXT,
)


def example(episode_id: str = "e1", decisions: int = 12) -> tuple[EpisodeHeader, list[Decision], EpisodeResult]:
    header = EpisodeHeader(
        episode_id=episode_id,
        scene_id="home_1",
        task_type="spatial",
        split="train",
        instruction="Bring the mug.",
        seed=7,
        roles={0: "ai", 1: "ai"},
        policies={0: "oracle", 1: "oracle"},
    )
    rows = [
        Decision(
            index=i,
            agent=i % 2,
            role="ai",
            policy_id="oracle",
            sim_step=10 * i,
            # Varied text, so that the compressed file is long enough to be damaged in the middle.
            prompt=f"Task {i * 7919 % 1009}: " + "".join(chr(97 + (i * k * k + 3 * k) % 26) for k in range(300)),
            admissible=["Wait[]"],
            reply="Wait[]",
            action="Wait[]",
        )
        for i in range(decisions)
    ]
    result = EpisodeResult(
        percent_complete=1.0, success=True, sim_steps=120, replans={0: 6, 1: 6}, runtime_s=0.5, ended_by="done"
    )
    return header, rows, result


def lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(HEADER, st.lists(DECISION, max_size=4, unique_by=lambda row: row.index), RESULT)
def test_what_is_written_is_read_back(header: EpisodeHeader, decisions: list[Decision], result: EpisodeResult) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.jsonl.gz"
        write_trace(path, header, decisions, result)
        first = path.read_bytes()
        trace = read_trace(path)
        assert (trace.header, trace.decisions, trace.result) == (header, decisions, result)
        write_trace(path, trace.header, trace.decisions, trace.result)
        assert path.read_bytes() == first


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_odd_figures_in_stats_survive(tmp_path: Path, figure: float) -> None:
    header, rows, result = example(decisions=1)
    rows[0].stats["logprob"] = figure
    write_trace(tmp_path / "e1.jsonl.gz", header, rows, result)
    assert repr(read_trace(tmp_path / "e1.jsonl.gz").decisions[0].stats["logprob"]) == repr(figure)


def test_every_truncation_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl.gz"
    write_trace(whole, *example())
    content = whole.read_bytes()
    cut = tmp_path / "cut.jsonl.gz"
    for length in [*range(0, len(content) - 8, 97), *range(len(content) - 8, len(content))]:
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.jsonl\.gz', line \d+: .*: delete it and run") as caught:
            read_trace(cut)
        assert not isinstance(caught.value, UnfinishedTrace)


def test_damaged_bytes_never_pass_and_never_give_a_traceback(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl.gz"
    write_trace(whole, *example())
    content = whole.read_bytes()
    damaged = tmp_path / "damaged.jsonl.gz"
    # Bytes 3 to 9 of a gzip file are flags, time and system; its checksum does not cover them.
    for position in [0, 1, 2, *range(10, len(content), 53), len(content) - 5]:
        damaged.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        with pytest.raises(UserError, match=r"damaged\.jsonl\.gz', line \d+"):
            read_trace(damaged)


def test_the_damaged_line_is_the_one_named(tmp_path: Path) -> None:
    path = tmp_path / "e1.jsonl.gz"
    write_trace(path, *example())
    lines = lines_of(path)
    lines[5] = b"{not json}\n"
    path.write_bytes(gzip.compress(b"".join(lines)))
    with pytest.raises(UserError, match=r"line 6: is not JSON"):
        read_trace(path)


def _edit(kind: str, lines: list[bytes]) -> list[bytes]:
    edits: dict[str, Any] = {
        "field": lambda: [lines[0], lines[1].replace(b'"agent":0', b'"agent":-1'), *lines[2:]],
        "kind": lambda: [lines[0], b'{"type":"poem"}\n', *lines[1:]],
        "number": lambda: [lines[0], b"3\n", *lines[1:]],
        "no_header": lambda: lines[1:],
        "two_headers": lambda: [lines[0], *lines],
        "after_result": lambda: [*lines, lines[1]],
        "doubled": lambda: [*lines[:2], *lines[1:]],
        "tail": lambda: [*lines, b'{"type":'],
    }
    return edits[kind]()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("field", r"line 2: field 'agent': input should be greater"),
        ("kind", r"line 2: "),
        ("number", r"line 2: "),
        ("no_header", r"line 1: is of type 'decision'; the header must be first"),
        ("two_headers", r"line 2: is of type 'episode'"),
        ("after_result", r"line 15: follows the result"),
        ("doubled", r"line 3: repeats decision 0"),
        ("tail", r"line 15: the file is truncated here"),
    ],
)
def test_malformed_lines(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "e1.jsonl.gz"
    write_trace(path, *example())
    path.write_bytes(gzip.compress(b"".join(_edit(kind, lines_of(path)))))
    with pytest.raises(UserError, match=message) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)


def test_a_trace_without_result_is_unfinished_not_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "e1.jsonl.gz"
    write_trace(path, *example())
    path.write_bytes(gzip.compress(b"".join(lines_of(path)[:-1])))
    with pytest.raises(UnfinishedTrace, match=r"unfinished: no result after line 13"):
        read_trace(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_trace(tmp_path / "none.jsonl.gz")
    (tmp_path / "empty.jsonl.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"line 1: the file is empty"):
        read_trace(tmp_path / "empty.jsonl.gz")
    (tmp_path / "folder.jsonl.gz").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_trace(tmp_path / "folder.jsonl.gz")


def test_the_header_alone_is_read_from_the_front(tmp_path: Path) -> None:
    path = trace_path(tmp_path, "e1")
    header, decisions, result = example()
    write_trace(path, header, decisions, result)
    assert read_trace_header(path) == header
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * len(whole) // 3])
    assert read_trace_header(path) == header, "what follows is not looked at"
    path.write_bytes(gzip.compress(decisions[0].model_dump_json().encode() + b"\n"))
    with pytest.raises(UserError, match="line 1: is of type 'decision'"):
        read_trace_header(path)
    for content, said in ((b"", "the file is empty"), (gzip.compress(b""), "the file is empty"), (b"junk", "damaged")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read_trace_header(path)


def test_doubled_indices_are_refused(tmp_path: Path) -> None:
    header, rows, result = example()
    with pytest.raises(ValueError, match="not unique"):
        write_trace(tmp_path / "e1.jsonl.gz", header, [rows[0], rows[0]], result)
    assert list(tmp_path.iterdir()) == []


def test_folder_is_read_in_order_without_leftovers(tmp_path: Path) -> None:
    for name in ("b", "a", "a_2"):
        write_trace(trace_path(tmp_path, name), *example(name))
    (tmp_path / "c.jsonl.gz.part-1234").write_bytes(b"half")
    (tmp_path / "x.part-99.jsonl.gz").write_bytes(b"half")
    (tmp_path / "summary.json").write_text("{}")
    assert [path.name for path in list_traces(tmp_path)] == ["a.jsonl.gz", "a_2.jsonl.gz", "b.jsonl.gz"]
    assert [trace.header.episode_id for trace in read_traces(tmp_path)] == ["a", "a_2", "b"]


def test_reading_a_folder_is_lazy(tmp_path: Path) -> None:
    write_trace(trace_path(tmp_path, "a"), *example("a"))
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    traces = read_traces(tmp_path)
    assert next(traces).header.episode_id == "a"
    with pytest.raises(UserError, match=r"b\.jsonl\.gz"):
        next(traces)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist: record traces first"):
        list_traces(tmp_path / "none")


@pytest.mark.parametrize("bad", ["", "a/b", "..", "a\\b", "a.part-1"])
def test_ids_that_cannot_name_a_file(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UserError, match="episode id"):
        trace_path(tmp_path, bad)


def test_a_trace_from_before_scenes_were_told_in_full_is_read(tmp_path: Path) -> None:
    path = trace_path(tmp_path, "e1")
    write_trace(path, *example())
    first, *others = lines_of(path)
    told = json.loads(first)
    for field in ("scene_backend", "scene_dataset"):
        assert told.pop(field) == ""
    path.write_bytes(gzip.compress(b"".join([json.dumps(told).encode() + b"\n", *others])))
    assert read_trace(path).header.played_scene == PlayedScene("kinematic", "home_1")
    del told["scene"]
    path.write_bytes(gzip.compress(b"".join([json.dumps(told).encode() + b"\n", *others])))
    assert read_trace(path).header == example()[0]
