"""The ``local`` expert with its model loaded.

The expert stands before the models and cannot load one; here it is handed what it needs.
"""

from __future__ import annotations

from pathlib import Path

from hitl_ops.experts.local_llm import HEADING, LocalLLM
from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig


def load_local_teacher(
    model: str, *, cache: Path, config: PlannerLMConfig | None = None, heading: str = HEADING
) -> LocalLLM:
    """Load an open model as a teacher.

    Args:
        model: ``smollm2``, a folder with a transformers causal language model, or a Hugging Face id.
        cache: folder for what has to be unpacked once.
        config: how to decode.
        heading: text put before every prompt.

    Raises:
        UserError: the model cannot be loaded.
    """
    return LocalLLM(PlannerLM.from_base(model, cache=cache, config=config), model, heading=heading)
