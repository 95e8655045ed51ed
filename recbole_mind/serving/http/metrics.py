"""What the service counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import permutations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import EMPTY, UNKNOWN, Funnel, Recalled, Recommended

RESULTS = ("done", "failed")
ENDED = ("full", "idle", "head", "body", "answer", "closing")  # why a connection is ended before its time
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_CANDIDATES = (0, 1, 10, 50, 100, 200, 500, 1000, 2000, 5000)


class ChannelMetrics:
    """The figures of what serves one bundle.

    Args:
        registry: that they are in; one of their own by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = r = registry or CollectorRegistry()
        self.recalls = Counter("recbole_mind_recalls", "Histories for which items were recalled", registry=r)
        self.empty = Counter("recbole_mind_empty_recalls", "Recalls that gave no item", registry=r)
        self.fallbacks = Counter("recbole_mind_fallbacks", "Recalls of popular items", ["reason"], registry=r)
        self.candidates = Histogram(
            "recbole_mind_candidates", "Items that a recall gave", buckets=_CANDIDATES, registry=r
        )
        funnel = Counter("recbole_mind_funnel_items", "Items that recalls could give, and gave", ["stage"], registry=r)
        self.funnel = [funnel.labels(stage) for stage in Funnel._fields]
        self.history = Counter("recbole_mind_history_items", "Items of histories", registry=r)
        self.unknown = Counter("recbole_mind_unknown_items", "Items of histories not in the catalogue", registry=r)
        self.unknown_listed = Counter(
            "recbole_mind_unknown_listed_items",
            "Tokens of requests' lists, allowed and denied, not in the catalogue",
            ["list"],
            registry=r,
        )
        self.swaps = Counter("recbole_mind_swaps", "Bundles brought into service, or not", ["result"], registry=r)
        self.changed = Counter(
            "recbole_mind_bundles_changed", "Bundles out of service since a file of theirs was changed", registry=r
        )
        self.bundle = Info("recbole_mind_bundle", "The bundle that serves", registry=r)
        self.items = Gauge("recbole_mind_catalogue_items", "Items of the bundle", registry=r)
        self.pool_items = Gauge("recbole_mind_pool_items", "Items that may be recalled", registry=r)
        self.pool_unknown = Gauge(
            "recbole_mind_pool_unknown_items", "Tokens of the pool's files that are not in the catalogue", registry=r
        )
        self.pools = Counter("recbole_mind_pool_loads", "Pools brought into service, or not", ["result"], registry=r)
        self.looks = Counter(
            "recbole_mind_looks", "Looks at what is to be served, good where it serves now", ["result"], registry=r
        )
        self._last_look = time.monotonic()
        Gauge(
            "recbole_mind_seconds_since_look", "Since what is to be served was last seen to serve", registry=r
        ).set_function(lambda: time.monotonic() - self._last_look)
        self._created = float("nan")
        Gauge("recbole_mind_bundle_age_seconds", "Since the bundle that serves was made", registry=r).set_function(
            lambda: time.time() - self._created
        )
        self.gate_blocks = Gauge(
            "recbole_mind_gate_blocks", "Publications that the gate blocked since the last it let pass", registry=r
        )
        for result in RESULTS:  # so that a rate has a start
            for counter in (self.swaps, self.pools, self.looks):
                counter.labels(result)
        for name in ("allowed", "denied"):
            self.unknown_listed.labels(name)
        for reason in (EMPTY, UNKNOWN):
            self.fallbacks.labels(reason)

    def looked(self, good: bool) -> None:
        """Count a look at what is to be served."""
        self.looks.labels("done" if good else "failed").inc()
        if good:
            self._last_look = time.monotonic()

    def recalled(self, asked: int, found: Recalled | Recommended, funnels: Iterable[Funnel] = ()) -> None:
        """Count one recall for a history of ``asked`` items, and what was left at each step to it."""
        self.recalls.inc()
        for funnel in funnels:
            for counter, many in zip(self.funnel, funnel, strict=True):
                counter.inc(many)
        self.candidates.observe(len(found.items))
        self.history.inc(asked)
        self.unknown.inc(found.unknown)
        self.unknown_listed.labels("allowed").inc(found.unknown_allowed)
        self.unknown_listed.labels("denied").inc(found.unknown_denied)
        if not found.items:
            self.empty.inc()
        if found.fallback is not None:
            self.fallbacks.labels(found.fallback).inc()

    def serves(self, recaller: Recaller) -> None:
        """Show which bundle serves."""
        manifest = recaller.bundle.manifest
        self.bundle.info(
            {
                "id": recaller.bundle_id,
                "model": manifest.model.name,
                "dataset": manifest.data.name,
                "created": manifest.created,
            }
        )
        self.items.set(len(recaller.bundle.item_tokens))
        try:
            created = datetime.fromisoformat(manifest.created.replace("Z", "+00:00")).timestamp()
        except ValueError:
            created = float("nan")
        self._created = created


