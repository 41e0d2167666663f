"""Agents in text games they have not learned from: the same games for each, so that any two can be compared.

Nobody learns and nobody mixes in: the agent's commands are carried out, and an expert only says what it would have
done. Each finished game is kept, so that an examination that was cut off goes on with the games that are missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import disk_errors_named, publish_json, sweep_temporaries
from hitl_ops.contracts.text_game import GameHistory, TextExpert, TextGame, TextTurn, TextWorld
from hitl_ops.evaluation.evaluate import Scores, publish_evaluation
from hitl_ops.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import EvaluationConfig, EvaluationSummary, check_policy_names
from hitl_ops.records.round_games import (
    PICTURES_FILE,
    RoundGameResult,
    game_name,
    read_result,
)
from hitl_ops.rollouts.text_game_sets import games_hash
from hitl_ops.rollouts.text_players import TextPlayersConfig, make_players
from hitl_ops.rollouts.text_rounds import Players, RoundBatch, RoundPlayConfig, RoundPlayer
from hitl_ops.worlds.text_worlds import games_note

if TYPE_CHECKING:
    from hitl_ops.models.vision_agent import VisionAgent

FIGURES_FILE = "agents.json"
GAMES = "games"


class TextEvaluationConfig(StrictConfig):
    """How agents are examined."""

    games_at_once: int = Field(default=16, ge=1, le=64, description="games played side by side")
    expert: Literal["same", "searcher", "oracle", "none"] = Field(
        default="same", description="whose answers the agent's are compared with; same: of the expert it learned from"
    )
    keep_pictures: bool = Field(
        default=False, description="keep what the agent saw; some 12 kB a step, by which nothing is scored"
    )
    scoring: EvaluationConfig = Field(
        default=EvaluationConfig(primary_split="test", reference="bc"), description="intervals and comparison"
    )


class TextExaminationConfig(StrictConfig):
    """An examination with the worlds and the expert it takes place with."""

    players: TextPlayersConfig = Field(default=TextPlayersConfig(), description="the worlds and the expert")
    evaluation: TextEvaluationConfig = Field(default=TextEvaluationConfig(), description="how agents are examined")


class AgentFigures(BaseModel):
    """What an agent did in the games of a split, beside winning them."""

    model_config = ConfigDict(extra="forbid")

    games: int
    success: Interval = Field(description="share of games won; Wilson's interval where all ended alike")
    steps: float = Field(description="mean commands of a game")
    agreement: float | None = Field(description="share of labelled steps at which it chose as the expert")
    labelled: int = Field(description="steps with an answer of the expert")
    invalid: float = Field(description="share of commands to which nothing happened")
    families: dict[str, Interval] = Field(description="success by task family")
    latency_ms: float = Field(description="mean time a choice was waited for")


class TextFigures(BaseModel):
    """What stands in ``agents.json`` beside ``summary.json``."""

    model_config = ConfigDict(extra="forbid")

    expert: str = Field(description="whose answers agents' were compared with; '' where nobody's")
    note: str = Field(default="", description="whose pictures were seen, and whether the games are the papers'")
    agents: dict[str, dict[str, AgentFigures]] = Field(description="name → split → figures")


class _Told(Protocol):
    """Told how many of an agent's games are over."""

    def __call__(self, done: int, note: str) -> None: ...


class _NoExpert:
    """Has no answer to anything; in the place of an expert where nobody is asked."""

    policy_id = ""

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """Nothing to take in."""

    def label(self, history: GameHistory, turn: TextTurn) -> str | None:
        """None."""
        return None

    def executed(self, command: str, turn: TextTurn) -> None:
        """Nothing to take in."""


