"""Which settings there are, what they may be, and how they are read.

Here: models' names, keys, checks, protocols, windows, settings without effect. What a data set or a model makes of them
is in ``data`` and ``models``. May import: ``util``; never torch; RecBole only where its keys are looked up.

Public: ``loading.read_file``, ``loading.defaults``, ``keys.known_keys``, ``checks.number``,
``model_names.register_model``, ``specification.Specification``, ``protocols.user_split``, ``window.Window``.
"""
