"""``flywheel lineage``: where a policy comes from, and what came of a play, a label, a person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hitl_ops.serving.descent import Descendant, Kind
    from hitl_ops.serving.lineage import Lineage


def lineage(
    policy: Annotated[
        str | None, typer.Argument(metavar="POLICY", help="Policy id, alias (serving) or iteration (1, 001).")
    ] = None,
    play: Annotated[str | None, typer.Option(help="Instead: the policies this play has a part in.")] = None,
    label: Annotated[str | None, typer.Option(help="Instead: those this label has a part in.")] = None,
    session: Annotated[str | None, typer.Option(help="Instead: those this session has a part in.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Instead: those this annotator has a part in.")] = None,
    episode: Annotated[str | None, typer.Option(help="Instead: those this episode has a part in.")] = None,
    page: Annotated[Path | None, typer.Option(help="Also write the lineage as an HTML page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    program: Annotated[str, typer.Option(help="Program whose policies they are.")] = "planner",
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Say where a policy comes from: samples, labels, annotators, plays, sessions, episodes; or what came of one.

    Every policy carries the provenance of its samples, so that both can be told after samples were built anew.
    """
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.serving.descent import made_from
    from hitl_ops.serving.lineage import lineage_of
    from hitl_ops.serving.lineage_page import write_lineage_page

    store = Store.at(root) if root else Store.from_environment()
    asked: list[tuple[Kind, str | None]] = [
        ("play", play),
        ("label", label),
        ("session", session),
        ("annotator", annotator),
        ("episode", episode),
    ]
    named = [(kind, name) for kind, name in asked if name is not None]
    if len(named) + (policy is not None) != 1:
        raise UserError("name one thing", "a policy, or one of --play, --label, --session, --annotator, --episode")
    if page is not None and policy is None:
        raise UserError("--page shows a policy's lineage", "name the policy")
    # Somebody who only looks makes no database.
    there = not store.labels_url.startswith("sqlite:///") or Path(store.labels_url.removeprefix("sqlite:///")).is_file()
    labels = LabelStore.open(store.labels_url) if there else None
    if policy is None:
        kind, name = named[0]
        found = made_from(store, labels, program, kind, name)
        if as_json:
            _print_json([one.model_dump(mode="json") for one in found])
        else:
            _print_descendants(f"{kind} {name}", found)
        return
    told = lineage_of(store, labels, program, policy)
    if page is not None:
        write_lineage_page(told, page)
    if as_json:
        _print_json(told.model_dump(mode="json"))
    else:
        _print_lineage(told)
        if page is not None:
            print(page)


def _print_json(body: object) -> None:
    import json

    print(json.dumps(body, indent=2, ensure_ascii=False))


def _print_descendants(what: str, found: list[Descendant]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        print(f"no policy has a part of {what}")
        return
    table = Table("policy", "iteration", "is", "samples", "weight", "through", title=f"what came of {what}")
    for one in found:
        table.add_row(
            one.policy_id,
            f"{one.iteration:03d}",
            ", ".join(one.aliases) or ("registered" if one.registered else "not registered"),
            str(len(one.samples)) if one.samples else "–",
            f"{one.weight:,.1f}" if one.samples else "–",
            one.inherited_from or "its own samples",
        )
    Console().print(table)


def _print_lineage(told: Lineage) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    way = Table("policy", "iteration", "is", "success", "samples", "started from", title=f"lineage of {told.policy_id}")
    for step in told.chain:
        way.add_row(
            step.policy_id,
            f"{step.iteration:03d}",
            ", ".join(step.aliases) or ("registered" if step.registered else "not registered"),
            "–" if step.success is None else f"{step.success:.1%}",
            "not kept" if step.samples is None else f"{step.samples:,}",
            step.parent,
        )
    console.print(way)
    learned = Table("policy", "source", "of iteration", "samples", "weight", "episodes", "plays", "labels")
    for group in told.groups:
        learned.add_row(
            group.policy_id,
            group.source,
            f"{group.iteration:03d}",
            f"{group.samples:,}",
            f"{group.weight:,.1f}",
            str(group.episodes),
            str(group.plays or "–"),
            str(group.labels or "–"),
        )
    console.print(learned)
    console.print(
        f"{told.samples:,} different samples of {len(told.episodes)} episodes; {len(told.labels)} labels by "
        f"{len(told.annotators)} annotators; {len(told.plays)} plays in {len(told.sessions)} sessions of "
        f"{len(told.participants)} people; {told.human_seconds / 60:.1f} minutes of their time",
        highlight=False,
    )
