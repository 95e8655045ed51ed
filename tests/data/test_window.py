"""Training windows: a run on a window and a pool is the run on a file that holds nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.config import window
from recbole_mind.experiments.trial import fingerprint
from recbole_mind.training import build, checkpoint, run
from tests.support.data import LOAD, small_settings

DAY = 86400
START = 1717200000  # 2024-06-01T00:00 UTC
HEAD = "user_id:token\titem_id:token\ttimestamp:float"
SPLIT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}


def rows(scale=1):
    """One interaction every six hours for ten days for each of six users, with twelve items."""
    generator = np.random.default_rng(0)
    made = [
        (f"u{user}", f"i{int(generator.integers(12))}", (START + 21600 * place + user) * scale)
        for user in range(6)
        for place in range(40)
    ]
    return [made[place] for place in generator.permutation(len(made))]


def write(folder, name, found, items=None):
    target = folder / name
    target.mkdir(parents=True)
    lines = [HEAD, *(f"{user}\t{item}\t{time}" for user, item, time in found)]
    (target / f"{name}.inter").write_text("\n".join(lines) + "\n")
    if items is not None:
        lines = ["item_id:token\tgenre:token", *(f"{item}\tg{len(item)}" for item in items)]
        (target / f"{name}.item").write_text("\n".join(lines) + "\n")
    return folder


def config_of(folder, name, model="MIND", **more):
    usual = {"data_path": str(folder), "eval_args": SPLIT, "topk": [2], "valid_metric": "NDCG@2"}
    ours = {"embedding_size": 8, "relu_layers": [8]} if model == "MIND" else {}
    return build.build_config(model, name, overrides=usual | ours | {"show_progress": False} | more)


def data(folder, name, model="MIND", **more):
    """What a model sees: ids of users and items, and the three parts."""
    config = config_of(folder, name, model, **more)
    dataset, *loaders = build.build_data(config)
    tokens = [list(dataset.field2id_token[field]) for field in ("user_id", "item_id")]
    parts = []
    for loader in loaders:
        rows = loader.dataset.inter_feat
        fields = [f for f in ("user_id", "item_id", "item_id_list", "item_length", "timestamp") if f in rows.columns]
        parts.append({field: rows[field].tolist() for field in fields})
    return tokens, parts, config


@pytest.mark.parametrize("more", [{}, {"lazy_sequences": False}, {"model": "GRU4Rec"}, {"model": "BPR"}], ids=str)
def test_a_window_and_a_pool_are_a_file_with_nothing_else(tmp_path, more):
    everything = rows()
    newest = max(time for *_, time in everything)
    pool = [f"i{i}" for i in range(8)]
    (tmp_path / "pool.txt").write_text("\ufeff" + "\n".join([*pool, "", "never-seen"]) + "\r\n", "utf-8")
    kept = [row for row in everything if newest - 3 * DAY < row[2] <= newest and row[1] in pool]
    assert 20 < len(kept) < len(everything) / 3
    items = sorted({row[1] for row in everything})
    write(tmp_path, "whole", everything, items)
    write(tmp_path, "part", kept, [item for item in items if item in pool])
    load = {"load_col": {"inter": LOAD["inter"], "item": ["item_id", "genre"]}}
    expected = data(tmp_path, "part", **more, **load)
    found = data(tmp_path, "whole", **more, **load, window_days=3, item_pool=str(tmp_path / "pool.txt"))
    assert found[:2] == expected[:2]
    assert set(found[0][1]) <= {"[PAD]", *pool}
    assert found[2]["window_end"] == newest


def test_the_window_is_open_at_its_start_and_closed_at_its_end(tmp_path):
    found = [(f"u{place % 2}", f"i{place % 5}", START + place * DAY // 2) for place in range(20)]
    write(tmp_path, "half", found)
    dataset, *_ = build.build_data(config_of(tmp_path, "half", window_days=2.5, window_end=START + 7 * DAY))
    store = dataset.inter_feat.interaction.store.columns["timestamp"].numpy()
    assert sorted(store) == [START + place * DAY // 2 for place in (10, 11, 12, 13, 14)]


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 1000), ("us", 10**6), ("d", 1 / DAY)])
def test_a_day_is_whole_in_every_unit(tmp_path, unit, scale):
    """Up to 2024-06-05 with two days: the fourth and the fifth of June, midnight included, the sixth's left out."""
    found = [(f"u{place % 2}", f"i{place % 5}", (START + place * DAY / 4) * scale) for place in range(40)]
    write(tmp_path, "days", found)
    config = config_of(tmp_path, "days", window_days=2, window_end="2024-06-05", window_unit=unit)
    dataset, *_ = build.build_data(config)
    store = dataset.inter_feat.interaction.store.columns["timestamp"].numpy()
    expected = [(START + place * DAY / 4) * scale for place in range(12, 20)]
    assert np.allclose(sorted(store), expected, rtol=1e-12)
    assert len(store) == 8


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        ("2024-06-05T06:00", START + 4 * DAY + 21600),
        ("2024-06-05 06:00:00Z", START + 4 * DAY + 21600),
        ("2024-06-05T06:00:00+02:00", START + 4 * DAY + 14400),
        (1.5, 1.5),
    ],
)
def test_a_moment_is_read_in_utc(end, seconds):
    assert window.moment(end, 1.0) == seconds
    assert window.moment(end, 1000.0) == (seconds if end == 1.5 else seconds * 1000)


