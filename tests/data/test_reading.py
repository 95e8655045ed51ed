"""Data sets that cannot be used, splits in files, and histories in files: a line for each fault."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.training import build, run
from tests.support.data import small_settings
from tests.support.rows import overrides, write_rows

# -- splits in files -----------------------------------------------------------------------------------------------

FILES = {"benchmark_filename": ["train", "valid", "test"]}


def write_files(folder, *, head="user_id:token\titem_id_list:token_seq\titem_id:token"):
    generator = np.random.default_rng(0)
    for phase in FILES["benchmark_filename"]:
        found = []
        for user in range(12):
            items = [f"i{item}" for item in generator.permutation(20)[:6]]
            found.append([f"u{user}", " ".join(items[:5]), items[5]])
        write_rows(folder, found, head, ending=f".{phase}.inter")
    return found


@pytest.mark.parametrize("model", ["MIND", "SASRec"])
@pytest.mark.parametrize(
    "more",
    [{}, {"load_col": {"inter": ["user_id", "item_id", "item_id_list"]}}, {"alias_of_item_id": ["item_id_list"]}],
)
def test_histories_in_files_are_numbered_as_their_targets(tmp_path, model, more):
    found = write_files(tmp_path)
    given = overrides(tmp_path, model, **FILES, **more)
    dataset, _, _, test = build.build_data(build.build_config(model, "a", overrides=given))
    feat = test.dataset.inter_feat
    for place, (_, history, target) in enumerate(found):
        n = int(feat["item_length"][place])
        assert " ".join(dataset.id2token("item_id", feat["item_id_list"][place][:n].numpy())) == history
        assert dataset.id2token("item_id", int(feat["item_id"][place])) == target
    result = run.run(model, "a", overrides=given)
    assert result.protocol["split"] == "files"
    assert result.protocol["timestamp_order"] is None
    assert result.data["kept"]["interactions"] == 36


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"benchmark_filename": ["train", "test"]}, "benchmark_filename: .* allowed: three names"),
        ({"benchmark_filename": ["train", "train", "test"]}, "benchmark_filename: .* allowed: three names"),
        ({"benchmark_filename": "train"}, r"benchmark_filename: \['train'\] is not allowed"),
        ({"benchmark_filename": ["train", "valid", "final"]}, r"there is no file '.*a\.final\.inter'"),
        (
            {"user_inter_num_interval": "[5,inf)"},
            "user_inter_num_interval: .* would change a split that stands in files",
        ),
        ({"rm_dup_inter": "first"}, "rm_dup_inter: 'first' would change a split"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "brings no column 'item_id_list:token_seq'"),
    ],
)
def test_what_a_split_in_files_cannot_have_is_refused(tmp_path, more, words):
    write_files(tmp_path)
    with pytest.raises(InputError, match=words):
        run.run("MIND", "a", overrides=overrides(tmp_path, **FILES) | more)


def test_files_of_a_split_name_the_same_columns(tmp_path):
    found = write_files(tmp_path)
    write_rows(
        tmp_path,
        [[u, i, h] for u, h, i in found],
        "user_id:token\titem_id:token\titem_id_list:token_seq",
        ending=".test.inter",
    )
    with pytest.raises(
        InputError, match=r"a\.test\.inter' has columns user_id, item_id, item_id_list, and .* allowed: the same"
    ):
        run.run("MIND", "a", overrides=overrides(tmp_path, **FILES, load_col=None))


def test_a_row_of_a_split_without_an_item_is_no_padding(tmp_path):
    found = write_files(tmp_path)
    found[4][2] = ""
    write_rows(tmp_path, found, "user_id:token\titem_id_list:token_seq\titem_id:token", ending=".valid.inter")
    given = overrides(tmp_path, **FILES)
    _, train, valid, test = build.build_data(build.build_config("MIND", "a", overrides=given))
    assert [len(loader.dataset) for loader in (train, valid, test)] == [12, 11, 12]
    assert int(valid.dataset.inter_feat["item_id"].min()) > 0
    assert valid.dataset.counts.left_out == {"without a user or an item": 1}


def write(folder, rows):
    target = folder / "tiny"
    target.mkdir()
    (target / "tiny.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    return small_settings(folder, load_col=None)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([f"u{u}\tonly\t{t}" for u in range(3) for t in range(4)], ["'tiny'", "1 item", "at least 2"]),
        ([f"u{u}\ti{u}\t1" for u in range(3)], ["'tiny'"]),  # no user has a history
        ([], ["tiny.inter'", "holds no row"]),
        (["u1\ti1\tyesterday"] * 5, ["tiny.inter', line 2", "timestamp"]),
    ],
    ids=["one item", "no history", "no rows", "bad time"],
)
def test_a_data_set_that_cannot_be_used_is_refused_by_name(tmp_path, rows, words):
    overrides = write(tmp_path, rows)
    with pytest.raises(InputError) as error:
        run.run("MIND", "tiny", overrides=overrides)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("history", "message"),
    [("a b", None), ("", "'split' holds an empty history for training"), ("a b c d", "a history of 4 items")],
)
def test_histories_given_in_files_are_checked_before_training(tmp_path, history, message):
    """A split in files (RecBole's benchmark_filename) may hold what RecBole itself never makes."""
    folder = tmp_path / "split"
    folder.mkdir()
    for phase in ("train", "valid", "test"):
        first = history if phase == "train" else "a b"
        rows = [f"u{user}\t{'abcd'[user]}\t{first if user == 0 else 'c d'}" for user in range(4)]
        head = "user_id:token\titem_id:token\titem_id_list:token_seq"
        (folder / f"split.{phase}.inter").write_text("\n".join([head, *rows]) + "\n")
    overrides = small_settings(tmp_path, load_col=None, MAX_ITEM_LIST_LENGTH=3, topk=[2], valid_metric="NDCG@2")
    overrides |= {"benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"], "epochs": 1}
    overrides |= {"mask_history": True}
    if message is None:
        assert run.run("MIND", "split", overrides=overrides).epochs == 1
        return
    with pytest.raises(InputError, match=message):
        run.run("MIND", "split", overrides=overrides)
