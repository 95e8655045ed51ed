"""The service's door: connections that are bounded in number and in time, and an end without a lost request.

Uvicorn speaks HTTP (by h11) and has one time-out, of a connection that is kept open after an answer. What is added
here is one for a head or a body that does not come and for an answer that is not read, a bound on connections, and a
closing that tells clients beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from recbole_mind.errors import InputError
from recbole_mind.serving.http.app import Service
from recbole_mind.serving.http.logs import Seldom
from recbole_mind.serving.http.refused import Refused

logger = logging.getLogger("recbole_mind.serve")
doors = logging.getLogger("recbole_mind.door")
doors.addFilter(Seldom())
QUEUE = 1024  # connections that the kernel keeps until they are accepted
AT_ONCE = 8  # connections that are accepted before the first of them is looked at
FILES = 64  # that are left for bundles, logs and connections which are about to be refused
_FLUSH = 5.0  # seconds that an answer has to be taken when the connection is to end
_HANDSHAKE = 0.1  # seconds in which a connection whose making has begun is made
_SO_ATTACH_FILTER = 26  # socket(7); Python has no name for it
# BPF: a segment's flags, of SYN and ACK; drop it if it is SYN alone, keep it otherwise
_DROP_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_REASONS = {408: "Request Timeout", 503: "Service Unavailable"}


class Connections:
    """The open connections: how many there may be, and which of them ask for nothing.

    Args:
        service: that they belong to.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = service.limits.max_connections if soft == resource.RLIM_INFINITY else soft - _open_files() - FILES
        self.most = max(1, min(service.limits.max_connections, room))
        if self.most < service.limits.max_connections:
            logger.warning("at most %d connections: the process may open %d files (ulimit -n)", self.most, soft)
        self.idle: dict[Protocol, None] = {}  # the longest idle first
        self.patience = 0.0  # seconds that idle connections stay once the service ends

    def room(self, opened: int) -> bool:
        """Whether there is room for one more; where there is none, the one that was idle longest makes it."""
        if opened < self.most:
            return True
        for oldest in self.idle:
            oldest.drop("idle")
            return True
        return False


