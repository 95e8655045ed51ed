import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.embeddings import FeatureEmbedding, InterestLayers, ItemEncoder, ProfileEncoder, Table
from recbole_mind.layers.functional import different, different_padded
from recbole_mind.layers.row_adam import RowAdam
from tests.support import references

BRAND = torch.tensor([0, 1, 2, 0, 1, 2])  # token; item 3 has none
CATEGORIES = torch.tensor([[0, 0, 0], [1, 2, 3], [4, 0, 0], [0, 0, 0], [2, 2, 0], [0, 0, 0]])  # token_seq
FEATURES = {"brand": BRAND, "categories": CATEGORIES}


def encoder(features=FEATURES, *, num_items=6, size=4):
    return ItemEncoder(num_items=num_items, size=size, features=features)


def profiles(features, *, size=4):
    return ProfileEncoder(features=features, size=size)


def values_of(features, row):
    """Pairs of embedding table and values, as the references take them."""
    return [(f.embedding.weight.tolist(), f.values[row].tolist()) for f in features]


@pytest.mark.parametrize(
    "features", [{}, {"brand": BRAND}, {"categories": CATEGORIES}, FEATURES], ids=["id", "token", "token_seq", "both"]
)
def test_item_vectors_equal_reference(features):
    layer = encoder(features)
    expected = [
        references.item_vector(layer.embedding.weight[i].tolist(), values_of(layer.features, i)) for i in range(6)
    ]
    torch.testing.assert_close(layer.table(), torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_items", [10, 500])
def test_item_vectors_of_random_features_equal_reference(num_items):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 4, (num_items, 6), generator=generator)
    values[0] = 0
    layer = encoder({"tags": values}, num_items=num_items, size=8)
    expected = [
        references.item_vector(layer.embedding.weight[i].tolist(), values_of(layer.features, i))
        for i in range(num_items)
    ]
    torch.testing.assert_close(layer.table(), torch.tensor(expected), atol=1e-5, rtol=0)


def test_item_vector_by_hand():
    layer = encoder(size=1)
    brand, categories = layer.features
    layer.embedding.weight.data = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    brand.embedding.weight.data = torch.tensor([[0.0], [10.0], [20.0]])
    categories.embedding.weight.data = torch.tensor([[0.0], [3.0], [6.0], [9.0], [12.0]])
    # item 1: id 1, brand 10, categories averaged to 6; item 3: the id alone; item 5: no categories
    expected = [0, (1 + 10 + 6) / 3, (2 + 20 + 12) / 3, 3, (4 + 10 + 6) / 3, (5 + 20) / 2]
    torch.testing.assert_close(layer.table()[:, 0], torch.tensor(expected))


def test_an_item_without_features_is_its_id_embedding():
    layer = encoder()
    torch.testing.assert_close(layer(torch.tensor([3]))[0], layer.embedding.weight[3])


def test_the_order_and_padding_of_several_values_do_not_matter():
    layer = encoder({"categories": torch.tensor([[0, 0, 0], [1, 2, 0], [0, 2, 1]])}, num_items=3)
    layer.embedding.weight.data[2] = layer.embedding.weight.data[1]
    torch.testing.assert_close(layer.table()[1], layer.table()[2])


@pytest.mark.parametrize("features", [{}, FEATURES], ids=["id", "features"])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2), (5, 7), (2, 3, 4)])
def test_item_vectors_are_rows_of_the_table(features, shape):
    layer = encoder(features)
    ids = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(0))
    found = layer(ids)
    assert found.shape == (*shape, 4)
    torch.testing.assert_close(found, layer.table()[ids])


@pytest.mark.parametrize("features", [{}, FEATURES], ids=["id", "features"])
def test_item_0_is_the_zero_vector_and_stays_so_in_training(features):
    layer = encoder(features)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    for ids in (torch.tensor([0, 1]), torch.arange(6).repeat(3)):
        optimizer.zero_grad()
        (layer(ids) - 1).square().sum().backward()
        optimizer.step()
        assert not layer.table()[0].any()
        assert not layer(torch.tensor([0, 1]))[0].any()


@pytest.mark.parametrize("ids", [torch.tensor([1]), torch.tensor([1] * 10)], ids=["encoded", "looked up"])
def test_gradient_reaches_the_id_and_its_feature_values_only(ids):
    layer = encoder()
    brand, categories = layer.features
    layer(ids).sum().backward()

    def touched(part):
        return part.embedding.weight.grad.any(1).nonzero().flatten().tolist()

    assert (touched(layer), touched(brand), touched(categories)) == ([1], [1], [1, 2, 3])


def test_gradient_is_the_weight_of_each_part_in_the_mean():
    layer = encoder(size=1)
    brand, categories = layer.features
    layer(torch.tensor([1])).sum().backward()
    # three parts, categories with three values of their own
    assert layer.embedding.weight.grad[1].item() == pytest.approx(1 / 3)
    assert brand.embedding.weight.grad[1].item() == pytest.approx(1 / 3)
    assert categories.embedding.weight.grad[1].item() == pytest.approx(1 / 9)


