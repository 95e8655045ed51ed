"""The files that say what a service may recall: a pool, and what is denied of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from recbole_mind.errors import InputError, require
from recbole_mind.serving.http.followed_file import FollowedFile
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import ItemPool
from recbole_mind.util.files import check_file, read_lines

Lists = dict[str, str]  # the tokens of each file, one a line


class PoolFiles:
    """Follows the files; each keeps its last content that could be read.

    Args:
        pool: a file of the tokens that may be recalled, one a line; ``None`` for all.
        deny: a file of the tokens that are left out of them, which may be empty.

    Raises:
        InputError: one cannot be read, or the pool holds no token.
    """

    def __init__(self, pool: str | Path | None = None, deny: str | Path | None = None) -> None:
        given = {"pool": pool, "deny": deny}
        self.paths = {name: Path(path) for name, path in given.items() if path is not None}
        self._files = {name: FollowedFile(path, partial(_read, name)) for name, path in self.paths.items()}

    @property
    def lists(self) -> Lists:
        """What the files say."""
        return {name: file.content for name, file in self._files.items()}

    def look(self) -> list[InputError]:
        """Read what has changed, once it rests from one look to the next; why a file cannot be used."""
        errors = []
        for file in self._files.values():
            try:
                file.look()
            except InputError as error:
                errors.append(error)
        return errors

    def forget(self) -> None:
        """Read the files at the next look, whether they changed or not; for a signal's handler."""
        for file in self._files.values():
            file.forget()

    def select(self, recaller: Recaller, lists: Lists) -> ItemPool:
        """What ``lists`` let a recaller recall.

        Raises:
            InputError: nothing.
        """
        tokens = {name: text.split("\n") if text else [] for name, text in lists.items()}
        pool = recaller.pool(tokens.get("pool"))
        require(len(pool.rows) > 0, f"pool '{self.paths.get('pool')}': none of its items is in the catalogue")
        pool = recaller.pool(pool, tokens.get("deny"))
        require(len(pool.rows) > 0, f"deny '{self.paths.get('deny')}': it leaves no item to recall")
        return pool

    def __str__(self) -> str:
        return " and ".join(f"{name} '{path}'" for name, path in self.paths.items())


def _read(name: str, path: Path) -> str:
    check_file(path, name)
    text = "\n".join(filter(None, read_lines(path, name)))
    require(bool(text) or name == "deny", f"{name} '{path}' holds no token")
    return text
