"""A phase of the dagger program's rounds, as assets start it and tell what came of it.

The phases themselves are in ``dagger_imitation`` and ``dagger_preference``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.dagger_iterations import DAGGER_LOOP, PROGRAM, DaggerPaths
from hitl_assets.dagger_presets import DaggerPreset
from hitl_assets.launched_training import LOG_FILE, Lesson, run_page
from hitl_assets.provenance import folder_hash, manifest_hash, policy_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key
from resources.tracker import TrackerResource

if TYPE_CHECKING:
    from hitl_ops.contracts.policy_card import PolicyCard
    from hitl_ops.training.agent_phase_config import AgentPhaseConfig
    from hitl_ops.training.agent_rounds_log import RoundLog

ROUND_SOURCES = (
    "contracts/text_game.py",
    "worlds/text_commands.py",
    "worlds/text_tasks.py",
    "worlds/text_worlds.py",
    "worlds/household",
    "worlds/household_text",
    "worlds/alfworld",
    "experts",
    "models/text_game_tokenizer.py",
    "models/token_trie.py",
    "models/vision_agent.py",
    "models/vision_agent_base.py",
    "models/vision_agent_rows.py",
    "models/vision_agent_walks.py",
    "records/round_games.py",
    "rollouts/beta_schedule.py",
    "rollouts/game_agent.py",
    "rollouts/text_history.py",
    "rollouts/text_players.py",
    "rollouts/text_rounds.py",
    "rollouts/text_corpus.py",
    "samples/replay_buffer.py",
    "training/agent_phase.py",
    "training/agent_reference.py",
    "training/agent_rounds.py",
    "training/agent_rows.py",
    "training/agent_training.py",
    "training/dpo.py",
    "training/optimization.py",
)
"""The code that decides what rounds give."""


def phase_lesson(
    out: Path,
    config: AgentPhaseConfig,
    games: Path,
    skip: int = 0,
    *,
    start: Path | None = None,
    replay: Mapping[str, Path] | None = None,
    pairs: Sequence[Path] = (),
    validation: Path | None = None,
) -> Lesson:
    """A phase of rounds, as it is started.

    Args:
        out: the phase's folder.
        config: how.
        games: the file of its games.
        skip: games of it that come last in rounds, since an earlier phase has played them.
        start: folder of the agent it begins with; None: a new one.
        replay: name → folder of an earlier phase whose games it begins with.
        pairs: files of annotators' corrections.
        validation: the file of validation games, for phases that play some after each round.
    """
    phase, replay = config.rounds.training.phase, replay or {}
    arguments = ["--program", PROGRAM, "--phase", phase, "--games", str(games), "--skip-games", str(skip)]
    arguments += ["--base", str(start)] if start else []
    for name, folder in replay.items():
        arguments += ["--replay", f"{name}={folder}"]
    for file in pairs:
        arguments += ["--pairs", str(file)]
    played_after = [validation] if validation is not None and config.rounds.val_games else []
    for file in played_after:
        arguments += ["--val-games", str(file)]
    return Lesson(
        None,
        out,
        config,
        {
            "config": config.decisive(starts_anew=start is None),
            "games": manifest_hash([games], relative_to=games.parent),
            "skip": skip,
            "start": folder_hash(start) if start else None,
            "replay": {name: _played(folder) for name, folder in replay.items()},
            "pairs": [manifest_hash([file], relative_to=file.parent) for file in pairs],
            "validation": [manifest_hash([file], relative_to=file.parent) for file in played_after],
        },
        arguments=tuple(arguments),
    )


def _played(phase: Path) -> str:
    """Hash over what a finished phase learned and ended with."""
    from hitl_ops.training.agent_rounds_log import SUMMARY_FILE

    file = phase / SUMMARY_FILE
    if not file.is_file():
        raise UserError(f"the rounds in '{phase}' are not through", "materialise them first")
    return manifest_hash([file], relative_to=phase)


def rounds_result(
    phase: Path, summary: Mapping[str, Any], tracker: TrackerResource, *, starts_from: str
) -> dg.MaterializeResult[Any]:
    """What a phase of rounds came to, as a materialisation."""
    from hitl_ops.training.agent_rounds_log import RoundsSummary

    told = RoundsSummary.model_validate({name: summary[name] for name in RoundsSummary.model_fields if name in summary})
    last, usage = told.rounds[-1], told.expert_usage
    paid: dict[str, Any] = {}
    if usage is not None:
        tokens = usage.prompt_tokens + usage.completion_tokens
        paid = {"expert's requests": usage.requests, "expert's tokens": tokens, "expert's price": usage.money}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(folder_hash(phase / told.agent)),
        metadata={
            **run_page(tracker, summary),
            "games": told.games,
            "gradient steps": told.gradient_steps,
            "success": round(last.accuracy, 4),
            **({} if last.agreement is None else {"agreement": round(last.agreement, 4)}),
            "nothing happened": sum(one.nothing_happened for one in told.rounds),
            "steps without a label": sum(one.missing for one in told.rounds),
            **({} if last.val_accuracy is None else {"validation success": round(last.val_accuracy, 4)}),
            **({} if last.val_agreement is None else {"validation agreement": round(last.val_agreement, 4)}),
            **({} if last.loss is None else {"loss": round(last.loss, 4)}),
            **paid,
            "agent": told.policy_id,
            "starts from": starts_from,
            "rounds": showing.table(round_rows(told.rounds)),
            "folder": showing.path(phase),
            "log": showing.path(phase / LOG_FILE),
        },
    )


def round_rows(rounds: Sequence[RoundLog]) -> list[dict[str, Any]]:
    """A row a round, for a table."""

    def figure(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        {
            "round": one.round + 1,
            "games won": f"{one.success} of {one.games}",
            "as the expert": figure(one.agreement, ".1%"),
            "steps": round(one.steps, 1),
            "by the expert": f"{one.beta:.0%}",
            "loss": figure(one.loss, ".4f"),
            "W_reward": figure(one.W_reward, ".3f"),
            "L_reward": figure(one.L_reward, ".3f"),
            "NLL": figure(one.NLL, ".4f"),
            "validation games won": figure(one.val_accuracy, ".1%"),
            "as the expert there": figure(one.val_agreement, ".1%"),
        }
        for one in rounds
    ]


def skipped_games(chosen: DaggerPreset, games: Path, iteration: int) -> int:
    """Games of a list that the first phase has played, where both phases take fresh ones."""
    from hitl_ops.rollouts.text_game_sets import read_text_games

    found = read_text_games(games)
    return found.index(chosen.games_to_prefer(found, iteration)[0])


def base_of(instance: dg.DagsterInstance, store: Store, key: str) -> tuple[Path, str]:
    """The policy that an iteration was opened on: its folder in the registry, and its id.

    Raises:
        UserError: nobody opened the iteration, or the weights are gone.
    """
    from hitl_ops.models.planner_lm import MERGED_FOLDER

    parent = DAGGER_LOOP.parent_of(instance, key)
    folder = store.policy(PROGRAM, parent)
    if not (folder / MERGED_FOLDER).is_dir():
        raise UserError(f"the weights of '{parent}' are gone ('{folder}')", "restore them")
    return folder, parent


def bc_agent(paths: IterationPaths) -> tuple[Path, str]:
    """The agent that preferring starts from: its folder, and the policy's id.

    Raises:
        UserError: the iteration has none yet.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER, read_card

    folder = DaggerPaths(paths).bc_policy
    if not (folder / CARD_FILE).is_file():
        raise UserError(
            f"iteration {paths.key} has no policy to start from ('{folder}')", "materialise bc_policy first"
        )
    return folder / MERGED_FOLDER, read_card(folder).policy_id


