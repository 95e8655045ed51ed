"""How RecBole learns of our models and is made to run: the import hook, its patches, ``doctor``.

May import: ``training``, ``evaluation``, ``data``, ``models``, ``config``. Only the package itself and ``cli`` import
it: training does not pass through here.

Public: ``import_hook.register``, ``doctor.examine``.
"""
