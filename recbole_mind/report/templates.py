"""The templates of all pages: one Jinja2 environment, which escapes every value that it is given.

Templates and static files lie in the rooms that they belong to and are named by their path in the package, such as
``report/templates/base.html``.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_PACKAGE = "recbole_mind"


@cache
def static(name: str) -> Markup:
    """Read a CSS or JavaScript file of the package, for a page to hold it as it is."""
    return Markup(files(_PACKAGE).joinpath(name).read_text("utf-8"))  # noqa: S704 - no value is in it


_ENVIRONMENT = Environment(
    loader=PackageLoader(_PACKAGE, "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
_ENVIRONMENT.globals["static"] = static


def render(name: str, **values: Any) -> str:
    """Fill in a template; the same values give the same text.

    Args:
        name: of the template, by its path in the package.
        values: what it names; a name that is missing is an error.
    """
    return _ENVIRONMENT.get_template(name).render(values)
