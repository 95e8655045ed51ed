"""Whether what serves is worse than what served before it: figures of the last hours against those of earlier days.

Public: ``log.read``, ``rules.judge``, ``rules.rules``.
"""
