"""The pages of the documentation: their blocks, commands and links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: what it is written in, and its text."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that its first line names: ``# board.yaml``."""
        found = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return found and found[1]

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, a line that ends in a backslash with the next one."""
        return self.text.replace("\\\n", " ").splitlines() if self.language == "sh" else []


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / name).read_text("utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in _FENCE.finditer(text)]


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", (ROOT / name).read_text("utf-8"))


def links(name: str) -> list[str]:
    """Where a page's links and pictures lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(name))


def anchors(name: str) -> set[str]:
    """What a page's headings are called in a link, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def patched(diff: str, folder: Path) -> None:
    """Apply a diff of one file and one place; what it takes away must stand there once."""
    head, _, change = diff.partition("@@\n")
    path = folder / re.findall(r"^\+\+\+ b/(\S+)$", head, re.MULTILINE)[0]
    before, after = (
        "".join(f"{line[1:]}\n" for line in change.splitlines() if line[:1] in (" ", sign, "")) for sign in "-+"
    )
    text = path.read_text("utf-8")
    assert text.count(before) == 1, f"{path}: a diff does not fit"
    path.write_text(text.replace(before, after), "utf-8")
