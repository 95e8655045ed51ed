"""The recall service: the application, its door, keys, limits, metrics, pages, and bundles swapped under it.

Public: ``app.create_app``, ``app.Settings``, ``server.Server``.
"""
