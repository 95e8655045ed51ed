"""MIND and its relatives behind RecBole's interface; ``base`` holds what they share.

May import: ``config``, ``layers``.
"""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.models.base import Encoded, RetrievalModel
    from recbole_mind.models.comirec import ComiRecDR, ComiRecSA
    from recbole_mind.models.mind import MIND
    from recbole_mind.models.youtube_dnn import YouTubeDNN
else:
    __getattr__ = lazily(
        __name__,
        {
            "ComiRecDR": "comirec",
            "ComiRecSA": "comirec",
            "Encoded": "base",
            "MIND": "mind",
            "RetrievalModel": "base",
            "YouTubeDNN": "youtube_dnn",
        },
    )

__all__ = [
    "MIND",
    "ComiRecDR",
    "ComiRecSA",
    "Encoded",
    "RetrievalModel",
    "YouTubeDNN",
]