def evaluate_text_agents(
    agents: Mapping[str, tuple[Path, str]],
    games: Sequence[TextGame],
    config: TextExaminationConfig,
    out: Path,
    progress: Progress = silent,
    *,
    code_version: str = "",
) -> tuple[EvaluationSummary, TextFigures]:
    """Let agents play games, and publish ``summary.json``, ``scores.jsonl.gz`` and ``agents.json``.

    Args:
        agents: name → folder of the agent, and the id it is scored under.
        games: which; of one or several splits, the primary one among them.
        config: how.
        out: the evaluation's folder; finished games are kept in ``games/`` under it.
        progress: told of games.
        code_version: of what decides how games end; games that another version played are played again.

    Raises:
        UserError: an agent cannot be opened or is named wrongly, there are no games, a game cannot be played, or the
            expert cannot answer any more.
        CannotWrite: the place cannot be written.
    """
    check_policy_names(list(agents))
    if not games:
        raise UserError("there are no games to examine agents on", "name a file with some")
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    folders = {name: out / GAMES / _key(folder, games, config, code_version) for name, (folder, _) in agents.items()}
    _forget_others(out / GAMES, set(folders.values()))
    total = len(games) * len(agents)
    scores: Scores = {}
    figures: dict[str, dict[str, AgentFigures]] = {}
    expert = ""
    for number, (name, (agent, policy_id)) in enumerate(agents.items()):

        def told(done: int, note: str, name: str = name, before: int = number * len(games)) -> None:
            progress(before + done, total, f"{name}: {note}")

        results = _results(agent, games, config, folders[name], told)
        expert = expert or results[0].expert
        scores[name] = {
            game.game_id: _score(game, result, policy_id) for game, result in zip(games, results, strict=True)
        }
        figures[name] = _figures_by_split(results, config.evaluation.scoring)
    note = games_note(games, config.players.worlds)
    found = TextFigures(expert=expert, note=note, agents=figures)
    publish_json(out / FIGURES_FILE, found)
    splits = {game.split: [other for other in games if other.split == game.split] for game in games}
    sets: dict[str, str] = {split: games_hash(own) for split, own in splits.items()}
    scoring = config.evaluation.scoring
    if scoring.reference not in agents and "serving" in agents:
        scoring = scoring.replace(reference="serving")
    return publish_evaluation(scores, out, scoring, sets), found


def read_text_figures(folder: Path) -> TextFigures:
    """What agents did beside winning.

    Raises:
        UserError: there is no finished examination in the folder, or it is damaged.
    """
    file = folder / FIGURES_FILE
    try:
        return TextFigures.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no finished examination in '{folder}'", "examine the agents first") from None
    except (OSError, ValidationError):
        raise UserError(f"'{file}' is damaged", "examine the agents again") from None


def _key(agent: Path, games: Sequence[TextGame], config: TextExaminationConfig, code_version: str) -> str:
    """A name for an agent's finished games: another one where anything that decides them is another."""
    from hitl_ops.models.vision_agent_files import read_agent_facts

    facts = read_agent_facts(agent)
    players = config.players.model_dump(mode="json")
    told: list[object] = [facts.policy_id, facts.config.model_dump(mode="json"), games_hash(games), players]
    told += [config.evaluation.expert, config.evaluation.keep_pictures, code_version]
    return f"{facts.policy_id}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]}"


def _forget_others(place: Path, wanted: set[Path]) -> None:
    with disk_errors_named(place):
        for folder in sorted(place.iterdir()) if place.is_dir() else []:
            if folder not in wanted:
                shutil.rmtree(folder)


def _results(
    agent: Path, games: Sequence[TextGame], config: TextExaminationConfig, folder: Path, told: _Told
) -> list[RoundGameResult]:
    """How an agent's games ended; those on disk are read, the others played."""
    places = [folder / game_name("bc", 0, number) for number in range(len(games))]
    missing = [number for number, place in enumerate(places) if not place.is_dir()]
    if missing:
        from hitl_ops.models.vision_agent import VisionAgent

        _play(VisionAgent.load(agent), games, missing, config, folder, told)
    results = [read_result(place) for place in places]
    for result, game, place in zip(results, games, places, strict=True):
        if result.game_id != game.game_id:
            raise UserError(f"'{place}' is of another game", "remove it; the game is then played again")
    told(len(games), f"{sum(result.success for result in results)} of {len(games)} won")
    return results


