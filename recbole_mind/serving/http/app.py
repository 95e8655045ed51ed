"""The recall service: HTTP over :class:`~recbole_mind.serving.recaller.Recaller`. Needs neither RecBole nor torch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from recbole_mind import __version__
from recbole_mind.errors import InputError
from recbole_mind.serving.http import answers
from recbole_mind.serving.http.access import Hosts, Keys
from recbole_mind.serving.http.channels import Turn
from recbole_mind.serving.http.description import BODIES, OPEN, describe_keys, described
from recbole_mind.serving.http.docs_page import documentation
from recbole_mind.serving.http.hot_swap import Serving
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.middleware import Guard, Workers, answer, body_of, refusal
from recbole_mind.serving.http.page import PAGE, PAGE_POLICY, policy
from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import (
    Asker,
    ChosenQuery,
    EventsAnswer,
    InterestsAnswer,
    InterestsQuery,
    ItemsAnswer,
    ItemsQuery,
    Queries,
    RecallAnswer,
    RecallQuery,
    RecommendAnswer,
    RecommendQuery,
    State,
    Version,
    VersionAnswer,
    invalid,
    read,
)
from recbole_mind.serving.http.settings import Settings, open_channels

if TYPE_CHECKING:
    from recbole_mind.serving.http.feedback import Feedback

logger = logging.getLogger(__name__)
_SAFE = {"X-Frame-Options": "DENY"}


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application, with its bundle opened.

    ``app.state.service`` is its :class:`Service`.

    Raises:
        InputError: there is nothing to serve, or it cannot be served.
    """
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        service.channels.start(settings.limits.poll_seconds)
        if service.feedback is not None:
            service.feedback.start()
        yield
        service.channels.stop()
        service.workers.close()
        service.keepers.close()
        if service.feedback is not None:
            service.feedback.stop()

    app = FastAPI(
        title="recbole-mind",
        description="Recall from the interests of a live history.",
        version=__version__,
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        lifespan=living,
    )
    app.state.service = service
    service.add_routes(app)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _not_found)
    paths = [route.path for route in app.routes if hasattr(route, "path")]
    app.add_middleware(
        Guard,
        state=service,
        metrics=service.metrics,
        paths=paths,
        hosts=Hosts(settings.allowed_hosts),
        keys=service.keys,
        open_paths=OPEN,
    )
    if settings.api_key is not None:
        describe_keys(app)
    return app


