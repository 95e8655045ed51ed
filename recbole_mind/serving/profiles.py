"""The profile of a request: user features by field, turned into the vector that an encoder reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Floats
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.bundle.token_index import ids_of


def read(bundle: Bundle, profile: Mapping[str, Any] | None) -> tuple[Floats, tuple[str, ...]]:
    """The vector ``[P]`` of a profile, and the fields that count as missing: unknown ones, or of unknown values.

    Raises:
        InputError: it is no profile.
    """
    user_field = bundle.manifest.preprocessing.user_field
    given = {} if profile is None else profile
    good = isinstance(given, Mapping) and all(isinstance(field, str) for field in given)
    require(good, f"profile: {type(profile).__name__} is not allowed; allowed: fields with their values")
    features = bundle.profile
    known = {feature.field for feature in features} | {user_field}
    missing = [field for field in given if field not in known]
    user = -1
    if given.get(user_field) is not None:
        user = int(ids_of(bundle.user_tokens, [given[user_field]], "profile")[0])
        missing += [user_field] if user < 0 else []
    parts = []
    for feature in features:
        value = given.get(feature.field)
        if value is None or (feature.field == user_field):
            ids = feature.values[user] if user >= 0 else np.zeros(0, np.int64)
        else:
            asked = list(value) if isinstance(value, (list, tuple)) else [value]
            one = feature.several or len(asked) <= 1
            require(one, f"profile: '{feature.field}' has one value; {len(asked)} are given")
            ids = ids_of(feature.tokens, asked, f"profile: '{feature.field}'") + 1
            missing += [feature.field] if (ids == 0).any() else []
        parts.append(feature.vector(ids))
    vector = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return vector, tuple(sorted(set(missing)))
