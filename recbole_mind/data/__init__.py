"""RecBole's data sets without padded rows: atomic files, packed folders, windows, splits, batches, logs of events.

May import: ``config``, ``util`` and ``layers.batch_shards``.

Public: ``create.create_dataset``, ``create.create_loaders``, ``dataset.SequentialDataset``, ``packed_file.Pack``,
``packing.pack``, ``logged_interactions.write``.
"""