class Service:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.limits = settings.limits
        self.metrics = Metrics(list(settings.channels))
        self.channels = open_channels(settings, self.metrics)
        self.workers = Workers(self.limits.workers, self.limits.queue, self.metrics)
        self.keys: Keys | None = None
        if settings.api_key is not None or settings.api_key_file is not None:
            self.keys = Keys(settings.api_key or "", settings.api_key_file)
        self.keepers = Workers(1, self.limits.queue, self.metrics)  # a disk is waited for beside recalls, not by them
        self.feedback: Feedback | None = None
        if settings.events is not None:
            from recbole_mind.serving.http.feedback import Feedback  # pyarrow, which nothing else here needs

            self.feedback = Feedback(settings.events, self.metrics, 2 * self.limits.max_n)
        self.queries = Queries(self.limits, self.feedback is not None, self.channels.named)
        self.draining = False  # it is about to end, and clients are told
        self.closing = False  # no more connections are taken

    def reload(self) -> None:
        """Open bundles, pools, shares and keys again; what cannot be used leaves what was there."""
        self.channels.reload()
        if self.keys is None:
            return
        try:
            self.keys.reload()
        except InputError as error:
            self.metrics.keys.labels("failed").inc()
            logger.error("the keys stay: %s", error)
        else:
            self.metrics.keys.labels("done").inc()

    def add_routes(self, app: FastAPI) -> None:
        """Add all that the service answers."""
        self._add_question(app, "/recall", self.recall, self.queries.recall, RecallAnswer)
        if self.feedback is not None:
            self._add_route(app, "/events", self.events, self.queries.events, EventsAnswer, self.keepers)
        self._add_question(app, "/recommend", self.recommend, self.queries.recommend, RecommendAnswer, 404)
        self._add_question(app, "/interests", self.interests, self.queries.interests, InterestsAnswer)

        async def items(query: ItemsQuery, request: Request) -> Response:
            """Find items by a part of their token or name."""
            return answer(await self.workers.run(self.items, query, request.scope["state"]))

        items.__annotations__["query"] = Annotated[self.queries.items, Query()]

        def get(path: str, call: Callable[..., Any], model: type[BaseModel] | None, *refused: int) -> None:
            given: dict[int | str, dict[str, Any]] = {code: described(code) for code in refused}
            if model is not None:
                given[200] = {"model": model}
            app.add_api_route(
                path, call, response_class=Response, response_model=None, responses=given, include_in_schema=bool(given)
            )

        get("/items", items, ItemsAnswer, 421, 422, 503)
        get("/health", self.health, State, 421)
        get("/ready", self.ready, State, 421, 503)
        get("/version", self.version, VersionAnswer, 421)
        app.add_api_route(
            "/metrics",
            self.figures,
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        get("/", self.page, None)

        async def docs() -> Response:
            text = documentation(app.openapi())
            return answer(text.encode(), 200, "text/html; charset=utf-8", **_page(policy(text)))

        get("/docs", docs, None)

    def _add_question(
        self,
        app: FastAPI,
        path: str,
        work: Callable[[Turn, Any], bytes],
        query: type[BaseModel],
        model: type[BaseModel],
        *refused: int,
    ) -> None:
        """Add a route whose body is a question; reading it, too, is a worker's task."""

        def asked(body: bytes, about: dict[str, Any]) -> bytes:
            if not self.channels.named:
                about["bundle"] = self.channels.first()[1].recaller.bundle_id  # the log says it of refusals, too
            question = read(body, query, self.queries.shape)
            user = question.user if isinstance(question, Asker) else None
            return self.channels.answer(user, about, lambda turn: work(turn, question))

        asked.__doc__, asked.__name__ = work.__doc__, work.__name__
        self._add_route(app, path, asked, query, model, self.workers, *refused)

    def _add_route(
        self,
        app: FastAPI,
        path: str,
        work: Callable[[bytes, dict[str, Any]], bytes],
        query: type[BaseModel],
        model: type[BaseModel],
        workers: Workers,
        *refused: int,
    ) -> None:
        """Add a route whose body ``work`` reads and answers, in a thread of ``workers``."""

        async def route(request: Request) -> Response:
            body = await body_of(request, self.limits.max_body, self.limits.body_seconds)
            return answer(await workers.run(work, body, request.scope["state"]))

        route.__doc__ = work.__doc__
        route.__name__ = work.__name__
        schema = query.model_json_schema(ref_template="#/components/schemas/{model}")
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        responses: dict[int | str, dict[str, Any]] = {code: described(code) for code in (*BODIES, *refused)}
        responses[200] = {"model": model}
        app.add_api_route(
            path,
            route,
            methods=["POST"],
            response_class=Response,
            responses=responses,
            openapi_extra={"requestBody": body},
        )

    # -- work, in threads ------------------------------------------------------------------------------------------

    def recall(self, turn: Turn, query: RecallQuery) -> bytes:
        """Recall items for a history."""
        return answers.recall(turn, query, self._ticket)

    def recommend(self, turn: Turn, query: RecommendQuery) -> bytes:
        """Recall items for a history and rank them."""
        return answers.recommend(turn, query, self._ticket)

    def interests(self, turn: Turn, query: InterestsQuery) -> bytes:
        """Tell the interests of a history, and which items make each."""
        return answers.interests(turn, query)

    def _ticket(self, turn: Turn, query: ChosenQuery) -> dict[str, str]:
        """By which the events of an answer are sent, where they are kept."""
        if self.feedback is None:
            return {}
        user = query.user if isinstance(query, Asker) else None
        other = turn.channel if turn.channel != turn.assigned else ""
        return {"request": self.feedback.issue(turn.assigned, turn.serving.recaller.bundle_id, user, other)}

    def events(self, body: bytes, _: dict[str, Any]) -> bytes:
        """Keep impressions and clicks: they are on the disk when this is answered, all of them or none."""
        assert self.feedback is not None  # noqa: S101 - there is no route without it
        bundles = [each.recaller.bundle_id for each in self.channels.serving().values() if each is not None]
        return self.feedback.take(read(body, self.queries.events, self.queries.events_shape), bundles)

    def items(self, query: ItemsQuery, about: dict[str, Any]) -> bytes:
        """The items that a search finds."""
        channel, serving = self.channels.first()
        told = {"bundle": serving.recaller.bundle_id} | ({"channel": channel} if self.channels.named else {})
        about |= told
        found = serving.items.find(query.q, query.limit)
        items = [{"token": token, "name": name, "count": count} for token, name, count in found]
        return to_json({"items": items, **told})

    # -- how it is -------------------------------------------------------------------------------------------------

    async def health(self) -> Response:
        """Whether the process lives."""
        return answer(to_json({"status": "ok", "bundle": None}))

    async def ready(self) -> Response:
        """Whether requests should be sent here: also where it is degraded, which the log explains."""
        if self.draining:
            raise Refused(503, "draining", "the service is about to end")
        states = self.channels.states()
        ready = all(state == "ready" for state in states.values())
        bundle = self.channels.first()[1].recaller.bundle_id
        found: dict[str, Any] = {"status": "ready" if ready else "degraded", "bundle": bundle}
        if self.channels.named:
            ids = {name: each and each.recaller.bundle_id for name, each in self.channels.serving().items()}
            found["channels"] = {name: {"status": states[name], "bundle": ids[name]} for name in states}
        return answer(to_json(found))

    async def version(self) -> Response:
        """What runs here."""
        serving = self.channels.serving()
        found = {name: {} if each is None else _version(each) for name, each in serving.items()}
        channels = {name: Version(**each) for name, each in found.items()} if self.channels.named else None
        first = next(filter(None, found.values()), {})
        return answer(VersionAnswer(package=__version__, channels=channels, **first).model_dump_json().encode())

    async def figures(self) -> Response:
        """The service's figures, for Prometheus."""
        return answer(self.metrics.text(), 200, CONTENT_TYPE_LATEST)

    async def page(self) -> Response:
        """A page for people."""
        return answer(PAGE, 200, "text/html; charset=utf-8", **_page(PAGE_POLICY))


def _version(serving: Serving) -> dict[str, Any]:
    """The fields of a :class:`Version`."""
    manifest = serving.recaller.bundle.manifest
    return {
        "bundle": serving.recaller.bundle_id,
        "format": manifest.version,
        "model": manifest.model.name,
        "dataset": manifest.data.name,
        "items": len(serving.recaller.bundle.item_tokens),
        "interests": manifest.interests.K,
        "ranker": manifest.ranker is not None,
        "max_history": manifest.preprocessing.max_history,
        "times": manifest.preprocessing.time_span is not None,
        "created": manifest.created,
    }


# -- refusals ------------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - what it is registered for
    return refusal(error)


async def _not_valid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return refusal(invalid(error.errors(), skip=1))


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET")
        return refusal(Refused(405, "method", f"allowed: {allowed}", None, Allow=allowed))
    return refusal(Refused(error.status_code, "not_found", "there is nothing here; see /docs"))


def _page(policy: str) -> dict[str, str]:
    return {"Content_Security_Policy": policy} | {name.replace("-", "_"): value for name, value in _SAFE.items()}
