"""Whether a model's interests differ: cosines, shares of the history, categories, lists.

Public: ``measure.build``, ``page.write``.
"""
