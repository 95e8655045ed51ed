"""The contracts of this package's interfaces as test suites, for the tests of other packages.

:class:`ItemIndexContract` is for an :class:`~recbole_mind.retrieval.ItemIndex`, :class:`ModelContract` for a model on
:class:`~recbole_mind.models.RetrievalModel`: a class on one of them, in a file of tests, is what pytest runs. Needs
pytest. May import every room; no room imports it.
"""

from typing import TYPE_CHECKING

from recbole_mind.util.lazy import lazily

try:
    import pytest
except ModuleNotFoundError:
    raise ImportError("recbole_mind.testing needs the library 'pytest': pip install pytest") from None

pytest.register_assert_rewrite("recbole_mind.testing.item_index", "recbole_mind.testing.model")

if TYPE_CHECKING:
    from recbole_mind.testing.item_index import ItemIndexContract
    from recbole_mind.testing.model import ModelContract
else:
    __getattr__ = lazily(__name__, {"ItemIndexContract": "item_index", "ModelContract": "model"})

__all__ = ["ItemIndexContract", "ModelContract"]
