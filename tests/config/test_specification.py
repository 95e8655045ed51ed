"""Files checked by types: each fault is one line that names the key, the value and what is allowed."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Annotated, Any

import pytest
from pydantic import Field, model_validator

from recbole_mind import InputError
from recbole_mind.config.specification import (
    Allowed,
    Key,
    Listed,
    Number,
    OneOf,
    Seeds,
    Specification,
    Values,
    Whole,
    read,
)
from recbole_mind.errors import require


class Part(Specification):
    grace: Whole
    reduction: Annotated[int, Number(2)]


class File(Specification):
    names: Annotated[tuple[str, ...], Field(min_length=1), Listed("a list of names")]
    seeds: Seeds = (1,)
    values: Values = (1,)
    share: Annotated[float, Number(0, 1, text=True)] | None = None
    size: Annotated[int, Number(2, text=True)] = 2
    scale: Annotated[float, Number(0, above=True)] = 1.0
    part: Annotated[Part, Allowed("{grace: 1, reduction: 3}")] | None = None
    kind: Annotated[str, OneOf(("tpe", "random"))] = Field("tpe", alias="algo")
    settings: dict[Key, Annotated[dict[Annotated[str, Allowed("names of settings")], Any], Allowed("settings")]] = (
        Field({})
    )
    plain: bool = True

    @model_validator(mode="after")
    def _check(self) -> File:
        require(len(self.names) < 3, "names: three are too many")
        if self.size > 9:
            raise ValueError("something is too large")
        return self


def test_what_is_allowed_is_read():
    found = read(File, {"names": "a", "seeds": [3, 4], "share": "0.5", "size": "3.0", "algo": "random"})
    assert (found.names, found.seeds, found.share, found.size, found.kind) == (("a",), (3, 4), 0.5, 3, "random")
    assert type(found.size) is int
    assert read(File, {"names": ["a", "b"], "share": None, "scale": 3}).scale == 3.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"name": "a"},
            "unknown key 'name'; did you mean 'names'?; allowed: names, seeds, values, share, size, scale,",
        ),
        ({}, "names: it is missing"),
        ({"names": None}, "names: None is not allowed; allowed: a list of names"),
        ({"names": []}, "names: [] is not allowed; allowed: a list of names"),
        ({"names": ["a", 3]}, "names: ['a', 3] is not allowed; allowed: a list of names"),
        ({"names": ["a", "a"]}, "names: ['a', 'a'] names one twice"),
        ({"names": {"a"}}, "names: {'a'} is not allowed"),
        ({"names": ["a", "b", "c"]}, "names: three are too many"),
        ({"seeds": [True]}, "seeds: [True] is not allowed; allowed: a list of whole numbers"),
        ({"seeds": 2**32}, "seeds: 4294967296 is not allowed; allowed: a list of whole numbers, each at least 0 and"),
        ({"values": 3}, "values: 3 is not allowed; allowed: a list of values, at least one"),
        ({"values": [1, 1.0]}, "values: [1, 1.0] names one twice"),
        ({"share": 2}, "share: 2 is not allowed; allowed: a number from 0 to 1"),
        ({"share": math.nan}, "share: nan is not allowed; allowed: a number from 0 to 1"),
        ({"share": True}, "share: True is not allowed"),
        ({"share": "half"}, "share: 'half' is not a number; allowed: a number from 0 to 1"),
        ({"share": 10**400}, "is not allowed; allowed: a number from 0 to 1"),
        ({"size": 2.5}, "size: 2.5 is not allowed; allowed: a whole number, at least 2"),
        ({"size": "inf"}, "size: 'inf' is not allowed; allowed: a whole number, at least 2"),
        ({"size": 10}, "file 'x': something is too large"),
        ({"scale": 0}, "scale: 0 is not allowed; allowed: a number above 0"),
        ({"scale": math.inf}, "scale: inf is not allowed; allowed: a number above 0"),
        ({"scale": "3"}, "scale: '3' is not allowed; allowed: a number above 0"),
        ({"part": {"grace": 1}}, "part: {'grace': 1} is not allowed; allowed: {grace: 1, reduction: 3}"),
        ({"part": {"grace": 1, "reduction": 3, "x": 1}}, "is not allowed; allowed: {grace: 1, reduction: 3}"),
        (
            {"part": {"grace": 1, "reduction": 1}},
            "part: reduction: 1 is not allowed; allowed: a whole number, at least",
        ),
        ({"algo": "tep"}, "algo: 'tep' is unknown; did you mean 'tpe'?; allowed: tpe, random"),
        ({"algo": ["tpe"]}, "algo: '['tpe']' is unknown; did you mean 'tpe'?"),
        ({"settings": {1: {}}}, "settings: 1 is not allowed; allowed: a name"),
        ({"settings": {"a": 3}}, "settings: a: 3 is not allowed; allowed: settings"),
        ({"settings": {"a": {3: 4}}}, "settings: a: 3 is not allowed; allowed: names of settings"),
        ({"plain": 1}, "plain: 1 is not allowed: "),
        ({3: 4}, "3 is not allowed: "),
    ],
    ids=str,
)
def test_a_fault_is_one_line(content, message):
    given = content if {"name", "names"} & set(content) or not content else {"names": "a"} | content
    with pytest.raises(InputError) as error:
        read(File, given, "file 'x'")
    assert str(error.value).startswith("file 'x': ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_key_is_told_before_what_it_leaves_out():
    with pytest.raises(InputError, match=r"^unknown key 'nmaes'; did you mean 'names'\?"):
        read(File, {"nmaes": ["a"], "share": 3})


def test_a_command_starts_without_pydantic():
    code = "import sys, recbole_mind.cli.main; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
