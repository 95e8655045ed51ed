"""What a service is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recbole_mind.errors import InputError
from recbole_mind.serving.http.assignment import Assignment, check_name
from recbole_mind.serving.http.channels import Channels
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.item_search import read_names
from recbole_mind.serving.http.metrics import ChannelMetrics, Metrics
from recbole_mind.serving.http.schema import ServiceLimits


@dataclass(frozen=True)
class Settings:
    """What a service is made of.

    Attributes:
        folder: a bundle, or a store whose current version is followed; ``None`` with ``channels``.
        limits: see ``properties/production/serve.yaml``.
        api_key: that requests must bring; ``None`` for no key.
        api_key_file: of keys of which they bring one, in place of ``api_key``; read again by :meth:`Service.reload`.
        allowed_hosts: names under which it is asked, besides those of this machine.
        pool: a file of the tokens that may be recalled, one a line.
        deny: a file of the tokens that are never recalled.
        names: a file of tokens and names, for people.
        trusted_keys: a file of public keys, one of which must have signed a bundle; ``None`` for any bundle.
        events: a folder for impressions and clicks; ``None`` to take none.
        channel: this service's name in them.
        channels: a bundle or store by the name of each channel, in order, in place of ``folder``.
        assignment_key: a file of the key by which users are assigned to ``channels``.
        experiment: its name; users are dealt anew for another one.
        shares: a file of the share of each channel, which is followed; ``None`` for equal ones.
    """

    folder: Path | None
    limits: ServiceLimits
    api_key: str | None = None
    api_key_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    pool: Path | None = None
    deny: Path | None = None
    names: Path | None = None
    trusted_keys: Path | None = None
    events: Path | None = None
    channel: str = "default"
    channels: Mapping[str, Path] = field(default_factory=dict)
    assignment_key: Path | None = None
    experiment: str = ""
    shares: Path | None = None


def open_channels(settings: Settings, metrics: Metrics) -> Channels:
    """What a service of these settings serves.

    Raises:
        InputError: a name, a key, a share or a file cannot be used, or there is nothing to serve.
    """
    names = None if settings.names is None else read_names(settings.names)

    def opened(folder: Path, figures: ChannelMetrics, channel: str | None = None) -> Bundles:
        keys = settings.trusted_keys
        return Bundles(folder, figures, settings.pool, settings.deny, names, trusted_keys=keys, channel=channel)

    if not settings.channels:
        assert settings.folder is not None  # noqa: S101 - one of both is given
        check_name(settings.channel)
        return Channels({settings.channel: opened(settings.folder, metrics.by_channel[""])}, None, metrics)
    key = settings.assignment_key
    if key is None:
        raise InputError("channels need the key that users are assigned by; give --assignment-key FILE, which is made")
    users = Assignment(list(settings.channels), key, settings.experiment, settings.shares, metrics)
    bundles = {name: opened(folder, metrics.by_channel[name], name) for name, folder in settings.channels.items()}
    return Channels(bundles, users, metrics)
