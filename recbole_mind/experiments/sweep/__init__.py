"""Hyperparameter search: the file, the space, the search, early stopping, the results.

Public: ``spec.read_spec``, ``runner.run``, ``space.parse``, ``suggest.Search``, ``result.SweepResult``.
"""

from recbole_mind.util.extras import require_modules

require_modules("a sweep", "matplotlib")
