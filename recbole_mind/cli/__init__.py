"""The commands, a file each; ``main`` joins their parsers. May import every room.

Public: ``main.main``, ``main.run_recbole``, ``parsing.Command``.
"""
