"""How every figure looks: colours, letters, panels, ticks, labels and hints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from rich.cells import cell_len, set_cell_size

from recbole_mind.report import fonts
from recbole_mind.report.axis_scale import Scale

# The colours of figures: those of static/page.css and static/figures.css, which have them for a dark page too.
PAGE, INK, SOFT, LINE = "#ffffff", "#1c2430", "#5b6675", "#dde2e8"
BAR, BASE = "#4a7fc1", "#a9b2bd"


OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


# viridis, from what recedes into the page to what stands out of it
STEPS = (
    "#cae11f", "#86d549", "#4cc26c", "#25ac82", "#20928c", "#297a8e", "#34618d", "#404588", "#482576", "#440154",
)  # fmt: skip


WIDE, NARROW = 8.4, 4.2  # inches: beside a README's text, on a phone


DPI = 130


LETTER = 0.08  # inches, of a tick's label


BLUE, VERMILLION, ORANGE = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[4]


MARKERS = "osD^vPX"


SYMBOLS = {"sigma": "σ (sigma)"}


_STYLE: dict[Any, Any] = {
    "font.family": [fonts.FAMILY],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "figure.facecolor": PAGE,
    "svg.fonttype": "path",
    "svg.hashsalt": "sweep",
}


P = ParamSpec("P")


@contextmanager
def styled() -> Iterator[None]:
    """Our style alone, whatever the user's is; ``fonts`` says what no font has, not each drawing."""
    with mpl.rc_context(), fonts.silent():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def drawn(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A figure that keeps our style, laid out, whoever saves it, in fonts that have its characters."""

    @wraps(draw)
    def laid_out(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with styled():
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            families = fonts.families(figure)
            if len(families) > 1:  # other letters are of another size: laid out anew
                mpl.rcParams["font.family"] = families
                figure = draw(*args, **kwargs)
                figure.draw_without_rendering()
            figure.set_layout_engine("none")  # it is done; each saving would do it twice again
        return figure

    return laid_out


def grid(count: int, width: float, columns: int, height: float) -> tuple[Figure, list[Axes], float]:
    """A figure of ``count`` panels, and the inches that each has across; ``height`` is a row's."""
    columns = max(1, min(columns, count)) if width > NARROW else 1
    lines = max(1, -(-count // columns))
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count], width / columns


def ticks(axes: Axes, scale: Scale, width: float) -> None:
    """Ticks of a setting's values along x of a panel ``width`` inches wide, with a dotted line before what lies apart.

    Labels are slanted where words do not fit beside each other.
    """
    space = width - 0.9
    wanted = [(place, short(label, 16)) for place, label in scale.ticks()]
    kept = fitting(wanted, space)
    slanted = not {scale.place(value) for value in scale.apart} <= {place for place, _ in kept}
    if slanted:
        kept = fitting(wanted, space, letters=2)
    axes.set_xticks([place for place, _ in kept], [plain(label) for _, label in kept])
    if slanted:
        for label in axes.get_xticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.06, 1.06)
    if scale.finite and scale.apart:
        axes.axvline((scale.room + scale.place(scale.apart[0])) / 2, color=SOFT, linewidth=1, linestyle=":")


def fitting(ticks: Sequence[tuple[float, str]], space: float, letters: int | None = None) -> list[tuple[float, str]]:
    """The ticks whose labels do not touch along ``space`` inches, the first and the last among them.

    ``letters`` is what a label takes, if not as many as it has.
    """
    kept: list[tuple[float, str]] = []
    for place, label in ticks:
        size = letters or (cell_len(kept[-1][1]) + cell_len(label) + 1) / 2 if kept else 0
        touches = bool(kept) and (place - kept[-1][0]) * space < LETTER * size
        if touches and place == ticks[-1][0] and len(kept) > 1:
            kept.pop()
        elif touches:
            continue
        kept.append((place, label))
    return kept


def colours(count: int) -> list[str]:
    """Colours that colour-blind readers tell apart; more of them than there are go from poor to good."""
    apart = (*OKABE_ITO, INK)
    if count <= len(apart):
        return list(apart[:count])
    return [STEPS[round(i * (len(STEPS) - 1) / (count - 1))] for i in range(count)]


def markers() -> Iterator[str]:
    """Shapes, without an end."""
    while True:
        yield from MARKERS


def named(name: str, most: int = 26) -> str:
    """A setting's name in at most so many letters, with its symbol in the paper."""
    return plain(short(SYMBOLS.get(name, name), most))


def axis(metric: str) -> str:
    """The label of an axis of results."""
    return f"{plain(metric)} (validation)"


def short(label: str, most: int) -> str:
    """As wide as so many letters at most; Chinese, Japanese and Korean ones count as two."""
    label = fonts.visible(label)
    return label if cell_len(label) <= most else f"{set_cell_size(label, most - 1).rstrip()}…"


def plain(label: str) -> str:
    """Text in which nothing is a formula and everything can be seen."""
    return fonts.visible(label).replace("$", r"\$")


def legible(colour: str) -> str:
    """A colour that is legible as letters on white."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    share = min(1.0, 330 / max(1, red + green + blue))
    return "#" + "".join(f"{round(part * share):02x}" for part in (red, green, blue))


def hint(drawn: Artist, words: Sequence[str]) -> None:
    """Say these words to a reader of the SVG who points at a bar, or at one of the points of a scatter.

    They travel as links, which :func:`recbole_mind.report.figure_files.svg` turns into titles.
    """
    links = [fonts.visible(" ".join(text.split())) or None for text in words]  # no word, no link
    if isinstance(drawn, Collection):
        drawn.set_urls(links if len(links) > 1 else links * 2)  # a single link is left out
    else:
        drawn.set_url(links[0])
