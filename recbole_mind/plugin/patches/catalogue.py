"""What :mod:`recbole_mind.plugin.patches.recbole` mends in RecBole 1.2.1, for ``recbole-mind doctor`` to print."""

from __future__ import annotations

# What each mend is for, as `recbole-mind doctor` prints it: (what breaks in RecBole 1.2.1, what we do).
MENDS = (
    ("checkpoints hold a pickled Config; torch >= 2.6 refuses them at test time", "read as data alone"),
    ("Config evaluates --key=value of every script as Python code", "read as literals, never evaluated"),
    ("unknown settings are accepted in silence", "refused, with the nearest known key"),
    ("CE with sampled negatives, or BPR without, fails late", "negatives are set from the loss"),
    ("time stamps become float32 and neighbours change places", "kept as float64 (timestamp_order: data)"),
    ("data files are read with CSV's quotes: a lone one swallows lines", "every character stands for itself"),
    ("rows without a user and rows without an item make it leave out the wrong ones", "the right ones, and counted"),
    ("a saved data set is used again for other files, and saving loaders unseeds them", "compared by content; not so"),
    ("every prefix of a history is stored as a padded row", "histories are cut for a batch (lazy_sequences: True)"),
    ("sequential models rank the user's own history", "mask_history: true keeps it out"),
    ("full_sort_topk and full_sort_scores recommend what mask_history keeps out", "they rank as the evaluation does"),
    ("ItemCoverage, AveragePopularity, GiniIndex and TailPercentage fail on numbers that are no tensors", "they work"),
    ("metrics are rounded to four decimals before anything is made of them", "unrounded (metric_decimal_place: ~)"),
    ("every user is scored against every item in one dense matrix", "searched instead (eval_search)"),
    ("gpu_id overwrites CUDA_VISIBLE_DEVICES, use_gpu: False still uses the GPU", "both are respected"),
    ("several processes need NCCL and a GPU each", "Gloo on CPUs"),
    ("a download ends in a barrier that no single process can pass", "the barrier is left out"),
    ("importing any sequential model switches on torch's anomaly detection, which halves the speed", "switched off"),
    ("graph models build their matrix with dok_matrix._update, which SciPy has dropped", "put back"),
    ("numpy 2 has no np.float_ and its like", "the names are put back"),
)
