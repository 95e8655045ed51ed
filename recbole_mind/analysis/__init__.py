"""What a trained model does: case studies of users, and whether its interests collapse.

May import: ``training``, ``evaluation``, ``retrieval``, ``report``, ``layers``, ``data``, ``config``, ``util``.

Public: ``items.Items``, ``explain.case_study.explain``, ``collapse.measure.build``.
"""
