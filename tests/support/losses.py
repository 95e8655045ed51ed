"""Catalogues, users and negatives that the tests of losses share."""

import math

import torch

from recbole_mind.layers.losses import ranking_nce, sampled_softmax

SHAPES = [(1, 5, 3, 2), (6, 20, 8, 10), (16, 50, 4, 200)]  # users, items, size, negatives


def catalogue(B, N, D, seed=0):
    """User vectors [B, D], item vectors [N, D] of unit length and targets [B]."""
    generator = torch.Generator().manual_seed(seed)
    user = torch.nn.functional.normalize(torch.randn(B, D, generator=generator), dim=1)
    items = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
    return user, items, torch.randint(1, N, (B,), generator=generator)


def drawn(shape, N, seed=1):
    return torch.randint(1, N, shape, generator=torch.Generator().manual_seed(seed))


def corrections(form, log_q, target, ids):
    """What a form of the sampled softmax is given of a proposal."""
    if form == "softmax":
        return {"log_expected": log_q[ids] + math.log(ids.shape[-1])}
    return {"log_q_target": log_q[target], "log_q_negatives": log_q[ids]}


def form_of(settings):
    return sampled_softmax if "log_expected" in settings else ranking_nce


def sampled(user, items, target, ids, *, temperature=1.0, log_q=None, form="nce"):
    settings = corrections(form, torch.zeros(len(items)) if log_q is None else log_q, target, ids)
    vectors = (user, items[target], items[ids])
    return form_of(settings)(*vectors, target, ids, temperature=temperature, **settings)


def gradients(loss, tensors, *more, factor=1.0, dtype=torch.float32, **settings):
    """A loss and its gradients, computed from ``tensors`` in ``dtype``."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    value = loss(*leaves, *more, **settings)
    (value * factor).backward()
    return value.detach(), [leaf.grad for leaf in leaves]
