"""Items for people: found by a part of their token or name."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from recbole_mind.errors import require
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.util.files import read_lines

SEARCHED = 100_000  # of the most popular items; any other is found by its whole token


class ItemSearch:
    """Finds items of a bundle; any number of threads may use one at once.

    Args:
        bundle: an open bundle.
        names: token to name.
    """

    def __init__(self, bundle: Bundle, names: dict[str, str]) -> None:
        self._bundle, self._names = bundle, names
        self._lock = threading.Lock()
        self._text, self._ends = "", np.zeros(0, np.int64)

    def names(self, tokens: Iterable[str]) -> list[str | None] | None:
        """The name of each token; ``None`` without any names."""
        return [self._names.get(token) for token in tokens] if self._names else None

    def find(self, text: str, limit: int) -> list[tuple[str, str | None, int]]:
        """Token, name and interactions in training of at most ``limit`` items, the popular first.

        The item whose token ``text`` is comes before those of which a part begins with it, and these before those that
        hold it.
        """
        bundle, wanted = self._bundle, " ".join(text.split()).casefold()
        rows = [int(row) for row in bundle.item_tokens.ids([text]) if row >= 0]
        if not wanted:
            rows += [int(row) for row in bundle.popularity[:limit]]
        else:
            self._prepare()
            for part in (f"\n{wanted}", f" {wanted}", wanted):
                rows += self._matches(part, limit + len(rows))
        rows = list(dict.fromkeys(rows))[:limit]
        tokens = bundle.item_tokens.tokens(rows)
        return [
            (token, self._names.get(token), int(bundle.counts[row])) for token, row in zip(tokens, rows, strict=True)
        ]

    def _matches(self, part: str, limit: int) -> list[int]:
        """Rows of the items whose text holds ``part``."""
        found: list[int] = []
        at = self._text.find(part)
        while at >= 0 and len(found) < limit:
            place = int(np.searchsorted(self._ends, at + 1))
            found.append(int(self._bundle.popularity[place]))
            at = self._text.find(part, int(self._ends[place]))
        return found

    def _prepare(self) -> None:
        """Have the text of the items ready: each a line of token and name, after a newline."""
        with self._lock:
            if self._text:
                return
            tokens = self._bundle.item_tokens.tokens(self._bundle.popularity[:SEARCHED])
            lines = [" ".join(f"{token} {self._names.get(token, '')}".split()).casefold() for token in tokens]
            self._ends = np.cumsum([len(line) + 1 for line in lines])  # of each line's newline before the next
            self._text = "\n" + "\n".join(lines) + "\n"


def read_names(path: str | Path) -> dict[str, str]:
    """Names by token, of a file with a token, a tab and a name on each line; what follows another tab is left out.

    Raises:
        InputError: it cannot be read, or a line has no tab.
    """
    names = {}
    for number, line in enumerate(read_lines(path, "names"), 1):
        if line:
            parts = line.split("\t")
            require(len(parts) > 1, f"names '{path}', line {number}: a token, a tab and a name are needed")
            names[parts[0]] = parts[1]
    return names
