"""What the gate decided, as a materialisation: the same for every program that has one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.findings import Findings, broken_files_noted

if TYPE_CHECKING:
    from hitl_ops.evaluation.gate import GateVerdict


def promotion_result(verdict: GateVerdict, student: str, serves: str, evaluation: Path) -> dg.MaterializeResult[Any]:
    """The decision with everything it was taken on.

    Args:
        verdict: what the gate said.
        student: id of the policy it was asked about.
        serves: id of what serves now; "" where nothing does.
        evaluation: folder of the student's evaluation, which holds the verdict and its plot.
    """
    from hitl_ops.evaluation.gate import GATE_FILE, GATE_PLOT

    difference, probability = verdict.difference, verdict.probability_not_worse
    compared: dict[str, Any] = {}
    if verdict.serving_mean is not None:
        compared["success of the other"] = round(verdict.serving_mean, 4)
    if difference is not None:
        compared["difference"] = showing.interval(difference.difference, difference.low, difference.high)
        compared["p"] = round(difference.p_value, 4)
    if probability is not None:
        compared["share of resamples not worse"] = round(probability, 4)
    decided = f"{verdict.model_dump_json()}{serves}"
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hashlib.sha256(decided.encode("utf-8")).hexdigest()),
        metadata={
            "promoted": verdict.promote,
            "why": verdict.reason,
            "serves": serves or "nothing",
            "student": student,
            "compared with": verdict.serving or "nothing",
            "episodes": verdict.episodes,
            "success": round(verdict.candidate_mean, 4),
            **compared,
            "plot": showing.pictures([evaluation / GATE_PLOT]),
            "verdict": showing.path(evaluation / GATE_FILE),
        },
    )


def gate_findings(evaluation: Path) -> Findings:
    """Whether the gate let the student serve; a refusal is worth a look, and no error."""
    from hitl_ops.evaluation.gate import read_gate

    findings = Findings()
    with broken_files_noted(findings):
        verdict = read_gate(evaluation)
        if verdict is None:
            findings.wrong.append("there is no verdict")
        else:
            findings.figures = {"student": verdict.candidate, "compared with": verdict.serving or "nothing"}
            if not verdict.promote:
                findings.doubtful.append(verdict.reason)
    return findings
