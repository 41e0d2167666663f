"""Episodes to watch: traces are played again in their homes and filmed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.evaluation.play_film import FilmConfig
from hitl_ops.evaluation.summary import VideoPicks
from hitl_ops.records.traces import Trace, read_trace, trace_path
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.world import HouseholdWorld

VIDEO_FOLDER = "videos"
# An episode of ten simulated minutes shall not take ten minutes to watch: frames are spread evenly over it.
_FRAMES = {"opengl": 240, "pybullet": 60}  # TinyRenderer takes tenths of a second for a frame
_SECONDS_AT_LEAST = 8


def replay(episode: Episode, trace: Trace, every: int, scene: Scene | None = None) -> Iterator[HouseholdWorld]:
    """Play a trace's decisions again in the world they were made in.

    Args:
        episode: the task the trace is of.
        trace: what was decided, and when.
        every: simulation steps between two moments.
        scene: what the trace was made in; by default the kinematic one.

    Yields:
        The world at step 0, every ``every`` steps, and at the end.

    Raises:
        UserError: the episode's home is missing, or the world does not end in the state the trace ended in.
    """
    world = HouseholdWorld(episode, scene=scene)
    upcoming = sorted(trace.decisions, key=lambda decision: decision.index)
    last = trace.result.sim_steps
    while True:
        while upcoming and upcoming[0].sim_step <= world.step:
            decision = upcoming.pop(0)
            world.start(decision.agent, decision.action)
        if world.step % every == 0 or world.step >= last:
            yield world
        if world.step >= last:
            break
        stop = min(last, (world.step // every + 1) * every, *(decision.sim_step for decision in upcoming[:1]))
        while world.step < stop:
            world.advance(stop - world.step)
    if trace.result.state_hash and world.facts.digest() != trace.result.state_hash:
        raise UserError(
            f"trace '{trace.path}' cannot be played again: it ends in another state",
            "it was recorded by another version; run the rollouts again",
        )


def film(
    episode: Episode, trace: Trace, path: Path, how: FilmConfig | None = None, scenes: SceneConfig | None = None
) -> Path:
    """Film a trace: what each agent sees, the plan, the task, the actions and how far they have come.

    Args:
        episode: the task the trace is of, as its file has it.
        trace: what was decided.
        path: the mp4 to publish.
        how: what the film is like; by default it takes about as long as others, however long the episode is.
        scenes: how the scene it was made in is opened; else as the environment says.

    Returns:
        ``path``.

    Raises:
        UserError: the trace does not belong to this version's world, or the disk is full.
    """
    from hitl_ops.worlds.habitat.open_scene import recorded_scene
    from hitl_ops.worlds.habitat.partnr_episodes import episode_to_play

    with recorded_scene(trace.header.played_scene, scenes) as scene:
        _film(episode_to_play(episode, scene.description), trace, path, how, scene)
    return path


def _film(episode: Episode, trace: Trace, path: Path, how: FilmConfig | None, scene: Scene) -> None:
    from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
    from hitl_ops.worlds.household.renderer import make_renderer
    from hitl_ops.worlds.household.renderer.captions import Captions
    from hitl_ops.worlds.household.renderer.video import EpisodeVideo

    description = scene.description
    renderer = make_renderer(description, OBJECT_SHAPES)
    try:
        if how is None:
            frames = _FRAMES.get(renderer.backend, min(_FRAMES.values()))
            every = max(1, trace.result.sim_steps // frames)
            count = trace.result.sim_steps // every + 1
            begun = EpisodeVideo(path, fps=min(15, max(1, count // _SECONDS_AT_LEAST)))
        else:
            every = how.ticks_per_frame(trace.result.sim_steps, renderer.backend)
            begun = EpisodeVideo(path, fps=how.rate(renderer.backend), size=(how.width, how.height))
        trails: list[list[tuple[float, float]]] = []
        with begun as video:
            for world in replay(episode, trace, every, scene):
                facts = world.facts
                trails = trails or [[] for _ in facts.agents]
                for trail, agent in zip(trails, facts.agents, strict=True):
                    trail.append((agent.x, agent.z))
                captions = Captions(
                    episode.instruction,
                    tuple(_doing(trace, agent, world.step) for agent in range(len(facts.agents))),
                    world.percent_complete,
                    f"step {world.step}",
                )
                video.add_moment(renderer, description, OBJECT_SHAPES, facts, captions, trails)
    finally:
        renderer.close()


def record_videos(
    folder: Path,
    traces: Path,
    episodes: Iterable[Episode],
    picks: VideoPicks,
    progress: Progress = silent,
    scenes: SceneConfig | None = None,
) -> dict[str, Path]:
    """Film the best, the median and the worst episode of a policy.

    Args:
        folder: the evaluation folder; ``videos/best.mp4`` and so on are published in it.
        traces: the policy's traces.
        episodes: the tasks, those picked among them.
        picks: episode ids.
        progress: told after every video.
        scenes: how the scenes they were made in are opened; else as the environment says.

    Returns:
        The files by name.

    Raises:
        UserError: an episode or its trace is missing, or cannot be played again.
    """
    by_id = {episode.episode_id: episode for episode in episodes}
    wanted = picks.model_dump()
    videos: dict[str, Path] = {}
    filmed: dict[str, Path] = {}
    for number, (name, episode_id) in enumerate(wanted.items(), start=1):
        if episode_id not in by_id:
            raise UserError(f"episode '{episode_id}' is not among the episodes given", "give the file it is from")
        path = folder / VIDEO_FOLDER / f"{name}.mp4"
        if episode_id in filmed:
            from hitl_ops.contracts.publish import publish_bytes

            publish_bytes(path, filmed[episode_id].read_bytes())
        else:
            trace = read_trace(trace_path(traces, episode_id))
            filmed[episode_id] = film(by_id[episode_id], trace, path, scenes=scenes)
        videos[name] = path
        progress(number, len(wanted), f"video of {episode_id}")
    return videos


def _doing(trace: Trace, agent: int, step: int) -> str:
    """What an agent does at a step: its last decision so far."""
    made = [decision for decision in trace.decisions if decision.agent == agent and decision.sim_step <= step]
    return made[-1].action if made else "-"
