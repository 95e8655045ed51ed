"""MIND, multi-interest retrieval, as a RecBole plugin.

Importing this package is enough for RecBole to know its models: ``recbole.quick_start.run_recbole(model="MIND", ...)``
finds them, with their defaults. The import itself loads neither torch nor RecBole.
"""

from recbole_mind.errors import InputError
from recbole_mind.plugin import import_hook

__version__ = "0.1.0"
__all__ = ["InputError", "__version__"]

import_hook.register()
