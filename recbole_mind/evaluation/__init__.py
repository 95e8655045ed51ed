"""Metrics by the search that serves, each user's hits, metrics by group of users.

May import: ``retrieval``, ``config``, ``util``.
"""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.evaluation.hits import Hits
else:
    __getattr__ = lazily(__name__, {"Hits": "hits"})

__all__ = [
    "Hits",
]
