"""A policy's lineage as one HTML file that needs nothing beside it."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.publish import publish_text
from hitl_ops.evaluation.plots import colours
from hitl_ops.serving.lineage import Lineage, SampleGroup

LINEAGE_FILE = "lineage.html"
# The style is the evaluation report's: both are read side by side.
_TEMPLATES = (Path(__file__).parent / "templates", Path(__file__).parent.parent / "evaluation" / "templates")
_SOURCES = ("distilled", "human_gold", "expert", "dagger")


def write_lineage_page(lineage: Lineage, file: Path) -> Path:
    """Write the page; the same lineage gives the same bytes.

    Args:
        lineage: as :func:`~hitl_ops.serving.lineage.lineage_of` found it.
        file: the page.

    Returns:
        The page.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"minutes": _minutes, "words": lambda text: str(text).replace("_", " ")}
    groups: dict[str, list[SampleGroup]] = {}
    for group in lineage.groups:
        groups.setdefault(group.policy_id, []).append(group)
    found = {source for counts in lineage.episodes.values() for source in counts}
    page = environment.get_template("lineage.html.j2").render(
        title=f"Lineage of {lineage.policy_id}",
        lineage=lineage,
        groups=groups,
        base_is_policy=lineage.base.startswith(f"{lineage.program}-"),
        sources=[source for source in _SOURCES if source in found],
        colours=colours(_SOURCES),
    )
    publish_text(file, page)
    return file


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"
