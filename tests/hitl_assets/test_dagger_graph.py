"""The dagger program's graph reads as the design says; its presets are typed, strict, and say what they change."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import dagster as dg
import pytest

from hitl_assets.dagger_iterations import DAGGER_LOOP, dagger_iterations, open_first_dagger_iteration
from hitl_assets.dagger_presets import DAGGER_PRESETS, DaggerPreset, chosen_dagger_preset
from hitl_assets.definitions import build_defs
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextGame

WAY = [
    "dagger_base_policy",
    "dagger_games",
    "expert_rounds",
    "bc_policy",
    "preference_rounds",
    "preference_pairs",
    "dpo_policy",
    "bc_control",
    "dagger_evaluation",
    "dagger_promotion",
]


@functools.cache
def _graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def _parents(name: str) -> set[str]:
    return {key.to_user_string() for key in _graph().get(dg.AssetKey(name)).parent_keys}


def test_follows_the_design() -> None:
    for before, after in itertools.pairwise(WAY):
        assert before in _parents(after)
    assert {"bc_policy", "dpo_policy"} <= _parents("dagger_evaluation")
    assert "bc_policy" in _parents("bc_control") and "preference_rounds" not in _parents("bc_control")
    graph = _graph()
    own = {node.key.to_user_string() for node in graph.asset_nodes if node.group_name == "dagger"}
    assert own == set(WAY)
    assert {graph.get(dg.AssetKey(name)).partitions_def for name in own} == {dagger_iterations}
    job = build_defs().resolve_job_def("dagger_iteration")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(WAY[1:])


def test_damage_blocks_the_next_step_and_opinions_do_not() -> None:
    graph = _graph()
    checks = {key for key in graph.asset_check_keys if key.asset_key.to_user_string() in WAY}
    assert {key.name: graph.get(key).blocking for key in checks} == {
        "games_are_apart": True,
        "expert_answers": False,
        "pairs_are_sound": True,
        "reference_is_unchanged": True,
        "agents_played_all": True,
        "dagger_gate_passed": False,
    }


def test_it_turns_apart_from_the_others() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_dagger_iteration(instance) == "000"
        assert DAGGER_LOOP.opened(instance) == ["000"] and DAGGER_LOOP.base_policy_of(instance, "000") == ""
        assert instance.get_dynamic_partitions("preference_iterations") == []
        with pytest.raises(UserError, match="was never opened"):
            DAGGER_LOOP.parent_of(instance, "001")


@pytest.mark.parametrize("name", list(DAGGER_PRESETS))
def test_presets_survive_being_written_down(name: str) -> None:
    preset = chosen_dagger_preset(name, [])
    assert DaggerPreset.model_validate_json(preset.model_dump_json()) == preset


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dpo.round=3"], "did you mean 'rounds'?"),
        (["bc.training.phase=dpo"], "bc.training.phase is bc, dpo.training.phase is dpo"),
        (["expert.kind=llm"], "expert.kind llm needs expert.llm"),
        (["gate.split=train"], "gate.split train is not examined"),
        (["evaluation.scoring.primary_split=train"], "primary_split is val or test"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_dagger_preset("tiny_ci", overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def _games(count: int) -> list[TextGame]:
    return [
        TextGame(game_id=f"g{n}", world="household", family="f", split="train", seed=n, task="t", setup={})
        for n in range(count)
    ]


def test_phases_take_fresh_games_and_every_iteration_has_chance_of_its_own() -> None:
    chosen = chosen_dagger_preset("tiny_ci", ["bc.rounds=3", "bc.training.seed=4", "bc.play.seed=5", "games.train=7"])
    assert [game.seed for game in chosen.games_to_prefer(_games(7), 0)] == [6, 0, 1, 2, 3, 4, 5]
    assert [game.seed for game in chosen.games_to_prefer(_games(7), 1)] == list(range(7)), "it has imitated nothing"
    same = chosen_dagger_preset("tiny_ci", ["dpo.fresh_games=false"])
    assert [game.seed for game in same.games_to_prefer(_games(4), 0)] == [0, 1, 2, 3]
    phase = chosen.bc_phase(2)
    assert (phase.rounds.training.seed, phase.rounds.play.seed) == (4002, 5002)
    assert phase.players.worlds["household"]["max_steps"] == 12


def test_the_control_has_the_rounds_and_the_pace_of_the_other_and_imitates() -> None:
    changes = ["dpo.rounds=5", "dpo.games_per_round=3", "bc.training.learning_rate=0.1", "bc.training.batch_size=3"]
    chosen = chosen_dagger_preset("tiny_ci", changes)
    control, dpo = chosen.control_phase(0).rounds, chosen.dpo_phase(0).rounds
    assert (control.rounds, control.games_per_round, control.play) == (5, 3, dpo.play)
    pace = {"learning_rate": 1e-3, "gradient_steps": 1, "warmup": 1, "schedule": "constant"}
    assert dpo.training.model_dump(include=set(pace)) == pace
    assert control.training == chosen.bc_phase(0).rounds.training.replace(**pace)


def test_the_paper_scale_is_the_papers() -> None:
    paper = DAGGER_PRESETS["paper"]
    assert (paper.world, paper.agent.base, paper.agent.trainable) == (
        "alfworld",
        "Salesforce/instructblip-vicuna-7b",
        ("projection",),
    )
    assert [(one.rounds, one.games_per_round) for one in (paper.bc, paper.dpo)] == [(6, 134), (12, 134)]
    assert [(one.training.batch_size, one.training.accumulation) for one in (paper.bc, paper.dpo)] == [(128, 4), (4, 4)]
    assert (paper.bc.training.gradient_steps, paper.alfworld.max_steps, paper.games.test) == (5, 50, 134)
    assert paper.expert.kind == "llm" and paper.expert.llm is not None and len(paper.expert.llm.temperatures) == 6
    assert paper.bc.play.beta.at(0, 6) == 0


def test_sensors_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_DAGGER_PRESET", "tiny_ci")
    monkeypatch.setenv("FLYWHEEL_DAGGER_OVERRIDES", "dpo.rounds=7 loop.iterations=3")
    chosen = DaggerPresetChoice.from_environment().resolve()
    assert (chosen.dpo.rounds, chosen.loop.iterations, chosen.games.train) == (7, 3, 4)
    monkeypatch.setenv("FLYWHEEL_DAGGER_OVERRIDES", "dpo.round=7")
    with pytest.raises(UserError, match=r"FLYWHEEL_DAGGER_OVERRIDES: .*unknown config key 'dpo.round'"):
        DaggerPresetChoice.from_environment()
    monkeypatch.setenv("FLYWHEEL_DAGGER_PRESET", "labtop")
    with pytest.raises(UserError, match="FLYWHEEL_DAGGER_PRESET 'labtop' is unknown"):
        DaggerPresetChoice.from_environment()


def test_in_a_run_a_mistake_fails_without_retry() -> None:
    choice: Any = DaggerPresetChoice(name="tiny_ci", overrides=["dpo.round=3"])
    with pytest.raises(dg.Failure, match="unknown config key") as caught:
        choice.resolve()
    assert caught.value.allow_retries is False
