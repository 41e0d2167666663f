"""The collection server: everything put together, started, and stopped without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.rollouts.episode_sets import episodes_to_play
from hitl_ops.serving.policy_alias import ALIASES, resolve
from hitl_ops.worlds.habitat.partnr_episodes import check_episodes
from ui_collect.access_log import AccessLog
from ui_collect.admin_access import AdminAccess, read_or_make_admin_token
from ui_collect.annotate.desk import AnnotationDesk
from ui_collect.app import collection_app
from ui_collect.flow import Flow
from ui_collect.home_files import HomeFiles
from ui_collect.invitation_links import PROGRAM, link_at_start
from ui_collect.label_calls import LabelCalls
from ui_collect.live_socket import LiveSockets
from ui_collect.loop_lag import LoopLag
from ui_collect.open_iteration import OpenIteration
from ui_collect.overview import OverviewPage
from ui_collect.page_files import PageFiles
from ui_collect.presence import Presence
from ui_collect.settings import CollectSettings
from ui_collect.simulation.messages import PartnerKind, PlayEvent
from ui_collect.simulation.pool import PoolSettings, SimulationPool
from ui_collect.tutorial import tutorial_episode
from ui_collect.web_process import listening, only_server, serve_app, tls_context, url_of

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True)
class StartOptions:
    """What a start does beside serving.

    Attributes:
        invite: make an invitation for so many people.
        invite_annotators: make one to annotate for so many people.
        new_admin_token: make a new admin token.
        without_page: serve no page.
        wait: wait for the page and the episodes where they are not there yet.
    """

    invite: int | None = None
    invite_annotators: int | None = None
    new_admin_token: bool = False
    without_page: bool = False
    wait: bool = False


def serve(settings: CollectSettings, store: Store, options: StartOptions) -> int:
    """Serve until SIGINT or SIGTERM; sessions are then paused and their logs durable.

    Args:
        settings: the server's.
        store: where everything is kept.
        options: what else is to be done.

    Returns:
        The exit code.

    Raises:
        UserError: the page is not built, there are no episodes, the port is taken, the certificate is not usable,
            the label store cannot be opened, or another server serves this root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    pages, episodes = _what_is_played(settings, store, options)
    partner, policy = partner_of(settings.partner)
    context = tls_context(settings)
    # Whoever replays a play later knows its log only; all of them are started by this process.
    settings.scene.habitat.tell_machine()
    with only_server(store), contextlib.closing(listening(settings)) as listener:
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        token_hash, token = read_or_make_admin_token(store.collection / "admin.json", renew=options.new_admin_token)
        url = url_of(settings, listener, tls=context is not None)
        play = link_at_start(labels, settings.iteration, url, "play", options.invite)
        annotate = link_at_start(labels, settings.iteration, url, "annotate", options.invite_annotators)
        _announce(url, token, play, annotate, _partner(store, partner, policy), store)
        server = _Server(settings, store, labels, episodes, partner, policy, pages, token_hash)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.run(listener, context))
    print("stopped; open sessions are paused and go on when their people come back", flush=True)
    return 0


def partner_of(text: str) -> tuple[PartnerKind, str]:
    """What the ``partner`` setting means for plays, and what the inference process is to serve.

    Raises:
        UserError: it names a folder that is no policy.
    """
    if text in ("oracle", "none"):
        return text, "none"  # type: ignore[return-value]
    if text in ALIASES:
        return "policy", text
    folder = Path(text).expanduser()
    if not any((place / "card.json").is_file() for place in (folder, folder.parent)):
        raise UserError(f"partner '{text}' is no policy's folder", "write serving, oracle, none, or a policy's folder")
    return "policy", str(folder.resolve())


