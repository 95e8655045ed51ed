"""What lies around the service's answers: keys, bodies, refusals, headers, figures, and threads that work."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import anyio
import faiss
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_mind.serving.http.access import Hosts, Keys
from recbole_mind.serving.http.logs import ACCESS
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.refused import Refused

logger, access = logging.getLogger(__name__), logging.getLogger(ACCESS)
Result = TypeVar("Result")
_LINGER = 2**26  # bytes that are read of a body too large, and dropped: its sender would not see the answer otherwise
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Draining(Protocol):
    """What is about to end, or not."""

    draining: bool


def answer(content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Response:
    """A response whose body is ready."""
    return Response(content, status, {name.replace("_", "-"): value for name, value in headers.items()}, kind)


def refusal(refused: Refused) -> Response:
    """The response that a refusal is."""
    return answer(refused.body(), refused.status, **refused.headers)


async def body_of(request: Request, limit: int, seconds: float) -> bytes:
    """The body of a request that says it is JSON.

    Raises:
        Refused: it says something else, is larger than ``limit`` bytes, or has not come in time.
    """
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    charset = rest.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Refused(415, "content_type", "the body must be application/json in UTF-8", "Content-Type")
    try:
        with anyio.fail_after(seconds):
            return await _read(request, limit)
    except TimeoutError:
        raise Refused(408, "timeout", "the body did not come in time", Connection="close") from None


async def _read(request: Request, limit: int) -> bytes:
    def too_large() -> Refused:
        return Refused(413, "too_large", f"the body is larger than {limit} bytes", Connection="close")

    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit and "expect" in request.headers:
        raise too_large()  # before anything is sent
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > max(_LINGER, limit):
            break
    if size > limit:
        raise too_large()
    return b"".join(parts)


class Workers:
    """Threads that answer, and a queue of bounded length before them.

    Args:
        workers: how many threads.
        queue: how many requests may wait.
        metrics: where they are counted.
    """

    def __init__(self, workers: int, queue: int, metrics: Metrics) -> None:
        self._most, self._running = workers + queue, 0
        self._lock, self._metrics = threading.Lock(), metrics
        self._threads = ThreadPoolExecutor(workers, "recall", initializer=faiss.omp_set_num_threads, initargs=(1,))

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """What ``work`` gives, in a thread.

        Raises:
            Refused: too many wait.
        """
        with self._lock:
            if self._running >= self._most:
                raise Refused(503, "overloaded", "too many requests wait; come back later", Retry_After="1")
            self._running += 1
        self._metrics.running.inc()
        future = self._threads.submit(work, *arguments)
        future.add_done_callback(self._done)  # also where the client has left
        return await asyncio.wrap_future(future)

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self._running -= 1
        self._metrics.running.dec()

    def close(self) -> None:
        """Wait for what runs."""
        self._threads.shutdown()


class Guard:
    """Around every request: its host, its key, HEAD, headers, figures, a log line, an answer whatever happens.

    Args:
        app: what answers.
        state: whether the service is about to end, as its ``draining``.
        metrics: where requests are counted.
        paths: that are counted and logged by name, the others being "other".
        hosts: the names under which requests may come.
        keys: that requests must bring; ``None`` for none.
        open_paths: that need none.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: Draining,
        metrics: Metrics,
        paths: Iterable[str],
        hosts: Hosts,
        keys: Keys | None,
        open_paths: Iterable[str],
    ) -> None:
        self._app, self._state, self._metrics = app, state, metrics
        self._paths, self._open = frozenset(paths), frozenset(open_paths)
        self._hosts, self._keys = hosts, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        head = scope["method"] == "HEAD"
        path = scope["path"] if scope["path"] in self._paths else "other"
        about = {"request": _id_of(scope), "method": scope["method"] if path != "other" else "other", "path": path}
        scope.setdefault("state", {})

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                ours = [*_HEADERS, (b"x-request-id", about["request"].encode())]
                if self._state.draining:
                    ours.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in given)]
            elif head:
                message = {**message, "body": b""}
            await send(message)

        try:
            self._admit(scope)
            await self._app({**scope, "method": "GET"} if head else scope, receive, sent)
        except Refused as refused:
            await refusal(refused)(scope, receive, sent)
        except ClientDisconnect:
            status = 499  # nobody is there to be answered
        except Exception as error:
            about |= _channels_of(scope)
            logger.error("a request failed: %s in %s", type(error).__name__, frames_of(error), extra=about)
            if not status:
                await refusal(Refused(500, "internal", "the service failed; its log says where"))(scope, receive, sent)
        finally:
            took = time.perf_counter() - start
            self._metrics.answered(path, status or 499, took, scope["state"].get("channel"))
            if access.isEnabledFor(logging.INFO):
                about |= {"status": status or 499, "ms": round(took * 1000, 3), "bundle": scope["state"].get("bundle")}
                about |= _channels_of(scope)
                access.info(" ".join(f"{name}=%s" for name in about), *about.values(), extra=about)

    def _admit(self, scope: Scope) -> None:
        """Let in a request that names this host and brings a key or needs none."""
        if not self._hosts.accept(scope):
            text = "this host is not answered for; serve --allowed-host NAME lets it be"
            raise Refused(421, "host", text, "Host")
        if self._keys is None or scope["path"] in self._open or self._keys.accept(scope):
            return
        text = "a key is needed: X-API-Key: KEY or Authorization: Bearer KEY"
        raise Refused(401, "unauthorized", text, WWW_Authenticate="Bearer")


def _id_of(scope: Scope) -> str:
    """The id that a request brings, if it is fit for a log; one of our own otherwise."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return secrets.token_hex(8)


def _channels_of(scope: Scope) -> dict[str, str]:
    """The channel that answered and the one that the user has, where there are several."""
    state = scope["state"]
    return {name: state[name] for name in ("channel", "assigned") if name in state}


def frames_of(error: Exception) -> str:
    """Where an error came from: neither its message nor its values, which may be a user's."""
    frames = traceback.extract_tb(error.__traceback__)
    return "; ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
