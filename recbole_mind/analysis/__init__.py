"""What a trained model does: case studies of users, whether its interests collapse, and what lists did to people.

May import: ``training``, ``evaluation``, ``retrieval``, ``report``, ``layers``, ``data``, ``config``, ``util``.

Public: ``items.Items``, ``explain.case_study.explain``, ``collapse.measure.build``,
``ab_test.comparison.compare``.
"""
