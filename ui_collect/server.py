"""The collection server: everything put together, started, and stopped without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from hitl_ops.contracts.episode import Episode, read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.serving.policy_alias import ALIASES, resolve
from ui_collect.access_log import AccessLog
from ui_collect.admin import PROGRAM, invitation_link
from ui_collect.admin_access import AdminAccess, read_or_make_admin_token
from ui_collect.app import collection_app
from ui_collect.bounded_connections import HEAD_BYTES, HTTP_SPARE, BoundedWebSocket, bounded_http
from ui_collect.flow import Flow
from ui_collect.label_calls import LabelCalls
from ui_collect.live_socket import LiveSockets
from ui_collect.loop_lag import LoopLag
from ui_collect.overview import OverviewPage
from ui_collect.page_files import PageFiles
from ui_collect.presence import Presence
from ui_collect.protocol import MESSAGE_BYTES
from ui_collect.settings import CollectSettings
from ui_collect.simulation.messages import PartnerKind, PlayEvent
from ui_collect.simulation.pool import PoolSettings, SimulationPool
from ui_collect.tutorial import tutorial_episode

logger = logging.getLogger(__name__)

_FIRST_INVITATION_USES, _INVITATION_DAYS = 100, 30
_PING_S = 20.0
_STOP_WITHIN_S = 5
_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True)
class StartOptions:
    """What a start does beside serving.

    Attributes:
        invite: make an invitation for so many people.
        new_admin_token: make a new admin token.
        without_page: serve no page.
        wait: wait for the page and the episodes where they are not there yet.
    """

    invite: int | None = None
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
    context = _tls(settings)
    with _only_server(store), contextlib.closing(_listening(settings)) as listener:
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        token_hash, token = read_or_make_admin_token(store.collection / "admin.json", renew=options.new_admin_token)
        url = _url(settings, listener, tls=context is not None)
        _announce(url, token, _invitation(labels, settings, options, url), _partner(store, partner, policy), store)
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
                }
            ),
            self._hear,
        )
        self._flow = Flow(settings, self._labels, self._pool, partner, episodes, tutorial_episode(settings.human_agent))
        self._presence = Presence(self._flow, store)
        self._log = AccessLog(store.collection / "access.jsonl")
        self._sockets = LiveSockets(settings, self._presence, self._log)
        self._lag = LoopLag()
        tls = settings.certificate is not None
        self._app = collection_app(
            settings,
            flow=self._flow,
            sockets=self._sockets,
            pages=pages,
            access=AdminAccess(token_hash, secure=tls),
            overview=OverviewPage(store, self._flow, self._lag, self._sockets.open, self._processes),
            log=self._log,
        )

    def _hear(self, events: list[PlayEvent]) -> None:
        self._flow.plays.hear(events)

    def _processes(self) -> dict[str, Any]:
        return self._pool.stats().model_dump(mode="json")

    async def run(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serve until a signal comes."""
        config = uvicorn.Config(
            self._app,
            http=bounded_http(self._settings.max_sockets + HTTP_SPARE),
            ws=BoundedWebSocket,
            ws_max_size=MESSAGE_BYTES,
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PING_S,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_WITHIN_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        server = _Uvicorn(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        async with self._running():
            await server.serve(sockets=[listener])

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
            await asyncio.to_thread(self._labels.close)
            await asyncio.to_thread(self._log.close)


class _Uvicorn(uvicorn.Server):
    """uvicorn, told to stop by the loop: its own handlers would raise the signal again before we have stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop accepting, close what is open; asked twice, without patience."""
        self.force_exit = self.should_exit
        self.should_exit = True


# --- before the loop -----------------------------------------------------------------------------------------


def _what_is_played(
    settings: CollectSettings, store: Store, options: StartOptions
) -> tuple[PageFiles | None, list[Episode]]:
    """The page and the tasks; with ``options.wait`` as soon as they are there."""
    told = ""
    while True:
        try:
            pages = None if options.without_page else PageFiles()
            return pages, _episodes(store, settings.episodes_split)
        except UserError as error:
            if not options.wait:
                raise
            if str(error) != told:
                told = str(error)
                print(f"waiting: {told}", flush=True)
            time.sleep(_LOOK_AGAIN_S)


def _episodes(store: Store, split: str) -> list[Episode]:
    file = episode_file(store.episodes, split)
    if not file.exists():
        raise UserError(f"there are no '{split}' episodes in '{file.parent}'", "run `flywheel episodes` first")
    episodes = read_episodes(file)
    if not episodes:
        raise UserError(f"episode file '{file}' is empty", "run `flywheel episodes` with a number for this split")
    return episodes


@contextlib.contextmanager
def _only_server(store: Store) -> Iterator[None]:
    """Keep a second server away from the same root; the lock goes with the process."""
    file = store.collection / "server.lock"
    with disk_errors_named(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another server collects into '{store.root}'", "stop it, or name another --root") from None
        yield


def _listening(settings: CollectSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {settings.host}, port {settings.port} ({reason})", "choose others with --host and --port"
        ) from None


def _tls(settings: CollectSettings) -> ssl.SSLContext | None:
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"certificate '{settings.certificate}' and key '{settings.key}' cannot be used",
            str(error.strerror or error),
        ) from None
    return context


def _url(settings: CollectSettings, listener: socket.socket, *, tls: bool) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    elif ":" in host:
        host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{listener.getsockname()[1]}"


def _invitation(labels: LabelStore, settings: CollectSettings, options: StartOptions, url: str) -> str | None:
    """The link of an invitation made now: one that was asked for, or the first of all."""
    if options.invite is None and labels.invitations(PROGRAM):
        return None
    uses = options.invite or _FIRST_INVITATION_USES
    until = datetime.now(UTC) + timedelta(days=_INVITATION_DAYS)
    _, token = labels.create_invitation(PROGRAM, settings.iteration, uses, until)
    return f"{invitation_link(url, token)}   ({uses} people, {_INVITATION_DAYS} days)"


def _partner(store: Store, partner: PartnerKind, policy: str) -> str:
    """Who people will play with, in words."""
    if partner != "policy" or policy not in ALIASES:
        return policy if partner == "policy" else partner
    serving = resolve(store, PROGRAM, policy)
    return serving.policy_id if serving else f"away: no policy is '{policy}' yet; `flywheel promote` makes one serve"


def _announce(url: str, admin_token: str | None, link: str | None, partner: str, store: Store) -> None:
    lines = [f"play          {link}"] if link else [f"play          {url}/  by invitation; make one with --invite 10"]
    lines.append(f"dashboard     {url}/admin")
    if admin_token:
        lines.append(f"admin token   {admin_token}   (shown only now)")
    lines.append(f"partner       {partner}")
    lines.append(f"files         {store.root}")
    print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; open sessions go on later\n", flush=True)
