"""Where a learned reward's files lie in its folder; kept apart, so that whoever looks for them loads nothing heavy."""

from __future__ import annotations

MODEL_FOLDER = "model"
REPORT_FOLDER = "report"
SUMMARY_FILE = "summary.json"
SAMPLES_FILE = "preferences.jsonl"
"""What it was learned from, where that was joined for it alone."""
