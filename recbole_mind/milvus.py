"""A bundle's items in Milvus: ``load`` them, and :class:`MilvusIndex` to search there."""

from recbole_mind.serving.milvus import ALIAS, LoadReport, MilvusIndex, collection_of, load

__all__ = ["ALIAS", "LoadReport", "MilvusIndex", "collection_of", "load"]
