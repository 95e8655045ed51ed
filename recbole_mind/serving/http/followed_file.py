"""A file that is read again while the service runs, once it was changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

Content = TypeVar("Content")


class FollowedFile(Generic[Content]):
    """A file whose last content that could be used stays until there is a newer one.

    Args:
        path: of the file.
        read: makes its content of the path; an error of it says why the file cannot be used.

    Attributes:
        content: as it was last read.

    Raises:
        InputError: ``read`` does.
    """

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self.path, self._read = path, read
        self._seen: Any = stamp_of(path)
        self._changing: Any = self  # what it was found changed to, and may still be written
        self._forgotten = False
        self.content = read(path)

    def look(self) -> bool:
        """Read the file if it has changed and rests from one look to the next; whether it was read.

        Raises:
            InputError: it cannot be used; the content stays, and the file is not read again as it is.
        """
        stamp = stamp_of(self.path)
        if not self._forgotten:
            if stamp == self._seen:
                self._changing = self
                return False
            if self._changing is self or stamp != self._changing:
                self._changing = stamp
                return False
        self._forgotten, self._seen, self._changing = False, stamp, self
        self.content = self._read(self.path)
        return True

    def forget(self) -> None:
        """Read the file at the next look, whether it changed or not; for a signal's handler."""
        self._forgotten = True


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """By what a file that was changed is known; ``None`` if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
