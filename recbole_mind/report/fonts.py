"""Which installed fonts draw the characters of a figure: the one rule for all figures.

matplotlib brings DejaVu Sans, which has no Chinese, Japanese or Korean and few emoji. Of a list of families it takes,
letter by letter, the first that has it.
"""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

FAMILY = "DejaVu Sans"
# tried before the others that are installed, which come by name
PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC",
    "Source Han Sans CN", "Source Han Sans", "PingFang SC", "Hiragino Sans GB", "Hiragino Sans", "Microsoft YaHei",
    "Yu Gothic", "Meiryo", "Malgun Gothic", "Apple SD Gothic Neo", "SimHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "IPAexGothic", "IPAGothic", "NanumGothic", "Droid Sans Fallback", "Arial Unicode MS", "Noto Emoji", "Symbola",
    "Segoe UI Symbol", "Segoe UI Emoji",
)  # fmt: skip
# of no use: boxes with the name of the script, and pictures that matplotlib cannot draw
_UNFIT = ("last resort", "color emoji")
_EMOJI = (range(0x2600, 0x27C0), range(0x1F000, 0x1FB00))
_said: set[str] = set()

Need = dict[tuple[str | int, str], set[str]]  # by weight and slant, the characters


def families(figure: Figure) -> list[str]:
    """The families that draw ``figure``, which has been laid out; what none of them has is said, once.

    Each is the first of :data:`PREFERRED`, then of all that are installed, that has more of the characters.
    """
    found = [FAMILY]
    lacking = _lacking(_needed(figure), FAMILY)
    for family in _installed() if lacking else ():
        left = _lacking(lacking, family)
        if left != lacking:
            found.append(family)
            lacking = left
        if not lacking:
            break
    if lacking:
        _say(set.union(*lacking.values()))
    return found


@contextmanager
def silent() -> Iterator[None]:
    """A context in which matplotlib does not say, text by text, what its fonts lack."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")
            yield
    finally:
        log.setLevel(level)


def visible(text: str) -> str:
    """``text`` without characters that have no picture of their own, such as those that join or colour emoji."""
    return "".join(
        c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs") and not "\ufe00" <= c <= "\ufe0f"
    )


def _needed(figure: Figure) -> Need:
    needed: Need = {}
    for text in figure.findobj(Text):
        look = text.get_fontproperties()
        needed.setdefault((look.get_weight(), look.get_style()), set()).update(text.get_text())
    return {look: letters - {"\n"} for look, letters in needed.items()}


def _lacking(needed: Need, family: str) -> Need:
    """What of ``needed`` a family does not have."""
    left = {
        (weight, slant): {c for c in letters if ord(c) not in _characters(family, weight, slant)}
        for (weight, slant), letters in needed.items()
    }
    return {look: letters for look, letters in left.items() if letters}


@cache
def _characters(family: str, weight: str | int, slant: str) -> frozenset[int]:
    """The code points that a family has at a weight and a slant; none if its file cannot be used."""
    with suppress(OSError, RuntimeError, ValueError):
        path = font_manager.findfont(FontProperties(family=[family], weight=weight, style=slant))  # type: ignore[arg-type]
        return frozenset(font_manager.get_font(path).get_charmap())
    return frozenset()


def _installed() -> Iterator[str]:
    """Families that are here, the preferred first."""
    _look_again()
    here = {font.name for font in font_manager.fontManager.ttflist} - {FAMILY}
    here = {name for name in here if not any(word in name.lower() for word in _UNFIT)}
    yield from (name for name in PREFERRED if name in here)
    yield from sorted(here - set(PREFERRED))


@cache
def _look_again() -> None:
    """Tell matplotlib of fonts that came after it made its list, which it keeps between runs."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with suppress(OSError, RuntimeError, ValueError):  # a file that is no font that it reads
            font_manager.fontManager.addfont(path)


def _say(lacking: set[str]) -> None:
    packages = sorted({_package(letter) for letter in lacking})
    if set(packages) <= _said:
        return
    _said.update(packages)
    some = " ".join(sorted(lacking)[:5]) + (" …" if len(lacking) > 5 else "")
    logging.getLogger(__name__).warning(
        f"figures: no installed font has {len(lacking)} of their characters ({some}), which are drawn as boxes; "
        f"install {' and '.join(packages)}, or another font that has them"
    )


def _package(letter: str) -> str:
    """The package, by its name in Debian, with a font for a character."""
    if any(ord(letter) in part for part in _EMOJI):
        return "fonts-symbola"
    return "fonts-noto-cjk" if unicodedata.east_asian_width(letter) in "WF" else "fonts-noto-core"
