"""Whole files, arrays on disk, strict JSON, numbers in words: what every room may use.

May import: nothing of this package but ``errors``; never torch, RecBole or pandas.
"""
