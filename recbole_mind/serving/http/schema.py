"""What the service takes in and gives out: its limits, its JSON, and refusals of everything else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from recbole_mind.config import loading, specification
from recbole_mind.config.specification import Number, Specification
from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.shape import Shape

LISTED = 100  # items that /items gives at most
_LONGEST_ID = 200  # letters of an answer's id, but for those that the user's token takes
LONGEST_FIELD = 100  # letters of a field's name in a refusal
Value = str | list[str] | None


Count = Annotated[int, Number(1, text=True)]
Queue = Annotated[int, Number(0, text=True)]
Seconds = Annotated[float, Number(0, above=True, text=True)]


class ServiceLimits(Specification):
    """The service's settings; each key of ``properties/production/serve.yaml`` is described there."""

    max_history: Count
    max_n: Count
    max_tokens: Count
    max_token: Count
    max_events: Count
    max_body: Count
    head_seconds: Seconds
    body_seconds: Seconds
    idle_seconds: Seconds
    max_connections: Count
    workers: Annotated[Queue, AfterValidator(lambda number: number or os.cpu_count() or 1)]
    queue: Queue
    poll_seconds: Seconds
    drain_seconds: Annotated[float, Number(0, text=True)]
    shutdown_seconds: Seconds


def limits(given: Mapping[str, Any] | None = None) -> ServiceLimits:
    """The settings, with those given before the defaults.

    Raises:
        InputError: a key or a value is not allowed.
    """
    return specification.read(ServiceLimits, loading.defaults("production", "serve") | dict(given or {}), "serve")


# -- questions -----------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InterestsQuery(_Strict):
    """A history whose interests are asked for."""

    history: list[str] = Field(description="Item tokens, oldest first. Unknown ones are dropped and counted.")
    profile: dict[str, Value] | None = Field(None, description="Values of user features by field.")
    times: list[float] | None = Field(
        None,
        description="When each item was met, ascending, in the unit of the training data's times; usual ones by "
        "default. A bundle whose model reads none (/version says) leaves them alone.",
    )
    names: bool = Field(False, description="Also give the items' names, where the service has them.")


class ChosenQuery(InterestsQuery):
    """A history for which items are chosen."""

    n: int = Field(100, description="How many items.")
    exclude_seen: bool = Field(True, description="Leave out the items of the history.")
    allowed: list[str] | None = Field(None, description="The items that may be recalled, within the service's pool.")
    denied: list[str] | None = Field(None, description="Items that are left out.")
    diversity: float = Field(
        0, ge=0, le=1e6, allow_inf_nan=False, description="λ of ComiRec's diversity; needs a bundle with categories."
    )
    category: str | None = Field(None, description="The item feature that diversity looks at.")


class RecallQuery(ChosenQuery):
    """A history for which items are recalled."""

    per_interest: bool = Field(False, description="Also give what each interest recalls by itself.")


class RecommendQuery(ChosenQuery):
    """A history for which items are recalled and ranked."""

    n: int = Field(50, description="How many items.")
    candidates: int = Field(1000, description="How many are recalled and ranked; no fewer than n.")


class Asker(_Strict):
    """Who asks, where events are kept or channels stand side by side."""

    user: str | None = Field(None, description="Who asks: has one channel, and is told apart in the events.")


class NamedInterestsQuery(Asker, InterestsQuery):
    """A history whose interests are asked for."""


class NamedRecallQuery(Asker, RecallQuery):
    """A history for which items are recalled."""


class NamedRecommendQuery(Asker, RecommendQuery):
    """A history for which items are recalled and ranked."""


class ItemsQuery(BaseModel):
    """A search for items."""

    model_config = ConfigDict(extra="forbid")
    q: str = Field("", description="A part of a token or of a name; nothing for the most popular items.")
    limit: int = Field(20, ge=1, le=LISTED, description="How many items.")


class GivenEvent(_Strict):
    """What happened to an item of an answer."""

    request: str = Field(description="The request of the answer that it was in.")
    item: str = Field(description="Its token.")
    event: Literal["impression", "click"]
    position: int | None = Field(None, ge=1, lt=2**31, description="Its place in the list that was shown, from 1.")


class EventsQuery(_Strict):
    """Impressions and clicks; one that comes again counts once."""

    events: list[GivenEvent] = Field(min_length=1)


