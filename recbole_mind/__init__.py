"""MIND, multi-interest retrieval, as a RecBole plugin.

Importing this package is enough for RecBole to know its models: ``recbole.quick_start.run_recbole(model="MIND", ...)``
finds them, with their defaults. The import itself loads neither torch nor RecBole.
"""

from recbole_mind import registry
from recbole_mind.errors import InputError

__version__ = "0.1.0"
__all__ = ["InputError", "__version__"]

registry.register()
