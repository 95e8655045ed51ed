"""Versions of a bundle: the gate that lets one be published, the pointer, the log, rollback."""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.serving.store.store import Store
else:
    __getattr__ = lazily(__name__, {"Store": "store"})

__all__ = [
    "Store",
]
