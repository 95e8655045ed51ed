"""Models side by side: the file, the runs, the tests of significance, tables in each format.

Public: ``spec.read_spec``, ``runner.Leaderboard``, ``table.Board``, ``significance.compare``, ``render.write``.
"""

from recbole_mind.util.extras import require_modules

require_modules("a leaderboard", "matplotlib")