class Queries:
    """The questions under ``limits``; each is a model whose JSON schema states them.

    Args:
        limits: of a request.
        keeps_events: whether who asks may be named in a recall.
        several: channels stand side by side, so that who asks may be named wherever a model is asked.
    """

    def __init__(self, limits: ServiceLimits, keeps_events: bool = False, several: bool = False) -> None:
        token: Any = Annotated[str, Field(max_length=limits.max_token)]
        name: Any = Annotated[str, Field(min_length=1, max_length=limits.max_token)]
        history: Any = Annotated[list[token], Field(max_length=limits.max_history, fail_fast=True)]
        tokens: Any = Annotated[list[token], Field(max_length=limits.max_tokens, fail_fast=True)]
        fields: Any = dict[token, token | history | None]
        clock: Any = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=limits.max_history)]
        both = {
            "history": history,
            "profile": Annotated[fields, Field(max_length=LISTED)] | None,
            "times": clock | None,
        }
        user = {"user": name | None}
        self.interests: type[InterestsQuery] = (
            _limited(NamedInterestsQuery, both | user, "InterestsQuery") if several else _limited(InterestsQuery, both)
        )
        n: Any = Annotated[int, Field(ge=1, le=limits.max_n), BeforeValidator(_whole)]
        lists = {"allowed": tokens | None, "denied": tokens | None, "category": token | None}
        asked = both | lists | {"n": n} | (user if keeps_events or several else {})
        recall, recommend = (
            (NamedRecallQuery, NamedRecommendQuery) if keeps_events or several else (RecallQuery, RecommendQuery)
        )
        self.recall: type[RecallQuery] = _limited(recall, asked, "RecallQuery")
        self.recommend: type[RecommendQuery] = _limited(recommend, asked | {"candidates": n}, "RecommendQuery")
        for query in (self.recall, self.recommend):
            for key in {"n", "candidates"} & set(query.model_fields):
                query.model_fields[key].default = min(limits.max_n, query.model_fields[key].default)
            query.model_rebuild(force=True)
        self.items: type[ItemsQuery] = _limited(ItemsQuery, {"q": token})
        id_: Any = Annotated[str, Field(max_length=_LONGEST_ID + 8 * limits.max_token)]
        given: Any = _limited(GivenEvent, {"request": id_, "item": name})
        events: Any = Annotated[list[given], Field(max_length=limits.max_events, fail_fast=True)]
        self.events: type[EventsQuery] = _limited(EventsQuery, {"events": events})
        many, least = limits.max_events, 100
        fields = len(GivenEvent.model_fields)
        self.events_shape = Shape(fields * many + least, many + least, (fields + 1) * many + least, many)
        most = (
            limits.max_history * (2 + LISTED) + 2 * limits.max_tokens
        )  # a history, its times, a profile's lists, two lists
        self.shape = Shape(2 * LISTED, 2 * LISTED, most + 2 * LISTED, limits.max_history)


