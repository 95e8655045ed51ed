"""Which settings there are, what they may be, and how they are read.

Here: models' names, keys, checks, protocols, windows, settings without effect. What a data set or a model makes of them
is in ``data`` and ``models``. May import: ``util``; never torch; RecBole only where its keys are looked up.
"""
