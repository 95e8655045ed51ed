import math

import pytest
import torch

from recbole_mind.layers.whole_vector import WholeVector


def history(lengths=(1, 4, 6, 2), U=9, D=5, L=6):
    """Vectors [U, D] of items, the row of each behaviour [B, L], and lengths [B]; row 0 is padding."""
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(U, D, generator=generator)
    vectors[0] = 0
    lengths = torch.tensor(lengths)
    place = torch.randint(1, U, (len(lengths), L), generator=generator)
    return vectors, place * (torch.arange(L) < lengths[:, None]), lengths


def layer(slope=(0.0, 0.0)):
    made = WholeVector(start=0.5, max_length=8, share=0.7)
    made.slope.data = torch.tensor(slope)
    return made


def test_the_mean_and_the_share_by_hand():
    vectors, place, lengths = history()
    made = layer((0.3, -1.0))
    means, shares = made(vectors[place], lengths)
    for row, n in enumerate(lengths.tolist()):
        weights = [0.5 ** (n - 1 - j) for j in range(n)]
        parts = [w / sum(weights) * vectors[item] for w, item in zip(weights, place[row], strict=False)]
        mean = sum(parts)
        torch.testing.assert_close(means[row], mean)
        alike = float(mean.norm() / sum(part.norm() for part in parts))
        expected = math.exp(math.log(0.7) + 0.3 * (math.log(n) - 2) - (alike - 0.5))
        assert shares[row].item() == pytest.approx(expected, rel=1e-5)


def test_the_share_is_the_same_for_all_at_first():
    vectors, place, lengths = history()
    torch.testing.assert_close(layer()(vectors[place], lengths)[1], torch.full((4,), 0.7))


def test_of_places_is_forward_with_its_gradients():
    vectors, place, lengths = history()
    found = []
    for ragged in (True, False):
        made, leaf = layer((0.3, -1.0)), vectors.clone().requires_grad_()
        mean, share = made.of_places(leaf, place, lengths) if ragged else made(leaf[place], lengths)
        (mean.sin().sum() + share.square().sum()).backward()
        found.append([mean, share, leaf.grad[1:], *(parameter.grad for parameter in made.parameters())])
    for mine, expected in zip(*found, strict=True):
        assert expected.any()
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-4)