class Protocol(H11Protocol):
    """A connection that may not take as long as it likes."""

    def __init__(self, *arguments: Any, kept: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept = kept
        self._doing: tuple[str, Any] = ("", None)
        self._since = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request has come whose answer has not gone."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self._kept.room(len(self.connections)):
            self._kept.service.metrics.connections_ended.labels("full").inc()
            doors.warning("there are too many connections, none of them idle; others are refused")
            transport.set_protocol(asyncio.Protocol())
            transport.write(_raw(Refused(503, "overloaded", "too many connections; come back later", Retry_After="1")))
            transport.close()
            return
        super().connection_made(transport)
        self._kept.service.metrics.connections.set(len(self.connections))
        self._note()
        if self._kept.service.closing:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._kept.idle.pop(self, None)
        self._kept.service.metrics.connections.set(len(self.connections))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def _note(self) -> None:
        if self.busy or self.transport.is_closing():
            self._kept.idle.pop(self, None)
        else:
            self._kept.idle.setdefault(self)

    def shutdown(self) -> None:
        """End after the answer that is due; without one, wait a moment for a request that is on its way."""
        if self.busy:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(self._kept.patience, self._leave)

    def _leave(self) -> None:
        if not self.busy:
            self.transport.close()

    def check(self, now: float) -> None:
        """End what takes too long; called every half second."""
        doing = self._now_doing()
        if (doing, self.cycle) != self._doing:
            self._doing, self._since = (doing, self.cycle), now
            return
        limits = self._kept.service.limits
        most = {"head": limits.head_seconds, "closing": _FLUSH}.get(doing, limits.body_seconds + 1)
        if doing in ("working", "kept") or now - self._since < most:
            return
        if doing == "head" and self.conn.trailing_data[0]:
            self.transport.write(_raw(Refused(408, "timeout", "the head of the request did not come in time")))
            self._kept.service.metrics.connections_ended.labels("head").inc()
            self.transport.close()
        else:
            self.drop(doing)

    def _now_doing(self) -> str:
        if self.transport.is_closing():
            return "closing"
        if self.busy:
            if self.conn.their_state is h11.SEND_BODY:
                return "body"
            return "answer" if self.flow.write_paused else "working"
        if self.conn.their_state is not h11.IDLE:
            return "body"  # of a request that was answered without it
        return "head" if self.timeout_keep_alive_task is None else "kept"

    def drop(self, why: str) -> None:
        """End the connection at once."""
        self._kept.service.metrics.connections_ended.labels(why).inc()
        self._kept.idle.pop(self, None)
        self.transport.abort()


class Server(uvicorn.Server):
    """Ends well: on SIGTERM it says that it is not ready, waits, closes the door, and ends what runs."""

    def __init__(self, app: Any) -> None:
        self.service: Service = app.state.service
        self.kept = Connections(self.service)
        http: Any = partial(Protocol, kept=self.kept)
        config = uvicorn.Config(
            app,
            http=http,
            loop="asyncio",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            backlog=AT_ONCE,
            timeout_keep_alive=self.service.limits.idle_seconds,
            timeout_graceful_shutdown=max(1, round(self.service.limits.shutdown_seconds)),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._failed)
        await super().startup(sockets)
        for door in sockets or []:
            door.listen(QUEUE)  # asyncio has made it AT_ONCE
            host, port = door.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            logger.info("listening at http://%s:%d", shown, port)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what failed in the loop: a connection that could not be accepted in one line, and seldom."""
        if str(context.get("message")).startswith("socket.accept()"):
            self.service.metrics.accept_errors.inc()
            doors.error("connections cannot be accepted: %s", getattr(context.get("exception"), "strerror", ""))
        else:
            loop.default_exception_handler(context)

    async def on_tick(self, counter: int) -> bool:
        if counter % 5 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.check(now)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as a service does; uvicorn's own would die of them in the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGHUP:
            threading.Thread(target=self.service.reload, name="reload", daemon=True).start()
            return
        if self.service.draining:  # told twice
            self.should_exit, self.force_exit = True, sig == signal.SIGINT and self.should_exit
            return
        self.service.draining = True
        self.kept.patience = self.service.limits.idle_seconds if sig == signal.SIGTERM else 0.0
        seconds = self.service.limits.drain_seconds if sig == signal.SIGTERM else 0
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
        self.service.draining = self.service.closing = True
        loop = asyncio.get_running_loop()
        for door in sockets or []:
            _refuse_new(door)
        await asyncio.sleep(_HANDSHAKE)
        for door in sockets or []:
            loop.remove_reader(door.fileno())
        await asyncio.sleep(0)  # what asyncio has accepted becomes a connection, which a closed server would drop
        waiting = [connection for door in sockets or [] for connection in _accepted(door)]
        for server in self.servers:
            server.close()
        http: Any = self.config.http_protocol_class
        make: Any = partial(http, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        for connection in waiting:
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(make, connection)
        await super().shutdown(sockets)


def open_door(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        door = socket.create_server((host, port), family=family, backlog=QUEUE)
        # connections inherit it: asyncio sets it only where the socket names its protocol, and without it a response's
        # second part waits 40 ms for the client's delayed acknowledgement of the first
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return door
    except OSError as error:
        raise InputError(f"host: '{host}', port {port} cannot be listened at: {error.strerror}") from None


def _refuse_new(door: socket.socket) -> None:
    """Have Linux drop requests for new connections, so that none comes between the last look and the closing.

    Nothing else is dropped: connections whose making has begun are still made. Elsewhere nothing is done.
    """
    code = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    kept = ctypes.create_string_buffer(code, len(code))
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(kept))
            door.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _accepted(door: socket.socket) -> list[socket.socket]:
    """The connections that the kernel has made for a door and nobody has taken: to close the door would reset them."""
    found: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while len(found) < QUEUE:
            found.append(door.accept()[0])
            found[-1].setblocking(False)
    return found


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return FILES


def _raw(refused: Refused) -> bytes:
    """A refusal as it goes over the wire where no request has been read."""
    body = refused.body()
    lines = [f"HTTP/1.1 {refused.status} {_REASONS[refused.status]}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in refused.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
