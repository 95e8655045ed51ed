"""Public names of a room that are imported when they are asked for."""

import subprocess
import sys

import pytest

from recbole_mind.util.lazy import lazily


def test_a_name_is_imported_from_its_module_and_no_other_is_there():
    attribute = lazily("recbole_mind.util", {"to_json": "json_text"})
    from recbole_mind.util.json_text import to_json

    assert attribute("to_json") is to_json
    with pytest.raises(AttributeError, match=r"module 'recbole_mind\.util' has no attribute 'plain'"):
        attribute("plain")


def test_a_room_costs_nothing_until_a_name_of_it_is_used():
    code = (
        "import sys, recbole_mind.serving as room; before = 'numpy' in sys.modules; "
        "room.Recaller; print(before, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
