"""Settings in, a trained model and its record out.

``run`` is the whole, ``build`` makes its parts, ``trainer`` trains, ``checkpoint`` writes and opens files. May import:
``data``, ``models``, ``evaluation``, ``config``, ``layers``, ``util``.
"""
