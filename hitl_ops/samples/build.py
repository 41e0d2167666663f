"""Cut training samples out of traces: which episodes count, which decisions, up to where, with which weight.

The filters follow PARTNR's data set builder (Chang et al. 2024, arXiv 2411.00081), with one difference: agents are
chosen by their role, not by their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.decision import DISTURBED, Decision, Role
from hitl_ops.contracts.episode import original_episode_id
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.sample import ACTION_MARKER, END_OF_ACTION, Sample, Source
from hitl_ops.records.traces import Trace, list_traces, read_trace
from hitl_ops.samples.parquet import write_samples
from hitl_ops.worlds.household.tools import PERCEPTION_TOOLS, SUCCESS

DONE = "Done[]"
DEFAULT_WEIGHTS: dict[Source, float] = {"expert": 5.0, "human_gold": 1.0, "distilled": 0.5, "dagger": 1.0}
DEFAULT_PERCENT_CUTS: dict[Source, float] = {"expert": 0.0, "human_gold": 0.75, "distilled": 0.5, "dagger": 0.0}


class SampleConfig(StrictConfig):
    """How traces become samples."""

    source: Source = Field(default="distilled", description="where the decisions come from; written on every sample")
    iteration: int = Field(default=0, ge=0, description="the iteration the samples belong to")
    weight: float | None = Field(
        default=None, ge=0, description="weight of every sample; by default 5 expert, 1 human_gold, 0.5 distilled"
    )
    percent_cut: float | None = Field(
        default=None, ge=0, le=1, description="least percent complete an episode must reach; by default the source's"
    )
    cut_on: Literal["last", "max"] | None = Field(
        default=None,
        description="which percent complete percent_cut tests; by default 'max' with early_stop, else 'last'",
    )
    early_stop: bool = Field(
        default=False,
        description="end each episode where its percent complete peaked; if the task was complete there, "
        "what each agent chose next becomes Done[]",
    )
    roles: tuple[Role, ...] = Field(default=("ai",), min_length=1, description="roles whose decisions are kept")
    agents: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="agent numbers kept among those roles; all by default"
    )
    drop_tools: tuple[str, ...] = Field(
        default=PERCEPTION_TOOLS, description="tools whose decisions are dropped: perception, by default"
    )
    successful_only: bool = Field(
        default=True, description="drop decisions whose response is not a success, Done excepted"
    )
    admissible_only: bool = Field(
        default=False, description="drop decisions that a policy could not have named: people may do more than that"
    )
    max_samples_per_episode: int | None = Field(
        default=None, ge=1, description="keep at most this many samples of an episode, evenly spread, the last included"
    )
    prompt_style: Literal["incremental", "snapshot"] = Field(
        default="incremental", description="the dialect the prompts were logged in; noted in the file"
    )

    @property
    def sample_weight(self) -> float:
        """The weight given to every sample."""
        return DEFAULT_WEIGHTS[self.source] if self.weight is None else self.weight

    @property
    def least_percent(self) -> float:
        """The percent complete an episode must reach."""
        return DEFAULT_PERCENT_CUTS[self.source] if self.percent_cut is None else self.percent_cut

    @property
    def tested_percent(self) -> Literal["last", "max"]:
        """Which percent complete ``percent_cut`` tests."""
        if self.cut_on is not None:
            return self.cut_on
        return "max" if self.early_stop else "last"


class SampleSummary(BaseModel):
    """What building samples gave."""

    traces: int = Field(default=0, description="traces read")
    episodes_kept: int = Field(default=0, description="traces that gave at least one sample")
    episodes_cut: int = Field(default=0, description="traces below percent_cut")
    episodes_not_expected: int = Field(default=0, description="traces of episodes other than those asked for")
    samples: int = Field(default=0, description="samples written")
    decisions: int = Field(default=0, description="decisions in the traces that were not cut")
    dropped: dict[str, int] = Field(default_factory=dict, description="decisions left out, by reason")
    rewritten: int = Field(default=0, description="decisions turned into Done[] by early_stop")
    by_task_type: dict[str, int] = Field(default_factory=dict, description="samples by task type")
    by_split: dict[str, int] = Field(default_factory=dict, description="samples by split")
    by_agent: dict[str, int] = Field(default_factory=dict, description="samples by agent number")
    weight: float = Field(default=0.0, description="weight of each sample")
    source: str = ""
    iteration: int = 0
    prompt_style: str = ""
    manifest_hash: str = Field(default="", description="sha256 over sorted sample ids, prompts, completions, weights")


def build_samples(
    traces: Path | Sequence[Path],
    config: SampleConfig,
    out: Path,
    progress: Progress = silent,
    *,
    expected: Collection[str] | None = None,
) -> SampleSummary:
    """Cut samples out of every trace of a folder, or out of chosen ones, and publish them as Parquet.

    Traces are read one at a time, a folder's in the order of their episode ids; the same traces and configuration
    give the same bytes. Traces of which no episode passes give an empty file, and the summary says why.

    Args:
        traces: folder of ``*.jsonl.gz`` traces, or the files themselves, at most one an episode; there may be none.
        config: what to keep and what it weighs.
        out: the Parquet file.
        progress: told after each trace.
        expected: ids of the episodes to teach, each with its variations; traces of others, of an episode set that
            was larger once, say, are counted and left out. None teaches every trace.

    Returns:
        Counts, reasons and the manifest hash.

    Raises:
        UserError: the folder is missing or empty, a trace is corrupt or unfinished, an episode occurs twice, a
            prompt does not end where a completion begins, or the disk is full.
    """
    files = list_traces(traces) if isinstance(traces, Path) else list(traces)
    if isinstance(traces, Path) and not files:
        raise UserError(f"trace folder '{traces}' holds no trace", "record some with `flywheel rollout`")
    tally = _Tally()
    wanted = None if expected is None else frozenset(expected)

    def stream() -> Iterator[Sample]:
        for position, file in enumerate(files, start=1):
            yield from _samples_of(read_trace(file), config, wanted, tally)
            progress(position, len(files), f"{tally.samples} samples")

    manifest = write_samples(
        out, stream(), prompt_style=config.prompt_style, notes={"config": config.model_dump_json()}
    )
    return SampleSummary(
        traces=len(files),
        episodes_kept=tally.episodes_kept,
        episodes_cut=tally.episodes_cut,
        episodes_not_expected=tally.episodes_not_expected,
        samples=manifest.samples,
        decisions=tally.decisions,
        dropped=dict(sorted(tally.dropped.items())),
        rewritten=tally.rewritten,
        by_task_type=dict(sorted(tally.by_task_type.items())),
        by_split=dict(sorted(tally.by_split.items())),
        by_agent=dict(sorted(tally.by_agent.items())),
        weight=config.sample_weight,
        source=config.source,
        iteration=config.iteration,
        prompt_style=config.prompt_style,
        manifest_hash=manifest.hash,
    )


class _Tally:
    """Counts kept while samples stream past."""

    def __init__(self) -> None:
        self.episodes_kept = self.episodes_cut = self.episodes_not_expected = 0
        self.decisions = self.samples = self.rewritten = 0
        self.dropped: Counter[str] = Counter()
        self.by_task_type: Counter[str] = Counter()
        self.by_split: Counter[str] = Counter()
        self.by_agent: Counter[str] = Counter()


def _samples_of(trace: Trace, config: SampleConfig, expected: frozenset[str] | None, tally: _Tally) -> list[Sample]:
    if expected is not None and original_episode_id(trace.header.episode_id) not in expected:
        tally.episodes_not_expected += 1
        tally.decisions += len(trace.decisions)
        tally.dropped["episode not expected"] += len(trace.decisions)
        return []
    logged = [decision.percent_complete for decision in trace.decisions] + [trace.result.percent_complete]
    reached = logged[-1] if config.tested_percent == "last" else max(logged)
    if reached < config.least_percent:
        tally.episodes_cut += 1
        return []
    tally.decisions += len(trace.decisions)
    chosen = list(_keep(_stop_early(trace, tally) if config.early_stop else trace.decisions, config, tally))
    chosen = _spread(chosen, config.max_samples_per_episode, tally)
    samples = [_sample(trace, decision, config) for decision in chosen]
    tally.episodes_kept += bool(samples)
    tally.samples += len(samples)
    tally.by_task_type[trace.header.task_type] += len(samples)
    tally.by_split[trace.header.split] += len(samples)
    for sample in samples:
        tally.by_agent[str(sample.agent)] += 1
    return samples


def _stop_early(trace: Trace, tally: _Tally) -> Iterator[Decision]:
    """Yield the decisions up to where the percent complete peaked, then one Done[] an agent if the task was complete.

    A decision carries the percent complete at the end of its action, so the choice that came too late is the first
    one made after the peak: that one is rewritten, the choice that brought the peak stays.
    """
    best = max((decision.percent_complete for decision in trace.decisions), default=0.0)
    if best == 0.0 or best < trace.result.percent_complete:
        # Nothing was reached, or it was reached by an action still under way when the episode ended.
        yield from trace.decisions
        return
    peak = min(decision.end_step for decision in trace.decisions if decision.percent_complete == best)
    told: set[int] = set()
    for decision in trace.decisions:
        # Of two choices at the peak's own step, the one whose action ended there brought it about.
        if decision.sim_step < peak or (decision.end_step == peak and decision.percent_complete == best):
            yield decision
        elif best == 1.0 and decision.agent not in told:
            told.add(decision.agent)
            if decision.action != DONE:
                decision = decision.model_copy(update={"action": DONE, "reply": DONE, "response": SUCCESS})
                tally.rewritten += 1
            yield decision
        else:
            tally.dropped["after the peak"] += 1


def _keep(decisions: Iterator[Decision] | list[Decision], config: SampleConfig, tally: _Tally) -> Iterator[Decision]:
    for decision in decisions:
        tool = decision.action.partition("[")[0].strip()
        if decision.stats.get(DISTURBED):
            tally.dropped["disturbed"] += 1
        elif decision.role not in config.roles:
            tally.dropped["role"] += 1
        elif config.agents is not None and decision.agent not in config.agents:
            tally.dropped["agent"] += 1
        elif tool in config.drop_tools:
            tally.dropped["tool"] += 1
        elif config.successful_only and tool != "Done" and not decision.response.startswith(SUCCESS):
            tally.dropped["response"] += 1
        elif config.admissible_only and decision.action not in decision.admissible:
            tally.dropped["not admissible"] += 1
        else:
            yield decision


def _spread(decisions: list[Decision], limit: int | None, tally: _Tally) -> list[Decision]:
    if limit is None or len(decisions) <= limit:
        return decisions
    tally.dropped["limit"] += len(decisions) - limit
    return [decisions[(position + 1) * len(decisions) // limit - 1] for position in range(limit)]


def _sample(trace: Trace, decision: Decision, config: SampleConfig) -> Sample:
    if not decision.prompt.endswith(ACTION_MARKER):
        raise UserError(
            f"trace '{trace.path}', decision {decision.index}: the prompt does not end with '{ACTION_MARKER}'",
            "record the rollouts with one of Flywheel's prompt styles",
        )
    return Sample(
        sample_id=f"{trace.header.episode_id}/{decision.index}/{config.source}",
        episode_id=trace.header.episode_id,
        split=trace.header.split,
        scene_id=trace.header.scene_id,
        task_type=trace.header.task_type,
        step=decision.index,
        agent=decision.agent,
        source=config.source,
        iteration=config.iteration,
        prompt=decision.prompt,
        completion=decision.action + END_OF_ACTION,
        weight=config.sample_weight,
        policy_id=decision.policy_id,
        trace=trace.path.name,
    )