def bc_replay(chosen: DaggerPreset, paths: IterationPaths) -> dict[str, Path]:
    """The imitating phase's games under the name they have in another buffer; none where it was left out."""
    return {f"{paths.key}-bc": DaggerPaths(paths).bc} if chosen.imitates(paths.iteration) else {}


def dpo_replay(chosen: DaggerPreset, store: Store, paths: IterationPaths) -> dict[str, Path]:
    """What the preferring phase's buffer holds before its first game, the oldest first."""
    from hitl_ops.training.agent_rounds_log import SUMMARY_FILE

    found: dict[str, Path] = {}
    if chosen.replay.earlier_iterations:
        for number in range(paths.iteration):
            earlier = DaggerPaths(store.iteration(PROGRAM, number)).dpo
            if (earlier / SUMMARY_FILE).is_file():
                found[f"{iteration_key(number)}-dpo"] = earlier
    return found | (bc_replay(chosen, paths) if chosen.replay.bc_games else {})


def correction_files(chosen: DaggerPreset, store: Store) -> list[Path]:
    """Annotators' corrections of the planner program, as pairs; none where they are not to be learned from."""
    from hitl_ops.samples.expert import PAIRS_FILE

    if not chosen.replay.corrections:
        return []
    newest = store.newest_iteration("planner")
    files = [store.iteration("planner", number).samples / PAIRS_FILE for number in range(newest + 1)]
    return [file for file in files if file.is_file()]


def policy_metadata(folder: Path, card: PolicyCard, **more: Any) -> dg.MaterializeResult[Any]:
    """A published policy, as a materialisation.

    Args:
        folder: the policy's.
        card: its card.
        more: further metadata.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER

    return dg.MaterializeResult(
        data_version=dg.DataVersion(policy_hash(folder, folder / MERGED_FOLDER, folder / CARD_FILE)),
        metadata={
            "policy": card.policy_id,
            "parent": card.parent,
            **more,
            "learned from": showing.counts(card.sample_counts, of="answers"),
            "weights": showing.path(folder / MERGED_FOLDER),
            "card": showing.path(folder / CARD_FILE),
        },
    )
