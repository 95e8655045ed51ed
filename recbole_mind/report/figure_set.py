"""The figures of a report: each as PNG beside its page, and its panels on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from recbole_mind.report import style
from recbole_mind.report.figure_files import png, svg
from recbole_mind.report.figure_page import Part
from recbole_mind.util.files import write_atomic


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        name: of its file.
        title: its heading.
        read: a sentence on how to read it.
        draw: the figure of some of the ``panels``, so many inches wide; without it only ``read`` is said.
        panels: names of the panels that stand by themselves on a page.
    """

    name: str
    title: str
    read: str
    draw: Callable[[Sequence[str], float], Figure] | None
    panels: Sequence[str] = ("",)


def drawn(kinds: Iterable[Kind], title: str) -> tuple[dict[str, bytes], list[Part]]:
    """Draw figures: files by their path beside the page, under a title, and the parts of the page."""
    files, parts = {}, []
    for kind in kinds:
        panels = []
        if kind.draw is not None:
            files[f"figures/{kind.name}.png"] = png(kind.draw(kind.panels, style.WIDE), title)
            panels = [svg(kind.draw([panel], style.NARROW)) for panel in kind.panels]
        parts.append(Part(kind.name, kind.title, kind.read, panels))
    return files, parts


def write(folder: str | Path, contents: Mapping[str, bytes | str], names: Iterable[str]) -> list[Path]:
    """Write the files of a report, each whole or not at all, and remove the figures that it no longer has.

    Args:
        folder: where they go; it is made.
        contents: by path in the folder.
        names: of the figures that such a report can have.

    Returns:
        the paths of what was written.

    Raises:
        InputError: the folder cannot be written.
    """
    for name, content in contents.items():
        write_atomic(Path(folder) / name, content)
    for name in {f"figures/{name}.png" for name in names} - set(contents):
        (Path(folder) / name).unlink(missing_ok=True)
    return [Path(folder) / name for name in contents]