def _whole(value: Any) -> Any:
    """A whole number as one: to JSON Schema, 3.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _limited(base: Any, kinds: Mapping[str, Any], called: str = "") -> Any:
    """A model like ``base`` whose fields are of narrower kinds, ``called`` so or as that."""
    fields: dict[str, Any] = {name: (kind, base.model_fields[name]) for name, kind in kinds.items()}
    return create_model(called or base.__name__, __base__=base, __doc__=base.__doc__, **fields)


# -- answers -------------------------------------------------------------------------------------------------------


class InterestItems(_Strict):
    """What one interest recalls by itself."""

    items: list[str]
    scores: list[float]
    names: list[str | None] | None = None


class ChosenAnswer(_Strict):
    """Items that are chosen; the lists of an answer belong together."""

    items: list[str] = Field(description="Tokens, best first, each once.")
    interests: list[int] = Field(description="Which interest brought each item; -1 in a fallback, or for none.")
    fallback: str | None = Field(description="Why the most popular items stand here: empty history, unknown items.")
    unknown: int = Field(description="Items of the history that are not in the catalogue.")
    unknown_profile: list[str] = Field(description="Fields of the profile that count as missing.")
    unknown_allowed: int = Field(description="Tokens of allowed that are not in the catalogue.")
    unknown_denied: int = Field(description="Tokens of denied that are not in the catalogue.")
    names: list[str | None] | None = Field(description="With names, those of the items.")
    bundle: str = Field(description="The id of the bundle that answered.")
    channel: str | None = Field(None, description="The channel that answered, where there are several.")
    assigned: str | None = Field(
        None, description="The channel that the user has; another than channel where it could not answer."
    )
    request: str | None = Field(None, description="By which its events are sent to /events, where they are kept.")


class RecallAnswer(ChosenAnswer):
    """What is recalled."""

    scores: list[float] = Field(description="The maximum over the interests; in a fallback, interactions in training.")
    by_interest: list[InterestItems] | None = Field(description="With per_interest, the list of each interest.")


class RecommendAnswer(ChosenAnswer):
    """What is recommended."""

    scores: list[float] = Field(description="The ranker's probability of a click; in a fallback, interactions.")
    recall_scores: list[float] = Field(description="The maximum over the interests; in a fallback, interactions.")
    recalled: int = Field(description="How many candidates were ranked; 0 in a fallback.")


class EventsAnswer(_Strict):
    """All of the events are on the disk now."""

    taken: int = Field(description="Events that are new.")
    repeated: int = Field(description="Events that had come before.")


class InterestsAnswer(_Strict):
    """What a history says: K interests in D dimensions, made of the L items that were read."""

    vectors: list[list[float]] = Field(description="K × D.")
    behaviors: list[str] = Field(description="The L items that were read, oldest first.")
    weights: list[list[float]] = Field(description="K × L: how much of each interest each item makes.")
    unknown: int = Field(description="Items of the history that are not in the catalogue.")
    unknown_profile: list[str] = Field(description="Fields of the profile that count as missing.")
    names: list[str | None] | None = Field(description="With names, those of the behaviours.")
    bundle: str = Field(description="The id of the bundle that answered.")
    channel: str | None = Field(None, description="The channel that answered, where there are several.")
    assigned: str | None = Field(
        None, description="The channel that the user has; another than channel where it could not answer."
    )


class Item(_Strict):
    """One item of the catalogue."""

    token: str
    name: str | None
    count: int = Field(description="Interactions in training.")


class ItemsAnswer(_Strict):
    """Items that were found: the very token first, then what begins with the text, then what holds it."""

    items: list[Item]
    bundle: str
    channel: str | None = Field(None, description="The channel that answered, where there are several.")


class ChannelState(_Strict):
    """How a channel is: ready, degraded or not_ready."""

    status: str
    bundle: str | None = None


class State(ChannelState):
    """How the service is; with several channels, bundle is that of the first that serves."""

    channels: dict[str, ChannelState] | None = None


class Version(_Strict):
    """What serves; null while no bundle is loaded."""

    bundle: str | None = None
    format: int | None = None
    model: str | None = None
    dataset: str | None = None
    items: int | None = None
    interests: int | None = Field(None, description="K, how many interests at most.")
    max_history: int | None = Field(None, description="Items of a history that the model reads.")
    times: bool | None = Field(None, description="Whether it reads the times of a history, too.")
    ranker: bool | None = Field(None, description="Whether it ranks: /recommend.")
    created: str | None = None


class VersionAnswer(Version):
    """What runs here; with several channels, the first that serves and each of them."""

    package: str
    channels: dict[str, Version] | None = None


class Fault(_Strict):
    """Why there is no answer."""

    type: str
    message: str
    field: str | None


class Refusal(_Strict):
    """The body of every answer but 200."""

    error: Fault


# -- reading -------------------------------------------------------------------------------------------------------

Query = TypeVar("Query", bound=BaseModel)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read(body: bytes, kind: type[Query], shape: Shape) -> Query:
    """The question that stands in a body.

    Raises:
        Refused: it is not JSON (RFC 8259) in UTF-8 without a key that stands twice, holds more than ``shape`` lets it,
            or is not such a question.
    """
    shape.check(body)
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
        if _SURROGATE.search(body):
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise Refused(400, "json", "the body is not UTF-8") from None
    except RecursionError:
        raise Refused(400, "json", "the body is nested too deeply") from None
    except ValueError as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused(400, "json", f"the body is not JSON{place}") from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False, include_input=False)) from None


def invalid(errors: Any, skip: int = 0) -> Refused:
    """The refusal for what pydantic says of a question; ``skip`` parts of a field's place are not ours."""
    first, place = errors[0], ".".join(str(part) for part in errors[0]["loc"][skip : skip + 2])
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    message = f"{first['msg']}{more}" if place else "the body must be an object"
    return Refused(422, "invalid", message, place.encode("ascii", "backslashreplace").decode()[:LONGEST_FIELD] or None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(400, "json", "a key stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(name)
