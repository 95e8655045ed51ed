"""A user's interests in pictures and words: what each is made of, what it finds.

Public: ``case_study.explain``, ``output.write``.
"""
