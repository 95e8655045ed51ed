"""Bodies that would multiply in a parser: refused by their count, at the cost of their bytes."""

import json
import random
import tracemalloc

import pytest

from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import Queries, limits, read
from recbole_mind.serving.http.shape import BARE, DEPTH, Shape

SIZE = 1_700_000
QUERIES = Queries(limits())
LARGEST = {
    "wrong keys": (b"{" + b",".join(b'"%d":1' % i for i in range(SIZE // 10)) + b"}", 422),
    "keys of a profile": (b'{"profile":{' + b",".join(b'"%d":1' % i for i in range(SIZE // 10)) + b"}}", 422),
    "numbers": (b'{"history":[' + b"1," * (SIZE // 2) + b"1]}", 422),
    "few enough numbers": (b'{"history":[],"allowed":[' + b"1," * 90_000 + b"1]}", 422),
    "few enough wrong tokens": (b'{"history":[],"denied":[' + b'"%s",' % (b"x" * 300) * 5000 + b'""]}', 422),
    "empty lists": (b'{"history":[' + b"[]," * (SIZE // 3) + b"1]}", 422),
    "objects": (b'{"history":[' + b"{}," * (SIZE // 3) + b"1]}", 422),
    "empty strings": (b'{"history":[' + b'"",' * (SIZE // 3) + b'""]}', 422),
    "lists within lists": (b"[" * SIZE, 400),
    "objects within objects": (b'{"a":' * (SIZE // 5), 400),
    "one number": (b'{"history":[],"n":' + b"1" * SIZE + b"}", 422),
    "what is quoted in vain": (b'{"\\\\":1,' + b",".join(b'"\\"%d":1' % i for i in range(SIZE // 12)) + b"}", 422),
}


@pytest.mark.parametrize("name", LARGEST)
def test_a_refusal_costs_no_more_than_its_bytes(name):
    body, status = LARGEST[name]
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as refused:
            read(body, QUERIES.recall, QUERIES.shape)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.status == status
    assert len(refused.value.body()) < 300
    assert "more)" not in refused.value.message or name == "keys of a profile"  # the first error is the last
    assert most < 12 * max(len(body), SIZE)


def test_what_the_settings_allow_is_read():
    few = Queries(limits({"max_history": 30, "max_tokens": 50}))
    strange = ['a"b', "\\", '\\"', "[{:,", "é\n"]
    profile = {f"field {i}": ["a,b"] * 30 for i in range(100)}
    question = {"history": strange * 6, "allowed": strange * 10, "denied": strange * 10, "profile": profile, "n": 5}
    for escaped in (True, False):
        body = json.dumps(question, ensure_ascii=escaped, indent=4).encode()
        assert read(body, few.recall, few.shape).model_dump(exclude_unset=True) == question


def counts(value, depth=1):
    """Depth, keys, containers and values of an object, by walking through it."""
    if not isinstance(value, (list, dict)):
        return 0, 0, 0, 0
    inner = [counts(each, depth) for each in (value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    depths, *others = zip(*inner, strict=True) if inner else ((0,), (0,), (0,), (0,))
    return 1 + max(depths), keys + sum(others[0]), 1 + sum(others[1]), max(len(value), 1) + sum(others[2])


def anything(generator, depth):
    kind = generator.random()
    if depth == 0 or kind < 0.4:
        return generator.choice(["", '"', "\\", '\\"', "a,b", "[", "}:{", "é", 1.5, None, True])
    inner = [anything(generator, depth - 1) for _ in range(generator.randrange(4))]
    return inner if kind < 0.7 else {f'{i}"\\,': each for i, each in enumerate(inner)}


@pytest.mark.parametrize("seed", range(60))
def test_keys_lists_and_values_are_counted_outside_of_strings(seed):
    generator = random.Random(seed)
    value = {"a": anything(generator, 6), "b": anything(generator, 6)}
    depth, *exact = counts(value)
    assert depth <= DEPTH
    body = json.dumps(value, ensure_ascii=bool(seed % 2)).encode()
    assert sum(map(len, value)) < BARE
    Shape(*exact).check(body)
    for place in range(3):
        fewer = [number - (place == i) for i, number in enumerate(exact)]
        with pytest.raises(Refused, match="invalid"):
            Shape(*fewer).check(body)
