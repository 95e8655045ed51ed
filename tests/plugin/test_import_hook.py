"""The patches are applied once RecBole's modules are imported, whatever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recbole_mind.plugin import import_hook


def said(code):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("first", ["recbole.utils.case_study", "recbole_mind"])
def test_the_case_study_is_patched_whichever_is_imported_first(first):
    code = f"import {first}, recbole_mind, recbole.utils.case_study as study"
    assert said(f"{code}; print(study.full_sort_scores.__wrapped__.__name__)") == ["full_sort_scores"]


@pytest.mark.parametrize("imports", ["recbole_mind, recbole.config", "recbole.config, recbole.data, recbole_mind"])
def test_recbole_is_patched_whichever_is_imported_first(imports):
    code = (
        f"import {imports}, recbole.trainer, recbole.data\n"
        "from recbole_mind.plugin import patches\n"
        "print(*[patch.name for module in patches.MODULES['recbole.config'] for patch in patches.patches_of(module)\n"
        "        if patch.needed() and not patch.in_force], recbole.trainer.MINDTrainer.__name__)"
    )
    assert said(code) == ["RetrievalTrainer"]


def test_nothing_is_patched_and_nothing_heavy_imported_before_recbole_is():
    assert said("import sys, recbole_mind; print(*{'torch', 'numpy', 'recbole', 'scipy'} & set(sys.modules))") == []


def test_registering_twice_does_nothing():
    before = list(sys.meta_path)
    import_hook.register()
    assert sys.meta_path == before
