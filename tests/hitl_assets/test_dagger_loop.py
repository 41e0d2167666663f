"""The dagger program at its smallest, in process: two iterations, what spoils them, and what goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.dagger_checks import games_are_apart, pairs_are_sound, reference_is_unchanged
from hitl_assets.dagger_examination import examined
from hitl_assets.dagger_games import games_file
from hitl_assets.dagger_iterations import DAGGER_LOOP, open_first_dagger_iteration
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import publish_evaluation, read_evaluation
from hitl_ops.evaluation.gate import GATE_FILE, read_gate
from hitl_ops.evaluation.text_evaluation import read_text_figures
from hitl_ops.models.planner_lm import read_card
from hitl_ops.rollouts.text_game_sets import read_text_games, task_hash
from hitl_ops.samples.expert import PAIRS_FILE as CORRECTED
from hitl_ops.samples.preference_pairs import write_preference_pairs
from hitl_ops.samples.provenance import read_provenance
from hitl_ops.samples.round_rows import PAIRS_FILE, read_pairs
from hitl_ops.serving.known_policies import ancestors, find_policy
from hitl_ops.serving.policy_alias import resolve
from hitl_ops.training.agent_rounds_log import read_rounds_summary
from resources.store import StoreResource
from sensors.dagger import next_dagger_iteration
from tests.support.dagger_store import DaggerLoop
from tests.support.looped_store import made, succeeded
from tests.support.registries import with_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaggerLoop]:
    """Iterations 000 and 001, both through. Tests run in their order, each on what the one before left."""
    folder = tmp_path_factory.mktemp("dagger")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        turning = DaggerLoop(with_registry(Store.at(folder / "store")), instance)
        open_first_dagger_iteration(instance)
        succeeded(turning.run(0))
        turning.open(1)
        succeeded(turning.run(1))
        yield turning


def _serving(loop: DaggerLoop) -> str:
    found = resolve(loop.store, "dagger")
    assert found is not None
    return found.policy_id


def test_every_iteration_learns_from_games_of_its_own(loop: DaggerLoop) -> None:
    lists = {
        (number, split): read_text_games(games_file(loop.paths(number).games, split))
        for number in (0, 1)
        for split in ("train", "val", "test")
    }
    assert [len(games) for games in lists.values()] == [4, 3, 4, 4, 3, 4]
    assert lists[0, "test"] == lists[1, "test"] and lists[0, "val"] == lists[1, "val"]
    tasks = [{task_hash(game) for game in lists[key]} for key in ((0, "train"), (1, "train"), (0, "val"), (0, "test"))]
    assert len(set().union(*tasks)) == 4 + 4 + 3 + 4
    bc, dpo = (
        [game.name for game in sorted((folder / "games").iterdir())] for folder in (loop.paths(0).bc, loop.paths(0).dpo)
    )
    assert len(bc) == len(dpo) == 4


def test_preferring_starts_from_what_imitation_left(loop: DaggerLoop) -> None:
    first = read_card(loop.paths(0).bc_policy)
    second = read_card(loop.iteration(0).policy)
    control = read_card(loop.paths(0).control)
    assert first.parent == "tiny" and second.parent == control.parent == first.policy_id
    phases = [read_rounds_summary(folder) for folder in (loop.paths(0).bc, loop.paths(0).dpo)]
    assert phases[1].start == phases[0].policy_id == first.config["weights"]
    assert phases[1].policy_id == second.config["weights"] != phases[1].start
    assert set(first.sample_counts) == {"imitation"}
    assert set(control.sample_counts) == {"imitation", "imitation_replay"}
    assert set(second.sample_counts) == {"preference", "preference_replay"}
    assert [one.policy_id for one in ancestors(loop.store, find_policy(loop.store, "dagger", "0"))[0]] == [
        first.policy_id
    ]
    rows = read_provenance(loop.iteration(0).policy).to_pylist()
    assert len(rows) == sum(second.sample_counts.values())
    assert {row["policy_id"] for row in rows} >= {phases[1].start}


def test_pairs_are_where_agent_and_expert_differed(loop: DaggerLoop) -> None:
    rows, card = read_pairs(loop.iteration(0).samples)
    summary = read_rounds_summary(loop.paths(0).dpo)
    own = [row for row in rows if row.source == "rounds"]
    assert card.labelled == sum(one.labelled for one in summary.rounds)
    assert len(own) == card.labelled - card.agreed
    assert all(row.better != row.worse and row.prompt.endswith("\n>") for row in rows)
    assert len({row.row_id for row in rows}) == len(rows) == card.pairs
    assert all(row.row_id.startswith("000-bc/bc/") for row in rows if row.source == "replay")


def test_all_are_examined_in_the_same_games_and_the_gate_decides(loop: DaggerLoop) -> None:
    for number, names in ((0, {"untrained", "bc", "dpo", "control"}), (1, {"untrained", "dpo", "control", "serving"})):
        folder = loop.iteration(number).evaluation
        summary, scores = read_evaluation(folder)
        assert set(scores) == names and summary.reference == ("serving" if number else "bc")
        assert {len(rows) for rows in scores.values()} == {7}
        figures = read_text_figures(folder)
        assert figures.expert == "text-searcher"
        assert {(one.games, len(one.families)) for splits in figures.agents.values() for one in splits.values()} == {
            (4, 4),
            (3, 3),
        }
        assert not list(folder.glob("games/*/*/pictures.safetensors"))
    verdict = read_gate(loop.iteration(1).evaluation)
    opening = read_gate(loop.iteration(0).evaluation)
    imitating, first, second = (
        read_card(folder).policy_id
        for folder in (loop.paths(0).bc_policy, loop.iteration(0).policy, loop.iteration(1).policy)
    )
    assert opening is not None and (opening.candidate, opening.serving, opening.promote) == (first, imitating, True)
    assert verdict is not None and verdict.serving == first and verdict.episodes == 3 and verdict.config.split == "val"
    assert _serving(loop) == (second if verdict.promote else first)


def test_a_later_iteration_takes_over_what_serves(loop: DaggerLoop) -> None:
    first = read_card(loop.iteration(0).policy)
    assert DAGGER_LOOP.base_policy_of(loop.instance, "001") == first.policy_id
    assert read_card(loop.paths(1).bc_policy) == first
    assert not loop.paths(1).bc.exists()
    assert read_card(loop.iteration(1).policy).parent == first.policy_id
    assert read_rounds_summary(loop.paths(1).dpo).start == first.config["weights"]


def test_imitation_serves_first_where_preferring_made_it_worse(loop: DaggerLoop, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(loop.iteration(0).base, root / "dagger" / "000")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        other = DaggerLoop(with_registry(Store.at(root)), instance)
        open_first_dagger_iteration(instance)
        evaluation = other.iteration(0).evaluation
        (evaluation / GATE_FILE).unlink()
        summary, scores = read_evaluation(evaluation)
        for name, rows in scores.items():
            for game, row in rows.items():
                won = (name == "bc") == (row.split == "val")  # on test, preferring is the better one
                rows[game] = row.model_copy(update={"success": won, "percent_complete": float(won)})
        publish_evaluation(scores, evaluation, summary.config, summary.episode_sets)
        for _ in range(2):
            found = made(succeeded(other.run(0, only=["dagger_promotion"])), "dagger_promotion")
            imitating, preferring = (read_card(f) for f in (other.paths(0).bc_policy, other.iteration(0).policy))
            assert _serving(other) == found["serves"] == found["compared with"] == imitating.policy_id
            assert not found["promoted"] and found["student"] == preferring.policy_id
            assert f"{imitating.policy_id}, which it started from, may" in found["why"]
        # Examined again, the agents are those of before under the same names.
        names = examined(other.store, instance, other.iteration(0), other.preset())
        assert set(names) == {"untrained", "bc", "dpo", "control"}
        other.open(1)
        assert DAGGER_LOOP.base_policy_of(instance, "001") == imitating.policy_id
        succeeded(other.run(1, only=["expert_rounds", "bc_policy"]))
        assert read_card(other.paths(1).bc_policy) == imitating


def test_run_again_it_plays_nothing_again(loop: DaggerLoop) -> None:
    before = {file: file.stat().st_mtime_ns for file in loop.store.root.glob("dagger/00[01]/**/steps.jsonl")}
    card = read_card(loop.iteration(1).policy)
    serving = _serving(loop)
    succeeded(loop.run(1))
    assert {file: file.stat().st_mtime_ns for file in loop.store.root.glob("dagger/00[01]/**/steps.jsonl")} == before
    assert read_card(loop.iteration(1).policy) == card and _serving(loop) == serving


def _corrected(number: int, prompt: str) -> PreferencePair:
    facts: dict[str, Any] = {"episode_id": "e", "split": "train", "scene_id": "s", "task_type": "rearrange", "agent": 0}
    facts |= {"iteration": 0, "play_id": "p", "step": number, "weight": 1.0, "policy_id": "planner-000", "trace": "t"}
    return PreferencePair(
        **facts,
        pair_id=f"e/p/{number}/pair",
        prompt=prompt,
        chosen="Navigate[desk]<end_act>",
        rejected="Wait[]<end_act>",
        label_ids=f"{number}",
    )


def test_an_iteration_may_imitate_again_and_learn_from_earlier_ones_and_from_people(loop: DaggerLoop) -> None:
    corrections = loop.store.iteration("planner", 0).samples / CORRECTED
    corrections.parent.mkdir(parents=True)
    pairs = [_corrected(7, "Task: tidy up.\nAction:"), _corrected(8, "Task: tidy up. " * 1000)]
    write_preference_pairs(corrections, pairs, prompt_style="incremental")
    loop.open(2)
    more = ("loop.imitate_again=true", "replay.earlier_iterations=true", "replay.corrections=true")
    result = succeeded(loop.run(2, *more, "control.enabled=false"))
    rows, card = read_pairs(loop.iteration(2).samples)
    (corrected,) = [row for row in rows if row.source == "corrections"]
    assert (corrected.better, corrected.worse, corrected.label_ids) == ("Navigate[desk]", "Wait[]", "7")
    assert card.sources["corrections"] == card.too_long == 1
    learned = read_provenance(loop.iteration(2).policy).to_pylist()
    assert [row["label_id"] for row in learned if row["source"] == "preference_corrections"] == ["7"]
    assert made(result, "bc_control") == {"control": "left out (control.enabled)"}
    imitated = read_card(loop.paths(2).bc_policy)
    assert imitated.iteration == 2 and imitated.parent == DAGGER_LOOP.base_policy_of(loop.instance, "002")
    heads = {row.row_id.partition("/")[0] for row in rows}
    assert heads <= {"000-dpo", "001-dpo", "002-bc", "dpo", "corrections"} and len(heads) >= 4
    assert "bc" in read_evaluation(loop.iteration(2).evaluation)[1]


def test_the_sensor_opens_the_next_one_and_starts_it(loop: DaggerLoop) -> None:
    def tick(*overrides: str) -> Any:
        resources = {
            "store": StoreResource(home=str(loop.store.root)),
            "dagger_preset": DaggerPresetChoice(name="tiny_ci", overrides=list(overrides)),
        }
        with dg.build_sensor_context(instance=loop.instance, resources=resources) as context:
            return next_dagger_iteration(context)

    assert "was the last of 1" in str(tick().skip_message)
    due = tick("loop.iterations=3")
    (request,) = due.run_requests
    assert (request.partition_key, request.run_key) == ("003", "dagger/003")
    (event,) = due.asset_events
    assert event.metadata["policy"].value == _serving(loop)


def _verdict(loop: DaggerLoop, check: dg.AssetChecksDefinition) -> dg.AssetCheckEvaluation:
    resources = {
        "store": StoreResource(home=str(loop.store.root)),
        "dagger_preset": DaggerPresetChoice(name="tiny_ci"),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(asset_checks=[check], resources=resources).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, tags={"dagster/partition": "001"}, raise_on_error=False)
        (found,) = result.get_asset_check_evaluations()
    return found


def test_what_is_spoiled_is_found(loop: DaggerLoop) -> None:
    for check in (games_are_apart, pairs_are_sound, reference_is_unchanged):
        assert _verdict(loop, check).passed, check
    games = loop.paths(1).games
    train, test = games_file(games, "train"), games_file(games, "test")
    kept = train.read_text()
    leaked = test.read_text().splitlines()[0].replace('"split":"test"', '"split":"train"')
    train.write_text(f"{kept}{leaked}\n")
    found = _verdict(loop, games_are_apart)
    assert not found.passed and "1 tasks are in both train and test" in str(found.description)
    train.write_text(kept)

    pairs = loop.iteration(1).samples / PAIRS_FILE
    text = pairs.read_text()
    pairs.write_text(text + text.splitlines()[0] + "\n")
    assert "1 pairs are there twice" in str(_verdict(loop, pairs_are_sound).description)
    row = read_pairs(loop.iteration(1).samples)[0][0]
    pairs.write_text(text + row.model_copy(update={"row_id": "x", "worse": row.better}).model_dump_json() + "\n")
    assert "1 pairs have no two answers, e.g. 'x'" in str(_verdict(loop, pairs_are_sound).description)
    pairs.write_text(text)

    merged = loop.paths(1).bc_policy / "merged"
    shutil.copytree(merged, merged.with_name("kept"))
    weights = loop.iteration(1).policy / "merged" / "weights.safetensors"
    (merged / "weights.safetensors").write_bytes(weights.read_bytes())
    found = _verdict(loop, reference_is_unchanged)
    assert not found.passed and "is not the one preferring started from" in str(found.description)
