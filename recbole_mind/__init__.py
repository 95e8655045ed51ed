"""MIND, multi-interest retrieval, as a RecBole plugin.

Importing this package is enough for RecBole to know its models: ``recbole.quick_start.run_recbole(model="MIND", ...)``
finds them, with their defaults. Models of other packages are known by an entry point of the group
``recbole_mind.models``, or by a call of :func:`register_model`. The import itself loads neither torch nor RecBole.
"""

from recbole_mind.errors import InputError
from recbole_mind.plugin import import_hook
from recbole_mind.plugin.import_hook import register_model

__version__ = "0.1.0"
__all__ = ["InputError", "__version__", "register_model"]

import_hook.register()
import_hook.tell_of_missing_recbole()
