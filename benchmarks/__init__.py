"""Benchmarks and their records. ``python -m benchmarks ...`` is ``recbole-mind ...`` with models that stand here."""

from recbole_mind import register_model

register_model("SampledSASRec", "benchmarks.sampled_sasrec")
