"""What a service can be made of."""

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.schema import limits
from recbole_mind.serving.http.settings import Settings, open_channels


def test_a_bundle_by_itself_is_one_channel_without_a_name(two_bundles):
    metrics = Metrics()
    found = open_channels(Settings(two_bundles[0], limits(), channel="mind"), metrics)
    assert list(found.bundles) == ["mind"]
    assert not found.named
    (turn,) = found.turns("u1")
    assert (turn.channel, turn.assigned, set(turn.told)) == ("mind", "mind", {"bundle"})
    assert metrics.registry.get_sample_value("recbole_mind_catalogue_items") == 50


def opened(**given):
    settings = Settings(**{"folder": None, "limits": limits()} | given)
    return open_channels(settings, Metrics(list(settings.channels)))


def test_what_cannot_be_meant_is_refused(two_bundles, tmp_path):
    folders = dict(zip(("mind", "ytdnn"), two_bundles, strict=True))
    given = {"channels": folders, "assignment_key": tmp_path / "key"}
    with pytest.raises(InputError, match=r"'.*nowhere' is neither a bundle nor a store"):
        opened(**given | {"channels": folders | {"new": tmp_path / "nowhere"}})
    with pytest.raises(InputError, match="give --assignment-key FILE"):
        opened(**given | {"assignment_key": None})
    with pytest.raises(InputError, match="channel: 'a b' is not allowed"):
        opened(**given | {"channels": {"a b": folders["mind"]}})
    with pytest.raises(InputError, match="channel: 'a b' is not allowed"):
        opened(folder=folders["mind"], channel="a b")
    (tmp_path / "shares.yaml").write_text("mind: 1\n")
    with pytest.raises(InputError, match="channel 'ytdnn' is missing"):
        opened(**given | {"shares": tmp_path / "shares.yaml"})
