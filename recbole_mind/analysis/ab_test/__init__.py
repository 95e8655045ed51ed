"""What two lists did to the people who saw them: logs of impressions and clicks, rates by channel, differences.

Public: ``events.read``, ``statistics.rates``, ``statistics.difference``, ``comparison.compare``,
``page.write``.
"""

from recbole_mind.util.extras import require_modules

require_modules("a log of events", "pyarrow")
