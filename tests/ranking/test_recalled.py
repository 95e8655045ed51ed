"""What recall brings for histories, against loops."""

from __future__ import annotations

import torch

from recbole_mind.ranking.recalled import RecalledLists, last


def test_lists_hold_the_best_items_that_are_not_in_the_history(loaded, stage):
    lists = stage.lists(loaded.test_data, 7)
    row = 0
    for batch, history, _, items in loaded.test_data:
        interests, active = loaded.model.interests(batch)
        for place in range(len(batch)):
            seen = set() if history is None else {int(i) for r, i in zip(*history, strict=True) if int(r) == place}
            best = {}
            for item in range(1, len(stage.vectors)):
                if item not in seen:
                    best[item] = max(
                        float(interests[place, k] @ stage.vectors[item]) for k in range(3) if active[place, k]
                    )
            wanted = sorted(best, key=lambda item: -best[item])[:7]
            found = lists.ids[row + place].tolist()
            for one, other in zip(found, wanted, strict=True):
                assert abs(best[one] - best[other]) < 1e-5  # ties may stand either way
            assert torch.allclose(lists.scores[row + place], torch.tensor([best[i] for i in found]), atol=1e-5)
        assert lists.targets[(lists.rows >= row) & (lists.rows < row + len(batch))].tolist() == items.tolist()
        row += len(batch)
    assert row == len(lists)


def test_chosen_rows_have_the_lists_that_they_have_among_all(loaded, stage):
    every = stage.lists(loaded.test_data, 7)
    chosen = torch.arange(len(every)) % 3 == 1
    some, wanted = stage.lists(loaded.test_data, 7, chosen), every.chosen(chosen.nonzero().flatten())
    for name in ("users", "histories", "lengths", "ids", "origins", "rows", "targets"):
        assert torch.equal(getattr(some, name), getattr(wanted, name)), name


def test_scores_of_any_item_are_recalls_own(loaded, stage):
    lists = stage.lists(loaded.test_data, 7)
    rows = torch.arange(len(lists)).repeat_interleave(7)
    scores, origins = stage.scored(lists, rows, lists.ids.flatten())
    assert torch.allclose(scores, lists.scores.flatten(), atol=1e-5)
    assert (origins == lists.origins.flatten()).float().mean() > 0.95  # but for interests that are equal


def test_samples_of_training_are_brought_as_evaluation_brings_them(loaded, stage):
    dataset = loaded.train_data._dataset
    lists = stage.lists(stage.rows_of(dataset, torch.arange(20), True), 5)
    assert lists.targets.tolist() == dataset.inter_feat[dataset.iid_field][:20].tolist()
    for row in range(20):
        assert not set(lists.ids[row].tolist()) & set(dataset.inter_feat[dataset.item_id_list_field][row].tolist()) - {
            0
        }


def _made():
    n = torch.arange(3)
    return RecalledLists(
        n, torch.zeros(3, 2, dtype=torch.long), n + 1, torch.zeros(3, 1, 1), torch.ones(3, 1, dtype=torch.bool),
        torch.tensor([[4, 5, 0], [5, 6, 7], [8, 9, 4]]), torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.long),
        torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([5, 9, 6, 6, 1, 0]),
    )  # fmt: skip


def test_targets_among_the_candidates_are_found_once():
    lists = _made()
    assert lists.found().tolist() == [[False, True, False], [False, True, False], [False, False, False]]
    assert [part.tolist() for part in lists.brought()] == [[0, 1], [1, 1]]
    assert lists.numbers().tolist() == [2, 1, 2]


def test_chosen_lists_keep_their_own_targets():
    lists = _made().chosen(torch.tensor([1, 0]))
    assert lists.ids.tolist() == [[5, 6, 7], [4, 5, 0]]
    assert sorted(zip(lists.rows.tolist(), lists.targets.tolist(), strict=True)) == [(0, 6), (0, 6), (1, 5), (1, 9)]


def test_the_last_behaviours_of_a_history_are_kept_in_order():
    histories = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    kept, lengths = last(histories, torch.tensor([4, 2]), 3)
    assert kept.tolist() == [[2, 3, 4], [5, 6, 0]]
    assert lengths.tolist() == [3, 2]
