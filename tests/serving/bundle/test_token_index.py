"""Vocabularies on disk: rows of tokens and tokens of rows, and what is no vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.bundle.token_index import TokenIndex


def test_tokens_have_rows_and_rows_tokens(tmp_path):
    words = ["a", "ab", "b", "ä", "日本", "two words", "a" * 5000, "-1", "0", "00"]
    TokenIndex.of(words).save(tmp_path, "words")
    tokens = TokenIndex.open(tmp_path, "words", len(words))
    assert tokens.ids(words[::-1]).tolist() == list(range(len(words)))[::-1]
    assert tokens.tokens([3, 0, 6, 3]) == ["ä", "a", "a" * 5000, "ä"]
    assert tokens.ids(["", "A", "a\n", "a\nab", "\n", "日", "\udcff", "a" * 4999]).tolist() == [-1] * 8
    assert tokens.ids([]).tolist() == []
    assert tokens.tokens([]) == []


@pytest.mark.parametrize("words", [["a", ""], ["a\nb"], ["a", "b", "a"]])
def test_words_that_are_no_tokens_are_refused(words):
    with pytest.raises(InputError, match="token"):
        TokenIndex.of(words)


def test_a_token_alone_is_found_where_it_is_among_others():
    words = ["a", "ab", "ä", "日本", "\udcff", "b" * 64, "b" * 65, "0"]
    tokens = TokenIndex.of(words)
    for word in [*words, "", "A", "a\n", "\n", "日", "b" * 63, "b" * 66, "b" * 5000]:
        among = tokens.ids([word, *words])[0]
        assert tokens.ids([word]).tolist() == tokens.ids(["none", word])[1:].tolist() == [among]
    with pytest.raises(InputError, match="token 1 is not allowed; allowed: text"):
        tokens.ids([1])
    assert TokenIndex.of([]).ids(["a"]).tolist() == [-1]


def test_many_tokens_are_found(tmp_path):
    words = [f"item-{number * 7919}" for number in range(200_000)]
    tokens = TokenIndex.of(words)
    np.testing.assert_array_equal(tokens.ids(words), np.arange(len(words)))
    assert (tokens.ids([f"{word}x" for word in words[:1000]]) == -1).all()


@pytest.mark.parametrize(("old", "new"), [(b"\xc3\xa9", b"\xff\xfe"), (b"\xc3\xa9", b"\xed\xa0"), (b"item", b"it\nm"),
                                          (b"0\n", b"00")])  # fmt: skip
def test_tokens_that_are_not_utf_8_are_refused(old, new):
    names = [f"item é {n}" for n in range(30)]
    TokenIndex.of(names).save(Path("tokens"), "items")
    assert TokenIndex.open(Path("tokens"), "items", 30).tokens(range(30)) == names
    path = Path("tokens/items.text.npy")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(InputError, match="do not hold the tokens of 30 rows in UTF-8"):
        TokenIndex.open(Path("tokens"), "items", 30)
