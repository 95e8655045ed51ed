"""The defaults that ship: each is documented, and the pages show those in force."""

from __future__ import annotations

import re

import pytest

from recbole_mind.config import loading
from recbole_mind.config.model_names import MODELS
from tests import ROOT


def test_every_default_is_documented_with_meaning_and_range():
    """Each key of properties/model/*.yaml has a comment with its type, and no other place holds the default."""
    from importlib.resources import files

    for name in MODELS:
        text = (files("recbole_mind.properties") / "model" / f"{name}.yaml").read_text()
        keys = set(loading.defaults("model", name))
        documented = {line.split(":")[0] for line in text.splitlines() if ":" in line.split("#")[0] and "# (" in line}
        assert keys == documented


@pytest.mark.parametrize("page", ["README.md", "docs/model.md"])
def test_the_pages_show_the_defaults_in_force(page):
    text = (ROOT / page).read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    in_force = loading.defaults("model", "MIND")
    assert {key: str(in_force[key]) for key in rows} == {key: value for key, value in rows.items()}
    assert len(rows) >= 6
    assert "@@" not in text
