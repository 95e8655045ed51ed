"""The command serve: argument parsing and printing, the key, the door, and an end without a lost request."""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_mind.cli.parsing import Command
from recbole_mind.config import loading
from recbole_mind.errors import require

KEY = "RECBOLE_MIND_API_KEY"
SWITCH = 0.001  # seconds after which a thread of Python lets another go on: /health does not wait for recalls


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help="a bundle, or a store, which is followed")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at, 0 for any (default: 8000)")
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        help="holds the keys of which requests must bring one, one a line; its mode is 0600 or less; SIGHUP reads it "
        f"again; or set {KEY} in the environment",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="listen to other machines without a key: anyone may ask"
    )
    parser.add_argument("--trusted-keys", metavar="FILE", help="serve only what one of these public keys has signed")
    parser.add_argument(
        "--allowed-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a name under which the service is asked, besides this machine's; may be given again",
    )
    parser.add_argument("--pool", metavar="FILE", help="tokens that may be recalled, one a line; followed")
    parser.add_argument("--deny", metavar="FILE", help="tokens that are never recalled, one a line; followed")
    parser.add_argument("--names", metavar="FILE", help="names of items, for the page: token, tab, name")
    parser.add_argument("--events", metavar="DIR", help="keep impressions and clicks there, which /events takes")
    parser.add_argument(
        "--channel",
        metavar="NAME[=DIR]",
        action="append",
        default=[],
        help="this service's name in them (default: default); or, given again and again in place of DIR, a bundle or "
        "store that answers a share of the users under this name",
    )
    parser.add_argument(
        "--assignment-key", metavar="FILE", help="the key by which users have channels; made if missing"
    )
    parser.add_argument("--shares", metavar="FILE", help="share of the users by channel (default: alike); followed")
    parser.add_argument("--experiment", metavar="NAME", help="users are dealt anew to channels for each name")
    parser.add_argument("--access-log", action="store_true", help="one line a request, without its body or query")
    parser.add_argument("--log-format", choices=["text", "json"], default="text", help="lines of text or JSON objects")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Serve until a signal ends it."""
    from threadpoolctl import threadpool_limits

    from recbole_mind.serving.http.schema import limits

    served = _served(known)
    asked = limits(loading.parse_arguments(rest))
    file = None if known.api_key_file is None else Path(known.api_key_file)
    key = os.environ.get(KEY) if file is None else None
    is_open = key is None and file is None
    text = f"host: '{known.host}' lets other machines in, and there is no key; give --api-key-file, or --insecure"
    require(not is_open or known.insecure or _is_loopback(known.host), text)
    require(0 <= known.port < 2**16, f"port: {known.port} is not allowed; allowed: 0 to 65535")

    from prometheus_client import disable_created_metrics

    from recbole_mind.serving.http import logs
    from recbole_mind.serving.http.app import create_app
    from recbole_mind.serving.http.server import Server, open_door
    from recbole_mind.serving.http.settings import Settings

    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each figure, of no use here
    logs.start(known.log_format, known.access_log)
    sys.setswitchinterval(SWITCH)
    given = {"pool": known.pool, "deny": known.deny, "names": known.names, "trusted_keys": known.trusted_keys}
    given |= {"events": known.events, "shares": known.shares, "assignment_key": known.assignment_key}
    served |= {name: None if path is None else Path(path) for name, path in given.items()}
    hosts = (known.host, *known.allowed_host)
    with threadpool_limits(1):  # a request is one thread: on busy cores that is faster than several
        app = create_app(Settings(limits=asked, api_key=key, api_key_file=file, allowed_hosts=hosts, **served))
        server = Server(app)
        with open_door(known.host, known.port) as door:
            server.run(sockets=[door])
    return 0


def _served(known: argparse.Namespace) -> dict[str, Any]:
    """What is served: one folder, or several by channel."""
    several = any("=" in each for each in known.channel)
    if not several:
        require(known.folder is not None, "give DIR, a bundle or a store, or --channel NAME=DIR for each of several")
        for option in ("assignment_key", "shares", "experiment"):
            text = f"{option.replace('_', '-')}: it is for several channels; give --channel NAME=DIR for each"
            require(getattr(known, option) is None, text)
        name, *more = known.channel or ["default"]
        text = f"channel: '{name}' and '{', '.join(more)}' are too many; allowed: one NAME, or NAME=DIR for each"
        require(not more, text)
        require(known.events is not None or name == "default", "channel: it is the name in events; give --events")
        return {"folder": Path(known.folder), "channel": name}
    text = f"'{known.folder}' stands beside --channel NAME=DIR; allowed: one of both (and settings as --key=value)"
    require(known.folder is None, text)
    channels: dict[str, Path] = {}
    for each in known.channel:
        name, _, folder = each.partition("=")
        require(bool(folder), f"channel: '{each}' names no bundle or store; as {name or 'mind'}=DIR")
        require(name not in channels, f"channel: '{name}' is there twice")
        channels[name] = Path(folder)
    return {"folder": None, "channels": channels, "experiment": known.experiment or ""}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


COMMAND = Command(
    "serve",
    "answer recall over HTTP from a bundle or from a store's current version, with a page to try it",
    run,
    _add_arguments,
    epilog=(
        "Limits and the like, as --key=value: --max_n=5000 --workers=8; properties/production/serve.yaml lists "
        "them. SIGHUP opens the bundle, the pool and the keys again; SIGTERM ends after the running requests."
    ),
    takes_settings=True,
)