class _Server:
    """All parts of a running server."""

    def __init__(
        self,
        settings: CollectSettings,
        store: Store,
        labels: LabelStore,
        episodes: list[Episode],
        partner: PartnerKind,
        policy: str,
        pages: PageFiles | None,
        token_hash: str,
    ) -> None:
        self._settings = settings
        self._store = store
        self._labels = LabelCalls(labels)
        self._pool = SimulationPool(
            PoolSettings.model_validate(
                {
                    "root": store.root,
                    "workers": settings.workers,
                    "policy": policy,
                    "program": PROGRAM,
                    "serving": {"poll_s": settings.policy_poll_s},
                    "scene": settings.scene.model_dump(),
                }
            ),
            self._hear,
        )
        tutorial = tutorial_episode(1 if settings.human_agent == 1 else 0)
        homes = HomeFiles()
        self._flow = Flow(settings, self._labels, self._pool, partner, episodes, tutorial, homes)
        self._presence = Presence(self._flow, store)
        self._log = AccessLog(store.collection / "access.jsonl")
        self._sockets = LiveSockets(settings, self._presence, self._log)
        self._desk = AnnotationDesk(store, settings.annotation, labels, homes)
        self._lag = LoopLag()
        tls = settings.certificate is not None
        self._app = collection_app(
            settings,
            flow=self._flow,
            sockets=self._sockets,
            pages=pages,
            access=AdminAccess(token_hash, secure=tls),
            overview=OverviewPage(store, self._flow, self._lag, self._sockets.open, self._processes),
            desk=self._desk,
            homes=homes,
            iteration=OpenIteration(store, settings),
            log=self._log,
        )

    def _hear(self, events: list[PlayEvent]) -> None:
        self._flow.plays.hear(events)

    def _processes(self) -> dict[str, Any]:
        return self._pool.stats().model_dump(mode="json")

    async def run(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serve until a signal comes."""
        await serve_app(self._app, self._settings, listener, context, self._running())

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """What runs as long as connections are served; stopped in the order in which nothing is lost."""
        beside: list[asyncio.Task[None]] = []
        try:
            await self._pool.start()
            await self._presence.restore()
            beside = [asyncio.create_task(self._presence.watch()), asyncio.create_task(self._lag.sample())]
            # What is there now stays; collections need not look at it while people play.
            gc.collect()
            gc.freeze()
            yield
        finally:
            for task in beside:
                task.cancel()
            await self._flow.stop()
            await self._pool.stop()
            await self._desk.stop()
            await asyncio.to_thread(self._labels.close)
            await asyncio.to_thread(self._log.close)


# --- before the loop -----------------------------------------------------------------------------------------


def _what_is_played(
    settings: CollectSettings, store: Store, options: StartOptions
) -> tuple[PageFiles | None, list[Episode]]:
    """The page and the tasks; with ``options.wait`` as soon as they are there."""
    told = ""
    while True:
        try:
            pages = None if options.without_page else PageFiles()
            return pages, _episodes(settings, store)
        except UserError as error:
            if not options.wait:
                raise
            if str(error) != told:
                told = str(error)
                print(f"waiting: {told}", flush=True)
            time.sleep(_LOOK_AGAIN_S)


def _episodes(settings: CollectSettings, store: Store) -> list[Episode]:
    """What people play, all that it needs known to be there."""
    episodes = episodes_to_play(settings.episodes, store.episodes, settings.episodes_split)
    check_episodes(episodes, settings.scene)
    return episodes


def _partner(store: Store, partner: PartnerKind, policy: str) -> str:
    """Who people will play with, in words."""
    if partner != "policy" or policy not in ALIASES:
        return policy if partner == "policy" else partner
    serving = resolve(store, PROGRAM, policy)
    return serving.policy_id if serving else f"away: no policy is '{policy}' yet; `flywheel promote` makes one serve"


def _announce(
    url: str, admin_token: str | None, play: str | None, annotate: str | None, partner: str, store: Store
) -> None:
    lines = [
        f"play          {play or f'{url}/  by invitation; make one with --invite 10'}",
        f"annotate      {annotate or f'{url}/annotate  by invitation; make one with --invite-annotators 2'}",
    ]
    lines.append(f"dashboard     {url}/admin")
    if admin_token:
        lines.append(f"admin token   {admin_token}   (shown only now)")
    lines.append(f"partner       {partner}")
    lines.append(f"files         {store.root}")
    print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; open sessions go on later\n", flush=True)
