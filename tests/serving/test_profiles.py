"""The vector of a profile: each feature's embedding or mean of embeddings, made by hand."""

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving import profiles
from recbole_mind.serving.bundle.bundle import Bundle
from tests.support.bundles import exported, trained


@pytest.fixture(scope="module")
def bundle(small, tmp_path_factory):
    path = trained(tmp_path_factory.mktemp("trained"), small, "YouTubeDNN", user_features=["job", "user_id"])
    return Bundle.load(exported(path, tmp_path_factory.mktemp("b") / "bundle"))


def row(bundle, place, token):
    """One value's embedding: row 0 is of a missing one."""
    feature = bundle.profile[place]
    return feature.table[0 if token is None else int(feature.tokens.ids([token])[0]) + 1]


@pytest.mark.parametrize(
    ("profile", "job", "user", "missing"),
    [
        (None, None, None, ()),
        ({}, None, None, ()),
        ({"job": "j1"}, "j1", None, ()),
        ({"job": ["j2"]}, "j2", None, ()),
        ({"job": []}, None, None, ()),
        ({"user_id": "u4"}, "j1", "u4", ()),  # whose job training saw
        ({"user_id": "u4", "job": "j0"}, "j0", "u4", ()),
        ({"user_id": "nobody", "job": "j0"}, "j0", None, ("user_id",)),
        ({"job": "j9", "age": "30"}, None, None, ("age", "job")),
    ],
)
def test_a_profile_is_its_features_side_by_side(bundle, profile, job, user, missing):
    vector, fields = profiles.read(bundle, profile)
    assert [feature.field for feature in bundle.profile] == ["job", "user_id"]
    np.testing.assert_array_equal(vector, np.concatenate([row(bundle, 0, job), row(bundle, 1, user)]))
    assert fields == missing


@pytest.mark.parametrize("profile", [["j1"], "j1", {3: "j1"}])
def test_what_is_no_profile_is_refused(bundle, profile):
    with pytest.raises(InputError, match=r"profile: .* is not allowed; allowed: fields with their values"):
        profiles.read(bundle, profile)
