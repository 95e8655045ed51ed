"""Whole files, arrays on disk, strict JSON, numbers in words: what every room may use.

May import: nothing of this package but ``errors``; never torch, RecBole or pandas.

Public: ``files.write_atomic``, ``files.read_text``, ``json_text.to_json``, ``foreign_errors.in_words``,
``lazy.lazily``.
"""
