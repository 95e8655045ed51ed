"""Settings in, a trained model and its record out.

``run`` is the whole, ``build`` makes its parts, ``trainer`` trains, ``checkpoint`` writes and opens files. May import:
``data``, ``models``, ``evaluation``, ``config``, ``layers``, ``util``.

Public: ``run.run``, ``run.evaluate``, ``load.load``, ``build.build_config``, ``trainer.RetrievalTrainer``,
``checkpoint.save``, ``checkpoint.load``, ``result.RunResult``.
"""
