"""What was shown and clicked, kept on disk.

Public: ``log.EventLog``, ``log.Event``.
"""
