"""One look for every page and every figure: colours, fonts, scales, the page around them.

What a page says is with what it is about (``experiments``, ``analysis``, ``serving.http``). May import: ``util``; never
torch or RecBole.

Public: ``templates.render``, ``style.styled``, ``figure_files.png``, ``figure_files.svg``, ``figure_page.Part``.
"""
