"""How people's plays went, and which of them teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.sample import Sample
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.collected_plays import PlayManifest, collect_plays
from hitl_ops.samples.human_gold import HumanGoldConfig, HumanGoldSummary, best_attempts, build_human_gold
from hitl_ops.samples.parquet import read_samples
from hitl_ops.samples.play_scores import (
    PLOT_FOLDER,
    SCORES_FILE,
    SUMMARY_FILE,
    Group,
    PlayScore,
    read_score_summary,
    read_scores,
    score_plays,
)
from tests.support.collected_plays import Collected, collection


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, PlayManifest]:
    people, _ = collection(tmp_path_factory.mktemp("scored"))
    manifest = collect_plays(people.labels, people.store.iteration("planner", 0))
    score_plays(manifest, people.sessions)
    return people, manifest


@pytest.fixture(scope="module")
def scores(collected: tuple[Collected, PlayManifest]) -> list[PlayScore]:
    return read_scores(collected[0].sessions)[0]


def _score(**changes: Any) -> PlayScore:
    fields: dict[str, Any] = {
        "play_id": "p1",
        "session_id": "s1",
        "participant_id": "ann",
        "episode_id": "e1",
        "scene_id": "home",
        "task_type": "spatial",
        "split": "train",
        "attempt": 1,
        "finish_id": 1,
        "ended_by": "person",
        "reported": False,
        "success": True,
        "percent_complete": 1.0,
        "steps": 500,
        "seconds": 20.0,
        "human_actions": 4,
        "human_failed": 0,
        "ai_actions": 3,
        "ai_failed": 0,
        "corrections": 0,
        "prompt_style": "incremental",
        "trace": "s1/traces/p1.jsonl.gz",
    }
    return PlayScore(**{**fields, **changes})


# --- scores -----------------------------------------------------------------------------------------------------


def test_a_row_a_play_says_what_its_trace_says(
    collected: tuple[Collected, PlayManifest], scores: list[PlayScore]
) -> None:
    people, manifest = collected
    assert [score.play_id for score in scores] == [play.play_id for play in manifest.plays]
    assert [score.success for score in scores] == [False, True, True, True, False]
    for score in scores:
        trace = read_trace(people.sessions / score.trace)
        assert (score.percent_complete, score.steps) == (trace.result.percent_complete, trace.result.sim_steps)
        assert score.human_actions == sum(decision.role == "human" for decision in trace.decisions)
        assert score.ai_actions == sum(decision.role == "ai" for decision in trace.decisions)
    assert scores[1].steps >= scores[2].steps + 700  # the one who dawdled
    assert scores[2].seconds == pytest.approx(scores[2].steps / 30)
    assert scores[2].human_actions >= 3 and scores[4].human_actions == 0


def test_the_summary_adds_them_up(collected: tuple[Collected, PlayManifest], scores: list[PlayScore]) -> None:
    people, manifest = collected
    summary = read_score_summary(people.sessions)
    assert (summary.total.plays, summary.total.successes, summary.total.success) == (5, 3, 0.6)
    assert (summary.total.episodes, summary.total.episodes_solved) == (3, 2)
    assert summary.total.minutes == pytest.approx(sum(score.seconds for score in scores) / 60)
    assert summary.total == Group.of(scores)
    names = {name: session.participant_id for name, session in people.people.items()}
    assert {name: summary.by_participant[names[name]].success for name in names} == {
        "ann": 0.5,
        "bob": 1.0,
        "cleo": 0.0,
    }
    assert sum(group.plays for group in summary.by_task_type.values()) == 5
    assert summary.ended_by == {"person": 3, "skip": 2}
    assert summary.plays_hash == manifest.hash == read_scores(people.sessions)[1]
    assert {file.stem for file in (people.sessions / PLOT_FOLDER).iterdir()} == {
        "actions",
        "minutes",
        "percent_complete",
        "success_by_participant",
        "success_by_task_type",
    }


@pytest.mark.slow
def test_scoring_again_gives_the_same_bytes(collected: tuple[Collected, PlayManifest]) -> None:
    people, manifest = collected
    files = [people.sessions / SCORES_FILE, people.sessions / SUMMARY_FILE]
    files += sorted((people.sessions / PLOT_FOLDER).iterdir())
    before = [file.read_bytes() for file in files]
    score_plays(manifest, people.sessions)
    assert [file.read_bytes() for file in files] == before


def test_corrections_are_the_persons_not_the_partners(tmp_path: Path) -> None:
    from hitl_ops.records.session_log import SessionLogWriter, log_path
    from hitl_ops.rollouts.session_closing import close_play
    from tests.support.plays import Player, header

    head = header("p1")
    with SessionLogWriter.create(log_path(tmp_path / "s1", "p1"), head) as writer:
        player = Player(head, writer=writer)
        player.decide("Explore[bedroom_1]")
        player.run(10)
        player.override("Wait[]", decision_index=0)
        player.run(10)
        player.finish("skip")
    closed = close_play(log_path(tmp_path / "s1", "p1"))
    from hitl_ops.samples.collected_plays import CollectedPlay

    play = CollectedPlay(
        **{
            **_score().model_dump(include=set(CollectedPlay.model_fields) & set(PlayScore.model_fields)),
            "success": False,
            "percent_complete": 0.0,
            "sim_steps": closed.result.sim_steps,
            "finished_at": "2026-01-01T00:00:00Z",
            "files": {},
        }
    )
    manifest = PlayManifest(program="planner", iteration=0, plays=[play], broken=[], never_begun=[])
    summary = score_plays(manifest, tmp_path)
    (score,) = read_scores(tmp_path)[0]
    assert (score.ai_actions, score.ai_failed, score.corrections, summary.total.corrections) == (1, 1, 1, 1)


def test_no_play_scores_nothing(tmp_path: Path) -> None:
    nothing = PlayManifest(program="planner", iteration=0, plays=[], broken=[], never_begun=[])
    assert score_plays(nothing, tmp_path).total == Group.of([])
    assert read_scores(tmp_path) == ([], nothing.hash)


def test_scores_that_are_none_are_named(tmp_path: Path) -> None:
    for read in (read_scores, read_score_summary):
        with pytest.raises(UserError, match="does not exist"):
            read(tmp_path)
    (tmp_path / SCORES_FILE).write_bytes(b"PAR1 not really")
    (tmp_path / SUMMARY_FILE).write_text("{}")
    for read in (read_scores, read_score_summary):
        with pytest.raises(UserError, match="is corrupt"):
            read(tmp_path)


# --- best attempts ----------------------------------------------------------------------------------------------


def test_best_is_the_best_success_of_anybody() -> None:
    attempts = [
        _score(play_id="quick-failure", success=False, percent_complete=0.9, steps=10),
        _score(play_id="slow", participant_id="ann", steps=900, finish_id=2),
        _score(play_id="quick", participant_id="bob", steps=400, finish_id=5),
        _score(play_id="as-quick-later", participant_id="cleo", steps=400, finish_id=9),
        _score(play_id="less", percent_complete=0.995, steps=5, finish_id=1),
        _score(play_id="only-failure", episode_id="e2", success=False),
        _score(play_id="lone", episode_id="e0"),
    ]
    assert [score.play_id for score in best_attempts(attempts)] == ["lone", "quick"]
    assert [score.play_id for score in best_attempts(attempts[::-1])] == ["lone", "quick"]


def test_reported_plays_are_passed_over_unless_wanted() -> None:
    attempts = [_score(play_id="reported", reported=True, steps=1), _score(play_id="sound")]
    assert [score.play_id for score in best_attempts(attempts)] == ["sound"]
    assert [score.play_id for score in best_attempts(attempts, leave_out_reported=False)] == ["reported"]


# --- samples ----------------------------------------------------------------------------------------------------


@pytest.fixture
def build(collected: tuple[Collected, PlayManifest], scores: list[PlayScore], tmp_path: Path) -> Any:
    people, _ = collected

    def run(config: HumanGoldConfig | None = None, **more: Any) -> tuple[HumanGoldSummary, list[Sample]]:
        out = tmp_path / "human_gold.parquet"
        given = more.pop("scores", scores)
        summary = build_human_gold(given, people.sessions, config or HumanGoldConfig(), out, **more)
        return summary, list(read_samples(out))

    return run


def test_the_quicker_success_teaches_both_parts(build: Any, scores: list[PlayScore]) -> None:
    summary, samples = build()
    (chosen,) = summary.chosen
    assert (chosen.play_id, chosen.attempts, chosen.successes) == (scores[2].play_id, 3, 2)
    assert (summary.plays, summary.plays_successful, summary.plays_reported) == (5, 3, 1)
    assert {sample.trace for sample in samples} == {f"{scores[2].play_id}.jsonl.gz"}
    assert {sample.source for sample in samples} == {"human_gold"} and {sample.weight for sample in samples} == {1.0}
    assert {sample.agent for sample in samples} == {0, 1}
    assert {sample.policy_id for sample in samples} == {f"human:{scores[2].participant_id}", "policy-1"}
    assert all(sample.prompt.endswith("<act>") for sample in samples)
    assert samples[0].completion.endswith("<end_act>")


@pytest.mark.parametrize(("role", "agent"), [("human", 0), ("ai", 1)])
def test_one_role_alone(role: Any, agent: int, build: Any) -> None:
    config = HumanGoldConfig()
    both, _ = build()
    alone, samples = build(config.replace(samples={**config.samples.model_dump(), "roles": (role,)}))
    assert {sample.agent for sample in samples} == {agent}
    assert alone.dropped["role"] > 0 and 0 < alone.samples < both.samples


def test_every_other_field_reaches_the_samples(build: Any, scores: list[PlayScore]) -> None:
    config = HumanGoldConfig()
    heavier = config.replace(samples={**config.samples.model_dump(), "weight": 2.5, "iteration": 4})
    assert {(sample.weight, sample.iteration) for sample in build(heavier)[1]} == {(2.5, 4)}
    reported, _ = build(config.replace(leave_out_reported=False))
    assert [play.play_id for play in reported.chosen] == [scores[2].play_id, scores[3].play_id]
    assert reported.plays_reported == 0
    # The cut is on the task's share done; every success has all of it.
    below = [scores[2].model_copy(update={"trace": scores[4].trace})]
    assert build(scores=below)[0].episodes_cut == 1
    assert (
        build(config.replace(samples={**config.samples.model_dump(), "percent_cut": 0.0}), scores=below)[0].episodes_cut
        == 0
    )


def test_only_what_a_policy_could_have_named_is_taught(
    collected: tuple[Collected, PlayManifest], scores: list[PlayScore], tmp_path: Path
) -> None:
    from hitl_ops.records.traces import write_trace

    trace = read_trace(collected[0].sessions / scores[2].trace)
    spoiled = next(decision for decision in trace.decisions if decision.action.startswith("Pick"))
    spoiled.admissible.remove(spoiled.action)
    write_trace(tmp_path / "p.jsonl.gz", trace.header, trace.decisions, trace.result)
    given = [scores[2].model_copy(update={"trace": "p.jsonl.gz"})]
    config = HumanGoldConfig()
    strict = build_human_gold(given, tmp_path, config, tmp_path / "strict.parquet")
    loose = config.replace(samples={**config.samples.model_dump(), "admissible_only": False})
    assert strict.dropped["not admissible"] == 1
    assert build_human_gold(given, tmp_path, loose, tmp_path / "loose.parquet").samples == strict.samples + 1


def test_episodes_of_other_sets_are_not_taught(
    collected: tuple[Collected, PlayManifest], scores: list[PlayScore], build: Any
) -> None:
    train = read_episodes(episode_file(collected[0].store.episodes, "train"))
    assert build(expected={episode.episode_id for episode in train})[0].samples > 0
    none, samples = build(expected={train[1].episode_id})
    assert (none.episodes_not_expected, samples) == (1, [])


def test_without_a_success_there_is_an_empty_file(build: Any, scores: list[PlayScore]) -> None:
    summary, samples = build(scores=[scores[0], scores[4]])
    assert (summary.samples, summary.plays, summary.chosen, samples) == (0, 2, [], [])


def test_dialects_are_noted_and_not_mixed(build: Any, scores: list[PlayScore]) -> None:
    other = scores[2].model_copy(update={"prompt_style": "snapshot"})
    assert build(scores=[other])[0].prompt_style == "snapshot"
    with pytest.raises(UserError, match=r"2 dialects of prompts \(incremental, snapshot\)"):
        build(scores=[other, scores[3].model_copy(update={"reported": False})])


def test_the_source_is_fixed() -> None:
    with pytest.raises(UserError, match="source must be human_gold"):
        HumanGoldConfig().replace(samples={"source": "distilled"})