def _play(
    agent: VisionAgent,
    games: Sequence[TextGame],
    missing: Sequence[int],
    config: TextExaminationConfig,
    folder: Path,
    told: _Told,
) -> None:
    player = RoundPlayer(_players(config, folder.parent.parent / "expert"))
    at_once, name = config.evaluation.games_at_once, agent.policy_id
    try:
        for start in range(0, len(missing), at_once):
            chosen = missing[start : start + at_once]
            batch = RoundBatch(
                phase="bc",  # the form of games in which nobody prefers anything
                round=0,
                games=tuple((number, games[number]) for number in chosen),
                beta=0.0,
                agent_step=0,
                picture=agent.config.picture,
                history_turns=agent.config.history_turns,
                play=RoundPlayConfig(games_at_once=at_once),
                agent=name,
            )
            done = len(games) - len(missing) + start

            def on_step(running: int, steps: int, done: int = done, size: int = len(chosen)) -> None:
                told(done + size - running, f"{running} games under way, {steps} steps")

            player.play(batch, agent, folder, on_step)
            if not config.evaluation.keep_pictures:
                for number in chosen:
                    (folder / game_name("bc", 0, number) / PICTURES_FILE).unlink(missing_ok=True)
    finally:
        player.close()


def _players(config: TextExaminationConfig, folder: Path) -> Players:
    kind = config.evaluation.expert
    if kind == "none":
        made = make_players(config.players.replace(expert="searcher"), folder)
        return Players(made.world, _nobody)
    return make_players(config.players if kind == "same" else config.players.replace(expert=kind), folder)


def _nobody(_: str) -> TextExpert:
    return _NoExpert()


def _score(game: TextGame, result: RoundGameResult, policy_id: str) -> EpisodeScore:
    return EpisodeScore(
        episode_id=game.game_id,
        task_type=game.family,
        split=game.split,
        scene_id=_place(game),
        instruction=game.task,
        success=result.success,
        percent_complete=float(result.success),
        sim_steps=result.steps,
        decisions=result.steps,
        latency_ms=[round(result.latency_ms, 3)],
        runtime_s=round(result.latency_ms * result.steps / 1000, 3),
        ended_by="success" if result.success else "step limit",
        policy_id=policy_id,
    )


def _place(game: TextGame) -> str:
    """The home a game is played in, where the world has homes that games share."""
    episode = game.setup.get("episode")
    return str(episode["scene_id"]) if isinstance(episode, dict) and "scene_id" in episode else game.game_id


def _figures_by_split(results: Sequence[RoundGameResult], scoring: EvaluationConfig) -> dict[str, AgentFigures]:
    splits = dict.fromkeys(result.split for result in results)
    return {split: figures_of([one for one in results if one.split == split], scoring) for split in splits}


def figures_of(results: Sequence[RoundGameResult], scoring: EvaluationConfig) -> AgentFigures:
    """Sum up how games ended.

    Args:
        results: at least one.
        scoring: how often to resample.
    """
    steps, labelled = sum(one.steps for one in results), sum(one.labelled for one in results)
    families = sorted({one.family for one in results})
    return AgentFigures(
        games=len(results),
        success=_success(results, scoring),
        steps=steps / len(results),
        agreement=sum(one.agreed for one in results) / labelled if labelled else None,
        labelled=labelled,
        invalid=sum(one.nothing_happened for one in results) / max(1, steps),
        families={name: _success([one for one in results if one.family == name], scoring) for name in families},
        latency_ms=sum(one.latency_ms * one.steps for one in results) / max(1, steps),
    )


def _success(results: Sequence[RoundGameResult], scoring: EvaluationConfig) -> Interval:
    won = [float(one.success) for one in results]
    found = bootstrap_interval(won, resamples=scoring.resamples, level=scoring.level, seed=scoring.seed)
    if found.low < found.high:
        return found
    low, high = wilson_interval(int(sum(won)), len(won), scoring.level)
    return found.model_copy(update={"low": low, "high": high})
