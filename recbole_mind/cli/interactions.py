"""The command ``recbole-mind interactions``: a log of events becomes a data set to train on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from recbole_mind.cli.parsing import Command, day
from recbole_mind.cli.progress import watching
from recbole_mind.config import loading
from recbole_mind.errors import nearest, require
from recbole_mind.util.extras import require_modules

_FIELDS = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "TIME_FIELD": "time", "LABEL_FIELD": "label"}
_FORM = {"field_separator": "\t", "seq_separator": " ", "encoding": "utf-8"}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", nargs="+", help="a Parquet file of events, or a folder of them")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="the data set, such as dataset/live: DIR/live.inter"
    )
    parser.add_argument(
        "--data", metavar="FILE", help="an .inter file, such as the last training's, whose rows and columns are kept"
    )
    parser.add_argument(
        "--impressions", action="store_true", help="impressions without a click, too: label 0, and 1 for clicks"
    )
    parser.add_argument(
        "--with", dest="more", action="append", default=[], choices=("channel", "position"), help="a column more"
    )
    parser.add_argument(
        "--fill", nargs="+", default=[], metavar="COLUMN=VALUE", help="what stands where a column lacks its values"
    )
    parser.add_argument("--since", metavar="DAY", help="the first day of events, as 2026-03-01 (UTC)")
    parser.add_argument("--until", metavar="DAY", help="the last one")
    parser.add_argument(
        "--anonymous", action="store_true", help="with what users did whom no request named: each answer is a user"
    )


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    settings = loading.parse_arguments(rest)
    for key in settings:
        allowed = (*_FIELDS, *_FORM)
        require(key in allowed, f"'{key}' is no setting of this command{nearest(key, allowed)}; allowed: "
                f"{', '.join(allowed)}")  # fmt: skip
    require_modules("a log of events", "pyarrow")
    from recbole_mind.data import logged_interactions
    from recbole_mind.data.atomic_file import Format
    from recbole_mind.data.log_columns import Fields, Wanted

    wanted = Wanted(
        Fields(**{_FIELDS[key]: str(value) for key, value in settings.items() if key in _FIELDS}),
        Format.of(_FORM | {key: value for key, value in settings.items() if key in _FORM}),
        known.impressions,
        tuple(dict.fromkeys(known.more)),
        _fill(known.fill),
        day("since", known.since),
        day("until", known.until),
        known.anonymous,
    )
    console = Console(stderr=True)
    with watching(console) as watch:
        found = logged_interactions.write(known.log, known.output, wanted, data=known.data, watch=watch)
    for reason, number in found.left_out.items():
        if number:
            console.print(f"left out: {number:,} {reason}", style="dim", highlight=False)
    shown = f" and {found.impressions:,} impressions without one" if known.impressions else ""
    held = f", after {found.held:,} rows of '{known.data}'" if known.data else ""
    print(f"{found.path}: {found.clicks:,} clicks{shown}{held}")
    return 0


def _fill(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        require(bool(name and equals), f"fill: '{one}' is not understood; as rating=5")
        require(name not in found, f"fill: '{name}' is there twice")
        found[name] = value
    return found


COMMAND = Command(
    "interactions",
    "make a data set of a log of events: what was clicked is trained on",
    run,
    _add_arguments,
    epilog="Settings that name the columns and say how they are separated, as --key=value: USER_ID_FIELD, "
    "ITEM_ID_FIELD, TIME_FIELD, LABEL_FIELD, field_separator, encoding.",
    takes_settings=True,
)
