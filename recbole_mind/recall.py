"""Recall from a bundle: :class:`Recaller` and what it gives."""

from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import Funnel, InterestList, Interests, ItemPool, Recalled

__all__ = ["Funnel", "InterestList", "Interests", "ItemPool", "Recalled", "Recaller"]
