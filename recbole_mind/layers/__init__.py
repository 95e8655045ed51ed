"""The mathematics in torch alone: routing, attention, losses, negative sampling, embeddings, exact lazy Adam.

May import: nothing of this package but ``errors``; never RecBole or pandas.
"""
