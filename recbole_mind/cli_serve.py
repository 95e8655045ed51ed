"""The command serve: argument parsing and printing, the key, the door, and an end without a lost request."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from recbole_mind import settings
from recbole_mind.errors import InputError, require

if TYPE_CHECKING:
    import uvicorn

    from recbole_mind.service import Service

KEY = "RECBOLE_MIND_API_KEY"
logger = logging.getLogger("recbole_mind.serve")


def add_parsers(commands: Any) -> None:
    """Add the parser of ``serve`` to ``recbole-mind``'s."""
    serve = commands.add_parser(
        "serve",
        allow_abbrev=False,
        help="answer recall over HTTP from a bundle or from a store's current version, with a page to try it",
        epilog="Limits and the like, as --key=value: --max_n=5000 --workers=8; properties/production/serve.yaml lists "
        "them. SIGHUP opens the bundle and the pool again; SIGTERM ends after the running requests.",
    )
    serve.add_argument("folder", metavar="DIR", help="a bundle, or a store, which is followed")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen at, 0 for any (default: 8000)")
    serve.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"holds the key that requests must bring; or set {KEY} in the environment",
    )
    serve.add_argument("--insecure", action="store_true", help="listen to other machines without a key: anyone may ask")
    serve.add_argument("--trusted-keys", metavar="FILE", help="serve only what one of these public keys has signed")
    serve.add_argument("--pool", metavar="FILE", help="tokens that may be recalled, one a line; followed")
    serve.add_argument("--deny", metavar="FILE", help="tokens that are never recalled, one a line; followed")
    serve.add_argument("--names", metavar="FILE", help="names of items, for the page: token, tab, name")
    serve.add_argument("--access-log", action="store_true", help="one line a request, without its body")
    serve.set_defaults(run=run, takes_settings=True)


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Serve until a signal ends it."""
    from threadpoolctl import threadpool_limits

    from recbole_mind.service_schema import limits

    asked = limits(settings.parse_arguments(rest))
    key = _key(known.api_key_file, os.environ.get(KEY))
    text = f"host: '{known.host}' lets other machines in, and there is no key; give --api-key-file, or --insecure"
    require(key is not None or known.insecure or _is_loopback(known.host), text)
    require(0 <= known.port < 2**16, f"port: {known.port} is not allowed; allowed: 0 to 65535")

    import uvicorn
    from prometheus_client import disable_created_metrics

    from recbole_mind.service import Settings, create_app

    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each figure, of no use here
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("recbole_mind").setLevel(logging.INFO)
    if known.access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    given = {"pool": known.pool, "deny": known.deny, "names": known.names, "trusted_keys": known.trusted_keys}
    files = {name: None if path is None else Path(path) for name, path in given.items()}
    with threadpool_limits(1):  # a request is one thread: on busy cores that is faster than several
        app = create_app(Settings(Path(known.folder), asked, key, **files))
        config = uvicorn.Config(
            app,
            access_log=known.access_log,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=max(1, round(asked.shutdown_seconds)),
        )
        with _door(known.host, known.port) as door:
            _server(config, app.state.service).run(sockets=[door])
    return 0


def _server(config: uvicorn.Config, service: Service) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Ends well: on SIGTERM it says that it is not ready, waits, closes the door, and ends what runs."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for door in sockets or []:
                host, port = door.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                logger.info("listening at http://%s:%d", shown, port)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Handle signals as a service does; uvicorn's own would die of them in the end."""
            kinds = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
            before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
            try:
                yield
            finally:
                for kind, handler in before.items():
                    signal.signal(kind, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if sig == getattr(signal, "SIGHUP", None):
                service.bundles.reload()
                return
            if service.draining:  # told twice
                self.should_exit, self.force_exit = True, sig == signal.SIGINT and self.should_exit
                return
            service.draining = True
            seconds = service.limits.drain_seconds if sig == signal.SIGTERM else 0
            if seconds:
                timer = threading.Timer(seconds, self._close)
                timer.daemon = True
                timer.start()
            else:
                self._close()

        def _close(self) -> None:
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            logger.info("ending: %d requests run", len(self.server_state.tasks))
            await super().shutdown(sockets)

    return Server(config)


def _door(host: str, port: int) -> socket.socket:
    """A socket that listens."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        door = socket.create_server((host, port), family=family, backlog=1024)
        # connections inherit it: asyncio sets it only where the socket names its protocol, and without it a response's
        # second part waits 40 ms for the client's delayed acknowledgement of the first
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return door
    except OSError as error:
        raise InputError(f"host: '{host}', port {port} cannot be listened at: {error.strerror}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(path: str | None, environment: str | None) -> str | None:
    """The key of a file, or else of the environment."""
    source, key = KEY, environment
    if path is not None:
        source = f"api-key-file '{path}'"
        try:
            key = Path(path).read_text("ascii")
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}") from None
        except ValueError:
            key = ""
    if key is None:
        return None
    key = key.strip()
    good = bool(key) and key.isascii() and key.isprintable() and " " not in key
    require(good, f"{source} holds no key; allowed: printable ASCII without spaces")
    return key