class Metrics:
    """The figures of one service, in a registry of its own.

    Args:
        channels: names of several, which become a label of what is counted of each; without any there is no such
            label, and what serves is counted in the service's own registry.

    Attributes:
        by_channel: the figures of each; of what serves without a name under the empty one.
    """

    def __init__(self, channels: Sequence[str] = ()) -> None:
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        self._channel = ["channel"] if channels else []
        self.requests = Counter(
            "recbole_mind_requests", "Requests answered", ["path", "status", *self._channel], registry=r
        )
        self.seconds = Histogram(
            "recbole_mind_request_seconds",
            "From head to answer",
            ["path", *self._channel],
            buckets=_SECONDS,
            registry=r,
        )
        self.running = Gauge("recbole_mind_running", "Requests that work or wait for a worker", registry=r)
        self.by_channel = {name: ChannelMetrics() for name in channels} or {"": ChannelMetrics(r)}
        if channels:
            r.register(_Labelled(self.by_channel))
        self.channel_fallbacks = Counter(
            "recbole_mind_channel_fallbacks",
            "Requests that another channel answered, as the user's own could not",
            ["channel", "to"],
            registry=r,
        )
        self.channel_share = Gauge("recbole_mind_channel_share", "Share of the users", ["channel"], registry=r)
        self.shares = Counter("recbole_mind_share_loads", "Files of shares read again, or not", ["result"], registry=r)
        self.keys = Counter("recbole_mind_key_loads", "API keys read again, or not", ["result"], registry=r)
        self.events = Counter(
            "recbole_mind_events",
            "Impressions and clicks that were taken, each once",
            ["channel", "bundle", "event", "position"],
            registry=r,
        )
        self.event_users = Gauge(
            "recbole_mind_event_users",
            "Users of a channel's events on this day (UTC)",
            ["channel", "event"],
            registry=r,
        )
        self.events_lost = Counter("recbole_mind_events_not_kept", "Events that could not be kept", registry=r)
        self.connections = Gauge("recbole_mind_connections", "Connections that are open", registry=r)
        self.connections_ended = Counter(
            "recbole_mind_connections_ended",
            "Connections that the service ended before their time",
            ["why"],
            registry=r,
        )
        self.accept_errors = Counter("recbole_mind_accept_errors", "Connections that could not be accepted", registry=r)
        for why in ENDED:
            self.connections_ended.labels(why)
        for result in RESULTS:
            for counter in (self.keys, self.shares):
                counter.labels(result)
        for pair in permutations(channels, 2):
            self.channel_fallbacks.labels(*pair)

    def answered(self, path: str, status: int, seconds: float, channel: str | None) -> None:
        """Count a request, and who answered where there are several."""
        told = [channel or ""] if self._channel else []
        self.requests.labels(path, str(status), *told).inc()
        self.seconds.labels(path, *told).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class _Labelled(Collector):
    """The figures of several channels as one, with the channel as a label."""

    def __init__(self, by_channel: Mapping[str, ChannelMetrics]) -> None:
        self._by_channel = by_channel

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for name, metrics in self._by_channel.items():
            for found in metrics.registry.collect():
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [each._replace(labels={"channel": name, **each.labels}) for each in found.samples]
        return families.values()
