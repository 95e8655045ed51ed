"""The names of our models, and where each stands: a leaf that all rooms above may ask."""

from __future__ import annotations

from typing import Any

MODELS = {
    "MIND": "recbole_mind.models.mind",
    "ComiRecSA": "recbole_mind.models.comirec",
    "ComiRecDR": "recbole_mind.models.comirec",
    "YouTubeDNN": "recbole_mind.models.youtube_dnn",
}


def is_ours(model_class: Any) -> bool:
    """Whether a model class is one of this package's."""
    return str(getattr(model_class, "__module__", "")).startswith("recbole_mind.")
