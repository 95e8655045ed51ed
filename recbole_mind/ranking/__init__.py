"""The ranking stage: RecBole's DIN, trained on what a trained recall brings.

``recalled`` has recall's lists, ``din`` the model, ``batches`` clicks and negatives, ``run`` trains and opens rankers,
``evaluate`` judges both stages. May import: ``training``, ``evaluation``, ``retrieval``, ``data``, ``layers``,
``config``, ``util``.

Public: ``run.rank``, ``run.load_ranker``, ``run.Ranker``, ``run.RankingResult``, ``evaluate.evaluate``.
"""
