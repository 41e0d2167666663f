"""``python -m ui_collect.station``: the upload server alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from ui_collect.station.server import UploadSettings, serve_uploads


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m ui_collect.station", description=__doc__)
    parser.add_argument("--root", type=Path, help="the store's root")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; this machine only by default")
    parser.add_argument("--port", type=int, default=8090, help="port to listen on; 0 takes a free one")
    parser.add_argument("--certificate", type=Path, help="TLS certificate chain (PEM), with --key")
    parser.add_argument("--key", type=Path, help="TLS private key (PEM), with --certificate")
    parser.add_argument("--new-token", action="store_true", help="make a new upload token; the old one ends")
    given = parser.parse_args(arguments)
    settings = UploadSettings(host=given.host, port=given.port, certificate=given.certificate, key=given.key)
    try:
        store = Store.at(given.root) if given.root else Store.from_environment()
        return serve_uploads(settings.checked(), store, new_token=given.new_token)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
