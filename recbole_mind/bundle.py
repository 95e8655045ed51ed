"""The exported bundle: :class:`Bundle`, and ``read`` and ``verify`` of a folder."""

from recbole_mind.serving.bundle.bundle import Bundle, ProfileFeature, read, verify

__all__ = ["Bundle", "ProfileFeature", "read", "verify"]