def test_a_feature_tells_whether_it_is_there():
    vector, present = FeatureEmbedding(BRAND, 4)(torch.tensor([[0, 1], [3, 5]]))
    assert present.tolist() == [[False, True], [False, True]]
    assert not vector[~present].any()


@pytest.mark.parametrize("name", ["type", "values", "embedding", "item.brand"])
def test_a_feature_may_have_any_field_name(name):
    assert encoder({name: BRAND}).table().shape == (6, 4)


# -- profiles ----------------------------------------------------------------------------------------------------------


def test_profile_is_the_concatenation_of_user_features():
    layer = profiles({"age": torch.tensor([0, 1, 2, 0]), "hobbies": torch.tensor([[0, 0], [1, 2], [3, 0], [0, 0]])})
    users = torch.tensor([2, 1, 3, 2])
    expected = [references.profile(values_of(layer.features, user), 4) for user in users.tolist()]
    assert layer.size == 8
    torch.testing.assert_close(layer(users), torch.tensor(expected), atol=1e-5, rtol=0)


def test_profile_without_features_is_empty():
    layer = profiles({})
    assert layer.size == 0
    assert layer(torch.tensor([1, 2, 3])).shape == (3, 0)


# -- ReLU layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [[], [5], [6, 5]])
@pytest.mark.parametrize("profile_size", [0, 2])
def test_interest_layers_map_capsule_and_profile_through_relu_layers(hidden, profile_size):
    generator = torch.Generator().manual_seed(0)
    layer = InterestLayers(size=3, profile_size=profile_size, hidden=hidden)
    capsules = torch.randn(2, 4, 3, generator=generator)
    profile = torch.randn(2, profile_size, generator=generator)
    linear = [module for module in layer.modules() if isinstance(module, torch.nn.Linear)]
    assert len(linear) == len(hidden) + 1
    expected = torch.zeros(2, 4, 3)
    for b in range(2):
        for k in range(4):
            x = capsules[b, k].tolist() + profile[b].tolist()
            for step in linear:
                rows = zip(step.weight.tolist(), step.bias.tolist(), strict=True)
                x = [references.dot(row, x) + bias for row, bias in rows]
                if step is not linear[-1]:
                    x = [max(0.0, value) for value in x]
            expected[b, k] = torch.tensor(x)
    torch.testing.assert_close(layer(capsules, profile), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hidden", [[], [6], [8, 6]])
@pytest.mark.parametrize("profile_size", [0, 2])
def test_wide_interest_layers_start_near_the_identity_on_the_capsule(hidden, profile_size):
    layer = InterestLayers(size=3, profile_size=profile_size, hidden=hidden)
    capsules = torch.nn.functional.normalize(torch.randn(50, 4, 3, generator=torch.Generator().manual_seed(0)), dim=2)
    interests = layer(capsules, torch.full((50, profile_size), 0.1))
    assert torch.nn.functional.cosine_similarity(interests, capsules, dim=2).min() > 0.9


@pytest.mark.parametrize("features", [{}, FEATURES], ids=["id", "features"])
def test_padded_different_ids_train_as_the_plain_ones(features):
    """On a GPU the list of different ids ends with zeros, whose row must not move."""
    generator = torch.Generator().manual_seed(0)
    finals = []
    for function in (different, different_padded):
        torch.manual_seed(0)
        layer = encoder(features)
        layer.embedding.weight.data[0] = 0
        layer.embedding.rows = RowAdam(layer.embedding.weight, 0.1)
        for step in range(5):
            ids = torch.randint(0, 6, (3, 4), generator=generator.manual_seed(step))
            values, place = function(ids)
            (layer(values, once=True)[place] * torch.arange(1.0, 5)).sin().sum().backward()
            layer.embedding.rows.step()
        layer.embedding.rows.flush()
        finals.append(layer.embedding.weight.detach().clone())
    assert not finals[0][0].any()
    torch.testing.assert_close(finals[0], finals[1], atol=1e-6, rtol=0)


def test_a_table_in_training_gives_each_row_the_sum_of_its_places_gradients():
    ids = torch.tensor([[3, 1, 3], [0, 3, 4]])
    outer = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    table = Table(6, 2)
    table.rows = RowAdam(table.weight, 0.1)
    found = table(ids)
    torch.testing.assert_close(found.detach(), table.weight[ids])
    (found * outer).sum().backward()
    assert table.weight.grad is None
    expected = torch.zeros(6, 2).index_add_(0, ids.flatten(), outer.view(6, 2))
    taken = table.rows.rows
    torch.testing.assert_close(taken.grad[1:], expected[[1, 3, 4]])  # the first is padding
    with pytest.raises(InputError, match="once in a step"):
        table(ids)
    table.rows.step()
    assert torch.equal(table(ids)[1, 0], torch.zeros(2))


def test_a_table_at_evaluation_is_an_embedding():
    table = Table(6, 2)
    table.rows = RowAdam(table.weight, 0.1)
    ids = torch.tensor([[3, 1], [0, 3]])
    for _ in range(2):
        table.eval()
        assert torch.equal(table(ids), table.weight[ids])
        table.train()
        with torch.no_grad():
            assert torch.equal(table(ids), table.weight[ids])
    assert table.rows.rows is None
