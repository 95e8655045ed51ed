"""Recall from a bundle, without torch and RecBole.

Here: the recaller, recall for many users, Milvus; ``bundle`` is the format, ``store`` publishes, ``http`` serves,
``events`` keeps what was shown and clicked. May import: ``retrieval``, ``report``, ``config``, ``util``; never torch,
RecBole, pandas, matplotlib or ray.
"""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.serving.bundle.bundle import Bundle
    from recbole_mind.serving.milvus import MilvusIndex
    from recbole_mind.serving.recaller import Recaller
    from recbole_mind.serving.results import Recalled
    from recbole_mind.serving.store.store import Store
else:
    __getattr__ = lazily(
        __name__,
        {
            "Bundle": "bundle.bundle",
            "MilvusIndex": "milvus",
            "Recalled": "results",
            "Recaller": "recaller",
            "Store": "store.store",
        },
    )

__all__ = [
    "Bundle",
    "MilvusIndex",
    "Recalled",
    "Recaller",
    "Store",
]
