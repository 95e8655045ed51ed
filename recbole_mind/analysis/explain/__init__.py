"""A user's interests in pictures and words: what each is made of, what it finds.

Public: ``case_study.explain``, ``output.write``.
"""

from recbole_mind.util.extras import require_modules

require_modules("a picture", "matplotlib")
