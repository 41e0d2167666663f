"""What must hold of what stations sent, of the data set, and of the policy that was learned from it.

What is damaged, or does not agree with its own list, blocks what follows in the same run. That people said little, or
nearly always the same, is only said.
"""

# Annotations stay objects here; see `station_data`.

import math

import dagster as dg

from hitl_assets import showing
from hitl_assets.findings import Findings, broken_files_noted, training_findings
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.promotion_result import gate_findings
from hitl_assets.station_data import (
    dataset_config,
    dataset_folder,
    demonstration_files,
    recordings_of,
    station_dataset,
    station_demonstrations,
    station_recordings,
)
from hitl_assets.station_examination import STUDENT, station_evaluation
from hitl_assets.station_iterations import PROGRAM
from hitl_assets.station_promotion import station_promotion
from hitl_assets.station_training import dataset_summary, station_policy
from resources.store import StoreResource


@dg.asset_check(
    asset=station_demonstrations, blocking=True, description="There are demonstrations, and each can be read."
)
def demonstrations_are_sound(store: StoreResource, station_preset: StationPresetChoice) -> dg.AssetCheckResult:
    """Read every demonstration; none that succeeded is worth a look."""
    from hitl_ops.records.station_hdf5 import read_station_episode

    findings = Findings()
    with broken_files_noted(findings):
        chosen = station_preset.resolve()
        episodes = [read_station_episode(file) for file in demonstration_files(store.open(), chosen)]
        ids = {one.facts.episode_id for one in episodes}
        findings.figures = {"episodes": len(episodes), "frames": sum(one.frames for one in episodes)}
        if len(ids) != len(episodes):
            findings.wrong.append(f"{len(episodes) - len(ids)} demonstrations are copies of others")
        if not chosen.demonstrations.recordings and len(episodes) != chosen.demonstrations.episodes:
            findings.wrong.append(f"there are {len(episodes)}, {chosen.demonstrations.episodes} are wanted")
        if all(one.facts.success is False for one in episodes):
            findings.doubtful.append("no demonstration succeeded")
    return findings.result()


