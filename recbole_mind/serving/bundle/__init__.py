"""The format that serves: a sealed folder of the encoder, the index, tokens and a manifest; its signature."""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

if TYPE_CHECKING:
    from recbole_mind.serving.bundle.bundle import Bundle
else:
    __getattr__ = lazily(__name__, {"Bundle": "bundle"})

__all__ = [
    "Bundle",
]
