"""Whether a model's interests differ: cosines, shares of the history, categories, lists.

Public: ``measure.build``, ``page.write``.
"""

from recbole_mind.util.extras import require_modules

require_modules("a picture", "matplotlib")
