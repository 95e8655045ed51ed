"""Search for several vectors a user: exact, by FAISS, with exact scores of what an index proposes.

May import: ``util``; never RecBole or pandas; torch in ``gpu`` alone, when a GPU is asked for.
"""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.retrieval.index import MultiVectorIndex
    from recbole_mind.retrieval.item_index import ItemIndex
else:
    __getattr__ = lazily(__name__, {"ItemIndex": "item_index", "MultiVectorIndex": "index"})

__all__ = [
    "ItemIndex",
    "MultiVectorIndex",
]
