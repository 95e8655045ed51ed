"""The mathematics in torch alone: routing, attention, losses, negative sampling, embeddings, exact lazy Adam.

May import: nothing of this package but ``errors``; never RecBole or pandas.

Public: ``routing.BehaviorToInterestRouting``, ``attention.LabelAwareAttention``, ``losses.full_softmax``,
``losses.sampled_softmax``, ``negative_sampling.proposal``, ``embeddings.ItemEncoder``, ``row_adam.RowAdam``.
"""
