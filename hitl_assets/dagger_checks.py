"""What must hold of games, rounds, pairs, the reference, and the examination.

What is broken blocks what follows in the same run. That there is little to learn from, or that the gate refused, is
only said.
"""

# Annotations stay objects here; see `dagger_games`.

import dagster as dg

from hitl_assets.dagger_examination import DPO, dagger_evaluation
from hitl_assets.dagger_games import dagger_games, games_file
from hitl_assets.dagger_imitation import expert_rounds
from hitl_assets.dagger_iterations import PROGRAM, DaggerPaths
from hitl_assets.dagger_preference import dpo_policy, preference_pairs
from hitl_assets.dagger_promotion import dagger_promotion
from hitl_assets.findings import Findings, broken_files_noted
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.promotion_result import gate_findings
from hitl_ops.contracts.store import Store
from hitl_ops.contracts.text_game import TextGame
from resources.store import StoreResource


@dg.asset_check(asset=dagger_games, blocking=True, description="No game is in two splits or two iterations.")
def games_are_apart(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare what is to be done where, of an iteration's games and those earlier ones learned from."""
    from hitl_ops.rollouts.text_game_sets import SPLITS, read_text_games, task_hash

    findings = Findings()
    with broken_files_noted(findings):
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = DaggerPaths(iteration).games
        lists = {str(split): read_text_games(games_file(folder, split)) for split in SPLITS}
        for split, games in lists.items():
            odd = [game.game_id for game in games if game.split != split]
            if odd:
                findings.wrong.append(f"'{odd[0]}' among the {split} games is of another split")
        lists |= _earlier(store.open(), iteration.iteration)
        owner: dict[str, str] = {}
        shared: dict[tuple[str, str], int] = {}
        for name, games in lists.items():
            for told in {task_hash(game) for game in games}:
                other = owner.setdefault(told, name)
                if other != name:
                    shared[other, name] = shared.get((other, name), 0) + 1
        findings.figures = {name: len(games) for name, games in lists.items()}
        for (one, two), count in shared.items():
            # Two iterations may meet the same task by chance; what an agent is examined on, none may have met.
            learned = one.startswith("train") and two.startswith("train")
            (findings.doubtful if learned else findings.wrong).append(f"{count} tasks are in both {one} and {two}")
    return findings.result()


def _earlier(store: Store, iteration: int) -> dict[str, list[TextGame]]:
    from hitl_ops.rollouts.text_game_sets import read_text_games

    files = {n: games_file(DaggerPaths(store.iteration(PROGRAM, n)).games, "train") for n in range(iteration)}
    return {f"train of {number:03d}": read_text_games(file) for number, file in files.items() if file.is_file()}


@dg.asset_check(asset=expert_rounds, description="The expert has an answer nearly always, and the agent learns it.")
def expert_answers(
    context: dg.AssetCheckExecutionContext, dagger_preset: DaggerPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Count steps without a label, and compare the first round's loss with the last one's."""
    from hitl_ops.training.agent_rounds_log import read_rounds_summary

    findings = Findings()
    with broken_files_noted(findings):
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        if not chosen.imitates(iteration.iteration):
            findings.figures = {"rounds": "left out"}
            return findings.result()
        rounds = read_rounds_summary(DaggerPaths(iteration).bc).rounds
        labelled, missing = sum(one.labelled for one in rounds), sum(one.missing for one in rounds)
        share = missing / max(1, labelled + missing)
        first, last = rounds[0].loss, rounds[-1].loss
        findings.figures = {"labelled": labelled, "missing": missing, "share missing": round(share, 4)}
        if not labelled:
            findings.wrong.append("the expert had no answer to anything")
        if share > chosen.checks.most_missing:
            findings.doubtful.append(f"the expert had no answer to {share:.0%} of the steps")
        if len(rounds) > 1 and first is not None and last is not None and last >= first:
            findings.doubtful.append(f"the loss did not fall: {first:.4f} in the first round, {last:.4f} in the last")
    return findings.result()


@dg.asset_check(
    asset=preference_pairs, blocking=True, description="Every pair has two different answers, and is there once."
)
def pairs_are_sound(
    context: dg.AssetCheckExecutionContext, dagger_preset: DaggerPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Read the pairs; few of them, or many that say the same, are worth a look."""
    from hitl_ops.samples.round_rows import read_pairs

    findings = Findings()
    with broken_files_noted(findings):
        limits = dagger_preset.resolve().checks
        rows, card = read_pairs(store.iteration(PROGRAM, context.partition_key).samples)
        ids = [row.row_id for row in rows]
        alike = [row.row_id for row in rows if not row.worse or not row.better or row.worse == row.better]
        doubled = len(ids) - len(set(ids))
        findings.figures = {"pairs": len(rows), "doubled": doubled, "degenerate": len(alike), "alike": card.alike}
        if len(rows) != card.pairs:
            findings.wrong.append(f"there are {len(rows)} pairs, the data card says {card.pairs}")
        if doubled:
            findings.wrong.append(f"{doubled} pairs are there twice")
        if alike:
            findings.wrong.append(f"{len(alike)} pairs have no two answers, e.g. '{alike[0]}'")
        if len(rows) < limits.least_pairs:
            findings.doubtful.append(f"{len(rows)} pairs are little to prefer, least is {limits.least_pairs}")
        if rows and card.alike / len(rows) > limits.most_alike:
            findings.doubtful.append(f"{card.alike / len(rows):.0%} of the pairs say the same as an earlier one")
    return findings.result()


@dg.asset_check(asset=dpo_policy, blocking=True, description="The reference is still what preferring started from.")
def reference_is_unchanged(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the imitating policy's weights with those the second phase noted and kept as it began."""
    from hitl_ops.contracts.station_epoch import sha256_of
    from hitl_ops.models.planner_lm import MERGED_FOLDER
    from hitl_ops.models.vision_agent_files import WEIGHTS_FILE, read_agent_weights
    from hitl_ops.training.agent_rounds_log import read_rounds_summary
    from hitl_ops.training.agent_training import START_FILE

    findings = Findings()
    with broken_files_noted(findings):
        from safetensors.torch import load_file

        paths = DaggerPaths(store.iteration(PROGRAM, context.partition_key))
        merged = paths.bc_policy / MERGED_FOLDER
        summary, weights = read_rounds_summary(paths.dpo), read_agent_weights(merged)
        kept = load_file(paths.dpo / START_FILE)
        findings.figures = {"start": summary.start, "tensors": len(kept)}
        if sha256_of(merged / WEIGHTS_FILE) != summary.start_weights:
            findings.wrong.append("the imitating policy is not the one preferring started from")
        if kept.keys() != weights.keys() or any(not kept[name].equal(weights[name]) for name in kept):
            findings.wrong.append("the reference is not the imitating policy")
        if summary.policy_id == summary.start:
            findings.doubtful.append("preferring changed nothing")
    return findings.result()


@dg.asset_check(asset=dagger_evaluation, blocking=True, description="Everybody has played every game.")
def agents_played_all(
    context: dg.AssetCheckExecutionContext, dagger_preset: DaggerPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare who played what with the lists, and figures with scores; few games are worth a look."""
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.evaluation.text_evaluation import read_text_figures
    from hitl_ops.rollouts.text_game_sets import read_text_games

    findings = Findings()
    with broken_files_noted(findings):
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = DaggerPaths(iteration).games
        wanted = {split: {game.game_id for game in read_text_games(games_file(folder, split))} for split in _EXAMINED}
        summary, scores = read_evaluation(iteration.evaluation)
        figures = read_text_figures(iteration.evaluation)
        findings.figures = {"agents": len(scores), **{split: len(games) for split, games in wanted.items()}}
        for name, rows in scores.items():
            for split, games in wanted.items():
                played = {row.episode_id for row in rows.values() if row.split == split}
                if played != games:
                    findings.wrong.append(f"'{name}' played {len(played & games)} of {len(games)} {split} games")
                told = figures.agents.get(name, {}).get(split)
                won = [row.success for row in rows.values() if row.split == split]
                if told is None or round(told.success.mean * told.games) != sum(won):
                    findings.wrong.append(f"figures and scores of '{name}' in the {split} games are not the same")
        if len(wanted["test"]) < chosen.checks.least_games:
            findings.doubtful.append(f"{len(wanted['test'])} test games say little, {chosen.checks.least_games} wanted")
        if DPO in summary.policies and not summary.primary(DPO).success.mean:
            findings.doubtful.append("the policy won no game")
    return findings.result()


@dg.asset_check(asset=dagger_promotion, description="The new policy passed the gate, and serves.")
def dagger_gate_passed(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Say whether the gate let it serve."""
    return gate_findings(store.iteration(PROGRAM, context.partition_key).evaluation).result()


_EXAMINED = ("test", "val")
DAGGER_CHECKS = [
    games_are_apart,
    expert_answers,
    pairs_are_sound,
    reference_is_unchanged,
    agents_played_all,
    dagger_gate_passed,
]