@dg.asset_check(
    asset=station_recordings, blocking=True, description="Every episode that a manifest names is there, whole."
)
def recordings_are_whole(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look for damaged files, and for episodes that came in twice; wrong manifests are worth a look."""
    from hitl_ops.samples.station_epochs import read_recordings

    findings = Findings()
    with broken_files_noted(findings):
        found = read_recordings(store.iteration(PROGRAM, context.partition_key).sessions)
        findings.figures = {"episodes": len(found.episodes), "damaged": len(found.damaged)}
        if found.damaged:
            first = found.damaged[0]
            findings.wrong.append(f"{len(found.damaged)} episodes are damaged, e.g. '{first.file}': {first.reason}")
        doubled = len(found.episodes) - len({one.episode_id for one in found.episodes})
        if doubled:
            findings.doubtful.append(f"{doubled} episodes came in twice; each counts once")
        findings.doubtful += found.wrong_manifests
    return findings.result()


@dg.asset_check(asset=station_recordings, description="There is no episode without a verdict.")
def episodes_are_judged(
    context: dg.AssetCheckExecutionContext, station_preset: StationPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the share of episodes nobody judged, and of aborted ones, with ``checks``."""
    from hitl_ops.samples.station_epochs import read_recordings

    findings = Findings()
    limits = station_preset.resolve().checks
    with broken_files_noted(findings):
        found = read_recordings(store.iteration(PROGRAM, context.partition_key).sessions)
        unjudged, aborted = len(found.judged(None)), len(found.of_status("aborted"))
        findings.figures = {"complete": len(found.complete), "without a verdict": unjudged, "aborted": aborted}
        if unjudged > limits.largest_unjudged_share * len(found.complete):
            findings.doubtful.append(
                f"{unjudged} of {len(found.complete)} episodes have no verdict: `flywheel station` has a page for that"
            )
        if aborted > limits.largest_aborted_share * len(found.episodes):
            findings.doubtful.append(f"{aborted} of {len(found.episodes)} episodes were aborted: look at the station")
    return findings.result()


@dg.asset_check(asset=station_recordings, description="People said good of some episodes, and bad of some.")
def labels_are_balanced(
    context: dg.AssetCheckExecutionContext, station_preset: StationPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the rarer verdict's share with ``checks.least_label_share``; the plot shows them by station."""
    from hitl_ops.samples.station_epochs import BALANCE_PLOT, read_recordings

    findings = Findings()
    least = station_preset.resolve().checks.least_label_share
    with broken_files_noted(findings):
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        found = read_recordings(sessions)
        good, bad = len(found.judged("good")), len(found.judged("bad"))
        share = min(good, bad) / max(1, good + bad)
        findings.figures = {"good": good, "bad": bad, "labels": showing.pictures([sessions / BALANCE_PLOT])}
        if good + bad and share < least:
            rare = "good" if good < bad else "bad"
            findings.doubtful.append(f"{share:.0%} of the verdicts are {rare}, least is {least:.0%}")
    return findings.result()


@dg.asset_check(asset=station_recordings, description="As many episodes came in as an epoch is to have.")
def epoch_is_complete(
    context: dg.AssetCheckExecutionContext, station_preset: StationPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the number of finished episodes with ``collection.episodes`` for each station."""
    from hitl_ops.samples.station_epochs import read_recordings

    findings = Findings()
    section = station_preset.resolve().collection
    with broken_files_noted(findings):
        found = read_recordings(store.iteration(PROGRAM, context.partition_key).sessions)
        wanted = section.episodes * max(1, len(section.stations))
        findings.figures = {"complete": len(found.complete), "wanted": wanted}
        if len(found.complete) < wanted:
            findings.doubtful.append(f"{len(found.complete)} episodes are complete, {wanted} were asked for")
    return findings.result()


@dg.asset_check(
    asset=station_dataset, blocking=True, description="The data set opens, and its counts agree with its rows."
)
def dataset_agrees(
    context: dg.AssetCheckExecutionContext, store: StoreResource, station_preset: StationPresetChoice
) -> dg.AssetCheckResult:
    """Read every row and video of the data set, and compare them with its own counts and with the recordings."""
    from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot

    findings = Findings()
    with broken_files_noted(findings):
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        held, folder = dataset_summary(iteration), dataset_folder(iteration)
        check_dataset(folder)
        info = open_lerobot(folder).info
        files, _ = recordings_of(store.open(), chosen, iteration.iteration)
        left_out = sum(len(names) for names in held.excluded.values())
        findings.figures = {"episodes": info.total_episodes, "frames": info.total_frames, "left out": left_out}
        if (info.total_episodes, info.total_frames) != (held.episodes, held.frames):
            findings.wrong.append(
                f"the data set has {info.total_episodes} episodes and {info.total_frames} frames, its summary says "
                f"{held.episodes} and {held.frames}"
            )
        if len(files) != held.episodes + left_out:
            findings.wrong.append(f"there are {len(files)} recordings, {held.episodes} in it and {left_out} left out")
    return findings.result()


@dg.asset_check(asset=station_dataset, blocking=True, description="Norm stats are there, finite, and of every joint.")
def norm_stats_are_sound(
    context: dg.AssetCheckExecutionContext, station_preset: StationPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Look at every figure; joints that never move are worth a look."""
    from hitl_ops.records.lerobot_layout import ACTION, STATE
    from hitl_ops.records.lerobot_reading import open_lerobot
    from hitl_ops.records.norm_stats import FILE_NAME, read_norm_stats

    findings = Findings()
    with broken_files_noted(findings):
        if not dataset_config(station_preset.resolve()).norm_stats:
            findings.doubtful.append("dataset.norm_stats is off")
            return findings.result()
        folder = dataset_folder(store.iteration(PROGRAM, context.partition_key))
        stats, info = read_norm_stats(folder / FILE_NAME), open_lerobot(folder).info
        for name, feature in (("state", STATE), ("actions", ACTION)):
            joints = info.features[feature].shape[0]
            if name not in stats or len(stats[name].mean) != joints:
                findings.wrong.append(f"norm stats of '{name}' are not of {joints} joints")
                continue
            one = stats[name]
            if not all(math.isfinite(value) for value in (*one.mean, *one.std)):
                findings.wrong.append(f"norm stats of '{name}' are not finite")
            still = int((one.std < 1e-6).sum())
            findings.figures[f"{name}: joints that never move"] = still
            if still:
                findings.doubtful.append(f"{still} of {joints} joints of '{name}' never move")
    return findings.result()


@dg.asset_check(asset=station_policy, blocking=True, description="The loss is a number and ended below where it began.")
def station_training_learned(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look at the training log's first and last losses."""
    findings, severity = training_findings(store.iteration(PROGRAM, context.partition_key).policy / "train_log.jsonl")
    return findings.result(severity)


@dg.asset_check(asset=station_evaluation, description="The evaluation has enough episodes, and some were solved.")
def evaluation_says_something(
    context: dg.AssetCheckExecutionContext, station_preset: StationPresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the number of episodes with ``checks.least_episodes``."""
    from hitl_ops.evaluation.evaluate import read_evaluation

    findings = Findings()
    least = station_preset.resolve().checks.least_episodes
    with broken_files_noted(findings):
        summary, _ = read_evaluation(store.iteration(PROGRAM, context.partition_key).evaluation)
        scores = summary.primary(STUDENT)
        findings.figures = {"episodes": scores.episodes, "least": least, "success": scores.success.mean}
        if scores.episodes < least:
            findings.doubtful.append(f"{scores.episodes} episodes say little, least is {least}")
        if not scores.success.mean:
            findings.doubtful.append("the policy succeeded in no episode")
    return findings.result()


@dg.asset_check(asset=station_promotion, description="The new policy passed the gate, and serves.")
def station_gate_passed(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Say whether the gate let it serve."""
    return gate_findings(store.iteration(PROGRAM, context.partition_key).evaluation).result()


STATION_CHECKS = [
    demonstrations_are_sound,
    recordings_are_whole,
    episodes_are_judged,
    labels_are_balanced,
    epoch_is_complete,
    dataset_agrees,
    norm_stats_are_sound,
    station_training_learned,
    evaluation_says_something,
    station_gate_passed,
]
