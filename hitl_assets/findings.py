"""What asset checks look for in any file of samples, and how a check's findings become its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_ops.contracts.errors import UserError


class Findings:
    """What a check found wrong, what is only worth a look, and the figures it looked at."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.doubtful: list[str] = []
        self.figures: dict[str, Any] = {}

    def result(self, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> dg.AssetCheckResult:
        """Passed if nothing was found; what is only doubtful warns, and stops nothing.

        Args:
            severity: how loudly to tell what is wrong.
        """
        return dg.AssetCheckResult(
            passed=not self.wrong and not self.doubtful,
            severity=severity if self.wrong else dg.AssetCheckSeverity.WARN if self.doubtful else severity,
            description="; ".join([*self.wrong, *self.doubtful]) or "all is well",
            metadata=self.figures,
        )


@contextmanager
def broken_files_noted(findings: Findings) -> Iterator[None]:
    """A file that cannot be read as what it should be is a finding, not a crash of the check."""
    try:
        yield
    except UserError as error:
        findings.wrong.append(str(error))


def sample_file_findings(file: Path) -> Findings:
    """Is every row a sample, and is the manifest theirs?"""
    from hitl_ops.samples.parquet import manifest_hash, read_manifest, read_samples

    findings = Findings()
    with broken_files_noted(findings):
        manifest = read_manifest(file)
        findings.figures = {"samples": manifest.samples, "manifest": manifest.hash}
        if manifest_hash(read_samples(file)) != manifest.hash:
            findings.wrong.append("the rows are not those of the manifest")
    return findings


def sample_leakage_findings(samples: Path, episodes: Path) -> Findings:
    """Does a sample come from an episode or a home of validation or test?

    Args:
        samples: the sample file.
        episodes: folder of the episode sets.
    """
    from hitl_ops.rollouts.episode_sets import episode_file
    from hitl_ops.samples.leakage import check_leakage

    findings = Findings()
    with broken_files_noted(findings):
        report = check_leakage(
            {"samples": samples, "val": episode_file(episodes, "val"), "test": episode_file(episodes, "test")}
        )
        findings.figures = {f"{kind}s of the samples": count for kind, count in report.counts["samples"].items()}
        if not report.clean:
            findings.wrong.append(report.explain())
    return findings


def sample_card_findings(
    card_file: Path, samples: Path, *, least: int, largest_tool_share: float, warnings_stop: bool = True
) -> Findings:
    """Are there enough samples, and do they teach more than one thing?

    Args:
        card_file: the data card, as JSON.
        samples: the sample file it should be of.
        least: fewer samples are no training set.
        largest_tool_share: above it one tool drowns all others.
        warnings_stop: whether what the card warns of is wrong, or only worth a look.
    """
    from hitl_ops.samples.data_card import DataCard
    from hitl_ops.samples.parquet import read_manifest

    findings = Findings()
    with broken_files_noted(findings):
        card = DataCard.model_validate_json(card_file.read_text(encoding="utf-8"))
        if card.manifest_hash != read_manifest(samples).hash:
            findings.wrong.append("the data card is of other samples")
        (findings.wrong if warnings_stop else findings.doubtful).extend(card.warnings)
        if card.samples < least:
            findings.wrong.append(f"{card.samples} samples are no training set, least is {least}")
        tool, count = next(iter(card.actions.items()), ("none", 0))
        share = count / max(1, card.samples)
        if card.samples and share > largest_tool_share:
            findings.wrong.append(f"{share:.0%} of the samples teach {tool}, most is {largest_tool_share:.0%}")
        findings.figures = {
            "samples": card.samples,
            "most frequent tool": tool,
            "its share": round(share, 4),
            "duplicates": card.duplicates,
            "contradictions": card.contradictions,
        }
    return findings


def training_findings(log_file: Path) -> tuple[Findings, dg.AssetCheckSeverity]:
    """Is the loss a number, and did it end below where it began? With how loudly to tell.

    Args:
        log_file: the training's log.
    """
    from hitl_ops.training.train_log import read_log

    findings = Findings()
    severity = dg.AssetCheckSeverity.ERROR
    with broken_files_noted(findings):
        losses = [float(row["loss"]) for row in read_log(log_file)]
        # The mean of a tenth at either end: single batches differ more than a short training moves them.
        span = max(1, len(losses) // 10)
        first, last = (sum(part) / max(1, len(part)) for part in (losses[:span], losses[-span:]))
        findings.figures = {"loss at first": _figure(first), "loss at last": _figure(last), "steps": len(losses)}
        if not losses:
            findings.wrong.append("the log holds no loss")
        elif not all(math.isfinite(loss) for loss in losses):
            findings.wrong.append("a loss is not finite")
        elif last >= first and len(losses) > 1:
            # A policy that learned little can be examined; one that is no number can't.
            severity = dg.AssetCheckSeverity.WARN
            findings.wrong.append(f"the loss did not fall: {first:.4f} at first, {last:.4f} at last")
    return findings, severity


def _figure(value: float) -> float | str:
    """Metadata are JSON, which knows no NaN."""
    return value if math.isfinite(value) else str(value)
