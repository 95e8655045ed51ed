"""JSON that is strict: what can be written can be read, by any reader."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Turn a setting into what JSON can hold and :func:`read_file` reads back; infinity becomes the text ``inf``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def to_json(content: Any) -> str:
    """JSON text of ``content``, strict: no NaN, no infinity."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def same(value: object) -> str:
    """Text that is the same for values that mean the same: 1 and 1.0, infinity and ``inf``."""
    plainly = plain(value)
    if isinstance(plainly, (int, float)) and not isinstance(plainly, bool):
        plainly = float(plainly)
    return json.dumps(plainly)
