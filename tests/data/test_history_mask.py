"""What is kept out of a ranking: the whole history of a row, however long, and never its targets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mind import InputError
from recbole_mind.data import history_mask
from recbole_mind.training import build, run
from tests.support.data import LEAVE_ONE_OUT, sequences, small_settings


def loaders(folder, model="MIND", **more):
    config = build.build_config(model, "small", overrides=small_settings(folder, **more))
    return config, *build.build_data(config)


def test_a_mask_holds_the_whole_history_and_never_the_target(small):
    true = sequences(small)
    _, dataset, _, valid, test = loaders(small, mask_history=True, MAX_ITEM_LIST_LENGTH=3)
    for loader, last in ((valid, 2), (test, 1)):
        for interaction, (rows, items), _, targets in loader:
            for row, user in enumerate(interaction["user_id"]):
                name = dataset.id2token("user_id", int(user))
                masked = {dataset.id2token("item_id", int(i)) for i in items[rows == row]}
                assert masked == set(true[name][:-last])
                assert dataset.id2token("item_id", int(targets[row])) not in masked


def test_a_repeated_target_stays_in_the_ranking(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    rows = [f"u{u}\t{i}\t{t}" for u in range(4) for t, i in enumerate(["a", "b", "c", "a"])]
    (folder / "small.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    _, dataset, _, _, test = loaders(tmp_path, mask_history=True, load_col=None, topk=[2], valid_metric="NDCG@2")
    _, (_, items), _, targets = next(iter(test))
    assert set(dataset.id2token("item_id", items.unique())) == {"b", "c"}
    assert set(dataset.id2token("item_id", targets)) == {"a"}


def test_masked_items_never_rank_and_the_unmasked_figures_are_recboles(small):
    masked = run.run("MIND", "small", overrides=small_settings(small, mask_history=True, seed=3))
    plain = run.run("MIND", "small", overrides=small_settings(small, mask_history=False, seed=3))
    assert masked.protocol["mask_history"] is True
    assert plain.protocol["mask_history"] is False
    assert masked.test["recall@10"] > plain.test["recall@10"]  # nobody repeats an item in this data


def test_popularity_is_masked_by_the_same_rule(small):
    """RecBole's general models mask what the user has seen; with mask_history false they do not."""
    overrides = small_settings(small, eval_args=LEAVE_ONE_OUT, epochs=1)
    for key in ("MAX_ITEM_LIST_LENGTH", "embedding_size", "relu_layers"):
        overrides.pop(key)
    figures = {}
    for value in (True, False):
        result = run.run("Pop", "small", overrides=overrides | {"mask_history": value})
        assert result.protocol["mask_history"] is value
        figures[value] = result.test
    assert figures[True] != figures[False]


def test_masking_leaves_the_training_of_general_models_alone(small):
    keys = ("data_path", "load_col", "eval_args", "topk", "valid_metric", "show_progress")
    overrides = {key: value for key, value in small_settings(small).items() if key in keys}
    samplers = set()
    for value in (True, False):
        config = build.build_config("BPR", "small", overrides=overrides | {"mask_history": value})
        samplers.add(type(build.build_data(config)[1]._sampler).__name__)
    assert samplers == {"Sampler"}


# -- by hand ------------------------------------------------------------------------------------------------------


def given(**config):
    """A data set of five items whose histories stand in the rows."""
    return SimpleNamespace(uid_field="user", iid_field="item", item_id_list_field="items", item_num=5,
                           config={"model": "M", "benchmark_filename": None} | config)  # fmt: skip


ROWS = Interaction({"item": torch.tensor([3, 1]), "items": torch.tensor([[1, 2, 0], [4, 1, 2]])})


def test_the_history_of_a_row_that_stands_in_a_file_is_what_it_says():
    dataset = given(benchmark_filename=["a", "b", "c"])
    rows, items = history_mask.targets_of(dataset, ROWS)
    assert (rows.tolist(), items.tolist()) == ([0, 1], [3, 1])
    places, kept_out = history_mask.history_of(dataset, ROWS, rows, items)
    assert list(zip(places.tolist(), kept_out.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 4), (1, 2)]


def test_a_data_set_without_whole_histories_is_refused():
    with pytest.raises(InputError, match="mask_history: the data set of M does not keep whole histories"):
        history_mask.history_of(given(), ROWS, *history_mask.targets_of(given(), ROWS))


@pytest.mark.parametrize("asked", [True, False, None])
def test_rows_are_ranked_with_their_history_kept_out_only_where_it_is_asked_for(asked):
    loader = SimpleNamespace(_dataset=given(benchmark_filename=["a"]), config={"mask_history": asked})
    interaction, kept_out, rows, items = history_mask.ranked(loader, ROWS)
    assert interaction is ROWS
    assert (rows.tolist(), items.tolist()) == ([0, 1], [3, 1])
    assert (kept_out is None) == (not asked)
