"""The annotation page alone: a small server for whoever corrects plays while nobody plays."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass

from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from ui_collect.access_log import AccessLog
from ui_collect.annotate.desk import AnnotationDesk
from ui_collect.app import annotation_app
from ui_collect.home_files import HomeFiles
from ui_collect.invitation_links import PROGRAM, link_at_start
from ui_collect.page_files import ANNOTATE_PAGE, PageFiles
from ui_collect.web_process import listening, only_server, serve_desk, tls_context, url_of
from ui_collect.web_settings import WebSettings


@dataclass(frozen=True)
class StartOptions:
    """What a start does beside serving.

    Attributes:
        invite: make an invitation for so many annotators.
        without_page: serve no page.
    """

    invite: int | None = None
    without_page: bool = False


def serve_annotation(settings: WebSettings, store: Store, options: StartOptions) -> int:
    """Serve the annotation page until SIGINT or SIGTERM.

    Args:
        settings: the server's.
        store: where everything is kept.
        options: what else is to be done.

    Returns:
        The exit code.

    Raises:
        UserError: the page is not built, the port is taken, the certificate is not usable, the label store cannot be
            opened, or another server serves this root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    pages = None if options.without_page else PageFiles(needed=ANNOTATE_PAGE)
    context = tls_context(settings)
    with only_server(store), contextlib.closing(listening(settings)) as listener:
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        url = url_of(settings, listener, tls=context is not None)
        link = link_at_start(labels, settings.iteration, url, "annotate", options.invite)
        plays = labels.finished_play_counts(PROGRAM).get(settings.iteration, 0)
        lines = (
            f"annotate      {link or f'{url}/annotate  by invitation; make one with --invite 2'}",
            f"plays         {plays} finished in iteration {settings.iteration}",
            f"files         {store.root}",
        )
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; all is kept\n", flush=True)
        homes = HomeFiles()
        desk = AnnotationDesk(store, settings.annotation, labels, homes)
        log = AccessLog(store.collection / "access.jsonl")
        app = annotation_app(settings, desk=desk, homes=homes, pages=pages, log=log)
        serve_desk(app, settings, listener, context, desk, log)
    print("stopped; all is kept", flush=True)
    return 0