def test_a_day_ends_just_before_the_next():
    end = window.moment("2024-06-05", 1.0)
    assert end < START + 5 * DAY == math.nextafter(end, math.inf)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"window_days": 0}, ["window_days: 0", "above 0"]),
        ({"window_days": True}, ["window_days: True"]),
        ({"window_days": "three"}, ["window_days: 'three'", "number"]),
        ({"window_days": math.inf}, ["window_days: inf"]),
        ({"window_unit": "h"}, ["window_unit: 'h'", "s, ms, us, ns, d"]),
        ({"window_end": "yesterday"}, ["window_end: 'yesterday'", "2024-05-31"]),
        ({"window_end": "2024-13-01"}, ["window_end: '2024-13-01'"]),
        ({"window_end": True}, ["window_end: 'True'"]),
        ({"item_pool": 3}, ["item_pool: 3", "one a line"]),
        ({"window_dayz": 3}, ["unknown key 'window_dayz'", "did you mean 'window_days'"]),
        ({"window_days": 3, "benchmark_filename": ["a", "b", "c"]}, ["window_days", "benchmark_filename"]),
        ({"item_pool": "x", "benchmark_filename": ["a", "b", "c"]}, ["item_pool", "benchmark_filename"]),
    ],
    ids=str,
)
def test_a_bad_window_is_refused_in_one_line(small, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", overrides=small_settings(small) | bad)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"window_end": "1990-01-01"}, ["window_end: no interaction of 'small' is up to", "881250000"]),
        ({"window_days": 1, "window_end": "2030-01-01"}, ["window_days: no interaction of 'small'", "from"]),
        ({"window_days": 3, "TIME_FIELD": "user_id"}, ["small.inter', line 2: 'u", "is no time, and 'user_id' orders"]),
        ({"item_pool": "nowhere.txt"}, ["item_pool: 'nowhere.txt' cannot be read", "No such file"]),
        ({"item_pool": "empty.txt"}, ["item_pool: 'empty.txt' holds no item"]),
        ({"item_pool": "binary.txt"}, ["item_pool: 'binary.txt' cannot be read", "UTF-8"]),
        ({"item_pool": "others.txt"}, ["item_pool: 'others.txt' leaves no interaction of 'small'"]),
        ({"window_days": 2, "window_unit": "d", "window_end": 1e12}, ["window_unit", "after the year 9999"]),
    ],
    ids=str,
)
def test_a_window_that_leaves_nothing_is_refused_by_name(small, tmp_path, bad, words):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "others.txt").write_text("a\nb\n")
    with pytest.raises(InputError) as error:
        build.build_data(build.build_config("MIND", "small", overrides=small_settings(small) | bad))
    for word in words:
        assert word in str(error.value)


def test_milliseconds_taken_for_seconds_are_noticed(tmp_path):
    write(tmp_path, "milli", rows(1000))
    with pytest.raises(InputError, match=r"window_unit: 'timestamp' of 'milli' goes up to .* in units of 's'; allowed"):
        build.build_data(config_of(tmp_path, "milli", window_days=3))
    found = data(tmp_path, "milli", window_days=3, window_unit="ms")
    whole = write(tmp_path, "sec", rows())
    expected = data(whole, "sec", window_days=3)
    assert found[0] == expected[0]
    assert [part["item_id"] for part in found[1]] == [part["item_id"] for part in expected[1]]


def test_a_pack_stays_whole(tmp_path, caplog):
    from recbole_mind.data.packed_dataset import pack_data

    write(tmp_path, "whole", rows())
    pack_data(config_of(tmp_path, "whole"))
    expected = data(tmp_path, "whole", packed=False, window_days=3)
    assert data(tmp_path, "whole", window_days=3)[:2] == expected[:2]
    assert "window_days: 3.0 does not go with pack" in caplog.text
    with pytest.raises(InputError, match=r"window_days: 3\.0 does not go with pack .*packed: False reads the text"):
        data(tmp_path, "whole", packed=str(tmp_path / "whole" / "whole.packed"), window_days=3)
    with pytest.raises(InputError, match="item_pool: 'x' cannot be packed"):
        pack_data(config_of(tmp_path, "whole", item_pool="x"), tmp_path / "other")


def test_a_checkpoint_keeps_its_window_when_the_file_grows(tmp_path):
    write(tmp_path, "grows", rows())
    usual = {"data_path": str(tmp_path), "eval_args": SPLIT, "topk": [2], "valid_metric": "NDCG@2", "epochs": 1}
    usual |= {"embedding_size": 8, "relu_layers": [8], "show_progress": False, "window_days": 3}
    result = run.run("MIND", "grows", overrides=usual)
    newest = max(time for *_, time in rows())
    assert result.protocol["window"] == {"window_days": 3, "window_end": newest}
    assert checkpoint.load(result.checkpoint)["settings"]["window_end"] == newest
    with open(tmp_path / "grows" / "grows.inter", "a") as file:
        file.write(f"u0\ti99\t{newest + DAY}\nu1\ti98\t{newest + DAY}\n")
    assert run.evaluate(result.checkpoint).test == result.test
    with pytest.raises(InputError, match=f"was trained with window_end {newest}.0, not {newest + DAY}.0; set window_e"):
        run.run("MIND", "grows", overrides=usual | {"epochs": 2}, resume=result.checkpoint)


def test_a_run_is_made_again_when_the_pool_changes(small, tmp_path):
    pool = tmp_path / "pool.txt"

    def mark(**more):
        config = build.build_config("MIND", "small", overrides=small_settings(small, **more))
        return fingerprint(config, 1)["settings"]

    pool.write_text("i1\ni2\n")
    before = mark(item_pool=str(pool))
    assert before == mark(item_pool=str(pool)) != mark()
    pool.write_text("i1\ni3\n")
    assert mark(item_pool=str(pool)) != before
