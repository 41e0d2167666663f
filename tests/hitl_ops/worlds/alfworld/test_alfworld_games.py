"""Generated games, and official ones: a folder of the official layout is made out of generated games."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.text_game import FAMILIES, TextGame
from hitl_ops.worlds.alfworld import AlfworldConfig, make_alfworld
from hitl_ops.worlds.alfworld.config import DATA_VARIABLE, GAMES_FOLDER
from hitl_ops.worlds.alfworld.engine import GAME_FILE, PROBLEM_FILE, TASK_FILE, read_game_file
from hitl_ops.worlds.alfworld.games import alfworld_games, generated_games, has_official_games
from hitl_ops.worlds.text_tasks import parse_task
from tests.hitl_ops.worlds.alfworld.generated import config, folder_of, games

pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")


@pytest.mark.slow
def test_sixty_games_ten_a_family_are_won_by_their_walkthroughs() -> None:
    world = make_alfworld(config())
    sixty = games(60)
    assert Counter(game.family for game in sixty) == dict.fromkeys(FAMILIES, 10)
    assert len({game.game_id for game in sixty}) == 60
    for game in sixty:
        turn = world.begin(game)
        for command in read_game_file(folder_of(game)).walkthrough or ():
            assert not turn.won
            turn = world.step(command)
        assert turn.won and turn.over, game.game_id
    world.close()


def test_a_game_is_its_number_and_nothing_else(tmp_path: Path) -> None:
    elsewhere = AlfworldConfig(root=str(tmp_path))
    again = generated_games("test", 6, 0, elsewhere)
    assert again == list(games(6))
    for game in again:
        for name in (GAME_FILE, TASK_FILE, PROBLEM_FILE):
            assert (tmp_path / game.setup["folder"] / name).read_bytes() == (folder_of(game) / name).read_bytes()
    assert generated_games("test", 2, 1, elsewhere) != again[:2]
    rooms = {(tmp_path / game.setup["folder"] / PROBLEM_FILE).read_text() for game in again}
    rooms |= {
        (tmp_path / game.setup["folder"] / PROBLEM_FILE).read_text()
        for game in [*generated_games("train", 2, 0, elsewhere), *generated_games("val", 2, 0, elsewhere)]
    }
    assert len(rooms) == 10  # no split sees another's room


def test_games_that_are_there_are_not_written_again(tmp_path: Path) -> None:
    there = AlfworldConfig(root=str(tmp_path))
    (game,) = generated_games("train", 1, 0, there)
    file = tmp_path / game.setup["folder"] / GAME_FILE
    written = file.stat().st_mtime_ns
    assert generated_games("train", 1, 0, there) == [game]
    assert file.stat().st_mtime_ns == written
    task = file.with_name(TASK_FILE)
    task.write_text(json.dumps({**json.loads(task.read_text()), "generator_version": 0}))
    generated_games("train", 1, 0, there)  # of an earlier generator: replaced
    assert file.stat().st_mtime_ns != written


def test_the_task_is_worded_as_its_family_is() -> None:
    for game in games(6):
        assert parse_task(game.task).family == game.family
        assert game.setup["origin"] == "generated"


def test_families_can_be_chosen(tmp_path: Path) -> None:
    two = AlfworldConfig(root=str(tmp_path), families=("look_at_obj_in_light", "pick_two_obj_and_place"))
    assert [game.family for game in generated_games("val", 3, 0, two)] == [*two.families, two.families[0]]


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """An ALFWORLD_DATA of two unseen games, one unsolvable, one with a movable receptacle, one sliced."""
    base = tmp_path / "data" / GAMES_FOLDER / "valid_unseen"
    for number, game in enumerate(games(5)):
        source = folder_of(game)
        name = source.parent.name
        name = {3: name.replace("pick_heat", "pick_movable_heat"), 4: f"{name}-Sliced"}.get(number, name)
        target = base / name / f"trial_T20190907_21275{number}_456877"
        shutil.copytree(source, target)
        if number == 2:
            file = target / GAME_FILE
            file.write_text(json.dumps({**json.loads(file.read_text()), "solvable": False}))
    return tmp_path / "data"


def test_official_games_are_taken_where_they_are(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(official))
    settings = AlfworldConfig()
    assert settings.games_root == official
    assert has_official_games(official, "test") and not has_official_games(official, "train")
    found = alfworld_games("test", 2, 0, settings)
    assert {game.family for game in found} == {game.family for game in games(2)}
    assert all(game.setup["origin"] == "official" for game in found)
    assert all(game.setup["folder"].startswith("json_2.1.1/valid_unseen/") for game in found)
    assert sorted(alfworld_games("test", 2, 7, settings), key=str) == sorted(found, key=str)
    with pytest.raises(UserError, match="has 2 official games for 'test', not 3"):
        alfworld_games("test", 3, 0, settings)
    world = make_alfworld({"translations": str(official.parent / "translations")})
    turn = world.begin(found[0])
    for command in read_game_file(official / found[0].setup["folder"]).walkthrough or ():
        turn = world.step(command)
    assert turn.won
    assert not (official / "translations").exists()
    world.close()


def test_generated_games_beside_official_ones_do_not_count_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = AlfworldConfig(root=str(tmp_path))
    generated_games("test", 1, 0, settings)
    assert not has_official_games(tmp_path, "test")
    assert alfworld_games("test", 1, 0, settings)[0].setup["origin"] == "generated"
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    assert AlfworldConfig().games_root == tmp_path / "home" / "alfworld"


@pytest.mark.slow
def test_the_stock_loader_takes_generated_games_as_they_are() -> None:
    from alfworld.agents.environment import get_environment

    sixty = games(6)
    root = config().games_root / GAMES_FOLDER / "valid_unseen"
    settings = {
        "env": {
            "goal_desc_human_anns_prob": 0,
            "task_types": [1, 2, 3, 4, 5, 6],
            "domain_randomization": False,
            "expert_type": "handcoded",
        },
        "dataset": {"eval_ood_data_path": str(root), "num_eval_games": -1},
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": 50}},
    }
    loader = get_environment("AlfredTWEnv")(settings, train_eval="eval_out_of_distribution")
    assert {Path(file).parent for file in loader.game_files} >= {folder_of(game) for game in sixty}
    environment = loader.init_env(batch_size=1)
    texts, infos = environment.reset()
    game = next(one for one in games(60) if str(folder_of(one)) in infos["extra.gamefile"][0])
    assert texts[0].endswith(f"Your task is to: {game.task}")
    for command in read_game_file(folder_of(game)).walkthrough or ():
        texts, _, _, infos = environment.step([command])
        assert texts[0] != "Nothing happens."
    assert infos["won"] == [True] or infos["won"] == (True,)
    environment.close()


@pytest.mark.parametrize("folder", ["/etc", "../outside", "json_2.1.1/../../outside", "", "json_2.1.1/none"])
def test_no_folder_outside_the_root_is_played(folder: str) -> None:
    game = games(1)[0]
    stranger = game.model_copy(update={"setup": {"folder": folder}})
    world = make_alfworld(config())
    with pytest.raises(UserError, match=r"games' root|there is no game"):
        world.begin(stranger)
    world.close()


def test_no_link_leads_outside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(folder_of(games(1)[0]))
    world = make_alfworld({"root": str(root)})
    with pytest.raises(UserError, match="leads outside"):
        world.begin(games(1)[0].model_copy(update={"setup": {"folder": "link"}}))
    world.close()


def _broken(game: TextGame, tmp_path: Path, content: str) -> tuple[TextGame, AlfworldConfig]:
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / GAME_FILE).write_text(content)
    return game.model_copy(update={"setup": {"folder": "game"}}), AlfworldConfig(root=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("not json", "cannot be read"),
        ({"grammar": "nonsense"}, "grammar cannot be read"),
        ({"pddl_problem": "(define (problem"}, "PDDL cannot be translated"),
        ({"grammar": "computes"}, "computes"),
    ],
)
def test_a_broken_game_is_one_line(change: str | dict[str, str], told: str, tmp_path: Path) -> None:
    whole = json.loads((folder_of(games(1)[0]) / GAME_FILE).read_text())
    if isinstance(change, dict):
        if change.get("grammar") == "computes":  # a game is data: nothing in it is ever run
            change = {"grammar": whole["grammar"].replace("{r.name or r.id}", "{().__class__}")}
        change = json.dumps({**whole, **change})
    game, settings = _broken(games(1)[0], tmp_path, change)
    world = make_alfworld(settings)
    with pytest.raises(UserError, match=told) as error:
        world.begin(game)
    assert "\n" not in str(error.value)
    with pytest.raises(RuntimeError):
        world.step("look")
    world.close()


def test_where_translations_cannot_be_kept_the_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = make_alfworld(config().replace(translations=str(tmp_path / "file" / "below")))
    with pytest.raises(CannotWrite, match="setting translations"):
        world.begin(games(1)[0])
    world.close()


def test_a_damaged_translation_is_made_again(tmp_path: Path) -> None:
    settings = config().replace(translations=str(tmp_path))
    world = make_alfworld(settings)
    first = world.begin(games(1)[0])
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    assert world.begin(games(1)[0]) == first
    assert kept.read_bytes() == whole
    world.close()
